"""Events inside this process: facts and progress for whoever listens, never slower than the slowest listener.

A subscription's mailbox is bounded by construction: per job it holds at most the newest fact and the newest progress.
Whoever needs history reads the store; whoever reconnects gets a snapshot first.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from jobs.events import JobEvent, JobFact, JobProgressed
from jobs.job import JobId


def _job_id(event: JobEvent) -> JobId:
    return event.job_id if isinstance(event, JobProgressed) else event.job.id


class Subscription:
    """An async iterator over events; a newer event of the same job and kind replaces an unread older one."""

    def __init__(self, job_id: JobId | None) -> None:
        self._only = job_id
        self._unread: dict[tuple[JobId, bool], JobEvent] = {}
        self._news = asyncio.Event()

    def offer(self, event: JobEvent) -> None:
        """Leave an event in the mailbox."""
        job_id = _job_id(event)
        if self._only not in (None, job_id):
            return
        key = (job_id, isinstance(event, JobProgressed))
        if not key[1]:  # a fact makes older progress of its job stale
            self._unread.pop((job_id, True), None)
        self._unread.pop(key, None)
        self._unread[key] = event
        self._news.set()

    async def next(self) -> JobEvent:
        """The oldest unread event; waits for one."""
        while not self._unread:
            self._news.clear()
            await self._news.wait()
        key = next(iter(self._unread))
        return self._unread.pop(key)

    async def __aiter__(self) -> AsyncIterator[JobEvent]:
        while True:
            yield await self.next()


class Feed:
    """The EventSink of one process. Keeps the newest progress of each running job for snapshots."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._progress: dict[JobId, JobProgressed] = {}

    def publish(self, event: JobEvent) -> None:
        """Hand an event to every listener; never blocks."""
        if isinstance(event, JobProgressed):
            self._progress[event.job_id] = event
        elif isinstance(event, JobFact) and event.job.state != "running":
            self._progress.pop(event.job.id, None)
        for subscription in self._subscriptions:
            subscription.offer(event)

    def progress_of(self, job_id: JobId) -> JobProgressed | None:
        """The newest progress of a running job, None before its first step and after its end."""
        return self._progress.get(job_id)

    @contextmanager
    def subscribe(self, job_id: JobId | None = None) -> Iterator[Subscription]:
        """Listen to one job, or to all. Only events published from now on arrive."""
        subscription = Subscription(job_id)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
