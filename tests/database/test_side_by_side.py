"""Online migration (F44): revisions only add, so what an older host writes is taken before and after, and its work goes on while another migrates."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, MetaData, insert, inspect

from database import migrate as migrating
from database.engine import open_database
from database.job_store import SqlJobStore
from database.migrate import head, migrate
from database.moments import Moment, now
from database.session_store import SqlSessionStore
from database.tables import metadata
from jobs.job import JobState
from jobs.run import Run
from tests.contract.asking import ANA, BEN, EVA, MAKING, ask, by_turns, picture
from tests.databases import BACKENDS, sqlite_url
from tests.postgres import PostgresServer

STEPS = [("0001", "0002"), ("0002", "0003")]
"""Each revision after the first with the one before it. A new one belongs here too."""

Schema = dict[str, dict[str, Any]]


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "darkroom.sqlite3")
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.new_database()
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def migrate_to(monkeypatch: pytest.MonkeyPatch) -> Callable:
    upgrade = command.upgrade

    async def to(url: str, revision: str) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(migrating.command, "upgrade", lambda config, _: upgrade(config, revision))
            await migrate(url)

    return to


async def _of_database(url: str, look: Callable[[Connection], Any]) -> Any:
    async with open_database(url) as database:
        return await database.read(lambda tx: tx.run_sync(look))


def _schema(connection: Connection) -> Schema:
    inspector = inspect(connection)
    return {
        table: {
            "columns": {c["name"]: (str(c["type"]), c["nullable"], c["default"] is not None) for c in inspector.get_columns(table)},
            "checks": {c["name"]: c["sqltext"] for c in inspector.get_check_constraints(table)},
            "unique": {tuple(u["column_names"]) for u in inspector.get_unique_constraints(table)}
            | {tuple(i["column_names"]) for i in inspector.get_indexes(table) if i["unique"]},
            "foreign": {tuple(f["constrained_columns"]) for f in inspector.get_foreign_keys(table)},
        }
        for table in inspector.get_table_names()
    }


@pytest.mark.parametrize(("older", "newer"), STEPS)
async def test_a_revision_takes_nothing_away_and_demands_nothing_new(url: str, migrate_to: Callable, older: str, newer: str):
    await migrate_to(url, older)
    before: Schema = await _of_database(url, _schema)
    await migrate_to(url, newer)
    after: Schema = await _of_database(url, _schema)

    assert before.keys() <= after.keys()
    for table, was in before.items():
        columns = after[table]["columns"]
        assert was["columns"].items() <= columns.items(), table  # no column dropped, renamed, retyped or made NOT NULL
        for name in columns.keys() - was["columns"].keys():
            _, nullable, has_default = columns[name]
            assert nullable or has_default, f"{table}.{name}: an older host's INSERT lacks it"
        for kind in ("checks", "unique", "foreign"):  # a stricter rule would refuse what an older host writes
            assert after[table][kind] == was[kind], (table, kind)


def test_every_revision_is_judged():
    scripts = sorted(script.revision for script in migrating._scripts().walk_revisions())

    assert [newer for _, newer in STEPS] == scripts[1:]


@pytest.mark.parametrize(("older", "newer"), STEPS)
async def test_rows_as_the_older_host_writes_them_are_taken_by_the_newer_tables(url: str, migrate_to: Callable, older: str, newer: str):
    """An INSERT that names the older revision's columns, and no other, into every table that is written to without a parent."""
    await migrate_to(url, older)
    known = MetaData()
    async with open_database(url) as database:
        await database.read(lambda tx: tx.run_sync(known.reflect))
    await migrate_to(url, newer)

    async with open_database(url) as database:
        for table in known.tables.values():
            if table.name == "alembic_version" or table.foreign_keys:
                continue
            row = {c.name: _sample(metadata.tables[table.name].c[c.name]) for c in table.c if not c.nullable and c.name != "seq"}
            statement = insert(metadata.tables[table.name]).values(row)
            named = {c.name for c in statement.table.c} - row.keys()
            sql = statement.compile(dialect=database._writer.dialect, column_keys=list(row))
            assert not named & {key.strip('"') for key in sql.params}, table.name
            await database.write(lambda tx, statement=statement: tx.execute(statement))


def _sample(column) -> Any:
    if column.name in ("state", "to_state"):
        return "queued" if column.table.name in ("job", "job_event") else "active" if column.table.name == "worker" else "pending"
    return {"Integer": 1, "SmallInteger": 1, "BigInteger": 1, "Double": 1.0, "Boolean": False, "Json": {}}.get(
        type(column.type).__name__, _moment_or_text(column)
    )


def _moment_or_text(column) -> Any:
    return now() if isinstance(column.type, Moment) else "x"


async def test_a_host_goes_on_claiming_and_finishing_while_another_migrates(url: str, migrate_to: Callable):
    """On PostgreSQL with its connections open, statements prepared and a lease held across; SQLite's one host is stopped for it."""
    await migrate_to(url, "0002")
    async with open_database(url) as database:
        store = SqlJobStore(database)
        for person in (ANA, BEN, EVA) * 2:
            await ask(store, person)
        (held,) = await store.claim("gpu", by_turns(1), lease_seconds=60)
        if database.is_postgresql:
            migration = asyncio.ensure_future(migrate(url))
            await _make_all(store, until=migration)
            assert await migration == head()
            assert (await store.finish(Run.of(held).key, [picture()], MAKING)).state is JobState.DONE
            await _make_all(store)
            assert await store.unfinished() == []
            await SqlSessionStore(database).put(ANA, "1", "2")
    assert await migrate(url) == head()
    async with open_database(url) as database:
        store = SqlJobStore(database)
        if not database.is_postgresql:
            assert (await store.finish(Run.of(held).key, [picture()], MAKING)).state is JobState.DONE
        await _make_all(store)
        assert await store.unfinished() == []


async def _make_all(store: SqlJobStore, *, until: asyncio.Future | None = None) -> int:
    made = 0
    while (jobs := await store.claim("gpu2", by_turns(2, worker="gpu2"), lease_seconds=60)) or (until is not None and not until.done()):
        for job in jobs:
            await store.accept(Run.of(job).key)
            await store.finish(Run.of(job).key, [picture()], MAKING)
        made += len(jobs)
        if until is not None and not until.done():
            await ask(store, ANA)
    return made
