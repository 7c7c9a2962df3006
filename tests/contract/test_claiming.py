import asyncio
import random
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from database.engine import Database
from database.job_store import SqlJobStore
from jobs.job import Failure, JobId, JobState, UserId
from jobs.planner import QueueSnapshot
from jobs.run import Run
from tests.contract.asking import ANA, BEN, EVA, MAKING, ask, by_turns, claim, leased, order, picture, take_all
from tests.contract.looking import do, events, rows


async def test_claimed_jobs_are_leased_with_slot_epoch_and_expiry(store: SqlJobStore, database: Database):
    asked = await ask(store)

    (job,) = await claim(store, "gpu-7", lease_seconds=30)

    assert (job.id, job.state, job.epoch, job.version) == (asked.id, JobState.LEASED, 1, 1)
    assert job.lease is not None
    assert (job.lease.worker, job.lease.epoch) == ("gpu-7", 1)
    assert 29 < (job.lease.until - asked.created_at).total_seconds() < 60
    assert await events(database, job.id) == [(None, "queued", 0, "http"), ("queued", "leased", 1, "gpu-7")]
    assert await store.get(job.id) == job
    assert await store.held_by("gpu-7") == [job]
    assert await store.held_by("gpu-8") == []


async def test_nobody_gets_a_third_active_job_whatever_the_planner_says(store: SqlJobStore, caplog):
    for _ in range(4):
        await ask(store)

    first = await store.claim("gpu", lambda queue: [job.id for job in queue.waiting], lease_seconds=30)
    second = await store.claim("gpu", lambda queue: [job.id for job in queue.waiting], lease_seconds=30)

    assert (len(first), len(second)) == (2, 0)
    assert "cannot be leased now" in caplog.text


async def test_a_job_that_was_never_shown_cannot_be_claimed(store: SqlJobStore):
    await ask(store)

    assert await store.claim("gpu", lambda _: ["someone-elses", "someone-elses"], lease_seconds=30) == []


async def test_the_database_itself_refuses_a_third_slot(store: SqlJobStore, database: Database):
    await leased(store)
    await leased(store)
    third = await ask(store)

    for change in (
        "state = 'leased', slot = 0",
        "state = 'leased', slot = 2",
        "state = 'leased'",
        "slot = 1",
        "state = 'resting'",
    ):
        with pytest.raises(IntegrityError):
            await do(database, f"UPDATE job SET {change} WHERE id = '{third.id}'")


async def test_two_slots_hold_under_concurrent_claims_finishes_and_submissions(store: SqlJobStore, database: Database):
    people = [UserId(f"discord:{n}") for n in range(5)]
    for user in people * 6:
        await ask(store, user)
    worst = 0
    served: list[str] = []
    dice = random.Random(3)

    def any_of_each(queue: QueueSnapshot) -> list[JobId]:
        """Dispatchers that disagree: without a common lock two would give one slot to two jobs."""
        return take_all(replace(queue, waiting=tuple(dice.sample(queue.waiting, len(queue.waiting)))))

    async def dispatcher(name: str) -> None:
        nonlocal worst
        while jobs := await store.claim(name, any_of_each, lease_seconds=30):
            worst = max(worst, *(await _most_active(database)))
            for job in jobs:
                await asyncio.sleep(dice.random() / 500)
                await store.finish(Run.of(job).key, [picture()], MAKING)
                served.append(job.id)

    async with asyncio.TaskGroup() as group:
        for n in range(6):
            group.create_task(dispatcher(f"gpu-{n}"))

    # A dispatcher ends when it finds all slots taken; whoever holds the last ones finds the rest.
    while jobs := await claim(store):
        for job in jobs:
            await store.finish(Run.of(job).key, [picture()], MAKING)
            served.append(job.id)
    assert worst <= 2
    assert sorted(served) == sorted(row["id"] for row in await rows(database, "job"))
    assert len(served) == len(set(served)) == 30


async def _most_active(database: Database) -> list[int]:
    query = text("SELECT count(*) FROM job WHERE slot IS NOT NULL GROUP BY user_id")

    async def work(tx) -> list[int]:
        return [0, *(await tx.execute(query)).scalars()]

    return await database.read(work)


async def test_a_freed_slot_is_used_again(store: SqlJobStore):
    _, first = await leased(store)
    await leased(store)
    await ask(store)
    await store.fail(first, Failure(code="run_refused"))

    assert len(await claim(store)) == 1


async def test_people_take_turns_with_the_real_planner(store: SqlJobStore):
    for user in (ANA, ANA, ANA, BEN, EVA, BEN):
        await ask(store, user)

    turns: list[str] = []
    while jobs := await store.claim("gpu", by_turns(1), lease_seconds=30):
        turns += [job.user_id for job in jobs]
        await store.finish(Run.of(jobs[0]).key, [picture()], MAKING)

    assert turns == [ANA, BEN, EVA, ANA, BEN, ANA]


async def test_a_batch_is_claimed_in_the_planners_order(store: SqlJobStore):
    jobs = [await ask(store, user) for user in (ANA, BEN, EVA)]
    wanted = [jobs[2].id, jobs[0].id]

    got = await store.claim("gpu", lambda _: wanted, lease_seconds=30)

    assert [job.id for job in got] == wanted
    assert (await store.snapshot()).served == {}  # of those who wait: Ben was never served


async def test_the_fairness_clock_grows_with_each_claim(store: SqlJobStore, database: Database):
    for user in (ANA, BEN, ANA):
        await ask(store, user)
        await store.claim("gpu", by_turns(1), lease_seconds=30)
    await ask(store, ANA)
    await ask(store, BEN)

    served = (await store.snapshot()).served
    assert served[ANA] > served[BEN]


async def test_jobs_for_other_models_do_not_hide_the_one_this_worker_can_make(store: SqlJobStore):
    for _ in range(9):
        await ask(store, order=order(model="elsewhere"))
    wanted = await ask(store)

    assert [job.id for job in await store.claim("gpu", by_turns(4), lease_seconds=30)] == [wanted.id]


async def test_a_claim_shows_a_bounded_part_of_a_long_queue(store: SqlJobStore):
    for _ in range(30):
        await ask(store)
    seen: list[int] = []

    def look(queue: QueueSnapshot) -> list[JobId]:
        seen.append(len(queue.waiting))
        return []

    await store.claim("gpu", look, lease_seconds=30)

    assert seen == [4]
    assert len((await store.snapshot()).waiting) == 30


async def test_a_snapshot_shows_waiting_jobs_in_order_and_who_is_active(store: SqlJobStore):
    await leased(store, BEN)
    first, second = await ask(store), await ask(store, BEN)

    snapshot = await store.snapshot()

    assert [job.id for job in snapshot.waiting] == [first.id, second.id]
    assert snapshot.waiting[0].place < snapshot.waiting[1].place
    assert snapshot.active == {BEN: 1}
    assert set(snapshot.served) == {BEN}


async def test_a_planner_that_raises_leaves_everything_as_it_was(store: SqlJobStore):
    asked = await ask(store)

    def broken(_: object) -> list[str]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.claim("gpu", broken, lease_seconds=30)
    assert await store.get(asked.id) == asked


async def test_a_job_of_a_newer_darkroom_is_left_to_it(store: SqlJobStore, database: Database, caplog):
    newer, unheard = await ask(store), await ask(store, BEN)
    plain = await ask(store, EVA)
    more = """replace("order", '{', '{"aura":1,')"""
    await do(database, f"""UPDATE job SET "order" = {more} WHERE id = '{newer.id}'""")
    await do(database, f"UPDATE job SET kind = 'dream' WHERE id = '{unheard.id}'")

    got = await store.claim("gpu", take_all, lease_seconds=30)

    assert [job.id for job in got] == [plain.id]
    assert "its order is not understood here (aura)" in caplog.text
    assert await store.get(newer.id) is None
    assert newer.id not in [job.id for job in await store.unfinished()]
    assert [row["state"] for row in await rows(database, "job")].count("queued") == 2


async def test_unfinished_jobs_are_listed_oldest_first(store: SqlJobStore):
    running, _ = await leased(store)
    done, key = await leased(store, BEN)
    await store.finish(key, [picture()], MAKING)
    waiting = await ask(store)

    assert [job.id for job in await store.unfinished()] == [running.id, waiting.id]
    assert done.id not in [job.id for job in await store.unfinished()]
