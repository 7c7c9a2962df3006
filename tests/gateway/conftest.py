import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from database.engine import open_database
from tests.databases import sqlite_url
from tests.gateway.scripted_worker import ScriptedWorker
from tests.gateway.studio import Studio, open_studio


@pytest.fixture
async def studio_of(migrated_file, tmp_path) -> AsyncIterator[Callable]:
    async with AsyncExitStack() as stack:

        async def make(*workers: ScriptedWorker, **door) -> Studio:
            shutil.copyfile(migrated_file, tmp_path / "ledger.sqlite3")
            database = await stack.enter_async_context(open_database(sqlite_url(tmp_path / "ledger.sqlite3"), sqlite_synchronous="NORMAL"))
            return await stack.enter_async_context(open_studio(database, tmp_path, *workers, **door))

        yield make


@pytest.fixture
async def worker() -> ScriptedWorker:
    return ScriptedWorker()


@pytest.fixture
async def studio(studio_of, worker) -> Studio:
    return await studio_of(worker)
