"""What an operator corrects about one job: where it waits, and what it cost."""

import pytest

from database.conduct_store import SqlConductStore
from database.engine import Database
from database.fleet_memory import FleetMemory
from database.job_store import SqlJobStore
from database.operating import Operating
from jobs.errors import DarkroomError, JobNotFound
from jobs.job import JobState
from jobs.line import Line
from jobs.run import Run
from tests.contract.asking import ANA, BEN, MAKING, ask, by_turns, claim, leased, picture, waits
from tests.contract.looking import rows


def account(line: Line) -> float:
    return sum(line.books.v(ANA, pool) for pool in line.books.pools)


async def test_a_moved_job_waits_in_its_new_lane_and_nothing_is_posted_anew(store: SqlJobStore, database: Database):
    job = await ask(store, lane="bulk")
    assert [waiting.lane for waiting in await waits(store)] == ["bulk"]
    moved = await Operating(database).move(job.id, lane="quick", actor="discord:1")
    assert (moved.state, moved.generation, moved.version) == (JobState.QUEUED, job.generation, job.version + 1)
    assert [waiting.lane for waiting in await waits(store)] == ["quick"]
    assert [row["actor"] for row in await rows(database, "job_event")] == ["http", "discord:1"]
    assert await rows(database, "outbox") == []


async def test_a_job_moved_to_one_worker_goes_to_no_other_until_it_may_go_anywhere(store: SqlJobStore, database: Database):
    for name in ("gpu", "other"):
        await FleetMemory(database).remember(name, [])
    job = await ask(store)
    await Operating(database).move(job.id, only_on="other")
    assert [waiting.exclude for waiting in await waits(store)] == [frozenset({"gpu"})]
    assert await store.claim("gpu", by_turns(1), lease_seconds=30) == []
    await Operating(database).move(job.id, only_on="")
    assert [found.id for found in await store.claim("gpu", by_turns(1), lease_seconds=30)] == [job.id]


async def test_only_what_waits_is_moved(store: SqlJobStore, database: Database):
    running, _ = await leased(store)
    with pytest.raises(DarkroomError, match="not_waiting"):
        await Operating(database).move(running.id, lane="quick")
    for wrong in ("no-such-job", "\0"):
        with pytest.raises(JobNotFound):
            await Operating(database).move(wrong, lane="quick")


async def test_a_refund_gives_back_the_day_s_seconds_and_the_account_as_it_was(store: SqlJobStore, database: Database):
    await ask(store, BEN)  # somebody else waits, so that accounts mean something
    await store.claim("gpu", by_turns(1), lease_seconds=30)
    job = await ask(store)
    before = await store.look(account, fresh=0)
    (running,) = await store.claim("gpu", by_turns(1), lease_seconds=30)
    assert running.id == job.id
    await store.finish(Run.of(running).key, [picture()], MAKING, executed=1.5)
    charged = await store.look(account, fresh=0) - before
    assert charged > 0
    conduct = SqlConductStore(database)
    assert (await conduct.load(ANA)).seconds == MAKING.seconds

    given = await Operating(database).refund(job.id, actor="discord:1")

    assert given.gpu_seconds == MAKING.seconds
    assert given.service == pytest.approx(charged)
    assert given.job.making is not None and given.job.making.refunded
    assert (await conduct.load(ANA)).seconds == 0
    await claim(store)  # accounts are changed by claims
    assert await store.look(account, fresh=0) == pytest.approx(before)
    another = SqlJobStore(database, owner="another host")
    await claim(another)
    assert await another.look(account, fresh=0) == pytest.approx(before)
    with pytest.raises(DarkroomError, match="refunded_already"):
        await Operating(database).refund(job.id)


async def test_a_job_asked_again_after_its_refund_costs_again(store: SqlJobStore, database: Database):
    _, key = await leased(store)
    await store.finish(key, [picture()], MAKING)
    await Operating(database).refund(key.job_id)
    await Operating(database).requeue(key.job_id)
    (again,) = await claim(store)
    await store.finish(Run.of(again).key, [picture()], MAKING)
    assert (await SqlConductStore(database).load(ANA)).seconds == MAKING.seconds
    assert (await Operating(database).refund(key.job_id)).gpu_seconds == MAKING.seconds


async def test_only_what_has_ended_is_refunded(store: SqlJobStore, database: Database):
    job = await ask(store)
    with pytest.raises(DarkroomError, match="not_ended"):
        await Operating(database).refund(job.id)
    for wrong in ("no-such-job", "\0"):
        with pytest.raises(JobNotFound):
            await Operating(database).refund(wrong)


async def test_the_newest_jobs_of_everybody_are_listed_those_that_ended_apart(store: SqlJobStore, database: Database):
    operating = Operating(database)
    _, key = await leased(store)
    await store.finish(key, [picture()], MAKING)
    running, _ = await leased(store, BEN)
    waiting = await ask(store)
    assert [job.id for job in await operating.jobs(ended=True, limit=5)] == [key.job_id]
    assert [job.id for job in await operating.jobs(ended=False, limit=5)] == [waiting.id, running.id]
    assert [job.id for job in await operating.jobs(ended=False, limit=1)] == [waiting.id]
