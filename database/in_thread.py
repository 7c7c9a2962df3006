"""SQLite's transactions, each in one go on a thread: one for all that writes, a few for what only reads.

A driver that is asked statement by statement over an event loop pays four thread changes for each, many times what SQLite itself
needs. So a whole transaction runs there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncConnection

from database.one_go import in_one_go

_T = TypeVar("_T")

_WAL_PATIENCE_MS = 2_000
"""How long emptying the WAL waits for readers to end."""


class SqliteThreads:
    """Threads with a connection each to one SQLite file."""

    def __init__(self, engine: Engine, count: int) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="ledger")

    async def run(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        """One transaction. A caller that is cancelled does not stop it; its answer is lost, as any may be."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, in_one_go, self._engine, work)

    async def close(self) -> None:
        """Wait for what is under way, and close the connections."""
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._engine.dispose)


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
