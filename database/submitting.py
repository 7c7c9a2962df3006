"""T1: a wish into the ledger, once for each idempotency key."""

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Float, RowMapping, Select, bindparam, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from database.engine import serialise
from database.history import Move, record
from database.inputs import check_inputs
from database.moments import moment_from_now, now
from database.queue import QUEUED
from database.rows import job_of, pictures_of, same_wish
from database.tables import job
from database.upsert import upsert_into
from jobs.errors import IdempotencyConflict, WaitingLimitReached
from jobs.job import Job, UserId
from jobs.ports import NewJob

SUBMITTING = 2
"""The advisory lock's purpose; its key is the person."""


async def submit(tx: AsyncConnection, *, new: NewJob, values: Mapping[str, Any], limit: int) -> tuple[Job, bool]:
    """See the port. Three statements, four on PostgreSQL, one more for a job with a card, two for one with input pictures."""
    await serialise(tx, SUBMITTING, _lock_key(new.user_id))
    found = (await tx.execute(_KNOWN_AND_WAITING, {"user": new.user_id, "key": new.idempotency_key})).mappings().one()
    if found["id"] is not None:
        return await _again(tx, found, new), False
    if found["n_waiting"] >= limit:
        raise WaitingLimitReached("waiting_limit", waiting=found["n_waiting"], limit=limit)
    await check_inputs(tx, new.user_id, new.order)
    given = {f"new_{name}": value for name, value in values.items()}
    statement = _insertion(tx.dialect.name, tuple(sorted(values)))
    row = (await tx.execute(statement, {**given, "live_seconds": new.live_seconds})).mappings().one_or_none()
    if row is None:  # somebody else's request took the key meanwhile: ours would have waited at the lock
        raise IdempotencyConflict("idempotency_conflict")
    await record(tx, [Move(row=row, was=None, actor=new.door)])
    return job_of(row), True


def _known_and_waiting() -> Select:
    """One row: the job of this key, if there is one, and how many of this person's wait."""
    waiting = select(func.count()).select_from(job).where(QUEUED, job.c.user_id == bindparam("user")).scalar_subquery()
    one = select(literal(1).label("one")).subquery()
    return select(waiting.label("n_waiting"), job).select_from(one.outerjoin(job, job.c.idempotency_key == bindparam("key")))


_KNOWN_AND_WAITING = _known_and_waiting()


@cache  # building it costs more than running it
def _insertion(dialect: str, names: tuple[str, ...]) -> ReturningInsert:
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    deadline = moment_from_now(bindparam("live_seconds", type_=Float))
    insert = upsert_into(dialect, job).values({**values, "deadline": deadline, "queued_at": now()})
    return insert.on_conflict_do_nothing(index_elements=["idempotency_key"]).returning(job)


async def _again(tx: AsyncConnection, row: RowMapping, new: NewJob) -> Job:
    if row["user_id"] != new.user_id or not same_wish(row["order"], new):
        raise IdempotencyConflict("idempotency_conflict")
    return job_of(row, (await pictures_of(tx, [row])).get(row["id"], ()))


def _lock_key(user_id: UserId) -> int:
    """A signed 32-bit number for the person. Two people with one number merely wait for each other."""
    return int.from_bytes(hashlib.sha256(user_id.encode()).digest()[:4], "big", signed=True)
