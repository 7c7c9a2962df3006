"""The queries that run all the time use their indexes: a lost index shows here, not in production."""

from functools import partial

import pytest
from sqlalchemy import Select, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import Database
from database.moments import moment_from_now, now
from database.outbox import _due
from database.queue import ACTIVE, QUEUED, heads, whole_queue
from database.tables import job
from tests.contract.asking import order

PEOPLE, EACH = 100, 20


@pytest.fixture
async def long_queue(database: Database) -> Database:
    wanted = order().model_dump()
    rows = [
        {"id": f"j{n}", "idempotency_key": f"k{n}", "user_id": f"u{n % PEOPLE}", "door": "http",
         "kind": "text_to_image", "model": "house", "width": 128, "height": 128, "order": wanted,
         "state": "queued" if n % 10 == 0 else "done"}
        for n in range(PEOPLE * EACH)
    ]  # fmt: skip

    async def fill(tx) -> None:
        await tx.execute(insert(job).values(deadline=moment_from_now(60)), rows)
        await tx.exec_driver_sql("ANALYZE job")

    await database.write(fill)
    return database


# Each index covers only rows that wait, are active, or are to be posted: never what has ended, which grows for ever.
ACTIVE_ROWS = ("uq_job_user_id_slot", "ix_job_lease")
WAITING_ROWS = ("ix_job_queue", "ix_job_deadline")
OPEN_ROWS = ("ix_outbox_open", "ix_outbox_due")

QUERIES: dict[str, tuple[Select, tuple[str, ...]]] = {
    "active": (select(job.c.user_id, job.c.slot).where(ACTIVE), ACTIVE_ROWS),
    "lapsed": (select(job.c.seq).where(ACTIVE, job.c.lease_until < now()), ACTIVE_ROWS),
    "overdue": (select(job.c.seq).where(QUEUED, job.c.deadline < now()), WAITING_ROWS),
    "waiting of one": (select(func.count()).select_from(job).where(QUEUED, job.c.user_id == "u3"), WAITING_ROWS),
    "heads": (heads(), WAITING_ROWS),
    "whole queue": (whole_queue(), WAITING_ROWS),
    "outbox": (_due(), OPEN_ROWS),
}


async def test_frequent_queries_never_walk_through_what_has_ended(long_queue: Database):
    plans = {name: await long_queue.read(partial(_plan, query=query)) for name, (query, _) in QUERIES.items()}

    lost = {name: plan for name, plan in plans.items() if not any(index in plan for index in QUERIES[name][1])}
    assert lost == {}


async def _plan(tx: AsyncConnection, *, query: Select) -> str:
    sql = str(query.compile(dialect=tx.dialect, compile_kwargs={"literal_binds": True}))
    if tx.dialect.name == "postgresql":
        await tx.exec_driver_sql("SET LOCAL enable_seqscan = off")  # a table this small is read whole otherwise
        return "\n".join((await tx.exec_driver_sql("EXPLAIN " + sql)).scalars())
    return "\n".join(row[3] for row in await tx.exec_driver_sql("EXPLAIN QUERY PLAN " + sql))
