import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect

from database.engine import open_database
from database.errors import DatabaseInUse
from database.file_lock import hold_file_lock
from database.migrate import current, head, migrate
from database.tables import metadata
from jobs.errors import StoreUnavailable
from tests.databases import BACKENDS, sqlite_url
from tests.postgres import PostgresServer


@pytest.fixture(params=BACKENDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "deep" / "darkroom.sqlite3")
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.new_database()
    yield server.url(name)
    server.drop_database(name)


async def test_an_empty_database_is_brought_to_the_newest_revision_once(empty_url: str):
    assert await current(empty_url) is None

    assert await migrate(empty_url) == head()
    assert await migrate(empty_url) == head() == await current(empty_url)


async def test_migrations_make_exactly_the_tables_the_code_speaks_of(empty_url: str):
    await migrate(empty_url)

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with open_database(empty_url) as database:
        assert await database.read(lambda tx: tx.run_sync(differences)) == []


async def test_migrations_make_every_check_constraint(empty_url: str):
    def checks(connection: Connection) -> set[str | None]:
        inspector = inspect(connection)
        tables = inspector.get_table_names()
        return {check["name"] for table in tables for check in inspector.get_check_constraints(table)}

    await migrate(empty_url)
    async with open_database(empty_url) as database:
        assert await database.read(lambda tx: tx.run_sync(checks)) == {
            "ck_job_two_slots", "ck_job_slot_while_active", "ck_job_known_state", "ck_outbox_known_state",
        }  # fmt: skip


async def test_five_starts_at_once_migrate_once(empty_url: str):
    async with asyncio.TaskGroup() as group:
        starts = [group.create_task(migrate(empty_url)) for _ in range(5)]

    assert {start.result() for start in starts} == {head()}


async def test_a_failed_migration_leaves_nothing_behind(empty_url: str, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patched:
        patched.setattr("alembic.op.create_index", _explode)
        with pytest.raises(ZeroDivisionError):
            await migrate(empty_url)

    assert await current(empty_url) is None
    assert await migrate(empty_url) == head()


def _explode(*_: object, **__: object) -> None:
    raise ZeroDivisionError


async def test_a_newer_schema_is_left_as_it_is(tmp_path: Path, migrated_file: Path, caplog):
    file = tmp_path / "newer.sqlite3"
    shutil.copyfile(migrated_file, file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    assert await migrate(sqlite_url(file)) == "9999"
    assert "newer than this program knows" in caplog.text


async def test_a_file_that_another_process_uses_is_not_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("database.migrate._PATIENCE", 0.1)
    async with hold_file_lock(tmp_path / "x.sqlite3", patience=1):
        with pytest.raises(DatabaseInUse):
            await migrate(sqlite_url(tmp_path / "x.sqlite3"))


async def test_an_unreachable_server_is_an_outage(postgres_server: PostgresServer):
    url = postgres_server.url().replace(str(postgres_server.port), "1")

    with pytest.raises(StoreUnavailable):
        await migrate(url)


async def test_a_database_that_does_not_exist_is_named_as_such(postgres_server: PostgresServer):
    with pytest.raises(StoreUnavailable, match="no such database"):
        await current(postgres_server.url("nowhere"))


def test_migrations_run_as_a_command_from_anywhere(tmp_path: Path):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "error", "-m", "database.migrate", sqlite_url(tmp_path / "x.sqlite3")]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)

    assert run.stdout.strip() == head()
