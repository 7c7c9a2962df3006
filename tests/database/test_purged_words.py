"""A purged person's words are gone from the file itself, not only from its tables."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from database.engine import Database, open_database
from database.job_store import SqlJobStore
from database.member_store import SqlMemberStore
from database.migrate import migrate
from database.operating import Operating
from tests.contract.asking import ANA, BEN, ask, order


async def test_the_file_holds_no_words_of_a_purged_person_once_it_is_closed(tmp_path: Path):
    file = tmp_path / "ledger.sqlite3"
    url = f"sqlite:///{file}"
    await migrate(url)
    async with open_database(url) as database:
        store = SqlJobStore(database)
        for number in range(60):
            await ask(store, ANA, order=order(prompt=f"a canary in a mine {number} " * 20))
        await ask(store, BEN, order=order(prompt="a lighthouse"))
        await Operating(database).purge(ANA)

    kept = b"".join(part.read_bytes() for part in tmp_path.iterdir())
    assert b"lighthouse" in kept
    assert b"canary" not in kept


@pytest.mark.parametrize("remove", [lambda database: Operating(database).purge(ANA), lambda database: SqlMemberStore(database).erase(ANA)])
async def test_they_are_gone_while_the_host_still_runs(remove: Callable[[Database], Awaitable[object]], tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    await migrate(url)
    async with open_database(url) as database:
        store = SqlJobStore(database)
        await ask(store, BEN, order=order(prompt="a lighthouse"))
        for number in range(60):
            job = await ask(store, ANA, order=order(prompt=f"a canary in a mine {number} " * 20))
            await store.request_cancel(job.id, ANA)
        await remove(database)

        kept = b"".join(part.read_bytes() for part in tmp_path.iterdir())
        assert b"lighthouse" in kept
        assert b"canary" not in kept


async def test_a_reader_in_the_way_costs_a_purge_nothing_but_the_emptied_wal(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    file = tmp_path / "ledger.sqlite3"
    await migrate(f"sqlite:///{file}")
    async with open_database(f"sqlite:///{file}") as database:
        store = SqlJobStore(database)
        await ask(store, ANA, order=order(prompt="a canary"))
        with closing(sqlite3.connect(file, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM job").fetchone()
            assert (await Operating(database).purge(ANA)).jobs == 1
            assert "could not be emptied" in caplog.text
            reader.execute("COMMIT")
        await ask(store, BEN)
        assert await database.flush_words()
