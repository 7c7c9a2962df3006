"""Progress of one job, as server-sent events or over a WebSocket."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter, WebSocket
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect

from gateway.door import Door, Language, Person, TheDoor, door_of, language_of_request, person_of
from gateway.errors import ErrorView, Refusal
from gateway.streams import EventStream, progress_message, race
from gateway.views import JobView
from jobs.desk import JobStatus
from jobs.errors import DarkroomError, JobNotFound
from jobs.job import JobId

_log = logging.getLogger(__name__)

ENDED, RESTARTING, OVERLOADED = 1000, 1012, 1013
NO_KEY, NO_JOB = 4401, 4404
"""Close codes: RFC 6455's registry, and the HTTP status with 4000 in front."""

router = APIRouter(tags=["progress"])


@router.get(
    "/api/v1/jobs/{job_id}/events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}}, **{s: {"model": ErrorView} for s in (401, 404, 429, 503)}},
)
async def events(job_id: str, door: TheDoor, person: Person, language: Language) -> Response:
    """Server-sent events: a complete view of the job at once and after each change; ends when the job has ended."""
    return EventStream(door, JobId(job_id), person, language)


@router.websocket("/ws/progress/{job_id}")
async def progress(socket: WebSocket, job_id: str) -> None:
    """The same over a WebSocket, in the words of :class:`gateway.streams.ProgressMessage`."""
    await socket.accept()
    code = await _serve(socket, JobId(job_id))
    try:
        async with asyncio.timeout(door_of(socket).settings.write_seconds):
            await socket.close(code)
    except (TimeoutError, RuntimeError, WebSocketDisconnect):
        _log.debug("the reader of job %s was gone before the close", job_id)


async def _serve(socket: WebSocket, job_id: JobId) -> int:
    """Tell until the end; the close code."""
    door = door_of(socket)
    try:
        person = person_of(socket)
        with door.places.take(person):
            async with aclosing(door.watch.follow(job_id, person)) as statuses:
                teller = _Teller(socket, door)
                await teller.tell(await anext(statuses))
                await race(teller.tell_all(statuses), door.closing.wait(), _gone(socket))
                return ENDED if teller.ended else RESTARTING if door.closing.is_set() else OVERLOADED
    except Refusal as refusal:
        return NO_KEY if refusal.status == 401 else OVERLOADED
    except JobNotFound:
        return NO_JOB
    except DarkroomError as error:
        _log.info("job %s cannot be told over its socket: %s", job_id, error)
        return OVERLOADED


class _Teller:
    def __init__(self, socket: WebSocket, door: Door) -> None:
        self._socket = socket
        self._door = door
        self._language = language_of_request(socket)
        self._before: JobView | None = None

    @property
    def ended(self) -> bool:
        return self._before is not None and self._before.status.is_terminal

    async def tell(self, status: JobStatus) -> None:
        view = self._door.view(status, self._language)
        message = progress_message(view, self._before)
        async with asyncio.timeout(self._door.settings.write_seconds):
            await self._socket.send_text(message.model_dump_json())
        self._before = view

    async def tell_all(self, statuses: AsyncIterator[JobStatus]) -> None:
        """Returns early when the reader went away or left a message unread for too long."""
        try:
            async for status in statuses:
                await self.tell(status)
        except (TimeoutError, WebSocketDisconnect) as error:
            _log.info("a reader of a progress socket was dropped: %s", type(error).__name__)


async def _gone(socket: WebSocket) -> None:
    """What the page sends is not for us to read, but its going away is."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
