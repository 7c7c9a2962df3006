"""The open database: engines, transactions, the file lock.

SQLite has one writing connection (every SQLite up to 3.51.2 may corrupt its WAL when two connections write and
checkpoint at once) and a few reading ones, in one process, held by a lock file; concurrent writers share a commit.
PostgreSQL works behind PgBouncer's transaction mode: no setting is made for a session, no lock is held outside a
transaction, and statements are kept prepared only where the connection is seen to lead to one server process.
"""

import asyncio
import logging
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Literal, TypeVar
from uuid import uuid4

from sqlalchemy import Engine, QueuePool, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from database.direct import is_trusted, trust_direct_connections
from database.faults import outage_of
from database.file_lock import hold_file_lock
from database.in_thread import SqliteThreads, WriterThread
from database.one_go import in_one_go
from database.together import Together
from database.url import Target, read_url
from jobs.errors import StoreUnavailable

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

Work = Callable[[AsyncConnection], Awaitable[_T]]
Synchronous = Literal["FULL", "NORMAL"]

TRIES = 4
_PAUSE = 0.05
_TRANSACTION_TIMEOUT = 40.0
"""Seconds. Above every limit inside (lock 2, statement 15, SQLite's busy 10, pool 15): it catches a silent network."""
_LOCK_PATIENCE = 3.0
_LIMITS = {"lock_timeout": "2s", "statement_timeout": "15s", "idle_in_transaction_session_timeout": "30s"}
_SET_LIMITS = "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _LIMITS.items())
_SHARE = 64
"""Works in one commit at most, so that the first of them does not wait for ever."""
_READERS = 2
"""Threads that read one SQLite file. More would only wait for the interpreter."""
_NAMESPACE = 0x6461726B  # "dark": the first half of our advisory locks
_LOCK = text("SELECT pg_advisory_xact_lock(:space, :key)")


class PassingOutage(StoreUnavailable):
    """It may work at the next try."""


class Database:
    """Transactions on the open database. Made by :func:`open_database`."""

    def __init__(
        self, writer: AsyncEngine, reader: AsyncEngine, *, thread: WriterThread | None = None, readers: SqliteThreads | None = None
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._thread = thread
        self._readers = readers
        self._commits: Together[Work[Any], Any] = Together(self._in_one_commit, at_most=_SHARE)

    @property
    def is_postgresql(self) -> bool:
        """Else it is SQLite."""
        return self._writer.dialect.name == "postgresql"

    async def write(self, work: Work[_T]) -> _T:
        """Run ``work`` in one writing transaction, again when it was a passing refusal: it must be safe to repeat.

        A commit whose answer was lost may have taken effect, so work is compare-and-set or keyed. On SQLite concurrent
        works share a commit; one that raises is undone alone. Raises StoreUnavailable.
        """
        if self.is_postgresql:
            return await self._patiently(self._writer, work)
        return await self._commits(work)

    async def write_once(self, work: Work[_T]) -> _T:
        """As :meth:`write`, without a second try and in a commit of its own. Raises PassingOutage where another may help."""
        try:
            return await self._once(self._writer, work)
        except Exception as error:  # classified: what is no outage goes on as it came
            outage = outage_of(error)
            if outage is None:
                raise
            raise (PassingOutage if outage.passing else StoreUnavailable)(outage.reason) from error

    async def read(self, work: Work[_T]) -> _T:
        """Run ``work`` on one consistent snapshot. Raises StoreUnavailable."""
        return await self._patiently(self._reader, work)

    async def flush_words(self) -> bool:
        """Empty SQLite's WAL into the file, so that what was deleted is overwritten everywhere. Nothing on PostgreSQL.

        Best effort: False, and a line in the log, where a reader is in the way.
        """
        if self._thread is None:
            return True
        try:
            async with asyncio.timeout(_TRANSACTION_TIMEOUT):
                emptied = await self._thread.empty_wal()
        except (sqlite3.Error, SQLAlchemyError, TimeoutError) as error:
            _log.warning("the WAL could not be emptied: %s", type(error).__name__)
            return False
        if not emptied:
            _log.warning("the WAL could not be emptied: somebody reads it; what was purged leaves it with a later checkpoint")
        return emptied

    async def version(self) -> str:
        """The server's or library's version, for the doctor."""
        question = "SHOW server_version" if self.is_postgresql else "SELECT sqlite_version()"
        return await self.read(lambda tx: _scalar(tx, question))

    async def close(self) -> None:
        """End what is being written and close the connections."""
        await self._commits.close()
        for threads in (self._readers, self._thread):
            if threads is not None:
                await threads.close()
        await self._writer.dispose()
        if self._reader.sync_engine.pool is not self._writer.sync_engine.pool:
            await self._reader.dispose()

    async def _in_one_commit(self, works: Sequence[Work[Any]]) -> Sequence[Any]:
        if len(works) == 1:
            return [await self._patiently(self._writer, works[0])]
        # Savepoints are two statements more for each work: only where somebody's work fails, all are done anew in them.
        for way in (_one_after_another, _each_in_a_savepoint):
            try:
                return await self._once(self._writer, partial(way, works=works))
            except Exception as error:  # noqa: BLE001  by whose fault ever, nothing of it took effect, or it does so once
                if outage_of(error) is not None:
                    break
                if way is _each_in_a_savepoint:
                    _log.warning("a shared commit failed: %r", error)
        return [await self._outcome(work) for work in works]

    async def _outcome(self, work: Work[Any]) -> Any:
        try:
            return await self._patiently(self._writer, work)
        except Exception as error:  # noqa: BLE001  the caller of this one work hears it
            return error

    async def _patiently(self, engine: AsyncEngine, work: Work[_T]) -> _T:
        for attempt in range(1, TRIES + 1):
            try:
                return await self._once(engine, work)
            except Exception as error:  # classified: what is no outage goes on as it came
                outage = outage_of(error)
                if outage is None:
                    raise
                if not outage.passing or attempt == TRIES:
                    raise StoreUnavailable(outage.reason) from error
                _log.info("the database is %s; try %d of %d follows", outage.reason, attempt + 1, TRIES)
            await asyncio.sleep(_PAUSE * 2**attempt * (0.5 + random.random()))  # noqa: S311  (jitter, no secret)
        raise AssertionError("unreachable: the last try returns or raises")

    async def _once(self, engine: AsyncEngine, work: Work[_T]) -> _T:
        threads = self._thread if engine is self._writer else self._readers
        async with asyncio.timeout(_TRANSACTION_TIMEOUT):
            if threads is not None:
                return await threads.run(work)
            return await greenlet_spawn(in_one_go, engine.sync_engine, work)


async def _one_after_another(tx: AsyncConnection, *, works: Sequence[Work[Any]]) -> list[Any]:
    return [await work(tx) for work in works]


async def _each_in_a_savepoint(tx: AsyncConnection, *, works: Sequence[Work[Any]]) -> list[Any]:
    """What each returned or raised; an error that leaves no transaction to go on with is everybody's."""
    results: list[Any] = []
    for work in works:
        try:
            async with tx.begin_nested():
                results.append(await work(tx))
        except Exception as error:
            if outage_of(error) is not None:
                raise
            results.append(error)
    return results


async def _scalar(tx: AsyncConnection, question: str) -> str:
    return str((await tx.execute(text(question))).scalar_one())


async def serialise(tx: AsyncConnection, purpose: int, what: int = 0) -> None:
    """Let transactions with the same purpose run one after another until commit. Nothing on SQLite: there all do.

    A statement of its own, so that the next one sees what the one before us committed.
    """
    if tx.dialect.name == "postgresql":
        await tx.execute(_LOCK, {"space": _NAMESPACE + purpose, "key": what})


async def try_serialise(tx: AsyncConnection, purpose: int) -> bool:
    """As :func:`serialise`, but False at once when somebody else is at it."""
    if tx.dialect.name != "postgresql":
        return True
    question = text("SELECT pg_try_advisory_xact_lock(:space, 0)")
    return bool((await tx.execute(question, {"space": _NAMESPACE + purpose})).scalar_one())


@asynccontextmanager
async def open_database(url: str, *, sqlite_synchronous: Synchronous = "FULL") -> AsyncIterator[Database]:
    """Open an already migrated database; closed on leaving. Nothing is asked of a PostgreSQL server yet.

    ``sqlite_synchronous`` NORMAL may lose the last commits in a power cut. Raises DatabaseUrlInvalid, DatabaseInUse.
    """
    target = read_url(url)
    async with AsyncExitStack() as stack:
        if target.file is not None:
            await stack.enter_async_context(hold_file_lock(target.file, patience=_LOCK_PATIENCE))
        writer, reader = engines(target, sqlite_synchronous=sqlite_synchronous)
        thread = readers = None
        if target.file is not None:
            thread = WriterThread(sqlite_thread_engine(target, synchronous=sqlite_synchronous))
            readers = SqliteThreads(sqlite_thread_engine(target, synchronous=sqlite_synchronous, writes=False), _READERS)
        database = Database(writer, reader, thread=thread, readers=readers)
        stack.push_async_callback(database.close)
        yield database


def engines(target: Target, *, sqlite_synchronous: Synchronous = "FULL") -> tuple[AsyncEngine, AsyncEngine]:
    """(writer, reader) for a target; on PostgreSQL they share a pool."""
    if target.file is not None:
        return (
            sqlite_engine(target, synchronous=sqlite_synchronous),
            sqlite_engine(target, synchronous=sqlite_synchronous, writes=False),
        )
    writer = postgresql_engine(target)
    return writer, writer.execution_options(isolation_level="REPEATABLE READ")


def sqlite_engine(target: Target, *, synchronous: Synchronous, writes: bool = True, foreign_keys: bool = True) -> AsyncEngine:
    """One writing connection, or a few that cannot write."""
    engine = create_async_engine(target.url, pool_size=1 if writes else 3, max_overflow=0, pool_timeout=15, hide_parameters=True)
    _prepare_sqlite(engine.sync_engine, synchronous=synchronous, writes=writes, foreign_keys=foreign_keys)
    return engine


def sqlite_thread_engine(target: Target, *, synchronous: Synchronous, writes: bool = True) -> Engine:
    """One writing connection for a thread of its own, or one that cannot write for each reading thread."""
    url = target.url.set(drivername="sqlite+pysqlite")
    how = {"connect_args": {"check_same_thread": False}, "hide_parameters": True}
    engine = create_engine(url, poolclass=QueuePool, pool_size=1 if writes else _READERS, max_overflow=0, **how)
    _prepare_sqlite(engine, synchronous=synchronous, writes=writes, foreign_keys=True)
    return engine


def _prepare_sqlite(engine: Engine, *, synchronous: Synchronous, writes: bool, foreign_keys: bool) -> None:
    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself: we say BEGIN
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout = 10000")
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        if writes:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute(f"PRAGMA synchronous = {synchronous}")
            cursor.execute("PRAGMA secure_delete = ON")  # what was purged is overwritten, not merely forgotten
        else:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        # A deferred transaction that reads and then writes fails with BUSY_SNAPSHOT at once, whatever the timeout.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def postgresql_engine(target: Target) -> AsyncEngine:
    """A pool whose connections may be anybody's between two transactions."""
    engine = create_async_engine(
        target.url,
        connect_args={
            **target.connect_args,
            # Behind PgBouncer the next transaction may meet a connection with other statements, or the same names.
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: f"__darkroom_{uuid4().hex}__",
        },
        pool_size=5,
        max_overflow=5,
        pool_timeout=15,
        # No ping before use: three round trips a transaction, and what it finds out :meth:`Database.write` mends as well.
        pool_recycle=1800,
        hide_parameters=True,
    )

    if not target.pooled:
        trust_direct_connections(engine.sync_engine, settings=_LIMITS)

    @event.listens_for(engine.sync_engine, "begin")
    def limit(connection: Any) -> None:
        # For this transaction only: as start-up parameters PgBouncer refuses them, as session settings it leaks them.
        if not is_trusted(connection):
            connection.exec_driver_sql(_SET_LIMITS)

    return engine
