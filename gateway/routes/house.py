"""The house itself: health, models, queue and workers."""

import asyncio

from fastapi import APIRouter
from starlette.responses import Response

from gateway.door import Door, Person, TheDoor
from gateway.errors import ErrorView
from gateway.views import HealthView, ModelList, QueueView, StatusView, WorkerView, lora_view, model_view
from jobs.desk import QueueSnapshot
from jobs.errors import StoreUnavailable
from jobs.job import Job, JobId, UserId, person
from jobs.run import WorkerReport

_PATIENCE = 3.0
"""Seconds for the ledger: a monitor rather hears "no" than nothing."""

router = APIRouter(tags=["house"])


@router.get("/health", responses={503: {"model": HealthView}})
async def health(door: TheDoor, response: Response) -> HealthView:
    """Open to everybody, tells no secret. 503 when the ledger cannot be read; no worker is no fault of the host."""
    queue = await _queue(door)
    response.status_code = 503 if queue is None else 200
    return HealthView(
        status="ok" if queue is not None else "no_database",
        version=door.settings.version,
        database=queue is not None,
        workers_online=len(door.fleet.online()),
        queue_length=None if queue is None else queue.waiting,
    )


@router.get("/api/v1/models", responses={401: {"model": ErrorView}})
async def models(door: TheDoor, _: Person) -> ModelList:
    """Every model that can be asked for, those online first."""
    online = door.fleet.online()
    served = {offer.name for report in online for offer in report.models}
    views = [
        model_view(offer, online=name in served, loaded_on=sum(name in report.loaded for report in online))
        for name, offer in door.fleet.offers().items()
    ]
    views.sort(key=lambda view: (not view.online, view.name))
    loras = [lora_view(offer) for _, offer in sorted(door.fleet.loras().items())]
    return ModelList(default=door.fleet.default_model, models=views, loras=loras)


@router.get("/api/v1/status", responses={401: {"model": ErrorView}})
async def status(door: TheDoor, caller: Person) -> StatusView:
    """Queue and workers, with your own share of both. Nobody else is named."""
    queue = await _queue(door)
    mine = await _recent(door, caller)
    return StatusView(
        version=door.settings.version,
        person=person(caller),
        signed_in=bool(door.keyring),
        queue=None if queue is None else _line(queue, mine),
        workers=[_worker(report, {job.id for job in mine}) for report in door.fleet.online()],
    )


async def _queue(door: Door) -> QueueSnapshot | None:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await door.board.snapshot()
    except (StoreUnavailable, TimeoutError):
        return None


async def _recent(door: Door, caller: UserId) -> list[Job]:
    try:
        return await door.desk.recent(caller, limit=50)
    except StoreUnavailable:
        return []


def _line(queue: QueueSnapshot, mine: list[Job]) -> QueueView:
    places = [place for job in mine if (place := queue.place(job.id)) is not None]
    return QueueView(waiting=queue.waiting, people=queue.people, yours=sorted(places))


def _worker(report: WorkerReport, mine: set[JobId]) -> WorkerView:
    return WorkerView(
        name=report.name,
        device=report.device,
        models=[offer.name for offer in report.models],
        loaded=sorted(report.loaded),
        places=report.max_batch,
        busy=max(len(report.running), report.max_batch - report.room, 0),
        yours=sum(key.job_id in mine for key in report.running),
        notes=list(report.notes),
    )
