"""A job as it changes: an endless supply of complete views, the newest one always enough.

Facts and steps come from the feed. What the feed does not tell (the queue moved, a worker went away, another host
wrote) is looked up again: the queue once a second for all who wait together, each job every few seconds.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress

from gateway.errors import Refusal
from jobs.desk import Desk, JobStatus, QueueSnapshot
from jobs.errors import JobNotFound, StoreUnavailable
from jobs.events import JobEvent, JobFact
from jobs.feed import Feed, Subscription
from jobs.job import Job, JobId, JobState, UserId

_log = logging.getLogger(__name__)

_RESYNC = 5
"""Every so many looks the job itself is read again: with several hosts its facts may be published elsewhere."""


class Sequence:
    """Numbers that grow over restarts too: they begin at the clock, in milliseconds."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """A number larger than any before."""
        self._last = max(self._last + 1, time.time_ns() // 1_000_000)
        return self._last


class QueueBoard:
    """The queue as last read, shared by all who wait: one read a ``fresh`` seconds, however many watch."""

    def __init__(self, desk: Desk, *, fresh: float) -> None:
        self._desk = desk
        self._fresh = fresh
        self._read: tuple[float, QueueSnapshot] | None = None
        self._lock = asyncio.Lock()

    async def snapshot(self) -> QueueSnapshot:
        """At most ``fresh`` seconds old. Raises StoreUnavailable."""
        async with self._lock:  # those who come while it is read get the same one
            if self._read is None or time.monotonic() - self._read[0] >= self._fresh:
                self._read = (time.monotonic(), await self._desk.snapshot())
            return self._read[1]


class StreamPlaces:
    """How many streams each person has open."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[UserId, int] = {}

    def open_by(self, user_id: UserId) -> int:
        """Open streams of a person."""
        return self._open.get(user_id, 0)

    @contextmanager
    def take(self, user_id: UserId) -> Iterator[None]:
        """A place while the context lasts. Raises Refusal (429)."""
        if self.open_by(user_id) >= self._limit:
            raise Refusal(429, "too_many_streams", headers={"Retry-After": "10"}, limit=self._limit)
        self._open[user_id] = self.open_by(user_id) + 1
        try:
            yield
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]


class Watch:
    """Follows jobs for their owners."""

    def __init__(self, *, desk: Desk, feed: Feed, board: QueueBoard, look_again: float) -> None:
        self._desk = desk
        self._feed = feed
        self._board = board
        self._look_again = look_again

    async def follow(self, job_id: JobId, user_id: UserId) -> AsyncGenerator[JobStatus]:
        """The job now, then again whenever something about it changed; the last one is its end. Raises JobNotFound.

        Whoever reads slowly skips: what piled up is never more than one fact and one step.
        """
        with self._feed.subscribe(job_id) as events:  # before the first read, so that nothing falls between the two
            status = await self._desk.status(job_id, user_id=user_id)
            yield status
            for look in itertools.count(1):
                if status.job.state.is_terminal:
                    return
                newer = await self._renewed(status, await self._news(events), resync=look % _RESYNC == 0)
                if newer != status:
                    status = newer
                    yield status

    async def status_of(self, job: Job) -> JobStatus:
        """Place, time and cause of a job already read. Raises StoreUnavailable."""
        if job.state is JobState.QUEUED:
            return await self._desk.standing(job, await self._board.snapshot())
        return self._desk.course(job)

    async def _news(self, events: Subscription) -> JobEvent | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._look_again):
                return await events.next()
        return None

    async def _renewed(self, status: JobStatus, event: JobEvent | None, *, resync: bool) -> JobStatus:
        job = status.job
        try:
            if isinstance(event, JobFact):
                return await self.status_of(_newer(job, event.job))
            if event is None and resync:
                fresh = await self._desk.status(job.id, user_id=None)
                return fresh if fresh.job.version >= job.version else status
            return await self.status_of(job)
        except (StoreUnavailable, JobNotFound) as error:  # the next look may succeed
            _log.info("job %s is watched without its ledger: %s", job.id, error)
            return status


def _newer(known: Job, told: Job) -> Job:
    return told if told.version >= known.version else known
