"""aiosqlite without its thread: statements run when the virtual network delivers them, with the database's clock virtual too.

Several simulated hosts may open one file, as several hosts do one PostgreSQL: a writing transaction waits for the one before it.
A dead host's connections are closed where they stand, which is what the kernel does for a killed process.
"""

import asyncio
import random
import re
import sqlite3
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiosqlite

from database.engine import Database
from tests.simulation.loop import HOST, SimLoop

EPOCH = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
"""Virtual second 0, by the database's clock and by true time."""

_OFFSET = re.compile(r"([+-]\d+(?:\.\d+)?) seconds?")


class Refusal(sqlite3.OperationalError):
    """What SQLite says when it cannot now."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(what)
        self.sqlite_errorcode = code
        self.sqlite_errorname = what


class SimDatabase:
    """One file, its clock, its faults."""

    def __init__(self, file: Path, loop: SimLoop, rng: random.Random) -> None:
        self.file = file
        self.loop = loop
        self.rng = rng
        self.latency = 0.002
        self.away_until = 0.0
        self.full_until = 0.0
        self.lost_answers = 0.0
        """How likely a commit takes effect and its answer is lost."""
        self.busy = 0.0
        """How likely a transaction cannot begin just now."""
        self.commits = 0
        self.after_commit: Callable[[int], None] | None = None
        self._writer: SimConnection | None = None
        self._queue: deque[Any] = deque()
        self._open: dict[int, list[SimConnection]] = {}

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.loop.time())

    def connect(self, *_: Any, **__: Any) -> "SimConnection":
        connection = SimConnection(self, HOST.get())
        self._open.setdefault(connection.host, []).append(connection)
        return connection

    def drop(self, host: int) -> None:
        """The process is gone: its sockets and file handles with it."""
        for connection in self._open.pop(host, []):
            connection.break_off()

    def strftime(self, form: str, base: str, *modifiers: str) -> str:
        """SQLite's function, as far as database/moments.py uses it."""
        if base != "now" or form != "%Y-%m-%d %H:%M:%f000":
            raise ValueError(f"the simulation does not know strftime({form!r}, {base!r})")
        moment = self.now()
        for modifier in modifiers:
            moment += timedelta(seconds=float(_OFFSET.fullmatch(modifier)[1]))  # type: ignore[index]
        return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}000"

    async def write_lock(self, connection: "SimConnection") -> None:
        while self._writer is not None and self._writer is not connection:
            turn = self.loop.create_future()
            self._queue.append(turn)
            await turn
        self._writer = connection

    def unlock(self, connection: "SimConnection") -> None:
        if self._writer is not connection:
            return
        self._writer = None
        while self._queue:  # everybody looks again; who is first among the living gets it
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)

    def check(self) -> None:
        if self.loop.time() < self.away_until:
            raise Refusal(sqlite3.SQLITE_CANTOPEN, "unable to open database file")


class SimConnection(aiosqlite.Connection):
    """aiosqlite.Connection without a thread."""

    def __init__(self, database: SimDatabase, host: int) -> None:
        self.host = host
        self._db = database
        self._running = True
        self._connection: sqlite3.Connection | None = None
        self._iter_chunk_size = 64
        self._tx = self
        self._thread = SimpleNamespace()  # SQLAlchemy makes it a daemon

    def __await__(self):
        return self._connect().__await__()

    def __del__(self) -> None:
        pass

    async def _connect(self) -> "SimConnection":
        await _pause(self._db)
        self._db.check()
        raw = sqlite3.connect(self._db.file, timeout=0, check_same_thread=False)
        raw.create_function("strftime", -1, self._db.strftime)
        for name in ("julianday", "unixepoch", "datetime", "current_timestamp"):
            raw.create_function(name, -1, _unknown)
        self._connection = raw
        return self

    def put_nowait(self, item: tuple[Any, Callable[[], Any]]) -> None:
        """SQLAlchemy sets the isolation level through aiosqlite's queue."""
        future, function = item
        result = function()
        if future is not None:
            future.set_result(result)

    def stop(self) -> None:
        self.break_off()

    def break_off(self) -> None:
        """Closed without a word: what was not committed is gone."""
        self._running = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._db.unlock(self)

    async def close(self) -> None:
        self.break_off()

    async def _execute(self, fn: Callable, *args: Any, **kw: Any) -> Any:
        name = fn.__name__
        if name in ("execute", "executemany"):
            await self._before(args[0])
        elif name == "commit":
            return await self._commit(fn)
        elif name == "rollback":
            result = fn()
            self._db.unlock(self)
            return result
        return self._perform(fn, args, kw)

    def _perform(self, fn: Callable, args: tuple, kw: dict) -> Any:
        if self._connection is None:
            raise ValueError("Connection closed")
        return fn(*args, **kw)

    async def _before(self, statement: str) -> None:
        await _pause(self._db)
        self._db.check()
        if statement.startswith("BEGIN"):
            if self._db.rng.random() < self._db.busy:
                raise Refusal(sqlite3.SQLITE_BUSY, "database is locked")
            if "IMMEDIATE" in statement:
                await self._db.write_lock(self)
        elif self._db.loop.time() < self._db.full_until and statement.startswith(("INSERT", "UPDATE")):
            raise Refusal(sqlite3.SQLITE_FULL, "database or disk is full")

    async def _commit(self, fn: Callable) -> None:
        await _pause(self._db)
        self._db.check()
        if self._connection is None:
            raise ValueError("Connection closed")
        wrote = self._connection.in_transaction and self._db._writer is self
        fn()
        self._db.unlock(self)
        if wrote:
            self._db.commits += 1
            if self._db.after_commit is not None:
                self._db.after_commit(self.host)
        await _pause(self._db)  # here a process may die with its commit done and nobody told
        if wrote and self._db.rng.random() < self._db.lost_answers:
            raise Refusal(sqlite3.SQLITE_BUSY, "the answer to a commit was lost")


class SimLedger(Database):
    """The real one has a thread that empties the WAL for it. Here other hosts may be in the way, as no second one ever is on a real SQLite."""

    def __init__(self, writer: Any, reader: Any, database: SimDatabase) -> None:
        super().__init__(writer, reader)
        self._simulated = database
        self.flushed: bool | None = None
        """Whether the last emptying succeeded; None where none was tried."""

    async def flush_words(self) -> bool:
        self.flushed = False
        for _ in range(20):
            await _pause(self._simulated)
            if self._simulated.loop.time() >= self._simulated.away_until and _emptied(self._simulated.file):
                self.flushed = True
                return True
            await asyncio.sleep(0.05)
        return False


def _emptied(file: Path) -> bool:
    raw = sqlite3.connect(file, timeout=0)
    try:
        busy, *_ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:
        return False
    finally:
        raw.close()
    return not busy


async def _pause(database: SimDatabase) -> None:
    """The way to the database: a moment at which other things happen, and at which its process may die."""
    done = database.loop.create_future()
    database.loop.call_later(database.rng.uniform(0.0, database.latency), _wake, done)
    await done


def _wake(future: Any) -> None:
    if not future.done():
        future.set_result(None)


def _unknown(*_: Any) -> None:
    raise ValueError("time from a function that the simulation does not make virtual")
