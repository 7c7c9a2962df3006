"""Concurrent writers of SQLite share a commit; whoever fails is undone alone."""

import asyncio
from functools import partial

import pytest
from sqlalchemy import text

from database.engine import open_database
from tests.databases import sqlite_url

COUNT = text("SELECT number FROM kept ORDER BY number")


async def keep(tx, *, number: int) -> int:
    await tx.execute(text("INSERT INTO kept VALUES (:number)"), {"number": number})
    if number % 10 == 7:
        raise ValueError(number)
    return number


async def numbers(tx) -> list[int]:
    return list((await tx.execute(COUNT)).scalars())


@pytest.mark.parametrize("last", [7, 12])
async def test_whoever_fails_in_a_shared_commit_is_undone_alone(tmp_path, last):
    async with open_database(sqlite_url(tmp_path / "shared.sqlite3")) as database:
        await database.write(lambda tx: tx.execute(text("CREATE TABLE kept (number INTEGER PRIMARY KEY)")))
        first = asyncio.create_task(database.write(partial(keep, number=100)))  # while it commits, the others gather
        await asyncio.sleep(0)
        outcomes = await asyncio.gather(*(database.write(partial(keep, number=n)) for n in range(last + 1)), return_exceptions=True)
        await first
        assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, ValueError)] == [7]
        assert [outcome for outcome in outcomes if outcome != 7 and not isinstance(outcome, Exception)] == [n for n in range(last + 1) if n != 7]
        assert await database.read(numbers) == [*(n for n in range(last + 1) if n != 7), 100]


async def test_a_shared_commit_in_which_nobody_fails_needs_no_savepoint(tmp_path, monkeypatch):
    monkeypatch.setattr("database.engine._each_in_a_savepoint", None)
    async with open_database(sqlite_url(tmp_path / "shared.sqlite3")) as database:
        await database.write(lambda tx: tx.execute(text("CREATE TABLE kept (number INTEGER PRIMARY KEY)")))
        assert await asyncio.gather(*(database.write(partial(keep, number=n)) for n in range(5))) == list(range(5))
