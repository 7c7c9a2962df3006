"""Passes what happened here on to the other hosts, and what happened there to our own loops."""

import asyncio
from typing import Protocol

from database.hints import Hint, Hints
from jobs.events import JobCancelRequested, JobFact, JobLeased, JobStarted
from jobs.feed import Feed


class Loops(Protocol):
    """What hints wake: the pool."""

    def look_again(self) -> None:
        """Something may have become possible."""
        ...

    def pass_on_cancels(self) -> None:
        """Somebody wants a running job stopped."""
        ...


async def share_hints(hints: Hints, feed: Feed, pool: Loops) -> None:
    """Until cancelled; ends by itself where the ledger carries no hints."""

    def heard(hint: Hint) -> None:
        if hint is Hint.CANCEL:
            pool.pass_on_cancels()
        else:
            pool.look_again()

    async with asyncio.TaskGroup() as group:
        teller = group.create_task(_tell(hints, feed), name="tell other hosts")
        await hints.run(heard)
        teller.cancel()


async def _tell(hints: Hints, feed: Feed) -> None:
    with feed.subscribe() as events:
        async for event in events:
            if isinstance(event, JobCancelRequested):
                hints.tell(Hint.CANCEL)
            elif isinstance(event, JobFact) and not isinstance(event, JobLeased | JobStarted):
                hints.tell(Hint.QUEUED)
