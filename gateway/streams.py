"""Progress as it goes out: server-sent events, and the messages of the WebSocket.

A stream never holds anything up: it has a place of its owner's, it writes only the newest view, and a reader who leaves
a message unread for too long is dropped.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.door import Door
from gateway.views import JobView
from jobs.desk import JobStatus
from jobs.job import JobId, JobState, UserId

_log = logging.getLogger(__name__)


class ProgressMessage(BaseModel):
    """One message of ``/ws/progress/{id}``: complete by itself, whichever event it is.

    Events: ``stage_change``, ``step_complete``, ``generation_complete`` (last), ``error`` (last: failed, cancelled,
    expired). ``progress`` is 0 to 1, and null where nobody can know it; ``elapsed`` and ``eta`` are seconds.
    """

    event: str
    job_id: str
    seq: int
    status: JobState
    stage: str
    step: int
    total_steps: int
    progress: float | None
    elapsed: float | None
    eta: float | None
    queue_position: int | None
    preview_url: str | None
    gpu: str | None
    images: list[str]
    code: str | None = None
    message: str | None = None
    job: JobView


def progress_message(view: JobView, before: JobView | None) -> ProgressMessage:
    """The message for a view, given the one sent before it on the same socket."""
    done = view.progress
    cancelled = view.status is JobState.CANCELLED
    return ProgressMessage(
        event=_event(view, before),
        job_id=view.id,
        seq=view.seq,
        status=view.status,
        stage=_stage(view),
        step=done.step if done else 0,
        total_steps=view.request.steps,
        progress=done.progress if done else (1.0 if view.status is JobState.DONE else None),
        elapsed=done.elapsed if done else (view.made.seconds if view.made else None),
        eta=done.eta if done else (view.eta.high if view.eta else None),
        queue_position=view.position,
        preview_url=done.preview if done else None,
        gpu=view.worker or (view.made.worker if view.made else None),
        images=[picture.url for picture in view.pictures],
        code=view.error.code if view.error else ("cancelled" if cancelled else None),
        message=view.error.message if view.error else None,
        job=view,
    )


def _event(view: JobView, before: JobView | None) -> str:
    if view.status is JobState.DONE:
        return "generation_complete"
    if view.status.is_terminal:
        return "error"
    stepped = before is not None and before.status is view.status and before.progress != view.progress
    return "step_complete" if stepped and view.progress else "stage_change"


def _stage(view: JobView) -> str:
    if view.status is not JobState.RUNNING:
        return {JobState.QUEUED: "queue", JobState.LEASED: "prepare"}.get(view.status, view.status.value)
    if view.progress is None:
        return "start"
    return "sampling" if view.progress.step < view.progress.total_steps else "finishing"


async def race(*contenders: Coroutine[Any, Any, object]) -> None:
    """Run all until the first one ends, then cancel the others."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(contender) for contender in contenders]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


class EventStream(Response):
    """Server-sent events of one job (WHATWG HTML §9.2): a view each, the first at once, the end after the last."""

    def __init__(self, door: Door, job_id: JobId, person: UserId, language: str) -> None:
        super().__init__(media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._door = door
        self._job_id = job_id
        self._person = person
        self._language = language
        self._lock = asyncio.Lock()
        self._written = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Raises JobNotFound, StoreUnavailable and Refusal before the first byte."""
        door = self._door
        with door.places.take(self._person):
            async with aclosing(door.watch.follow(self._job_id, self._person)) as statuses:
                first = await anext(statuses)
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                try:
                    await race(
                        self._tell(first, statuses, send), self._reassure(send), door.closing.wait(), _gone(receive)
                    )
                    await self._write(send, b"", more=False)
                except* TimeoutError:  # returning without the end makes the server close the connection
                    _log.info("a reader of job %s left its stream unread and was dropped", self._job_id)

    async def _tell(self, first: JobStatus, rest: AsyncIterator[JobStatus], send: Send) -> None:
        await self._write(send, b"retry: 2000\n\n" + self._frame(first))
        async for status in rest:
            await self._write(send, self._frame(status))

    def _frame(self, status: JobStatus) -> bytes:
        view = self._door.view(status, self._language)
        return f"id: {view.seq}\ndata: {view.model_dump_json()}\n\n".encode()

    async def _reassure(self, send: Send) -> None:
        """Silence looks like a dead line to proxies: a comment says that it is not."""
        clock, patience = asyncio.get_running_loop().time, self._door.settings.heartbeat
        while True:
            await asyncio.sleep(max(0.01, self._written + patience - clock()))
            if clock() - self._written >= patience:
                await self._write(send, b": still here\n\n")

    async def _write(self, send: Send, data: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(self._door.settings.write_seconds), self._lock:
            await send({"type": "http.response.body", "body": data, "more_body": more})
        self._written = asyncio.get_running_loop().time()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
