"""The worker's HTTP surface; `workers.protocol` is its documentation."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus

from aiohttp import web
from pydantic import ValidationError

from workers.protocol import BODY_BYTES_MAX, INPUT_BYTES_MAX, Finished, ProblemField, RunKey, RunOrder
from workers.server.auth import authorization
from workers.server.ledger import Entry
from workers.server.problems import Refused, answer, problems
from workers.server.stream import send_events
from workers.server.worker import Worker

_WORKER = web.AppKey("worker", Worker)
_STREAMS = web.AppKey("streams", list)

#: How long a DELETE waits for the run to stop: a step of a large model on a small machine.
_STOP_SECONDS = 10.0
_BODY_SECONDS = 15.0
_INPUT_SECONDS = 120.0
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: A host needs one stream a run, and for a moment two when it reconnects.
_STREAMS_PER_RUN = 4
_STREAMS_MAX = 256


def make_app(worker: Worker) -> web.Application:
    """The application over a worker that was entered."""
    app = web.Application(middlewares=[problems, authorization(worker.settings.token)], client_max_size=BODY_BYTES_MAX)
    app[_WORKER] = worker
    app[_STREAMS] = []
    app.add_routes(
        [
            web.get("/health", _health),
            web.get("/v1/capabilities", _capabilities),
            web.put("/v1/inputs/{sha256}", _input),
            web.get("/v1/runs", _list),
            web.put("/v1/runs/{key}", _put),
            web.get("/v1/runs/{key}", _show),
            web.delete("/v1/runs/{key}", _delete),
            web.get("/v1/runs/{key}/events", _events),
            web.get("/v1/runs/{key}/pictures/{index}", _picture),
            web.post("/v1/runs/{key}/ack", _acknowledge),
        ]
    )
    return app


async def _health(request: web.Request) -> web.Response:
    health = request.app[_WORKER].health
    return answer(health, status=HTTPStatus.OK if health.status == "ready" else HTTPStatus.SERVICE_UNAVAILABLE)


async def _capabilities(request: web.Request) -> web.Response:
    return answer(request.app[_WORKER].capabilities())


async def _input(request: web.Request) -> web.Response:
    sha256 = request.match_info["sha256"]
    if not _SHA256.fullmatch(sha256):
        raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "An input is named by its SHA-256 in 64 small hexadecimal digits.")
    await request.app[_WORKER].inputs.keep(sha256, await _long_body(request, most=INPUT_BYTES_MAX))
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def _list(request: web.Request) -> web.Response:
    return answer(request.app[_WORKER].runs())


async def _put(request: web.Request) -> web.Response:
    key = _key(request)
    order = _read(RunOrder, await _body(request))
    entry, is_new = request.app[_WORKER].put(key, order)
    return _status(entry, HTTPStatus.ACCEPTED if is_new else HTTPStatus.OK)


async def _show(request: web.Request) -> web.Response:
    return _status(_entry(request))


async def _delete(request: web.Request) -> web.Response:
    entry = _entry(request)
    request.app[_WORKER].cancel(entry, reason="requested")
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            while not entry.has_ended:
                await entry.beyond(entry.sequence)
    except TimeoutError:
        return _status(entry, HTTPStatus.ACCEPTED)
    return _status(entry)


async def _events(request: web.Request) -> web.StreamResponse:
    entry, streams = _entry(request), request.app[_STREAMS]
    if streams.count(entry.key) >= _STREAMS_PER_RUN or len(streams) >= _STREAMS_MAX:
        raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "too_many_streams", "Too many streams are open; close one first.")
    streams.append(entry.key)
    try:
        return await send_events(request, entry)
    finally:
        streams.remove(entry.key)


async def _picture(request: web.Request) -> web.Response:
    entry, index = _entry(request), request.match_info["index"]
    if not entry.has_ended:
        raise Refused(HTTPStatus.CONFLICT, "not_finished", f"The run {entry.key} is not finished yet.")
    held = {str(number): data for number, data in enumerate(entry.pictures)}
    if index not in held:
        raise Refused(HTTPStatus.NOT_FOUND, "unknown_picture", f"The run {entry.key} has {len(held)} pictures, counted from 0.")
    told = entry.end.pictures[int(index)] if isinstance(entry.end, Finished) else None
    assert told is not None  # only a finished run holds pictures
    headers = {"ETag": f'"{told.sha256}"', "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=held[index], content_type=told.content_type, headers=headers)


async def _acknowledge(request: web.Request) -> web.Response:
    worker, key = request.app[_WORKER], _key(request)
    entry = worker.ledger.get(key)
    if entry is not None and not entry.has_ended:
        raise Refused(HTTPStatus.CONFLICT, "not_finished", f"The run {key} is not finished; cancel it first.")
    worker.ledger.drop(key)
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _status(entry: Entry, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return answer(entry.status(), status=status)


def _key(request: web.Request) -> RunKey:
    try:
        return RunKey.parse(request.match_info["key"])
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "malformed", str(error)) from error


def _entry(request: web.Request) -> Entry:
    return request.app[_WORKER].find(_key(request))


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await request.read()
    except TimeoutError as error:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, "too_slow", "The body took too long to arrive; send it at once.") from error


async def _long_body(request: web.Request, *, most: int) -> bytes:
    """A body larger than orders may be, read up to its own limit."""
    too_large = Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"A picture may have at most {most} bytes.")
    if (request.content_length or 0) > most:
        raise too_large
    parts: list[bytes] = []
    held = 0
    try:
        async with asyncio.timeout(_INPUT_SECONDS):
            async for part in request.content.iter_chunked(256 * 1024):
                held += len(part)
                if held > most:
                    raise too_large
                parts.append(part)
    except TimeoutError as error:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, "too_slow", "The body took too long to arrive; send it at once.") from error
    return b"".join(parts)


def _read(kind: type[RunOrder], body: bytes) -> RunOrder:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from error


def _refusal(error: ValidationError) -> Refused:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        return Refused(HTTPStatus.BAD_REQUEST, "malformed", f"The body is not JSON: {found[0]['msg'][:200]}.")
    fields = tuple(ProblemField(field=".".join(map(str, one["loc"]))[:100] or "body", detail=one["msg"][:200]) for one in found[:20])
    return Refused(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "bad_order",
        f"The order is wrong: {fields[0].field}: {fields[0].detail}.",
        fields=fields,
    )
