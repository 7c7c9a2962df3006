"""Brings a database to the newest schema, without the alembic command.

Two starts at once migrate once: on SQLite they queue at the file lock, on PostgreSQL at an advisory lock that lives
as long as the one transaction everything happens in. Revisions only add (expand, later contract), so an old host may
go on while a new one migrates, and a host that finds a newer schema than its own leaves it alone.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from database.engine import postgresql_engine, serialise, sqlite_engine
from database.errors import DatabaseError
from database.faults import outage_of
from database.file_lock import hold_file_lock
from database.url import Target, read_url
from jobs.errors import StoreUnavailable

_log = logging.getLogger(__name__)

MIGRATING = 3
"""The advisory lock's purpose."""
_PATIENCE = 30.0
_TIMEOUT = 600.0


def head() -> str:
    """The newest revision this code knows."""
    newest = _scripts().get_current_head()
    assert newest is not None
    return newest


async def current(url: str) -> str | None:
    """The database's revision; None when it is empty or, for SQLite, not there. Changes nothing.

    Raises DatabaseUrlInvalid, StoreUnavailable.
    """
    target = read_url(url)
    if target.file is not None and not await asyncio.to_thread(target.file.exists):
        return None
    async with _engine(target, writes=False) as engine, engine.connect() as connection:
        return await connection.run_sync(_revision)


async def migrate(url: str) -> str:
    """Bring the database to :func:`head`, making it where there is none. Returns the revision it has then.

    Raises DatabaseUrlInvalid, DatabaseInUse (another process holds the SQLite file and it is not migrated yet),
    StoreUnavailable.
    """
    before = await current(url)
    if before is not None and before not in _known():
        _log.warning("the database is at revision %s, newer than this program knows; it is left as it is", before)
        return before
    if before is not None and before == head():
        return before
    target = read_url(url)
    if target.file is None:
        return await _upgrade(target)
    async with hold_file_lock(target.file, patience=_PATIENCE):
        return await _upgrade(target)


async def _upgrade(target: Target) -> str:
    async with _engine(target, writes=True) as engine, engine.begin() as connection:
        if target.file is None:
            # Another start may be migrating: wait for it longer than a request may wait for anything.
            await connection.execute(
                text("SELECT set_config('lock_timeout', '60s', true), set_config('statement_timeout', '0', true)")
            )
            await serialise(connection, MIGRATING)
        return await connection.run_sync(_upgrade_connection)


def _upgrade_connection(connection: Connection) -> str:
    before = _revision(connection)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    after = _revision(connection)
    if after is None:
        raise DatabaseError("not_migrated", "The migrations ran and left no revision behind: this is a bug.")
    if after != before:
        _log.info("the database went from revision %s to %s", before or "none", after)
    return after


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


@asynccontextmanager
async def _engine(target: Target, *, writes: bool) -> AsyncIterator[AsyncEngine]:
    if target.file is None:
        engine = postgresql_engine(target)
    else:  # altering a table by copying must not cascade through its children
        engine = sqlite_engine(target, synchronous="FULL", writes=writes, foreign_keys=False)
    try:
        async with asyncio.timeout(_TIMEOUT):
            yield engine
    except Exception as error:  # classified: what is no outage goes on as it came
        outage = outage_of(error)
        if outage is None:
            raise
        raise StoreUnavailable(outage.reason) from error
    finally:
        await engine.dispose()


def _known() -> set[str]:
    return {script.revision for script in _scripts().walk_revisions()}


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    # Alembic reads % as the start of a substitution.
    config.set_main_option("script_location", str(files("database") / "migrations").replace("%", "%%"))
    return config


if __name__ == "__main__":
    print(asyncio.run(migrate(sys.argv[1])))  # noqa: T201  (a command prints)
