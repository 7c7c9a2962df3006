"""Behind a real PgBouncer in transaction mode: connections change hands between any two transactions, and nothing is noticed of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from database.engine import open_database
from database.hints import Hints
from database.job_store import SqlJobStore
from database.migrate import head, migrate
from database.url import read_url
from jobs.job import JobState, UserId
from jobs.run import Run
from tests.contract.asking import MAKING, ask, by_turns, picture
from tests.pooler import pooling
from tests.postgres import PostgresServer


@pytest.fixture(scope="module")
def pooler(postgres_server: PostgresServer) -> Iterator[int]:
    with pooling(postgres_server) as port:
        yield port


@pytest.fixture(params=["noticed", "told"])
async def url(request: pytest.FixtureRequest, pooler: int, postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A migrated database through the pooler: as a plain URL, and as one that says what it leads to."""
    name = postgres_server.new_database()
    url = postgres_server.url(name).replace(f":{postgres_server.port}/", f":{pooler}/")
    url += "&pgbouncer=true" if request.param == "told" else ""
    assert await migrate(url) == head()
    yield url
    await asyncio.to_thread(postgres_server.drop_database, name)


async def test_two_hosts_submit_claim_and_finish_through_it_and_each_job_is_made_once(url: str):
    async with open_database(url) as here, open_database(url) as there:
        stores = [SqlJobStore(here, owner="here"), SqlJobStore(there, owner="there")]
        people = [UserId(f"web:{n}") for n in range(12)]
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(stores[n % 2], people[n % 12])) for n in range(48)]
        made: list[str] = []
        async with asyncio.TaskGroup() as group:
            for n, store in enumerate(stores):
                group.create_task(_work_through(store, f"gpu{n}", made))

        assert sorted(made) == sorted(task.result().id for task in asked)


async def _work_through(store: SqlJobStore, worker: str, made: list[str]) -> None:
    idle = 0
    while idle < 5:  # the other one may hold both places of everybody who is left
        jobs = await store.claim(worker, by_turns(4), lease_seconds=30)
        idle = 0 if jobs else idle + 1
        await store.renew([Run.of(job).key for job in jobs], lease_seconds=30)
        done = await asyncio.gather(*(store.finish(Run.of(job).key, [picture()], MAKING) for job in jobs))
        assert all(job.state is JobState.DONE for job in done)
        made += [job.id for job in jobs]


async def test_no_limit_and_few_statements_are_left_on_connections_that_others_get(url: str, pooler: int, postgres_server: PostgresServer):
    """A statement is closed with the next one, which may go over another connection: one in fifty or so stays until the pooler renews it."""
    async with open_database(url) as database:
        store = SqlJobStore(database)
        for n in range(60):
            await ask(store, UserId(f"web:{n}"))
        name = url.partition("?")[0].rpartition("/")[2]
        seen = await _through_everybodys(postgres_server, pooler, name)

    assert {(row[0], row[1]) for row in seen} == {("0", "0")}
    assert sum(row[2] for row in seen) < 60  # of some three hundred


async def _through_everybodys(server: PostgresServer, port: int, name: str) -> list[tuple[str, str, int]]:
    """(statement_timeout, lock_timeout, prepared statements) as a stranger finds them on each of the pooler's connections."""
    found: list[tuple[str, str, int]] = []
    strangers = [
        await asyncpg.connect(host="127.0.0.1", port=port, user="darkroom", database=name, ssl=False, statement_cache_size=0) for _ in range(3)
    ]
    try:
        transactions = [stranger.transaction() for stranger in strangers]  # three at once: each on a connection of its own
        for transaction in transactions:
            await transaction.start()
        for stranger in strangers:
            settings = [(await stranger.fetch(f"SHOW {what}"))[0][0] for what in ("statement_timeout", "lock_timeout")]
            ours = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE '%darkroom%'"
            found.append((settings[0], settings[1], (await stranger.fetch(ours))[0][0]))
        for transaction in transactions:
            await transaction.rollback()
    finally:
        for stranger in strangers:
            await stranger.close()
    return found


async def test_there_is_no_listening_behind_it_and_nobody_waits_for_any(url: str):
    hints = Hints(read_url(url))

    await asyncio.wait_for(hints.run(lambda _: None), 10)

    assert not hints.listening.is_set()
