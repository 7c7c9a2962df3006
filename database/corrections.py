"""What an operator corrects about a single job: where it waits, and what it cost its person."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.history import Move, record
from database.rows import job_of
from database.tables import ENDED, job, job_event, worker
from jobs.errors import DarkroomError, JobNotFound
from jobs.job import Job, JobId, JobState

_REFUNDED = "refunded"
"""The detail of its line in the log: a generation has one at most."""


@dataclass(frozen=True, kw_only=True)
class Refund:
    """What a person got back for a job."""

    job: Job
    gpu_seconds: float
    """Of the day's quota."""
    service: float
    """Seconds of their account: who has less of it goes first."""


async def move(tx: AsyncConnection, *, job_id: JobId, lane: str | None, only_on: str | None, actor: str) -> Job:
    """Let a waiting job wait in another lane, or for one worker alone ("" lets it go to any again).

    Both are preferences inside the window of fairness, or say where: nobody's turn is taken from them.
    Raises JobNotFound, DarkroomError("not_waiting").
    """
    before = await _locked(tx, job_id)
    if before["state"] != JobState.QUEUED:
        raise DarkroomError("not_waiting")
    values: dict[str, Any] = {} if lane is None else {"lane": lane}
    if only_on is not None:
        others = (await tx.execute(select(worker.c.name).where(worker.c.name != only_on).order_by(worker.c.name))).scalars().all()
        values["shunned"] = list(others) if only_on else None
    # A line in the log whose state is the former one: every host's line reads the row anew, and nobody's account changes.
    return job_of(await _corrected(tx, before, values, actor=actor, detail="moved"))


async def refund(tx: AsyncConnection, *, job_id: JobId, actor: str) -> Refund:
    """Give back what an ended job cost: its GPU seconds in the quota of the day, and what its leases kept of their charges.

    The account is settled as at any end, by the next claim that reads of it. Raises JobNotFound, DarkroomError("not_ended") and
    DarkroomError("refunded_already").
    """
    before = await _locked(tx, job_id)
    if before["state"] not in ENDED:
        raise DarkroomError("not_ended")
    lines = await _lines(tx, before)
    if any(line.detail == _REFUNDED for line in lines):
        raise DarkroomError("refunded_already")
    charged = _kept(lines)
    making = before["making"]
    values = {} if making is None else {"making": {**making, "refunded": True}}
    row = await _corrected(tx, before, values, actor=actor, detail=_REFUNDED, charged=charged)
    return Refund(job=job_of(row), gpu_seconds=float((making or {}).get("seconds", 0.0)), service=max(charged.values(), default=0.0))


async def _locked(tx: AsyncConnection, job_id: JobId) -> RowMapping:
    row = (await tx.execute(select(job).where(job.c.id == job_id).with_for_update())).mappings().one_or_none()
    if row is None:
        raise JobNotFound(job_id)
    return row


async def _corrected(
    tx: AsyncConnection,
    before: RowMapping,
    values: Mapping[str, Any],
    *,
    actor: str,
    detail: str,
    charged: Mapping[str, float] | None = None,
) -> RowMapping:
    change = update(job).where(job.c.seq == before["seq"]).values({**values, "version": before["version"] + 1})
    row = (await tx.execute(change.returning(job))).mappings().one()
    settled: dict[str, Any] = {"kept": 0.0, "facts": {"charged": dict(charged)}} if charged else {}
    await record(tx, [Move(row=row, was=before["state"], actor=actor, detail=detail, **settled)])
    return row


async def _lines(tx: AsyncConnection, row: RowMapping) -> list[Any]:
    """What the log has of this generation of a job's ends and corrections."""
    own = (job_event.c.job_id == row["id"], job_event.c.generation == row["generation"])
    query = select(job_event.c.detail, job_event.c.kept, job_event.c.facts).where(*own).order_by(job_event.c.seq)
    return list((await tx.execute(query)).all())


def _kept(lines: list[Any]) -> dict[str, float]:
    """By pool, the virtual seconds that all leases of the generation left on the account."""
    total: dict[str, float] = defaultdict(float)
    for line in lines:
        for pool, seconds in ((line.facts or {}).get("charged") or {}).items() if line.kept is not None else ():
            total[pool] += seconds * line.kept
    return {pool: seconds for pool, seconds in total.items() if seconds > 0}
