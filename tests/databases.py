"""A fresh, migrated database of either kind for each test."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from database.engine import Database, open_database
from database.migrate import migrate
from database.tables import metadata
from tests.postgres import PostgresServer, in_thread

BACKENDS = ("sqlite", "postgresql")

Open = Callable[[], AbstractAsyncContextManager[Database]]


def sqlite_url(file: Path) -> str:
    return f"sqlite:///{file}"


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to copy."""
    file = tmp_path_factory.mktemp("template") / "template.sqlite3"
    in_thread(migrate(sqlite_url(file)))
    return file


@pytest.fixture(scope="session")
def migrated_database(postgres_server: PostgresServer) -> str:
    """A migrated PostgreSQL database, emptied after each test: ten times faster than making one."""
    name = postgres_server.new_database()
    in_thread(migrate(postgres_server.url(name)))
    return name


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated, empty database, once for each kind."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("migrated_file"), tmp_path / "darkroom.sqlite3")
        yield sqlite_url(tmp_path / "darkroom.sqlite3")
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = request.getfixturevalue("migrated_database")
    yield server.url(name)
    server.execute(*(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables)), database=name)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """That database, open. SQLite without its sync at commit: tests pull no plug."""
    async with open_database(database_url, sqlite_synchronous="NORMAL") as opened:
        yield opened


@pytest.fixture
def open_again(database_url: str) -> Open:
    """Opens the same database, as a host that starts does."""
    return partial(open_database, database_url, sqlite_synchronous="NORMAL")
