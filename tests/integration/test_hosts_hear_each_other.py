"""What happens on one host wakes the loops of another, over a real PostgreSQL; on SQLite the loop ends by itself."""

import asyncio
from datetime import UTC, datetime

from bot.hinting import share_hints
from database.hints import Hints
from database.url import read_url
from jobs.events import JobCancelRequested, JobLeased, JobQueued
from jobs.feed import Feed
from jobs.job import Job, JobId, JobState, UserId
from jobs.request import Order

JOB = Job(
    id=JobId("one"), user_id=UserId("web:ada"), door="http", state=JobState.QUEUED, generation=1, attempt=0, lost=0, epoch=0, version=1,
    created_at=datetime.now(UTC), order=Order(prompt="a red star", model="house", width=64, height=64, steps=4, guidance=3.0, seed=1),
)  # fmt: skip


class Loops:
    """A pool's two ears."""

    def __init__(self) -> None:
        self.looked = 0
        self.cancels = 0

    def look_again(self) -> None:
        self.looked += 1

    def pass_on_cancels(self) -> None:
        self.cancels += 1


async def test_a_job_queued_here_is_looked_for_there_and_a_wish_to_cancel_is_passed_on(postgres_server, migrated_database):
    url = postgres_server.url(migrated_database)
    hosts = [(Hints(read_url(url)), Feed(), Loops()) for _ in range(2)]
    (_, feed, _), (_, _, there) = hosts
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        sharing = [group.create_task(share_hints(hints, feed, loops)) for hints, feed, loops in hosts]
        for hints, *_ in hosts:
            await hints.listening.wait()
        before = there.looked
        feed.publish(JobLeased(job=JOB))
        feed.publish(JobCancelRequested(job=JOB))
        while not there.cancels:
            await asyncio.sleep(0.02)
        assert there.looked == before, "a lease makes nothing possible elsewhere"
        feed.publish(JobQueued(job=JOB))
        while there.looked == before:
            await asyncio.sleep(0.02)
        for task in sharing:
            task.cancel()


async def test_on_sqlite_there_is_nobody_to_tell(tmp_path):
    async with asyncio.timeout(5):
        await share_hints(Hints(read_url(f"sqlite:///{tmp_path}/x.sqlite3")), Feed(), Loops())
