import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

import pytest

from database.engine import Database
from database.job_store import SqlJobStore
from jobs.errors import JobNotFound, LeaseLost, StoreUnavailable
from jobs.job import Failure, Job, JobState, UserId
from jobs.run import Run, RunKey
from tests.contract.asking import ANA, BEN, EVA, HERE, MAKING, ask, claim, leased, picture, take_all, waits
from tests.contract.looking import events, rows

REASON = Failure(code="worker_unreachable", details={"n": 3, "detail": "\0 \ud800 <b>"})

Write = Callable[[SqlJobStore, RunKey], Awaitable[object]]

WRITES: dict[str, Write] = {
    "accept": lambda store, key: store.accept(key),
    "finish": lambda store, key: store.finish(key, [picture()], MAKING),
    "retry": lambda store, key: store.retry(key, REASON, delay_seconds=0, attempts_max=3),
    "fail": lambda store, key: store.fail(key, REASON),
    "cancelled": lambda store, key: store.cancelled(key),
}
writes = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


@writes
async def test_a_lapsed_lease_writes_nothing_even_after_somebody_else_took_the_job(
    store: SqlJobStore, database: Database, write: Write
):
    _, old = await leased(store, lease_seconds=-1, place=HERE)
    await store.expire(lost_max=9)
    with pytest.raises(LeaseLost):
        await write(store, old)
    (again,) = await claim(store, "other")
    before = await rows(database, "job"), await rows(database, "outbox"), await rows(database, "job_event")

    with pytest.raises(LeaseLost):
        await write(store, old)

    assert before == (await rows(database, "job"), await rows(database, "outbox"), await rows(database, "job_event"))
    assert await store.get(again.id) == again


@writes
async def test_a_key_nobody_ever_had_writes_nothing(store: SqlJobStore, write: Write):
    job, key = await leased(store)

    for wrong in (RunKey(job_id=job.id, epoch=key.epoch + 1), RunKey(job_id="no-such-job", epoch=1)):
        with pytest.raises(LeaseLost):
            await write(store, wrong)
    assert await store.get(job.id) == job


@writes
async def test_after_its_end_a_job_is_not_moved_by_another_write(store: SqlJobStore, write: Write):
    job, key = await leased(store)
    done = await store.finish(key, [picture()], MAKING)

    if write is WRITES["finish"]:
        assert await write(store, key) == done
    else:
        with pytest.raises(LeaseLost):
            await write(store, key)
    assert await store.get(job.id) == done


@writes
async def test_a_write_whose_answer_was_lost_may_be_repeated(store: SqlJobStore, database: Database, write: Write):
    _, key = await leased(store, place=HERE)
    first = await write(store, key)
    left = await rows(database, "job"), await rows(database, "outbox"), await rows(database, "job_event")

    assert await write(store, key) == first
    assert left == (await rows(database, "job"), await rows(database, "outbox"), await rows(database, "job_event"))


async def test_accepting_starts_the_job_once(store: SqlJobStore, database: Database):
    job, key = await leased(store)

    running = await store.accept(key)

    assert (running.state, running.version) == (JobState.RUNNING, job.version + 1)
    assert running.started_at is not None
    assert running.lease == job.lease
    assert await events(database, job.id) == [
        (None, "queued", 0, "http"), ("queued", "leased", 1, "gpu"), ("leased", "running", 1, "gpu"),
    ]  # fmt: skip


async def test_finishing_keeps_pictures_and_making_and_frees_the_slot(store: SqlJobStore):
    job, key = await leased(store)
    await store.accept(key)

    done = await store.finish(key, [picture(1), picture(0)], MAKING)

    assert (done.state, done.lease, done.making) == (JobState.DONE, None, MAKING)
    assert done.finished_at is not None
    read = await store.get(job.id)
    assert read is not None
    assert read.pictures == (picture(0), picture(1))
    assert await store.held_by("gpu") == []


async def test_a_cancel_that_came_too_late_loses_to_the_picture(store: SqlJobStore):
    job, key = await leased(store)
    await store.request_cancel(job.id, ANA)

    assert (await store.finish(key, [picture()], MAKING)).state is JobState.DONE


async def test_a_result_is_in_the_ledger_whole_or_not_at_all(store: SqlJobStore, database: Database):
    job, key = await leased(store, place=HERE)
    twice = [picture(0), picture(0)]  # the second violates a constraint in the middle of the transaction

    with pytest.raises(Exception, match=r"(?i)unique"):
        await store.finish(key, twice, MAKING)

    assert await store.get(job.id) == job
    assert await rows(database, "result") == []
    assert [row["kind"] for row in await rows(database, "outbox")] == ["card"]


async def test_a_retry_waits_counts_and_gives_up_at_the_last_attempt(store: SqlJobStore):
    job, key = await leased(store, place=HERE)

    first = await store.retry(key, REASON, delay_seconds=0, attempts_max=2)
    (again,) = await claim(store)
    last = await store.retry(Run.of(again).key, REASON, delay_seconds=0, attempts_max=2)

    assert (first.state, first.attempt, first.failure, first.lease) == (JobState.QUEUED, 1, None, None)
    assert (again.id, again.epoch) == (job.id, 2)
    assert (last.state, last.attempt, last.failure) == (JobState.FAILED, 2, REASON)


async def test_a_job_in_its_back_off_is_shown_to_nobody(store: SqlJobStore):
    job, key = await leased(store)

    waiting = await store.retry(key, REASON, delay_seconds=60, attempts_max=3)

    assert waiting.not_before is not None
    assert 55 < (waiting.not_before - job.created_at).total_seconds() < 120
    assert await claim(store) == []
    assert await waits(store) == []
    assert [found.id for found in await store.unfinished()] == [job.id]


async def test_a_fault_that_was_nobodys_is_not_counted(store: SqlJobStore):
    _, key = await leased(store)

    assert (await store.retry(key, REASON, delay_seconds=0, attempts_max=None)).attempt == 0


async def test_a_job_whose_cancel_was_asked_is_not_tried_again(store: SqlJobStore):
    job, key = await leased(store)
    await store.request_cancel(job.id, ANA)

    assert (await store.retry(key, REASON, delay_seconds=0, attempts_max=3)).state is JobState.CANCELLED


async def test_renewing_tells_held_from_lost_and_passes_cancels_on(store: SqlJobStore):
    _, mine = await leased(store, lease_seconds=1)
    stopped, unwanted = await leased(store, BEN)
    _, ended = await leased(store, EVA)
    await store.request_cancel(stopped.id, BEN)
    await store.finish(ended, [picture()], MAKING)
    old = RunKey(job_id=mine.job_id, epoch=0)

    held, cancels = await store.renew([mine, unwanted, ended, old], lease_seconds=600)

    assert (held, cancels) == ({mine, unwanted}, {unwanted})
    job = await store.get(mine.job_id)
    assert job is not None
    assert job.lease is not None
    assert (job.lease.until - job.created_at).total_seconds() > 500
    assert await store.renew([], lease_seconds=1) == (set(), set())


async def test_lapsed_leases_go_back_to_the_queue_with_a_new_epoch(store: SqlJobStore, database: Database):
    job, _ = await leased(store, lease_seconds=-1)
    await leased(store, BEN, lease_seconds=60)

    ((back, reason),) = await store.expire(lost_max=3)

    assert (back.id, back.state, back.lost, back.epoch, back.lease) == (job.id, JobState.QUEUED, 1, 2, None)
    assert reason is not None
    assert await store.expire(lost_max=3) == []
    assert (await events(database, job.id))[-1] == ("leased", "queued", 2, "janitor")


async def test_a_job_that_loses_every_worker_fails_in_the_end(store: SqlJobStore):
    job = await ask(store)
    for lost in range(1, 4):
        (_,) = await claim(store, lease_seconds=-1)
        ((back, reason),) = await store.expire(lost_max=3)
        assert back.lost == lost

    assert (back.id, back.state) == (job.id, JobState.FAILED)
    assert back.failure == reason == Failure(code="workers_lost", details={"n": 3})


async def test_a_job_that_lost_two_workers_runs_alone(store: SqlJobStore):
    await ask(store)
    seen: list[bool] = []
    for _ in range(3):
        seen.append((await waits(store))[0].alone)
        await claim(store, lease_seconds=-1)
        await store.expire(lost_max=9)

    assert seen == [False, False, True]


async def test_a_lapsed_lease_of_an_unwanted_job_ends_it(store: SqlJobStore):
    job, _ = await leased(store, lease_seconds=-1)
    await store.request_cancel(job.id, ANA)

    ((ended, reason),) = await store.expire(lost_max=3)

    assert (ended.state, reason) == (JobState.CANCELLED, None)


async def test_a_job_past_its_deadline_expires_and_is_told_so(store: SqlJobStore, database: Database):
    job = await ask(store, live_seconds=-1, place=HERE)
    await ask(store, live_seconds=60)

    ((ended, reason),) = await store.expire(lost_max=3)

    assert (ended.id, ended.state, ended.failure) == (job.id, JobState.EXPIRED, reason)
    assert reason == Failure(code="waited_too_long")
    assert [row["kind"] for row in await rows(database, "outbox")] == ["card", "failure", "close"]
    assert await store.expire(lost_max=3) == []


async def test_a_waiting_job_is_cancelled_at_once(store: SqlJobStore, database: Database):
    job = await ask(store, place=HERE)

    cancelled = await store.request_cancel(job.id, ANA)

    assert (cancelled.state, cancelled.version) == (JobState.CANCELLED, 1)
    assert await claim(store) == []
    assert [row["kind"] for row in await rows(database, "outbox")] == ["card", "close"]


@pytest.mark.parametrize("accepted", [False, True])
async def test_an_active_job_keeps_its_slot_until_the_worker_says_that_it_stopped(store: SqlJobStore, accepted: bool):
    job, key = await leased(store)
    if accepted:
        await store.accept(key)
    await leased(store)
    await ask(store)

    asked = await store.request_cancel(job.id, ANA)

    assert asked.cancel_requested
    assert asked.state.is_active
    assert await claim(store) == []
    assert (await store.cancelled(key)).state is JobState.CANCELLED
    assert len(await claim(store)) == 1


@pytest.mark.parametrize("end", ["finish", "fail", "cancelled"])
async def test_an_ended_job_is_left_as_it_is_by_a_cancel(store: SqlJobStore, end: str):
    job, key = await leased(store)
    await WRITES[end](store, key)
    ended = await store.get(job.id)

    assert await store.request_cancel(job.id, ANA) == ended


async def test_asking_twice_to_cancel_changes_nothing_more(store: SqlJobStore):
    job, _ = await leased(store)

    assert await store.request_cancel(job.id, ANA) == await store.request_cancel(job.id, ANA)


async def test_nobody_cancels_somebody_elses_job(store: SqlJobStore):
    job = await ask(store)

    with pytest.raises(JobNotFound):
        await store.request_cancel(job.id, BEN)
    assert await store.get(job.id) == job


async def test_all_waiting_jobs_can_be_cleared_while_those_being_made_go_on(store: SqlJobStore, database: Database):
    running, _ = await leased(store)
    mine, other = await ask(store, place=HERE), await ask(store, BEN)

    assert [job.id for job in await store.cancel_waiting(ANA)] == [mine.id]
    assert [job.id for job in await store.cancel_waiting(None)] == [other.id]
    assert await store.cancel_waiting(None) == []
    assert [job.id for job in await store.unfinished()] == [running.id]
    assert [row["kind"] for row in await rows(database, "outbox")] == ["card", "close"]


async def test_a_job_without_a_place_owes_nobody_a_message(store: SqlJobStore, database: Database):
    _, key = await leased(store)
    await store.finish(key, [picture()], MAKING)

    assert await rows(database, "outbox") == []


async def test_every_change_raises_the_version(store: SqlJobStore):
    job = await ask(store)
    (held,) = await store.claim("gpu", take_all, lease_seconds=30)
    running = await store.accept(Run.of(held).key)
    unwanted = await store.request_cancel(job.id, ANA)
    ended = await store.cancelled(Run.of(held).key)

    assert [one.version for one in (job, held, running, unwanted, ended)] == [0, 1, 2, 3, 4]


BAD: dict[str, Write] = {
    "a number that JSON has no word for": lambda store, key: store.finish(key, [], replace(MAKING, seconds=math.inf)),
    "a number that no column holds": lambda store, key: store.finish(key, [replace(picture(), size=2**70)], MAKING),
    "a value that no driver sends": lambda store, key: store.finish(key, [replace(picture(), width=cast("int", object()))], MAKING),
    "a change that stumbles": lambda store, key: store.retry(key, REASON, delay_seconds=1e13, attempts_max=3),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_write_that_the_ledger_cannot_make_fails_alone_in_the_company_of_others(store: SqlJobStore, bad: Write):
    keys = [(await leased(store, UserId(f"u{n}")))[1] for n in range(4)]

    good = [store.finish(key, [picture()], MAKING) for key in keys[:3]]
    # Whoever comes first flies alone; the others share the next flight.
    outcomes = await asyncio.gather(*good[:2], bad(store, keys[3]), *good[2:], return_exceptions=True)

    assert [job.state for job in outcomes if isinstance(job, Job)] == [JobState.DONE] * 3
    assert isinstance(outcomes[2], Exception)
    assert not isinstance(outcomes[2], StoreUnavailable)
    assert (await store.get(keys[3].job_id)).state is JobState.LEASED
