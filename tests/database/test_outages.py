import asyncio
import sqlite3
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from database.engine import Database, open_database
from database.faults import Outage, outage_of
from database.job_store import SqlJobStore
from database.migrate import migrate
from jobs.errors import StoreUnavailable
from jobs.job import JobState
from jobs.run import Run
from tests.contract.asking import MAKING, ask, claim, order, picture
from tests.databases import sqlite_url
from tests.postgres import PostgresServer, running_server


class CodedError(Exception):
    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


def _driver_error(original: BaseException, *, lost: bool = False) -> DBAPIError:
    return DBAPIError("SELECT 1", {}, original, connection_invalidated=lost)


def _sqlite(code: int) -> DBAPIError:
    error = sqlite3.OperationalError("x")
    error.sqlite_errorcode = code
    return OperationalError("SELECT 1", {}, error)


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (ConnectionRefusedError(), True),
        (ConnectionResetError(), True),
        (TimeoutError(), False),
        (_driver_error(Exception("gone"), lost=True), True),
        (_driver_error(CodedError("40001")), True),
        (_driver_error(CodedError("40P01")), True),
        (_driver_error(CodedError("55P03")), True),
        (_driver_error(CodedError("57P01")), True),
        (_driver_error(CodedError("57014")), False),
        (_driver_error(CodedError("53100")), False),
        (_driver_error(CodedError("53300")), True),
        (_driver_error(CodedError("28P01")), False),
        (_driver_error(CodedError("3D000")), False),
        (ssl.SSLCertVerificationError(), False),
        (_sqlite(sqlite3.SQLITE_BUSY), True),
        (_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT), True),
        (_sqlite(sqlite3.SQLITE_LOCKED), True),
        (_sqlite(sqlite3.SQLITE_FULL), False),
        (_sqlite(sqlite3.SQLITE_IOERR_WRITE), False),
        (_sqlite(sqlite3.SQLITE_CANTOPEN), False),
    ],
)
def test_every_shape_of_not_now_is_known(error: BaseException, passing: bool):
    outage = outage_of(error)

    assert isinstance(outage, Outage)
    assert outage.passing is passing


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        _driver_error(CodedError("42601")),
        IntegrityError("INSERT", {}, CodedError("23505")),
        _sqlite(sqlite3.SQLITE_CONSTRAINT_UNIQUE),
        _sqlite(sqlite3.SQLITE_CORRUPT),
    ],
)
def test_bugs_and_broken_constraints_are_no_outage(error: BaseException):
    assert outage_of(error) is None


async def test_a_full_disk_is_an_outage_and_loses_nothing(tmp_path: Path):
    url = sqlite_url(tmp_path / "x.sqlite3")
    await migrate(url)
    async with open_database(url) as database:
        store = SqlJobStore(database)
        kept = await ask(store)
        await _limit_pages(database, 1)  # SQLite never goes below what there is: the file is full now

        with pytest.raises(StoreUnavailable, match="disk full"):
            await _fill(store, "x" * 2000)

        await _limit_pages(database, 10**6)
        assert await store.get(kept.id) == kept
        await ask(store)


async def _fill(store: SqlJobStore, prompt: str) -> None:
    for _ in range(100):
        await ask(store, order=order(prompt=prompt))


async def _limit_pages(database: Database, pages: int) -> None:
    async def work(tx) -> None:
        await tx.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    await database.write(work)


async def test_no_prompt_reaches_the_error(tmp_path: Path):
    url = sqlite_url(tmp_path / "x.sqlite3")
    await migrate(url)
    async with open_database(url) as database:
        await _limit_pages(database, 1)
        with pytest.raises(StoreUnavailable) as caught:
            await _fill(SqlJobStore(database), "secret " * 200)

    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in str(error)
        error = error.__cause__ or error.__context__


async def test_a_passing_refusal_is_tried_again_without_anybody_noticing(database: Database):
    tries: list[int] = []

    async def refused_twice(_: object) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionResetError
        return "done"

    assert await database.write(refused_twice) == "done"


async def test_tries_are_bounded(database: Database):
    tries: list[int] = []

    async def refused(_: object) -> None:
        tries.append(1)
        raise ConnectionResetError

    with pytest.raises(StoreUnavailable, match="unreachable"):
        await database.write(refused)
    assert len(tries) == 4


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that may be killed: the shared one must live."""
    with running_server() as server:
        yield server


async def test_a_postgresql_that_dies_is_an_outage_and_the_work_goes_on_after(own_server: PostgresServer):
    await migrate(own_server.url())
    async with open_database(own_server.url()) as database:
        store = SqlJobStore(database)
        await ask(store)
        (job,) = await claim(store)

        await asyncio.to_thread(own_server.kill9)
        for write in (store.accept(Run.of(job).key), store.look(lambda line: line, fresh=0), store.expire(lost_max=3), ask(store)):
            with pytest.raises(StoreUnavailable):
                await write

        await asyncio.to_thread(own_server.start)
        assert (await store.finish(Run.of(job).key, [picture()], MAKING)).state is JobState.DONE


async def test_a_finish_in_the_moment_the_connection_dies_takes_effect_once(own_server: PostgresServer):
    await migrate(own_server.url())
    async with open_database(own_server.url()) as database:
        store = SqlJobStore(database)
        for _ in range(5):
            await ask(store)
            (job,) = await claim(store)
            async with asyncio.TaskGroup() as group:
                finishing = group.create_task(store.finish(Run.of(job).key, [picture()], MAKING))
                await asyncio.sleep(0.005)
                group.create_task(asyncio.to_thread(own_server.execute, _CUT))
            assert finishing.result().state is JobState.DONE
            assert (await store.get(job.id)) == finishing.result()


_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'darkroom'"
