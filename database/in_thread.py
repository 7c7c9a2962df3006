"""SQLite's transactions, each in one go on a thread: one for all that writes, a few for what only reads.

A driver that is asked statement by statement over an event loop pays four thread changes for each, many times what SQLite itself
needs. A work of ours awaits nothing but its own statements, so a whole transaction can run on the thread: its coroutine is driven
there, with a connection whose awaitables are done at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Dialect, Engine, NestedTransaction
from sqlalchemy.ext.asyncio import AsyncConnection

_T = TypeVar("_T")

_WAL_PATIENCE_MS = 2_000
"""How long emptying the WAL waits for readers to end."""


class ThreadTransaction:
    """What a work uses of an AsyncConnection, over a plain connection: nothing here ever waits for the loop."""

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


class SqliteThreads:
    """Threads with a connection each to one SQLite file."""

    def __init__(self, engine: Engine, count: int) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="ledger")

    async def run(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        """One transaction. A caller that is cancelled does not stop it; its answer is lost, as any may be."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._drive, work)

    async def close(self) -> None:
        """Wait for what is under way, and close the connections."""
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._engine.dispose)

    def _drive(self, work: Callable[[Any], Awaitable[_T]]) -> _T:
        with self._engine.begin() as connection:
            steps = work(ThreadTransaction(connection)).__await__()
            try:
                next(steps)
            except StopIteration as done:
                return done.value
            raise RuntimeError("a transaction awaits nothing but its own statements: it holds the database for everybody")


class WriterThread(SqliteThreads):
    """The one thread that writes to one SQLite file. The last act of its connection is to empty the WAL."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, 1)

    async def empty_wal(self) -> bool:
        """Move all of the WAL into the file and cut it to nothing, between two transactions. False: a reader held on to it."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._empty_wal)

    def _empty_wal(self) -> bool:
        # Straight on the driver: SQLAlchemy would begin a transaction, and within one a checkpoint is refused.
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            patience = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
            cursor.execute(f"PRAGMA busy_timeout = {_WAL_PATIENCE_MS}")  # all who write wait meanwhile
            busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            cursor.execute(f"PRAGMA busy_timeout = {patience}")
            cursor.close()
        finally:
            connection.close()
        return not busy
