"""Live figures for Prometheus. Behind the house's keys where there are any: how busy a house is is nobody else's business."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.responses import Response

from gateway.door import Person
from gateway.errors import ErrorView
from jobs.errors import StoreUnavailable

Readings = Mapping[str, tuple[str, float | None]]
"""By name: what it is, and its value; None where there is none now."""

ReadMetrics = Callable[[], Awaitable[Readings]]

_PATIENCE = 5.0

router = APIRouter(tags=["house"])


@router.get("/metrics", response_class=Response, responses={401: {"model": ErrorView}})
async def metrics(request: Request, _: Person) -> Response:
    """Gauges in Prometheus' text form. 503 when the ledger cannot be read."""
    read: ReadMetrics | None = request.app.state.metrics
    if read is None:
        return Response(status_code=404)
    try:
        async with asyncio.timeout(_PATIENCE):
            readings = await read()
    except (StoreUnavailable, TimeoutError):
        return Response(status_code=503)
    registry = CollectorRegistry()
    for name, (about, value) in readings.items():
        if value is not None:
            Gauge(f"darkroom_{name}", about, registry=registry).set(value)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
