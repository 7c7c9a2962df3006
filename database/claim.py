"""T2: read the queue, let the planner choose, lease what it chose, all in one transaction.

Claims run one after another (the write lock of SQLite, an advisory lock on PostgreSQL), because a choice between
people is sound only while nobody else is choosing. Eight statements, however large the batch.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, SmallInteger, case, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import serialise
from database.history import Move, record
from database.moments import moment_from_now
from database.queue import QUEUED, Claimable, read_claimable
from database.rows import jobs_of
from database.tables import job, person
from database.upsert import upsert
from jobs.job import ACTIVE_MAX, Job, JobId, JobState, UserId
from jobs.ports import Decide

_log = logging.getLogger(__name__)

CLAIMING = 1
"""The advisory lock's purpose."""


async def claim(tx: AsyncConnection, worker: str, decide: Decide, lease_seconds: float) -> list[Job]:
    """Lease what ``decide`` chooses to ``worker``, in its order."""
    await serialise(tx, CLAIMING)
    queue = await read_claimable(tx)
    if not queue.snapshot.waiting:
        return []
    slots = _slots(list(dict.fromkeys(decide(queue.snapshot))), queue)
    if not slots:
        return []
    slots = await _readable(tx, slots)
    rows = await _lease(tx, slots, worker, lease_seconds)
    await record(tx, [Move(row=row, was=JobState.QUEUED, actor=worker) for row in rows])
    await _bump(tx, [row["user_id"] for row in rows])
    return jobs_of(rows)


def _slots(chosen: Sequence[JobId], queue: Claimable) -> dict[JobId, int]:
    """A free slot for each chosen job. What the planner should not have chosen is left waiting, loudly."""
    owners = {waiting.id: waiting.user_id for waiting in queue.snapshot.waiting}
    free = {user: [s for s in range(ACTIVE_MAX) if s not in taken] for user, taken in queue.taken.items()}
    slots: dict[JobId, int] = {}
    for job_id in chosen:
        left = free.setdefault(owners[job_id], list(range(ACTIVE_MAX))) if job_id in owners else []
        if left:
            slots[job_id] = left.pop(0)
        else:
            _log.error("the planner chose job %s, which cannot be leased now", job_id)
    return slots


async def _readable(tx: AsyncConnection, slots: Mapping[JobId, int]) -> dict[JobId, int]:
    """Without jobs whose order only a newer darkroom understands: leased, nobody here could carry them."""
    rows = (await tx.execute(select(job).where(job.c.id.in_(list(slots))))).mappings().all()
    readable = {found.id for found in jobs_of(rows)}
    return {job_id: slot for job_id, slot in slots.items() if job_id in readable}


async def _lease(
    tx: AsyncConnection, slots: Mapping[JobId, int], worker: str, lease_seconds: float
) -> list[RowMapping]:
    if not slots:
        return []
    values: dict[str, Any] = {
        "state": JobState.LEASED.value,
        "slot": case({job_id: literal(slot, SmallInteger) for job_id, slot in slots.items()}, value=job.c.id),
        "epoch": job.c.epoch + 1,
        "version": job.c.version + 1,
        "worker": worker,
        "lease_until": moment_from_now(lease_seconds),
        "not_before": None,
    }
    # Still queued: a cancel does not wait for claims, so one may have come between.
    change = update(job).where(job.c.id.in_(list(slots)), QUEUED).values(values).returning(job)
    rows = {row["id"]: row for row in (await tx.execute(change)).mappings()}
    return [rows[job_id] for job_id in slots if job_id in rows]


async def _bump(tx: AsyncConnection, users: Iterable[UserId]) -> None:
    """Move the fairness clock on: one tick a job, in the order of the choice."""
    ticks = {user: tick for tick, user in enumerate(users, start=1)}
    if not ticks:
        return
    newest = select(func.coalesce(func.max(person.c.served), 0)).scalar_subquery()
    insert = upsert(tx, person).values([{"user_id": user, "served": newest + tick} for user, tick in ticks.items()])
    await tx.execute(
        insert.on_conflict_do_update(index_elements=["user_id"], set_={"served": insert.excluded.served})
    )
