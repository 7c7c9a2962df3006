"""How fair, how full and how quick the house was lately: figures from the ledger's own history."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import Database
from database.moments import moment_from_now
from database.tables import job, job_event

_LINES = 20_000
"""Leases looked at; of a busier hour the newest."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of one window. None where nothing happened that could be measured."""

    seconds: float
    people: int = 0
    """Who was leased to."""
    jain: float | None = None
    """Of their service divided by weight: 1 is perfectly equal. Also below 1 when somebody simply asked for less."""
    least_over_most: float | None = None
    wait_p50: float | None = None
    """Seconds from the submission to the start, of jobs that started."""
    wait_p95: float | None = None
    slowdown_p50: float | None = None
    """Seconds from the submission to the end, over those that the worker needed."""
    slowdown_p95: float | None = None
    swaps_per_hour: float = 0.0
    """Passes that another model led than the one before on that worker."""
    mean_batch: float | None = None
    """Jobs a claim."""
    done: int = 0
    set_aside: int = 0
    """Jobs that killed two workers alone."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Why jobs were chosen."""


async def read_figures(database: Database, *, seconds: float = 3600.0) -> Figures:
    """The figures of the last ``seconds``. Raises StoreUnavailable."""
    return await database.read(partial(_figures, seconds=seconds))


async def _figures(tx: AsyncConnection, *, seconds: float) -> Figures:
    since = moment_from_now(-seconds)
    leases = [row for row in reversed((await tx.execute(_leases(since))).all()) if row.facts]
    done = (await tx.execute(_ended(since, "done"))).all()
    aside = (await tx.execute(select(func.count()).select_from(_ended(since, "quarantined").subquery()))).scalar_one()
    return Figures(seconds=seconds, done=len(done), set_aside=aside, **_fairness(leases), **_quickness(done), **_fullness(leases, seconds))


def _leases(since: ColumnElement[datetime]) -> Select:
    """Newest first, by the moment: by the number SQLite would walk back through the whole log."""
    return (
        select(job_event.c.facts, job_event.c.actor, job.c.user_id, job.c.model, job.c.weight)
        .join(job, job.c.id == job_event.c.job_id)
        .where(job_event.c.at > since, job_event.c.to_state == "leased", job_event.c.from_state == "queued")
        .order_by(job_event.c.at.desc(), job_event.c.seq.desc())
        .limit(_LINES)
    )


def _ended(since: ColumnElement[datetime], state: str) -> Select:
    """By the log, whose moments have an index: the jobs' own have none, and those that ended are nearly all there are."""
    moved = (job_event.c.at > since, job_event.c.to_state == state, job_event.c.from_state != state, job.c.state == state)
    query = select(job.c.created_at, job.c.started_at, job.c.finished_at, job.c.making).join(job_event, job.c.id == job_event.c.job_id + "")
    # Joined by an expression, so that SQLite does not begin with all jobs and look each one's lines up.
    return query.where(*moved).order_by(job_event.c.at.desc()).limit(_LINES)


def _fairness(leases: Sequence[Any]) -> dict[str, Any]:
    served: dict[str, float] = defaultdict(float)
    for lease in leases:
        served[lease.user_id] += lease.facts["predicted"] / (lease.weight or 1.0)
    shares = [share for share in served.values() if share > 0]
    if not shares:
        return {"people": 0}
    jain = sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
    return {"people": len(shares), "jain": jain, "least_over_most": min(shares) / max(shares)}


def _quickness(done: Sequence[Any]) -> dict[str, float | None]:
    waits = [(row.started_at - row.created_at).total_seconds() for row in done if row.started_at is not None]
    slow = [
        (row.finished_at - row.created_at).total_seconds() / row.making["seconds"]
        for row in done
        if row.making and row.making.get("seconds", 0) >= 0.001  # less is no time, but what a worker once said of it
    ]
    return {
        "wait_p50": _quantile(waits, 50), "wait_p95": _quantile(waits, 95),
        "slowdown_p50": _quantile(slow, 50), "slowdown_p95": _quantile(slow, 95),
    }  # fmt: skip


def _quantile(values: Sequence[float], percent: int) -> float | None:
    if not values:
        return None
    return values[0] if len(values) == 1 else statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _fullness(leases: Sequence[Any], seconds: float) -> dict[str, Any]:
    reasons: dict[str, int] = defaultdict(int)
    swaps, loaded = 0, dict[str, str]()
    for lease in leases:
        reasons[lease.facts["reason"]] += 1
        if lease.facts["reason"] not in ("rider", "joiner"):
            swaps += loaded.get(lease.actor, lease.model) != lease.model
            loaded[lease.actor] = lease.model
    leads = len(leases) - reasons.get("rider", 0) - reasons.get("joiner", 0)
    mean = len(leases) / leads if leads else None
    return {"reasons": dict(reasons), "swaps_per_hour": swaps * 3600 / seconds, "mean_batch": mean}
