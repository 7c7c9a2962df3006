import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from database.engine import Database, open_database
from database.errors import DatabaseInUse
from database.job_store import SqlJobStore
from database.migrate import migrate
from tests.contract.asking import ask, claim, order
from tests.databases import Open, sqlite_url
from tests.postgres import PostgresServer


@pytest.fixture
async def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("database.engine._LOCK_PATIENCE", 0.2)
    file = tmp_path / "storage" / "darkroom.sqlite3"
    await migrate(sqlite_url(file))
    return file


async def test_a_second_host_on_the_same_file_is_refused_with_advice(file: Path):
    async with open_database(sqlite_url(file)):
        with pytest.raises(DatabaseInUse, match=rf"in use by process {os.getpid()}.*PostgreSQL"):
            async with open_database(sqlite_url(file)):
                pass
    async with open_database(sqlite_url(file)):
        pass


async def test_a_killed_host_leaves_no_lock_behind(file: Path):
    holder = _hold(f"{file}.lock")
    with pytest.raises(DatabaseInUse):
        async with open_database(sqlite_url(file)):
            pass

    holder.send_signal(signal.SIGKILL)
    holder.communicate()

    async with open_database(sqlite_url(file)) as database:
        assert await database.version() == sqlite3.sqlite_version


def _hold(lock: str) -> subprocess.Popen[bytes]:
    code = """
import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


async def test_the_file_is_for_its_owners_eyes_only(file: Path):
    async with open_database(sqlite_url(file)) as database:
        await ask(SqlJobStore(database))
        modes = {found.name: stat.S_IMODE(found.stat().st_mode) for found in file.parent.iterdir()}

    assert {"darkroom.sqlite3", "darkroom.sqlite3-wal"} <= modes.keys()
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


async def test_sqlite_is_opened_as_the_ledger_needs_it(file: Path):
    async def settings(tx) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "query_only")
        return [(await tx.exec_driver_sql(f"PRAGMA {name}")).scalar_one() for name in names]

    async with open_database(sqlite_url(file)) as database:
        assert await database.write(settings) == ["wal", 2, 1, 10000, 0]
        assert await database.read(settings) == ["wal", 2, 1, 10000, 1]


async def _limits(tx) -> list[object]:
    names = ("lock_timeout", "statement_timeout", "synchronous_commit", "transaction_isolation")
    return [(await tx.exec_driver_sql(f"SHOW {name}")).scalar_one() for name in names]


async def test_behind_a_pooler_transactions_are_limited_without_touching_the_session(postgres_server: PostgresServer):
    async with open_database(postgres_server.url() + "&pgbouncer=true") as database:
        assert await database.write(_limits) == ["2s", "15s", "on", "read committed"]
        assert await database.read(_limits) == ["2s", "15s", "on", "repeatable read"]
        async with database._writer.connect() as raw:
            session = await raw.get_raw_connection()
            assert await session.driver_connection.fetchval("SELECT name FROM pg_prepared_statements") is None
            await raw.rollback()
            assert await session.driver_connection.fetchval("SHOW statement_timeout") == "0"


async def test_a_connection_seen_to_be_direct_keeps_its_statements_and_limits(postgres_server: PostgresServer):
    async with open_database(postgres_server.url()) as database:
        assert await database.write(_limits) == ["2s", "15s", "on", "read committed"]
        assert await database.read(_limits) == ["2s", "15s", "on", "repeatable read"]
        async with database._writer.connect() as raw:
            session = await raw.get_raw_connection()
            assert await session.driver_connection.fetchval("SELECT count(*) FROM pg_prepared_statements") > 1
            assert await session.driver_connection.fetchval("SHOW statement_timeout") == "15s"


async def test_a_writing_transaction_holds_the_file_from_its_first_moment(file: Path):
    async def somebody_else(_: object) -> None:
        with contextlib.closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")

    async with open_database(sqlite_url(file)) as database:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            await database.write(somebody_else)
        await database.read(somebody_else)


async def test_readers_do_not_wait_for_a_writer_and_see_what_was_committed(database: Database):
    store = SqlJobStore(database)
    await ask(store)
    under_way, may_end = threading.Event(), threading.Event()

    async def slow_write(tx) -> None:
        await tx.exec_driver_sql("DELETE FROM outbox")
        await tx.exec_driver_sql("DELETE FROM job")
        under_way.set()
        if database.is_postgresql:
            await tx.exec_driver_sql("SELECT pg_advisory_xact_lock(1)")
        else:  # its writer has a thread of its own
            assert may_end.wait(20)

    async with asyncio.TaskGroup() as group, _holding_a_lock(database):
        group.create_task(database.write(slow_write))
        await asyncio.to_thread(under_way.wait, 20)
        assert len(await store.unfinished()) == 1
        may_end.set()

    assert await store.unfinished() == []


@contextlib.asynccontextmanager
async def _holding_a_lock(database: Database) -> AsyncIterator[None]:
    if not database.is_postgresql:
        yield
        return
    async with database._writer.begin() as other:
        await other.exec_driver_sql("SELECT pg_advisory_xact_lock(1)")
        yield


async def test_a_cancelled_transaction_leaves_no_stuck_connection(database: Database):
    store = SqlJobStore(database)

    async def clear(tx) -> None:
        await tx.exec_driver_sql("DELETE FROM job")
        if database.is_postgresql:
            await tx.exec_driver_sql("SELECT pg_sleep(60)")
        raise ZeroDivisionError

    await ask(store)
    for _ in range(12):
        task = asyncio.ensure_future(database.write(clear))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, ZeroDivisionError)):
            await task

    assert len(await claim(store)) == 1


async def test_a_transaction_may_not_wait_for_anything_else(database: Database):
    something_else = asyncio.get_running_loop().create_future()

    async def waits(tx) -> None:
        await tx.exec_driver_sql("DELETE FROM job")
        await something_else

    await ask(SqlJobStore(database))
    with pytest.raises(RuntimeError, match="awaits nothing but its own statements"):
        await database.write(waits)
    assert len(await SqlJobStore(database).unfinished()) == 1


async def test_what_was_written_is_there_after_opening_again(open_again: Open):
    async with open_again() as database:
        job = await ask(SqlJobStore(database), order=order(prompt="kept"))
    async with open_again() as database:
        assert await SqlJobStore(database).get(job.id) == job
