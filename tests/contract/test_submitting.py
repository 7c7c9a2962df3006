import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from database.engine import Database
from database.job_store import SqlJobStore
from jobs.errors import IdempotencyConflict, InvalidRequest, JobNotFound, WaitingLimitReached
from jobs.job import JobState
from tests.contract.asking import ANA, BEN, HERE, ask, order, plan_of, waiting, wish
from tests.contract.looking import events, rows


async def test_a_submitted_job_is_read_back_as_it_was_returned(store: SqlJobStore):
    job = await ask(store, place=HERE, door="discord")

    assert await store.get(job.id) == job
    assert (job.state, job.epoch, job.attempt, job.place) == (JobState.QUEUED, 0, 0, HERE)
    assert job.lease is None
    assert abs(job.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert job.created_at.tzinfo is UTC


async def test_the_largest_seed_and_any_script_survive_the_round_trip(store: SqlJobStore):
    wanted = order(seed=2**63 - 1, prompt="gato 🐈 в море ‮ \\ ' \" %s {0}", guidance=0.1)

    job = await ask(store, order=wanted)

    assert (await store.get(job.id)).order == wanted


async def test_the_same_key_returns_the_same_job_and_writes_nothing(store: SqlJobStore, database: Database):
    first, created = await store.submit(wish(idempotency_key="k", place=HERE), waiting_limit=1)
    again, created_again = await store.submit(wish(idempotency_key="k", place=HERE), waiting_limit=1)

    assert (created, created_again) == (True, False)
    assert again == first
    assert len(await rows(database, "job")) == len(await rows(database, "outbox")) == 1


async def test_a_drawn_seed_does_not_make_it_another_request(store: SqlJobStore):
    first, _ = await store.submit(wish(idempotency_key="k", order=order(seed=1)), waiting_limit=9)
    again, created = await store.submit(wish(idempotency_key="k", order=order(seed=2)), waiting_limit=9)

    assert not created
    assert again.order.seed == first.order.seed == 1


@pytest.mark.parametrize("other", [{"order": order(prompt="another")}, {"order": order(steps=9)}, {"user_id": BEN}])
async def test_the_same_key_for_something_else_is_refused(store: SqlJobStore, other: dict):
    await ask(store, idempotency_key="k")

    with pytest.raises(IdempotencyConflict):
        await store.submit(wish(idempotency_key="k", **other), waiting_limit=9)


async def test_a_hundred_equal_requests_at_once_are_one_job(store: SqlJobStore, database: Database):
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(store.submit(wish(idempotency_key="k", place=HERE), waiting_limit=5)) for _ in range(100)
        ]
    answers = [task.result() for task in tasks]

    assert len({job.id for job, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    assert len(await rows(database, "job")) == len(await rows(database, "outbox")) == 1


async def test_a_hundred_different_requests_at_once_stop_at_the_limit(store: SqlJobStore):
    refusals: list[dict[str, int]] = []

    async def attempt() -> bool:
        try:
            return (await store.submit(wish(), waiting_limit=7))[1]
        except WaitingLimitReached as error:
            refusals.append(error.details)
            return False

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(attempt()) for _ in range(100)]

    assert sum(task.result() for task in tasks) == 7
    assert refusals == [{"waiting": 7, "limit": 7}] * 93


async def test_the_waiting_limit_counts_only_ones_own_waiting_jobs(store: SqlJobStore):
    await ask(store, BEN)
    await ask(store)
    await store.claim("gpu", lambda line: plan_of(line, [job for job in waiting(line) if job.user_id == ANA]), lease_seconds=9)

    _, created = await store.submit(wish(), waiting_limit=1)

    assert created
    with pytest.raises(WaitingLimitReached):
        await store.submit(wish(), waiting_limit=1)


@pytest.mark.parametrize(
    "field",
    [{"id": "a\0b"}, {"user_id": "web:\ud800"}, {"idempotency_key": "\0"}, {"order": order(prompt="\udcff")},
     {"order": order(model="m\0")}, {"idempotency_key": "k" * 256}, {"idempotency_key": ""}],
)  # fmt: skip
async def test_text_that_no_database_takes_is_refused_before_it_gets_there(store: SqlJobStore, field: dict):
    with pytest.raises(InvalidRequest):
        await store.submit(wish(**field), waiting_limit=9)


async def test_ids_that_cannot_exist_are_simply_not_found(store: SqlJobStore):
    assert await store.get("\0") is None
    assert await store.get("\ud800") is None
    assert await store.recent("\0", limit=3) == []
    with pytest.raises(JobNotFound):
        await store.request_cancel("\0", ANA)
    with pytest.raises(JobNotFound):
        await store.request_cancel("no-such-job", ANA)


async def test_recent_jobs_are_ones_own_newest_first(store: SqlJobStore):
    mine = [await ask(store) for _ in range(4)]
    await ask(store, BEN)

    assert [job.id for job in await store.recent(ANA, limit=3)] == [job.id for job in reversed(mine[1:])]


async def test_submitting_leaves_history_and_owes_a_card_only_to_a_place(store: SqlJobStore, database: Database):
    here = await ask(store, place=HERE, door="discord")
    await ask(store, place=None)

    owed = await rows(database, "outbox")
    seen = [(row["job_id"], row["kind"], row["channel_id"], row["locale"]) for row in owed]
    assert seen == [(here.id, "card", "20", "es")]
    assert await events(database, here.id) == [(None, "queued", 0, "discord")]
