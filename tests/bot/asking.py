"""Jobs as the ledger would have them, for tests of what is shown."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.desk import JobStatus
from jobs.job import Job, JobId, JobState, Making, Picture, Place, UserId
from jobs.request import Order

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def order(**changes: Any) -> Order:
    values = {"prompt": "a lighthouse", "model": "house", "width": 128, "height": 96, "steps": 20, "guidance": 3.0, "seed": 7}
    return Order.model_validate(values | changes)


def job(state: JobState = JobState.QUEUED, *, locale: str = "en-US", prompt: str = "a lighthouse", **changes: Any) -> Job:
    made = Job(
        id=JobId("01hzzzzzzzzzzzzzzzzzzzzzzz"), user_id=UserId("discord:42"), door="discord", order=order(prompt=prompt),
        state=state, generation=1, attempt=0, lost=0, epoch=1, version=1, created_at=NOW,
        place=Place(guild_id="1", channel_id="2", locale=locale),
    )  # fmt: skip
    return replace(made, **changes)


def done(**changes: Any) -> Job:
    picture = Picture(index=0, sha256="0" * 64, content_type="image/png", size=9, width=128, height=96, seed=7)
    return job(
        JobState.DONE, pictures=(picture,), making=Making(worker="gpu1", seconds=6.21, shared_with=3),
        finished_at=NOW + timedelta(seconds=24), **changes,
    )  # fmt: skip


def status(made: Job, **known: Any) -> JobStatus:
    return JobStatus(job=made, **known)
