"""The ledger: every method one transaction, every write of a lease holder fenced by its epoch."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from sqlalchemy import RowMapping, Select, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.claim import claim
from database.engine import Database, serialise
from database.expiry import expire
from database.history import Move, record
from database.moments import moment_from_now, now
from database.queue import ACTIVE, QUEUED, read_queue
from database.rows import job_of, jobs_of, picture_of, same_wish, storable, values_of
from database.tables import ENDED, job, result
from database.upsert import upsert
from jobs.errors import IdempotencyConflict, JobNotFound, LeaseLost, WaitingLimitReached
from jobs.job import Failure, Job, JobId, JobState, Making, Picture, UserId
from jobs.planner import QueueSnapshot
from jobs.ports import Decide, NewJob
from jobs.run import RunKey

_log = logging.getLogger(__name__)

SUBMITTING = 2
"""The advisory lock's purpose; its key is the person."""

FREED: Mapping[str, Any] = {"slot": None, "worker": None, "lease_until": None}

Change = Callable[[RowMapping], Mapping[str, Any]]
"""From the row of an active job to the columns that change; ``state`` among them."""


class SqlJobStore:
    """:class:`jobs.ports.JobStore` on SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- doors ---------------------------------------------------------------------------------------------------------

    async def submit(self, new: NewJob, *, waiting_limit: int) -> tuple[Job, bool]:
        """T1. See the port. Raises InvalidRequest for text that no database takes."""
        values = values_of(new)
        return await self._database.write(partial(_submit, new=new, values=values, limit=waiting_limit))

    async def get(self, job_id: JobId) -> Job | None:
        """See the port; None also for a job that only a newer darkroom can read."""
        if not storable(job_id):
            return None
        found = await self._database.read(partial(_jobs, query=select(job).where(job.c.id == job_id)))
        return found[0] if found else None

    async def recent(self, user_id: UserId, *, limit: int) -> list[Job]:
        """See the port."""
        if not storable(user_id):
            return []
        query = select(job).where(job.c.user_id == user_id).order_by(job.c.seq.desc()).limit(limit)
        return await self._database.read(partial(_jobs, query=query))

    async def request_cancel(self, job_id: JobId, user_id: UserId) -> Job:
        """T12 or the first half of T13. See the port."""
        if not (storable(job_id) and storable(user_id)):
            raise JobNotFound(job_id)
        return await self._database.write(partial(_request_cancel, job_id=job_id, user_id=user_id))

    async def cancel_waiting(self, user_id: UserId | None) -> list[Job]:
        """Cancel the waiting jobs of one person, or (None) of everybody, and return them; those being made go on."""
        return await self._database.write(partial(_cancel_waiting, user_id=user_id))

    # -- reading the queue ---------------------------------------------------------------------------------------------

    async def snapshot(self) -> QueueSnapshot:
        """See the port."""
        return await self._database.read(read_queue)

    async def unfinished(self) -> list[Job]:
        """See the port."""
        query = select(job).where(QUEUED | ACTIVE).order_by(job.c.seq)
        return await self._database.read(partial(_jobs, query=query))

    async def held_by(self, worker: str) -> list[Job]:
        """See the port."""
        query = select(job).where(ACTIVE, job.c.worker == worker).order_by(job.c.seq)
        return await self._database.read(partial(_jobs, query=query))

    # -- leases --------------------------------------------------------------------------------------------------------

    async def claim(self, worker: str, decide: Decide, *, lease_seconds: float) -> list[Job]:
        """T2. See the port."""
        return await self._database.write(
            partial(claim, worker=worker, decide=decide, lease_seconds=lease_seconds)
        )

    async def renew(self, keys: Sequence[RunKey], *, lease_seconds: float) -> tuple[set[RunKey], set[RunKey]]:
        """T4. See the port."""
        if not keys:
            return set(), set()
        return await self._database.write(partial(_renew, keys=keys, lease_seconds=lease_seconds))

    async def expire(self, *, lost_max: int) -> list[tuple[Job, Failure | None]]:
        """T9 and T14. See the port."""
        return await self._database.write(partial(expire, lost_max=lost_max))

    async def accept(self, key: RunKey) -> Job:
        """T3. See the port."""
        return await self._database.write(partial(_accept, key=key))

    async def finish(self, key: RunKey, pictures: Sequence[Picture], making: Making) -> Job:
        """T6. See the port."""
        values = {"state": JobState.DONE.value, "making": asdict(making), "failure": None}
        return await self._database.write(partial(_finish, key=key, values=values, pictures=pictures))

    async def retry(self, key: RunKey, reason: Failure, *, delay_seconds: float, attempts_max: int | None) -> Job:
        """T7, T8. See the port."""
        change = partial(_after_fault, reason=reason, delay_seconds=delay_seconds, attempts_max=attempts_max)
        outcomes = frozenset({JobState.QUEUED, JobState.FAILED, JobState.CANCELLED})
        return await self._database.write(partial(_end, key=key, change=change, outcomes=outcomes, detail=reason.code))

    async def fail(self, key: RunKey, failure: Failure) -> Job:
        """T10. See the port."""
        values = {"state": JobState.FAILED.value, "failure": asdict(failure)}
        outcomes = frozenset({JobState.FAILED})
        return await self._database.write(
            partial(_end, key=key, change=lambda _: values, outcomes=outcomes, detail=failure.code)
        )

    async def cancelled(self, key: RunKey) -> Job:
        """T13. See the port."""
        values = {"state": JobState.CANCELLED.value}
        outcomes = frozenset({JobState.CANCELLED})
        return await self._database.write(partial(_end, key=key, change=lambda _: values, outcomes=outcomes))


# -- T1 ----------------------------------------------------------------------------------------------------------------


async def _submit(tx: AsyncConnection, *, new: NewJob, values: Mapping[str, Any], limit: int) -> tuple[Job, bool]:
    await serialise(tx, SUBMITTING, _lock_key(new.user_id))
    if known := await _of_key(tx, new):
        return known, False
    waiting = select(func.count()).select_from(job).where(QUEUED, job.c.user_id == new.user_id)
    count = (await tx.execute(waiting)).scalar_one()
    if count >= limit:
        raise WaitingLimitReached("waiting_limit", waiting=count, limit=limit)
    statement = (
        upsert(tx, job)
        .values({**values, "deadline": moment_from_now(new.live_seconds)})
        .on_conflict_do_nothing(index_elements=["idempotency_key"])
        .returning(job)
    )
    row = (await tx.execute(statement)).mappings().one_or_none()
    if row is None:  # somebody else's request took the key meanwhile: ours would have waited at the lock
        raise IdempotencyConflict("idempotency_conflict")
    await record(tx, [Move(row=row, was=None, actor=new.door)])
    return job_of(row), True


async def _of_key(tx: AsyncConnection, new: NewJob) -> Job | None:
    query = select(job).where(job.c.idempotency_key == new.idempotency_key)
    row = (await tx.execute(query)).mappings().one_or_none()
    if row is None:
        return None
    if row["user_id"] != new.user_id or not same_wish(row["order"], new):
        raise IdempotencyConflict("idempotency_conflict")
    return await _with_pictures(tx, row)


def _lock_key(user_id: UserId) -> int:
    """A signed 32-bit number for the person. Two people with one number merely wait for each other."""
    return int.from_bytes(hashlib.sha256(user_id.encode()).digest()[:4], "big", signed=True)


# -- reading -----------------------------------------------------------------------------------------------------------


async def _jobs(tx: AsyncConnection, *, query: Select) -> list[Job]:
    rows = (await tx.execute(query)).mappings().all()
    return jobs_of(rows, await _pictures(tx, rows))


async def _with_pictures(tx: AsyncConnection, row: RowMapping) -> Job:
    return job_of(row, (await _pictures(tx, [row])).get(row["id"], ()))


async def _pictures(tx: AsyncConnection, rows: Sequence[RowMapping]) -> dict[str, tuple[Picture, ...]]:
    """The pictures of these jobs' present generations, by job; asked only when one of them is done."""
    done = [(row["id"], row["generation"]) for row in rows if row["state"] == JobState.DONE]
    if not done:
        return {}
    query = select(result).where(tuple_(result.c.job_id, result.c.generation).in_(done)).order_by(result.c.index)
    pictures: dict[str, tuple[Picture, ...]] = {}
    for row in (await tx.execute(query)).mappings():
        pictures[row["job_id"]] = (*pictures.get(row["job_id"], ()), picture_of(row))
    return pictures


# -- cancel ------------------------------------------------------------------------------------------------------------


async def _request_cancel(tx: AsyncConnection, *, job_id: JobId, user_id: UserId) -> Job:
    before = await _locked(tx, job_id)
    if before is None or before["user_id"] != user_id:
        raise JobNotFound(job_id)
    if before["state"] in ENDED or before["cancel_requested"]:
        return await _with_pictures(tx, before)
    values: dict[str, Any] = {"cancel_requested": True}
    if before["state"] == JobState.QUEUED:
        values |= {"state": JobState.CANCELLED.value, "finished_at": now()}
    row = await _change(tx, before, values)
    await record(tx, [Move(row=row, was=before["state"], actor=user_id, detail="cancel asked")])
    return job_of(row)


async def _cancel_waiting(tx: AsyncConnection, *, user_id: UserId | None) -> list[Job]:
    whose = QUEUED if user_id is None else QUEUED & (job.c.user_id == user_id)
    values: dict[str, Any] = {
        "state": JobState.CANCELLED.value,
        "cancel_requested": True,
        "version": job.c.version + 1,
        "finished_at": now(),
    }
    rows = (await tx.execute(update(job).where(whose).values(values).returning(job))).mappings().all()
    rows = sorted(rows, key=lambda row: row["seq"])
    await record(tx, [Move(row=row, was=JobState.QUEUED, actor="admin") for row in rows])
    return jobs_of(rows)


# -- fenced writes -----------------------------------------------------------------------------------------------------


async def _locked(tx: AsyncConnection, job_id: JobId) -> RowMapping | None:
    return (await tx.execute(select(job).where(job.c.id == job_id).with_for_update())).mappings().one_or_none()


async def _change(tx: AsyncConnection, before: RowMapping, values: Mapping[str, Any]) -> RowMapping:
    """Write to a row locked in this transaction."""
    change = update(job).where(job.c.seq == before["seq"]).values({**values, "version": before["version"] + 1})
    return (await tx.execute(change.returning(job))).mappings().one()


async def _held(tx: AsyncConnection, key: RunKey, outcomes: frozenset[JobState]) -> tuple[RowMapping, bool]:
    """(the row, whether the lease still holds). Raises LeaseLost.

    A job of this very epoch that already is in one of ``outcomes`` got there by an earlier call of the same holder,
    whose answer was lost on the way: that is no loss, and the caller gets the job again. Expiry raises the epoch, so a
    lapsed holder never gets here.
    """
    row = await _locked(tx, key.job_id)
    if row is None or row["epoch"] != key.epoch:
        raise LeaseLost(key.job_id, key.epoch)
    if row["slot"] is not None:
        return row, True
    if row["state"] in outcomes:
        return row, False
    raise LeaseLost(key.job_id, key.epoch)


async def _accept(tx: AsyncConnection, *, key: RunKey) -> Job:
    before, _ = await _held(tx, key, frozenset())
    if before["state"] == JobState.RUNNING:
        return job_of(before)
    row = await _change(tx, before, {"state": JobState.RUNNING.value, "started_at": now()})
    await record(tx, [Move(row=row, was=before["state"], actor=before["worker"])])
    return job_of(row)


async def _end(
    tx: AsyncConnection, *, key: RunKey, change: Change, outcomes: frozenset[JobState], detail: str | None = None
) -> Job:
    before, active = await _held(tx, key, outcomes)
    if not active:
        return await _with_pictures(tx, before)
    row = await _release(tx, before, change(before), detail)
    return job_of(row)


async def _release(
    tx: AsyncConnection, before: RowMapping, values: Mapping[str, Any], detail: str | None = None
) -> RowMapping:
    ended = {"started_at": None} if values["state"] == JobState.QUEUED else {"finished_at": now()}
    row = await _change(tx, before, {**FREED, **ended, **values})
    await record(tx, [Move(row=row, was=before["state"], actor=before["worker"], detail=detail)])
    return row


async def _finish(tx: AsyncConnection, *, key: RunKey, values: Mapping[str, Any], pictures: Sequence[Picture]) -> Job:
    before, active = await _held(tx, key, frozenset({JobState.DONE}))
    if not active:
        return await _with_pictures(tx, before)
    same = {"job_id": before["id"], "generation": before["generation"]}
    if pictures:
        await tx.execute(insert(result), [{**same, **asdict(picture)} for picture in pictures])
    row = await _release(tx, before, values)
    return job_of(row, tuple(pictures))


def _after_fault(
    row: RowMapping, *, reason: Failure, delay_seconds: float, attempts_max: int | None
) -> dict[str, Any]:
    attempt = row["attempt"] + (attempts_max is not None)
    if row["cancel_requested"]:
        return {"state": JobState.CANCELLED.value, "attempt": attempt}
    if attempts_max is not None and attempt >= attempts_max:
        return {"state": JobState.FAILED.value, "attempt": attempt, "failure": asdict(reason)}
    return {"state": JobState.QUEUED.value, "attempt": attempt, "not_before": moment_from_now(delay_seconds)}


async def _renew(
    tx: AsyncConnection, *, keys: Sequence[RunKey], lease_seconds: float
) -> tuple[set[RunKey], set[RunKey]]:
    pairs = [(key.job_id, key.epoch) for key in keys]
    change = (
        update(job)
        .where(ACTIVE, tuple_(job.c.id, job.c.epoch).in_(pairs))
        .values(lease_until=moment_from_now(lease_seconds))
        .returning(job.c.id, job.c.epoch, job.c.cancel_requested)
    )
    rows = (await tx.execute(change)).all()
    held = {RunKey(job_id=row.id, epoch=row.epoch) for row in rows}
    return held, {RunKey(job_id=row.id, epoch=row.epoch) for row in rows if row.cancel_requested}
