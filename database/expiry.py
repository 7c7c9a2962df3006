"""The janitor's transaction: lapsed leases back to the queue, overdue jobs closed. Any host may run it at any time."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import RowMapping, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import try_serialise
from database.fenced import FREED
from database.history import Move, record
from database.moments import now
from database.queue import ACTIVE, QUEUED
from database.rows import jobs_of
from database.tables import job
from jobs.job import Failure, Job, JobState

EXPIRING = 4
"""The advisory lock's purpose."""

_AT_ONCE = 500
"""Rows of each sort in one transaction; the rest comes with the next round."""


async def expire(tx: AsyncConnection, *, lost_max: int) -> list[tuple[Job, Failure | None]]:
    """T9 and T14."""
    if not await try_serialise(tx, EXPIRING):
        return []  # another host is at it
    return [*await _lapsed(tx, lost_max), *await _overdue(tx)]


async def _lapsed(tx: AsyncConnection, lost_max: int) -> list[tuple[Job, Failure | None]]:
    query = select(job).where(ACTIVE, job.c.lease_until < now()).order_by(job.c.seq).limit(_AT_ONCE)
    rows = (await tx.execute(query.with_for_update(skip_locked=True))).mappings().all()
    fates: dict[tuple[JobState, int, int], list[RowMapping]] = defaultdict(list)
    for row in rows:
        fates[_fate(row, lost_max), row["lost"] + 1, row["refunds"]].append(row)
    changed: list[tuple[Job, Failure | None]] = []
    for (state, lost, refunds), those in fates.items():  # a handful: states times counts below lost_max
        changed += await _take_back(tx, those, state, lost, refunds)
    return changed


def _fate(row: RowMapping, lost_max: int) -> JobState:
    if row["cancel_requested"]:
        return JobState.CANCELLED
    return JobState.FAILED if row["lost"] + 1 >= lost_max else JobState.QUEUED


async def _take_back(
    tx: AsyncConnection, rows: Sequence[RowMapping], state: JobState, lost: int, refunds: int
) -> list[tuple[Job, Failure | None]]:
    reason = None if state is JobState.CANCELLED else Failure(code="workers_lost", details={"n": lost})
    values: dict[str, Any] = {
        "state": state.value,
        **FREED,
        "epoch": job.c.epoch + 1,  # whoever held it writes nothing any more
        "lost": lost,
        "refunds": max(refunds, 1),
    }
    values |= {"started_at": None} if state is JobState.QUEUED else {"finished_at": now()}
    if state is JobState.FAILED and reason is not None:
        values["failure"] = asdict(reason)
    before = {row["id"]: row for row in rows}
    return [(found, reason) for found in await _move(tx, before, values, "lease lapsed", kept=1.0 if refunds else 0.0)]


async def _overdue(tx: AsyncConnection) -> list[tuple[Job, Failure | None]]:
    query = select(job).where(QUEUED, job.c.deadline < now()).order_by(job.c.seq).limit(_AT_ONCE)
    rows = (await tx.execute(query.with_for_update(skip_locked=True))).mappings().all()
    reason = Failure(code="waited_too_long")
    values = {"state": JobState.EXPIRED.value, "failure": asdict(reason), "finished_at": now()}
    jobs = await _move(tx, {row["id"]: row for row in rows}, values, "deadline passed")
    return [(found, reason) for found in jobs]


async def _move(
    tx: AsyncConnection, before: Mapping[str, RowMapping], values: Mapping[str, Any], detail: str, *, kept: float | None = None
) -> list[Job]:
    if not before:
        return []
    change = update(job).where(job.c.id.in_(list(before))).values({**values, "version": job.c.version + 1})
    rows = (await tx.execute(change.returning(job))).mappings().all()
    rows = sorted(rows, key=lambda row: row["seq"])
    await record(tx, [_lapse(row, before[row["id"]], detail, kept) for row in rows])
    return jobs_of(rows)


def _lapse(row: RowMapping, before: RowMapping, detail: str, kept: float | None) -> Move:
    """With the charge to settle where there is one: whoever was lost first costs nothing, as in every other end."""
    facts = {"charged": before["charged"]} if kept is not None and before["charged"] else None
    return Move(row=row, was=before["state"], actor="janitor", detail=detail, kept=kept, facts=facts)
