"""T2: bring the line up to date, let the planner choose, lease what it chose, all in one transaction.

Claims run one after another (the write lock of SQLite, an advisory lock on PostgreSQL), because a choice between people is sound
only while nobody else is choosing. However large the batch, a claim is the same few statements.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ARRAY, Double, RowMapping, Text, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from database.books import write_changes
from database.engine import serialise
from database.history import Move, record_of
from database.line_keeper import LineKeeper
from database.queue import ALL_ACTIVE
from database.rows import jobs_of
from database.tables import job
from jobs.job import ACTIVE_MAX, Job, JobState
from jobs.line import Line
from jobs.planner import Plan, PlannedLease, commit
from jobs.ports import Decide

_log = logging.getLogger(__name__)

CLAIMING = 1
"""The advisory lock's purpose."""


class Outrun(Exception):
    """Somebody took or cancelled a chosen job between the look and the lease: look again, and choose again."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On what a claim leases."""

    worker: str
    owner: str
    dispatch: str
    """Names this claim for good: found in the ledger, its commit took effect, whatever became of the answer."""
    lease_seconds: float


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """What a claim did, to be taken over by the line once it is committed."""

    jobs: tuple[Job, ...] = ()
    plan: Plan | None = None
    wrote: bool = False


async def claim(tx: AsyncConnection, *, keeper: LineKeeper, decide: Decide | None, terms: Terms) -> Claimed:
    """Lease what ``decide`` chooses; with None only bring accounts and line up to date. Raises Overtaken, Outrun."""
    await serialise(tx, CLAIMING)
    line = await keeper.catch_up(tx)
    with keeper.mutex:
        plan = _chosen_plan(line, keeper, decide, terms)
    rows = await _lease(tx, plan.leases, terms) if plan.leases else []
    wrote = bool(rows) or keeper.dirty
    if wrote:
        history = record_of(_moves(rows, plan.leases, terms))
        await write_changes(
            tx, plan.changes, plan.forced_at, stamp=keeper.next_stamp, applied=keeper.seen, history=history
        )
    return Claimed(jobs=tuple(jobs_of(rows)), plan=plan, wrote=wrote)


def _chosen_plan(line: Line, keeper: LineKeeper, decide: Decide | None, terms: Terms) -> Plan:
    nothing = Plan(changes=line.books.changes())
    plan = nothing if decide is None or terms.worker in keeper.resting else decide(line)
    return plan if _is_sound(line, plan) else nothing


def _is_sound(line: Line, plan: Plan) -> bool:
    """Whether each chosen job waits, once, and nobody gets a third. The database refuses it too; this says who was wrong."""
    active = {lease.job.user_id: line.person(lease.job.user_id).active for lease in plan.leases}
    for lease in plan.leases:
        active[lease.job.user_id] += 1
    ids = [lease.job.id for lease in plan.leases]
    if len(set(ids)) == len(ids) and set(ids) <= line.waiting.keys() and max(active.values(), default=0) <= ACTIVE_MAX:
        return True
    _log.error("the planner chose jobs that cannot be leased now: %s", ", ".join(ids))
    return False


def take_over(keeper: LineKeeper, claimed: Claimed) -> None:
    """The claim is committed: the line is what the ledger is."""
    line, plan = keeper.line, claimed.plan
    with keeper.mutex:
        if line is not None and plan is not None and claimed.wrote:
            commit(line, plan)
    keeper.committed(wrote=claimed.wrote)


async def leased_by(tx: AsyncConnection, dispatch: str) -> list[Job]:
    """The active jobs of one claim."""
    rows = (await tx.execute(_OF_DISPATCH, {"dispatch": dispatch})).mappings().all()
    return jobs_of(rows)


_OF_DISPATCH = select(job).where(ALL_ACTIVE, job.c.dispatch == bindparam("dispatch")).order_by(job.c.seq + 0)


async def _lease(tx: AsyncConnection, leases: Sequence[PlannedLease], terms: Terms) -> list[RowMapping]:
    parameters: dict[str, Any] = {
        "chosen": json.dumps(_chosen(leases), allow_nan=False),
        "ids": [lease.job.id for lease in leases],
        "worker": terms.worker,
        "owner": terms.owner,
        "dispatch": terms.dispatch,
        "seconds": terms.lease_seconds,
    }
    if tx.dialect.name == "sqlite":
        del parameters["ids"]
    found = {row["id"]: row for row in (await tx.execute(_statement(tx.dialect.name), parameters)).mappings()}
    if len(found) < len(leases):
        raise Outrun
    return [found[lease.job.id] for lease in leases]


def _moves(rows: Sequence[RowMapping], leases: Sequence[PlannedLease], terms: Terms) -> list[Move]:
    return [
        Move(row=row, was=JobState.QUEUED, actor=terms.worker, facts=_grounds(lease))
        for row, lease in zip(rows, leases, strict=True)
    ]


def _chosen(leases: Sequence[PlannedLease]) -> list[dict[str, Any]]:
    """What differs from row to row. ``nth``: the how manieth of its person in this claim."""
    seen: dict[str, int] = {}
    chosen: list[dict[str, Any]] = []
    for lease in leases:
        nth = seen[lease.job.user_id] = seen.get(lease.job.user_id, -1) + 1
        chosen.append(
            {"id": lease.job.id, "nth": nth, "predicted": lease.predicted, "charged": json.dumps(dict(lease.charged))}
        )
    return chosen


def _grounds(lease: PlannedLease) -> Mapping[str, Any]:
    """Why this job and not another, so that the choice can be replayed; and what it was charged."""
    return {
        "reason": str(lease.reason),
        "low": lease.low,
        "v": lease.v,
        "h": lease.handicap,
        "predicted": lease.predicted,
        "charged": dict(lease.charged),
    }


_CHOSEN = {
    "postgresql": "json_to_recordset(CAST(:chosen AS json)) AS c(id text, nth int, predicted float8, charged text)",
    "sqlite": """(SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.nth') AS nth,
        json_extract(value, '$.predicted') AS predicted, json_extract(value, '$.charged') AS charged
        FROM json_each(:chosen)) AS c""",
}
# PostgreSQL believes that any JSON has a hundred rows, and would rather walk through the whole queue than look up so many.
_THESE = {"postgresql": " AND job.id = ANY(:ids)", "sqlite": ""}
_LATER = {
    "postgresql": "statement_timestamp() + make_interval(secs => :seconds)",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now', printf('%+.3f seconds', :seconds))",
}


@cache
def _statement(dialect: str) -> Any:
    """One statement for all rows. The slot: the one that the person has free, lowest first; a third finds none and fails.

    Still queued: a cancel does not wait for claims, so one may have come between.
    """
    taken = "SELECT min(1 - a.slot) FROM job AS a WHERE a.user_id = job.user_id AND a.slot IS NOT NULL"
    columns = ", ".join(f'job."{column.name}"' for column in job.columns)
    sql = f"""UPDATE job SET state = 'leased', slot = coalesce(({taken}), 0) + c.nth, epoch = job.epoch + 1,
        version = job.version + 1, worker = :worker, owner = :owner, dispatch = :dispatch, lease_until = {_LATER[dialect]},
        not_before = NULL, predicted = c.predicted, charged = c.charged
        FROM {_CHOSEN[dialect]} WHERE job.id = c.id AND job.state = 'queued'{_THESE[dialect]} RETURNING {columns}"""  # noqa: S608  no outside text
    ids = [bindparam("ids", type_=ARRAY(Text))] if dialect == "postgresql" else []
    typed = text(sql).bindparams(
        *ids, bindparam("chosen", type_=Text), bindparam("worker", type_=Text), bindparam("owner", type_=Text),
        bindparam("dispatch", type_=Text), bindparam("seconds", type_=Double),
    )  # fmt: skip
    return typed.columns(*job.columns)
