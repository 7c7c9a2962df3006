"""Between host and PostgreSQL: a slow line (F12), one that falls silent without a word (F13), one that is cut."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from database.engine import Database, open_database
from database.job_store import SqlJobStore
from database.migrate import migrate
from jobs.errors import StoreUnavailable
from jobs.job import JobState
from jobs.run import Run
from tests.contract.asking import MAKING, ask, claim, picture
from tests.postgres import PostgresServer
from tests.tcp_proxy import BadLine


@dataclass
class Reached:
    """A database at the end of a line."""

    line: BadLine
    database: Database
    store: SqlJobStore


@pytest.fixture
async def reached(postgres_server: PostgresServer) -> AsyncIterator[Reached]:
    name = postgres_server.new_database()
    await migrate(postgres_server.url(name))
    async with BadLine("127.0.0.1", postgres_server.port).serve() as line:
        url = postgres_server.url(name).replace(f":{postgres_server.port}/", f":{line.port}/")
        async with open_database(url) as database:
            yield Reached(line=line, database=database, store=SqlJobStore(database))
    await asyncio.to_thread(postgres_server.drop_database, name)


async def test_over_a_slow_line_work_is_taken_renewed_and_finished(reached: Reached):
    await ask(reached.store)
    reached.line.delay = 0.1  # 200 ms a round trip

    (job,) = await claim(reached.store)
    key = Run.of(job).key
    held, _ = await reached.store.renew([key], lease_seconds=30)
    await reached.store.accept(key)
    lapsed = await reached.store.expire(lost_max=3)
    done = await reached.store.finish(key, [picture()], MAKING)

    assert (held, lapsed, done.state) == ({key}, [], JobState.DONE)


async def test_a_line_that_falls_silent_is_an_outage_after_a_bounded_time_and_another_is_made(
    reached: Reached, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("database.engine._TRANSACTION_TIMEOUT", 0.5)
    asked = await ask(reached.store)
    before = reached.line.connections
    reached.line.open.clear()

    async with asyncio.timeout(15):
        with pytest.raises(StoreUnavailable, match="too slow"):
            await ask(reached.store)
        reached.line.cut()  # hours later, or when the router comes back: the silent ones are gone for good
        reached.line.open.set()
        assert await reached.store.get(asked.id) == asked
        assert len(await claim(reached.store)) == 1
    assert reached.line.connections > before


async def test_a_silent_connection_is_not_used_again(reached: Reached, monkeypatch: pytest.MonkeyPatch):
    """What was in flight when the limit ran out may still be answered: into a connection that nobody may have now."""
    monkeypatch.setattr("database.engine._TRANSACTION_TIMEOUT", 0.5)
    await ask(reached.store)
    before = reached.line.connections
    reached.line.open.clear()
    with pytest.raises(StoreUnavailable):
        await ask(reached.store)

    reached.line.open.set()

    assert len(await reached.store.unfinished()) >= 1
    assert reached.line.connections > before


async def test_a_cut_in_the_middle_of_a_write_takes_effect_once(reached: Reached):
    reached.line.delay = 0.02
    for _ in range(3):
        await ask(reached.store)
        (job,) = await claim(reached.store)
        async with asyncio.TaskGroup() as group:
            finishing = group.create_task(reached.store.finish(Run.of(job).key, [picture()], MAKING))
            await asyncio.sleep(0.05)
            reached.line.cut()
        assert finishing.result().state is JobState.DONE
        assert await reached.store.get(job.id) == finishing.result()
