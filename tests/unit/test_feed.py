"""Events inside the process: newest wins, facts are never lost to progress, nobody slows anybody."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from jobs.events import JobFact, JobProgressed, JobQueued, JobStarted, JobSucceeded
from jobs.feed import Feed
from jobs.job import Job, JobId, JobState, UserId
from jobs.request import Order

ORDER = Order(prompt="a star", model="house", width=128, height=128, steps=12, guidance=3.0, seed=1)
JOB = Job(
    id=JobId("j"), user_id=UserId("web:a"), door="http", order=ORDER, state=JobState.QUEUED, generation=0, attempt=0, lost=0,
    epoch=0, version=0, created_at=datetime.now(UTC),
)  # fmt: skip


def progress(step: int, job_id: str = "j") -> JobProgressed:
    return JobProgressed(job_id=JobId(job_id), step=step, total_steps=12, elapsed=step, eta=None, worker="w")


@pytest.fixture
def feed():
    return Feed()


async def test_unread_progress_is_replaced_by_newer(feed):
    with feed.subscribe() as events:
        for step in range(1, 6):
            feed.publish(progress(step))
        assert (await events.next()).step == 5
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await events.next()


async def test_a_fact_outdates_its_jobs_progress_but_nobody_elses(feed):
    with feed.subscribe() as events:
        feed.publish(progress(3))
        feed.publish(progress(4, "other"))
        feed.publish(JobSucceeded(job=replace(JOB, state=JobState.DONE)))
        first, second = await events.next(), await events.next()
        assert first.job_id == "other"
        assert isinstance(second, JobFact)


async def test_a_subscription_to_one_job_hears_only_that(feed):
    with feed.subscribe(JobId("other")) as events:
        feed.publish(JobQueued(job=JOB))
        feed.publish(progress(1, "other"))
        assert (await events.next()).job_id == "other"


async def test_a_mailbox_stays_bounded_however_much_is_published(feed):
    with feed.subscribe() as events:
        for step in range(10_000):
            feed.publish(progress(step % 12))
            feed.publish(JobStarted(job=replace(JOB, state=JobState.RUNNING, version=step)))
        assert len(events._unread) <= 2


def test_the_newest_progress_is_kept_until_the_job_ends(feed):
    feed.publish(progress(7))
    assert feed.progress_of(JobId("j")).step == 7
    feed.publish(JobSucceeded(job=replace(JOB, state=JobState.DONE)))
    assert feed.progress_of(JobId("j")) is None


def test_nobody_hears_anything_after_the_block(feed):
    with feed.subscribe() as events:
        pass
    feed.publish(JobQueued(job=JOB))
    assert not events._unread
