import asyncio
import random

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from database.engine import Database
from database.job_store import SqlJobStore
from jobs.batch import BatchKey
from jobs.job import Failure, JobId, JobState, UserId
from jobs.line import Line, WaitingJob
from jobs.planner import Plan
from jobs.run import Run
from tests.contract.asking import (
    ANA,
    BEN,
    EVA,
    MAKING,
    ask,
    by_turns,
    choose,
    claim,
    leased,
    order,
    picture,
    plan_of,
    take_all,
    waiting,
)
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

    greedy = await store.claim("gpu", lambda line: plan_of(line, waiting(line)), lease_seconds=30)
    two = await claim(store)
    third = await store.claim("gpu", lambda line: plan_of(line, waiting(line)[:1]), lease_seconds=30)

    assert (len(greedy), len(two), len(third)) == (0, 2, 0)
    assert caplog.text.count("cannot be leased now") == 2


async def test_a_job_that_was_never_shown_cannot_be_claimed(store: SqlJobStore):
    await ask(store)
    made_up = WaitingJob(id=JobId("someone-elses"), user_id=ANA, key=BatchKey.of(order(), strict=True), place=9, cost=1.0)

    assert await store.claim("gpu", lambda line: plan_of(line, [made_up]), lease_seconds=30) == []
    assert await store.claim("gpu", lambda line: plan_of(line, waiting(line) * 2), lease_seconds=30) == []


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

    def any_of_each(line: Line) -> Plan:
        """Dispatchers that disagree: without a common lock two would give one slot to two jobs."""
        chosen: dict[str, WaitingJob] = {}
        for job in dice.sample(waiting(line), len(line.waiting)):
            if line.person(job.user_id).active < 2:
                chosen.setdefault(job.user_id, job)
        return plan_of(line, list(chosen.values()))

    async def dispatcher(name: str) -> None:
        nonlocal worst
        own = SqlJobStore(database)  # a line of its own, as another host has
        while jobs := await own.claim(name, any_of_each, lease_seconds=30):
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

    got = await store.claim("gpu", choose(*wanted), lease_seconds=30)

    assert [job.id for job in got] == wanted
    assert len({job.dispatch for job in got}) == 1
    assert got[0].dispatch


async def test_jobs_for_other_models_do_not_hide_the_one_this_worker_can_make(store: SqlJobStore):
    for _ in range(9):
        await ask(store, order=order(model="elsewhere"))
    wanted = await ask(store)

    assert [job.id for job in await store.claim("gpu", by_turns(4), lease_seconds=30)] == [wanted.id]


async def test_the_line_shows_who_waits_in_order_and_who_is_active(store: SqlJobStore):
    await leased(store, BEN)
    first, second = await ask(store), await ask(store, BEN)

    line = await store.look(lambda line: line, fresh=0)

    assert [job.id for job in waiting(line)] == [first.id, second.id]
    assert line.person(BEN).active == 1
    assert line.person(ANA).active == 0


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
