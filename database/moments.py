"""Time from the database's own clock, the same on SQLite and PostgreSQL.

SQLite keeps a moment as text ``YYYY-MM-DD HH:MM:SS.ffffff`` in UTC, which sorts as time does; PostgreSQL as
timestamptz. Both are read back as aware datetimes. The clock is that of the statement, not of the transaction: a
transaction may have waited for a lock, and a lease that starts in the past would be short.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Float
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ColumnElement, literal
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import TypeDecorator

_SQLITE_FORM = "'%Y-%m-%d %H:%M:%f000'"  # %f has three digits; with the zeros, text as long as Python writes it


class Moment(TypeDecorator[datetime]):
    """A UTC moment. Naive values are refused: whose time would they be?"""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware in, UTC out; SQLite's text carries no zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs a time zone")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Always aware, always UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class moment_from_now(GenericFunction[datetime]):  # noqa: N801  (a SQL function, written as SQL writes it)
    """``moment_from_now(seconds)``: the database's now, moved by seconds (negative: into the past)."""

    type = Moment()
    inherit_cache = True

    def __init__(self, seconds: float | ColumnElement[float] = 0.0) -> None:
        super().__init__(literal(float(seconds), Float) if isinstance(seconds, int | float) else seconds)


@compiles(moment_from_now, "sqlite")
def _on_sqlite(element: moment_from_now, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"strftime({_SQLITE_FORM}, 'now', printf('%+.3f seconds', {seconds}))"


@compiles(moment_from_now, "postgresql")
def _on_postgresql(element: moment_from_now, compiler: SQLCompiler, **kw: Any) -> str:
    # statement_timestamp() is STABLE, so an index on the compared column is used; clock_timestamp() would forbid it.
    return f"(statement_timestamp() + make_interval(secs => {compiler.process(element.clauses, **kw)}))"


def now() -> moment_from_now:
    """The database's now."""
    return moment_from_now(0.0)
