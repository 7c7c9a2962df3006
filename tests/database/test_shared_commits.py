"""Concurrent writers of SQLite share a commit; whoever fails is undone alone."""

import asyncio
from functools import partial

import pytest
from sqlalchemy import text

from database import engine
from database.engine import open_database
from tests.databases import sqlite_url

NUMBERS = text("SELECT number FROM kept ORDER BY number")


async def make_table(tx) -> None:
    await tx.execute(text("CREATE TABLE kept (number INTEGER PRIMARY KEY)"))


async def keep(tx, *, number: int) -> int:
    await tx.execute(text("INSERT INTO kept VALUES (:number)"), {"number": number})
    if number % 10 == 7:
        raise ValueError(number)
    return number


async def numbers(tx) -> list[int]:
    return list((await tx.execute(NUMBERS)).scalars())


@pytest.fixture
def apart(monkeypatch) -> list[int]:
    """How many works were done in savepoints of one commit, each time."""
    seen: list[int] = []
    real = engine._each_in_a_savepoint

    async def counted(tx, *, works):
        seen.append(len(works))
        return await real(tx, works=works)

    monkeypatch.setattr(engine, "_each_in_a_savepoint", counted)
    return seen


@pytest.mark.parametrize("count", [7, 12], ids=["nobody fails", "the eighth fails"])
async def test_whoever_fails_in_a_shared_commit_is_undone_alone(tmp_path, apart, count):
    async with open_database(sqlite_url(tmp_path / "shared.sqlite3")) as database:
        await database.write(make_table)
        outcomes = await asyncio.gather(*(database.write(partial(keep, number=n)) for n in range(count)), return_exceptions=True)
        sound = [n for n in range(count) if n != 7]
        assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, ValueError)] == [7] * (count > 7)
        assert [outcome for outcome in outcomes if not isinstance(outcome, Exception)] == sound
        assert await database.read(numbers) == sound
    assert len(apart) == (count > 7)  # savepoints are paid for where somebody failed only
