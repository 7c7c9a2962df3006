"""A transaction from its first statement to its commit in one go.

Changing between the event loop and SQLAlchemy costs more than most of our statements do. A work of ours awaits nothing but its own
statements, so its coroutine is driven where the statements run, with a connection whose awaitables are done at once: on a thread
for SQLite, in one greenlet for PostgreSQL.
"""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Dialect, Engine, NestedTransaction

_T = TypeVar("_T")


def in_one_go(engine: Engine, work: Callable[[Any], Awaitable[_T]]) -> _T:
    """One transaction, its coroutine driven from here to its end. Raises RuntimeError where it awaits anything else."""
    with engine.begin() as connection:
        steps = work(PlainTransaction(connection)).__await__()
        try:
            next(steps)
        except StopIteration as done:
            return done.value
        raise RuntimeError("a transaction awaits nothing but its own statements: it holds the database for everybody")


class PlainTransaction:
    """What a work uses of an AsyncConnection, over a plain connection: its awaitables are done at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def dialect(self) -> Dialect:
        """The dialect of the database."""
        return self._connection.dialect

    async def execute(self, statement: Any, parameters: Any = None) -> CursorResult[Any]:
        """As AsyncConnection.execute."""
        return self._connection.execute(statement, parameters)

    async def exec_driver_sql(self, statement: str, parameters: Any = None) -> CursorResult[Any]:
        """As AsyncConnection.exec_driver_sql."""
        return self._connection.exec_driver_sql(statement, parameters)

    async def run_sync(self, work: Callable[[Connection], _T]) -> _T:
        """As AsyncConnection.run_sync."""
        return work(self._connection)

    def begin_nested(self) -> "_Savepoint":
        """As AsyncConnection.begin_nested."""
        return _Savepoint(self._connection)


class _Savepoint:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._nested: NestedTransaction | None = None

    async def __aenter__(self) -> None:
        self._nested = self._connection.begin_nested()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._nested is not None
        if error is None:
            self._nested.commit()
        else:
            self._nested.rollback()
