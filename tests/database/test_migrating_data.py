"""A ledger of the first version, full of work, is brought to the newest one: nothing is lost, and what waits is made."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command

from database import migrate as migrating
from database.engine import open_database
from database.job_store import SqlJobStore
from database.migrate import migrate
from jobs.job import JobId, JobState
from jobs.run import Run
from tests.contract.asking import MAKING, by_turns, order, picture
from tests.databases import BACKENDS, sqlite_url
from tests.postgres import PostgresServer

ORDER = order().model_dump_json(exclude={"count", "loras", "scheduler", "image", "mask", "strength", "frames", "fps", "scale", "parent"})
WORK = [
    f"""INSERT INTO job (id, idempotency_key, user_id, door, kind, model, width, height, "order", state, slot, worker, epoch, lease_until,
        created_at, deadline) VALUES ('{name}', 'k-{name}', 'web:{name}', 'http', 'text_to_image', 'house', 128, 128, '{ORDER}', {held},
        '2026-01-01 00:00:00.000000', '2099-01-01 00:00:00.000000')"""
    for name, held in (
        ("waits", "'queued', NULL, NULL, 0, NULL"),
        ("runs", "'running', 0, 'gpu', 1, '2099-01-01 00:00:00.000000'"),
        ("ended", "'done', NULL, NULL, 1, NULL"),
    )
]


@pytest.fixture(params=BACKENDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "darkroom.sqlite3")
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.new_database()
    yield server.url(name)
    server.drop_database(name)


async def test_work_of_the_first_version_goes_on_in_the_newest(empty_url: str, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as first:
        upgrade = command.upgrade
        first.setattr(migrating.command, "upgrade", lambda config, _: upgrade(config, "0001"))
        await migrate(empty_url)
    async with open_database(empty_url) as database:
        for statement in WORK:
            await database.write(lambda tx, statement=statement: tx.exec_driver_sql(statement))

    assert await migrate(empty_url) == migrating.head()

    async with open_database(empty_url) as database:
        store = SqlJobStore(database)
        (running,) = await store.adopt("gpu", lease_seconds=30)
        assert (await store.finish(Run.of(running).key, [picture()], MAKING)).state is JobState.DONE
        (claimed,) = await store.claim("gpu", by_turns(4), lease_seconds=30)
        assert claimed.id == "waits"
        ended = await store.get(JobId("ended"))
        assert ended is not None
        assert ended.state is JobState.DONE
