"""What faults cost a job and its person: suspects, quarantine, refunds, memory limits, one bad write among many."""

import asyncio

import pytest

from database.engine import Database
from database.job_store import SqlJobStore
from jobs.batch import BatchKey
from jobs.errors import LeaseLost
from jobs.job import Failure, Job, JobState
from jobs.ports import RowLimit
from jobs.run import Run, RunKey
from tests.contract.asking import ANA, BEN, EVA, HERE, MAKING, ask, by_turns, claim, leased, order, picture, waits
from tests.contract.looking import rows

GONE = Failure(code="worker_unreachable")


async def died(store: SqlJobStore, job: Job) -> Job:
    return await store.retry(Run.of(job).key, GONE, delay_seconds=0, attempts_max=9, died=True)


async def test_whoever_ran_when_a_worker_died_runs_alone_next_and_is_set_aside_after_two_workers_of_its_own(store: SqlJobStore):
    await ask(store, place=HERE)
    (job,) = await claim(store, "gpu-1")
    assert not job.alone

    again = await died(store, job)
    assert (again.state, again.alone) == (JobState.QUEUED, True)
    assert (await waits(store))[0].alone

    states = []
    for worker in ("gpu-1", "gpu-1", "gpu-2"):
        (job,) = await claim(store, worker)
        assert job.alone
        states.append((await died(store, job)).state)

    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.QUARANTINED]
    set_aside = await store.get(job.id)
    assert set_aside is not None
    assert set_aside.failure == Failure(code="quarantined", details={"n": 2})


async def test_a_worker_that_is_too_small_is_not_offered_the_job_again(store: SqlJobStore):
    _, key = await leased(store)

    await store.retry(key, GONE, delay_seconds=0, attempts_max=3, shun=True)

    assert (await waits(store))[0].exclude == {"gpu"}
    assert await store.claim("gpu", by_turns(4), lease_seconds=30) == []


async def test_what_a_workers_memory_holds_is_remembered_with_the_retry(store: SqlJobStore, database: Database):
    _, key = await leased(store)
    limit = RowLimit(worker="gpu", key=BatchKey.of(order()), rows=2)

    await store.retry(key, GONE, delay_seconds=0, attempts_max=None, limit=limit)

    later = SqlJobStore(database)
    assert await later.look(lambda line: dict(line.limits), fresh=0) == {("gpu", BatchKey.of(order())): 2}
    for user in (ANA, BEN, EVA):
        await ask(store, user)
    assert len(await later.claim("gpu", by_turns(8), lease_seconds=30)) == 2


async def _account(store: SqlJobStore) -> float:
    return await store.look(lambda line: sum(line.books.v(ANA, pool) for pool in line.books.pools), fresh=0)


async def _claimed(store: SqlJobStore) -> RunKey:
    (job,) = await store.claim("gpu", by_turns(1), lease_seconds=30)
    return Run.of(job).key


async def test_a_charge_is_corrected_by_what_was_executed(store: SqlJobStore):
    await ask(store, cost=10.0)
    before = await _account(store)
    key = await _claimed(store)
    charged = await _account(store)
    await store.finish(key, [picture()], MAKING, executed=1.5)
    settled = await _account(store)

    assert (charged - before, settled - before) == (pytest.approx(10), pytest.approx(15))


async def test_a_cancelled_run_costs_what_it_had(store: SqlJobStore):
    asked = await ask(store, cost=10.0)
    before = await _account(store)
    key = await _claimed(store)
    await store.request_cancel(asked.id, ANA)
    await store.cancelled(key, executed=0.25)

    assert await _account(store) - before == pytest.approx(2.5)


async def test_the_first_lost_run_is_free_and_the_second_is_not(store: SqlJobStore):
    await ask(store, cost=10.0)
    before = await _account(store)
    await store.retry(await _claimed(store), GONE, delay_seconds=0, attempts_max=9, executed=0.5)
    first = await _account(store)
    await store.retry(await _claimed(store), GONE, delay_seconds=0, attempts_max=9, executed=0.5)
    second = await _account(store)

    assert first - before == pytest.approx(0)
    assert second - before == pytest.approx(5)


async def test_the_first_lapsed_lease_is_free_and_the_second_is_not(store: SqlJobStore):
    await ask(store, cost=10.0)
    before = await _account(store)
    paid: list[float] = []
    for _ in range(2):
        await store.claim("gpu", by_turns(1), lease_seconds=-1)
        await store.expire(lost_max=9)
        paid.append(await _account(store) - before)

    assert paid == [pytest.approx(0), pytest.approx(10)]


async def test_accounts_survive_a_restart_to_the_last_bit(store: SqlJobStore, database: Database):
    for user in (ANA, BEN):
        await ask(store, user, cost=7.3)
    key = await _claimed(store)
    await store.finish(key, [picture()], MAKING, executed=0.7)  # in the log, and in no account yet

    restarted = SqlJobStore(database)

    assert await _account(restarted) == await _account(store)
    assert await _account(SqlJobStore(database)) == await _account(store)


async def test_of_writes_that_share_a_commit_each_fails_alone(store: SqlJobStore, database: Database):
    jobs = []
    for user in (ANA, BEN, EVA):
        jobs.append((await leased(store, user))[1])
    stale = RunKey(job_id=jobs[0].job_id, epoch=99)

    results = await asyncio.gather(
        store.accept(jobs[0]),
        store.finish(jobs[1], [picture(0), picture(0)], MAKING),  # the database itself refuses this one
        store.finish(jobs[2], [picture()], MAKING),
        store.accept(stale),
        return_exceptions=True,
    )

    assert [getattr(result, "state", type(result)) for result in results][::2] == [JobState.RUNNING, JobState.DONE]
    assert isinstance(results[3], LeaseLost)
    assert "UNIQUE" in str(results[1]).upper()
    states = {row["id"]: row["state"] for row in await rows(database, "job")}
    assert [states[key.job_id] for key in jobs] == ["running", "leased", "done"]


async def test_accept_and_finish_of_one_job_may_share_a_commit(store: SqlJobStore):
    _, key = await leased(store)

    accepted, done = await asyncio.gather(store.accept(key), store.finish(key, [picture()], MAKING))

    assert (accepted.state, done.state) == (JobState.RUNNING, JobState.DONE)
    assert done.version == accepted.version + 1
