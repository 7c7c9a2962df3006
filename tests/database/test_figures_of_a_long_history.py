"""The figures of the last hour, scraped over HTTP's own reader, where a hundred thousand jobs have ended before."""

from functools import partial

import pytest
from sqlalchemy import Select, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.readings import MetricsReader
from database.engine import Database
from database.figures import _ended, _leases
from database.job_store import SqlJobStore
from database.moments import moment_from_now
from database.tables import job, job_event
from jobs.run import Run
from tests.contract.asking import ANA, BEN, MAKING, ask, by_turns, order, picture, waits

ENDED_LONG_AGO = 33_334
"""Jobs, each with three lines in the log."""


class Nobody:
    """A fleet without workers."""

    def online(self):
        return []


@pytest.fixture
async def old_house(database: Database) -> Database:
    """Jobs with the lines that their lives left in the log, all two hours ago."""
    then = moment_from_now(-7200)
    one = {"id": "old", "idempotency_key": "old", "user_id": "u", "door": "http", "kind": "text_to_image", "model": "house", "width": 128}
    ended = {"height": 128, "order": order().model_dump(), "state": "done", "making": {"worker": "w", "seconds": 2.0, "shared_with": 0}}
    line = {"generation": 0, "epoch": 1, "actor": "w"}
    lines = [
        {"job_id": f"old{n}", **line, "from_state": was, "to_state": becomes, "facts": {"predicted": 5.0, "reason": "fair"}}
        for n in range(ENDED_LONG_AGO)
        for was, becomes in (("queued", "leased"), ("leased", "running"), ("running", "done"))
    ]

    async def fill(tx: AsyncConnection) -> None:
        moments = dict.fromkeys(("deadline", "created_at", "started_at", "finished_at"), then)
        await tx.execute(insert(job).values(**moments, **one, **ended))
        await tx.exec_driver_sql(_MULTIPLIED)
        await tx.exec_driver_sql("DELETE FROM job WHERE id = 'old'")

    async def tell(tx: AsyncConnection, *, part: list) -> None:
        await tx.execute(insert(job_event).values(at=then), part)

    await database.write(fill)
    for start in range(0, len(lines), 20_000):
        await database.write(partial(tell, part=lines[start : start + 20_000]))
    await database.write(lambda tx: tx.exec_driver_sql("ANALYZE"))
    return database


_COPIED = ", ".join(f'"{column.name}"' for column in job.columns if column.name not in ("seq", "id", "idempotency_key", "user_id"))
_MULTIPLIED = f"""
    WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < {ENDED_LONG_AGO})
    INSERT INTO job (id, idempotency_key, user_id, {_COPIED})
    SELECT 'old' || n, 'key' || n, 'u' || (n % 1000), {_COPIED} FROM job, number WHERE id = 'old'
"""


async def test_a_scrape_tells_of_the_last_hour_alone_and_walks_through_nothing_else(old_house: Database):
    store = SqlJobStore(old_house)
    for user, times in ((ANA, 3), (BEN, 1)):
        for _ in range(times):
            await ask(store, user, cost=10.0)
    while jobs := await store.claim("gpu", by_turns(1), lease_seconds=30):
        await store.accept(Run.of(jobs[0]).key)
        await store.finish(Run.of(jobs[0]).key, [picture()], MAKING)
    await ask(store, ANA)
    await waits(store)

    told = {name: value for name, (_, value) in (await MetricsReader(database=old_house, store=store, fleet=Nobody()).read()).items()}

    assert (told["jobs_done_hour"], told["people_served_hour"], told["jobs_waiting"], told["jobs_active"]) == (4, 2, 1, 0)
    assert told["jain_index"] == pytest.approx(40**2 / (2 * (30**2 + 10**2)))
    assert (told["jobs_per_pass"], told["swaps_per_hour"], told["band_outside"], told["jobs_set_aside_hour"]) == (1, 0, 0, 0)
    assert 0 <= told["wait_seconds_p50"] <= told["wait_seconds_p95"] < 3600
    assert 0 < told["slowdown_p50"] <= told["slowdown_p95"] < 3600
    hour = moment_from_now(-3600)
    for query in (_leases(hour), _ended(hour, "done"), _ended(hour, "quarantined")):
        plan = await old_house.read(partial(_plan, query=query))
        assert "ix_job_event_at" in plan, plan
        assert not any(whole in plan for whole in ("Seq Scan on job", "SCAN job\n", "SCAN job_event\n")), plan


async def _plan(tx: AsyncConnection, *, query: Select) -> str:
    sql = str(query.compile(dialect=tx.dialect, compile_kwargs={"literal_binds": True}))
    if tx.dialect.name == "postgresql":
        return "\n".join((await tx.exec_driver_sql("EXPLAIN " + sql)).scalars()) + "\n"
    return "\n".join(row[3] for row in await tx.exec_driver_sql("EXPLAIN QUERY PLAN " + sql)) + "\n"
