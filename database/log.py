"""Reading the log of the ledger without gaps: what happened to which job since the last look.

SQLite commits in the order of its row numbers. PostgreSQL does not: a row with a smaller number may become visible later. So there
every line carries the number of its transaction, and a reader keeps the snapshot of its last look: new is what that snapshot did
not show. Written lines are seen exactly once, whatever the order of commits.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, RowMapping, Select, Text, and_, bindparam, cast, func, literal, select, text, true
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import UserDefinedType

from database.moments import now
from database.tables import claim_clock, job, job_event, worker

CLOCK = "claims"

AT_ONCE = 20_000
"""Lines in one look. More than that since the last one: it is cheaper to read the queue anew."""

JOB_COLUMNS = (
    "seq", "id", "user_id", "kind", "model", "width", "height", "order", "state", "count", "lane", "weight", "cost", "lost",
    "suspect", "died_on", "shunned", "not_before", "queued_at", "created_at", "worker", "charged", "predicted", "cancel_requested",
)  # fmt: skip


class _Snapshot(UserDefinedType[str]):
    """PostgreSQL's pg_snapshot."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "pg_snapshot"


class _TransactionId(UserDefinedType[int]):
    """PostgreSQL's xid8."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


_WHICH = cast(cast(job_event.c.xid, Text), _TransactionId())


async def read_news(tx: AsyncConnection, seen: str) -> Sequence[RowMapping]:
    """The clock of claims and every line that ``seen`` did not show, in the order of writing.

    Always one row at least; without news its ``event`` is None. ``fresh``: the accounts do not contain it yet.
    """
    postgresql = tx.dialect.name == "postgresql"
    parameters: dict[str, Any] = {"seen": seen}
    if postgresql:
        parameters["oldest"] = int(seen.partition(":")[0])
    return (await tx.execute(_news(postgresql), parameters)).mappings().all()


async def disown_foreign_numbers(tx: AsyncConnection) -> None:
    """Take away transaction numbers that this server has not reached: a dump keeps those of the server that it was made on.

    PostgreSQL alone. They would be news at every look, until this server has counted so far; no visible line of its own has such a number.
    """
    reached = "CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"
    applied = "CAST(CAST(pg_snapshot_xmax(CAST(applied AS pg_snapshot)) AS text) AS bigint)"
    await tx.execute(text(f"UPDATE job_event SET xid = NULL WHERE xid >= {reached}"))  # noqa: S608  no outside text
    await tx.execute(
        text(f"UPDATE claim_clock SET applied = CAST(pg_current_snapshot() AS text) WHERE {applied} > {reached}")  # noqa: S608
    )


async def read_position(tx: AsyncConnection) -> str:
    """The log up to now, as :func:`read_news` takes it."""
    if tx.dialect.name == "postgresql":
        return (await tx.execute(select(cast(func.pg_current_snapshot(), Text)))).scalar_one()
    return str((await tx.execute(select(func.coalesce(func.max(job_event.c.seq), 0)))).scalar_one())


@cache
def _news(postgresql: bool) -> Select:
    """Cached: building it takes longer than running it."""
    line, position, fresh = _on_postgresql() if postgresql else _on_sqlite()
    one = select(literal(1).label("one")).subquery()
    clock = claim_clock.alias("clock")
    event = line.subquery("event")
    found = (
        one.outerjoin(clock, clock.c.name == CLOCK)
        .outerjoin(event, true())
        .outerjoin(job, job.c.id == event.c.job_id)
    )
    revised = select(func.max(worker.c.revised_at)).scalar_subquery()
    columns = [job.c[name].label(f"j_{name}") for name in JOB_COLUMNS]
    return (
        select(
            clock.c.stamp.label("stamp"), clock.c.applied.label("applied"), position.label("position"), now().label("present"),
            revised.label("fleet"), event.c.seq.label("event"), event.c.job_id.label("event_job"), event.c.to_state.label("to_state"),
            event.c.kept.label("kept"), event.c.facts.label("facts"), fresh(event, clock).label("fresh"), *columns,
        )
        .select_from(found)
        .order_by(event.c.seq)
    )  # fmt: skip


def _on_postgresql() -> tuple[Select, Any, Any]:
    seen = cast(bindparam("seen", type_=Text), _Snapshot())
    new = and_(job_event.c.xid >= bindparam("oldest", type_=BigInteger), ~func.pg_visible_in_snapshot(_WHICH, seen))
    # In the order of the index, so that it is used whatever the planner believes of the parameter.
    line = select(job_event, _WHICH.label("which")).where(new)
    line = line.order_by(job_event.c.xid).limit(AT_ONCE)
    position = cast(func.pg_current_snapshot(), Text)

    def fresh(event: Any, clock: Any) -> Any:
        applied = cast(func.coalesce(clock.c.applied, bindparam("seen", type_=Text)), _Snapshot())
        return ~func.pg_visible_in_snapshot(event.c.which, applied)

    return line, position, fresh


def _on_sqlite() -> tuple[Select, Any, Any]:
    line = select(job_event).where(job_event.c.seq > cast(bindparam("seen", type_=Text), BigInteger))
    newest = select(func.coalesce(func.max(job_event.c.seq), 0)).scalar_subquery()

    def fresh(event: Any, clock: Any) -> Any:
        return event.c.seq > cast(func.coalesce(clock.c.applied, bindparam("seen", type_=Text)), BigInteger)

    return line.order_by(job_event.c.seq).limit(AT_ONCE), cast(newest, Text), fresh
