"""Hosts on one PostgreSQL hear of each other at once; on SQLite and behind a pooler they do not even try."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from database import hints
from database.hints import Hint, Hints
from database.url import read_url


@asynccontextmanager
async def ear(url: str) -> AsyncIterator[tuple[Hints, list[Hint]]]:
    """A host that listens, and what it has heard since."""
    host, heard = Hints(read_url(url)), []
    running = asyncio.create_task(host.run(heard.append))
    try:
        async with asyncio.timeout(20):
            await host.listening.wait()
        heard.clear()
        yield host, heard
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def until(happens: Callable[[], bool], do: Callable[[], Awaitable[None]] | None = None) -> None:
    async with asyncio.timeout(20):
        while not happens():
            if do is not None:
                await do()
            await asyncio.sleep(0.02)


@pytest.fixture
def url(postgres_server, migrated_database) -> str:
    return postgres_server.url(migrated_database)


async def test_what_one_host_says_the_others_hear_and_not_itself(url):
    async with ear(url) as (one, own), ear(url) as (_, others):
        one.tell(Hint.QUEUED)
        one.tell(Hint.CANCEL)
        await until(lambda: set(others) == {Hint.QUEUED, Hint.CANCEL})
        assert own == []


async def test_a_thousand_words_in_one_breath_are_one_hint(url):
    async with ear(url) as (one, _), ear(url) as (_, others):
        for _ in range(1000):
            one.tell(Hint.QUEUED)
        await until(lambda: bool(others))
        one.tell(Hint.CANCEL)
        await until(lambda: Hint.CANCEL in others)
        assert others.count(Hint.QUEUED) <= 2


async def test_a_connection_that_the_server_ended_is_made_anew_and_counts_as_a_hint(url, postgres_server, migrated_database, monkeypatch):
    monkeypatch.setattr(hints, "_AGAIN", 0.05)
    async with ear(url) as (one, _), ear(url) as (other, heard):
        postgres_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' OR query LIKE '%pg_backend_pid%' AND pid <> pg_backend_pid()",
            database=migrated_database,
        )
        await until(lambda: Hint.QUEUED in heard)
        await until(lambda: one.listening.is_set() and other.listening.is_set())
        heard.clear()

        async def say() -> None:
            one.tell(Hint.CANCEL)

        await until(lambda: Hint.CANCEL in heard, say)


async def test_strangers_words_on_the_channel_are_no_hints(url, postgres_server, migrated_database):
    async with ear(url) as (one, _), ear(url) as (_, heard):
        postgres_server.execute("SELECT pg_notify('darkroom', 'drop table')", database=migrated_database)
        one.tell(Hint.CANCEL)
        await until(lambda: bool(heard))
        assert heard == [Hint.CANCEL]


@pytest.mark.parametrize("nobody", ["sqlite:///x.sqlite3", "postgresql://u@127.0.0.1:1/x?pgbouncer=true"])
async def test_where_nobody_can_hear_it_ends_at_once(nobody):
    host = Hints(read_url(nobody))
    host.tell(Hint.QUEUED)
    async with asyncio.timeout(5):
        await host.run(lambda _: None)


async def test_a_server_that_is_away_is_tried_again_and_again(monkeypatch):
    monkeypatch.setattr(hints, "_AGAIN", 0.01)
    running = asyncio.create_task(Hints(read_url("postgresql://u:p@127.0.0.1:1/x")).run(lambda _: None))
    await asyncio.sleep(0.2)
    assert not running.done()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_a_driver_that_loses_its_mind_over_a_dying_server_costs_hints_and_nothing_else(monkeypatch):
    monkeypatch.setattr("database.hints._AGAIN", 0)
    tries: list[int] = []

    class Dying(Hints):
        async def _connect(self):
            tries.append(1)
            if len(tries) > 2:
                raise asyncio.CancelledError
            raise asyncpg.InternalClientError("cannot switch to state 15")

    with pytest.raises(asyncio.CancelledError):
        await Dying(read_url("postgresql://somebody@localhost/nothing")).run(lambda _: None)
    assert len(tries) == 3
