"""Others on the same PostgreSQL server: one who holds a lock (F11), many who take every connection (F10)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import asyncpg
import pytest

from database.engine import open_database
from database.job_store import SqlJobStore
from database.migrate import migrate
from jobs.errors import StoreUnavailable
from tests.contract.asking import ask, claim, wish
from tests.postgres import PostgresServer


@pytest.fixture
async def url(postgres_server: PostgresServer) -> AsyncIterator[tuple[PostgresServer, str]]:
    template = postgres_server.new_database()
    await migrate(postgres_server.url(template))
    yield postgres_server, template
    await asyncio.to_thread(postgres_server.drop_database, template)


async def stranger(server: PostgresServer, name: str) -> asyncpg.Connection:
    return await asyncpg.connect(host="127.0.0.1", port=server.port, user="darkroom", database=name, ssl=False, timeout=10)


async def test_a_table_that_a_stranger_holds_is_waited_for_and_the_request_taken_once(url):
    server, name = url
    async with open_database(server.url(name)) as database:
        store = SqlJobStore(database)
        await ask(store)
        other = await stranger(server, name)
        held = other.transaction()
        await held.start()
        await other.execute("LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
        wanted = wish()
        asking = asyncio.ensure_future(store.submit(wanted, waiting_limit=50))
        await asyncio.sleep(3)  # longer than one lock_timeout
        assert not asking.done()
        await held.rollback()
        await other.close()

        job, created = await asyncio.wait_for(asking, 20)

        assert created and job.id == wanted.id
        assert len(await claim(store)) == 2


async def test_a_server_without_a_free_connection_is_an_outage_and_works_again_after(url):
    server, name = url
    async with AsyncExitStack() as stack, open_database(server.url(name)) as database:
        store = SqlJobStore(database)
        taken: list[asyncpg.Connection] = []
        with suppress(asyncpg.PostgresError):  # the one that the server refuses
            while len(taken) < 200:
                taken.append(await stranger(server, name))
                stack.push_async_callback(taken[-1].close)
        assert len(taken) < 200

        with pytest.raises(StoreUnavailable):
            await store.submit(wish(), waiting_limit=50)

        for connection in taken[-10:]:
            await connection.close()
        assert (await ask(store)).id
