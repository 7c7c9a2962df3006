"""The queries that run all the time use their indexes: a lost index shows here, not in production."""

from functools import partial

import pytest
from sqlalchemy import Select, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from database.claim import _OF_DISPATCH, _statement
from database.engine import Database
from database.fenced import _LOCKING
from database.figures import _ended
from database.log import _news, read_position
from database.moments import moment_from_now, now
from database.one_trip import _together
from database.outbox import _due
from database.queue import ACTIVE, ALL_ACTIVE, QUEUED
from database.submitting import _KNOWN_AND_WAITING
from database.tables import account, job
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
ONE_JOB = ("uq_job_id", "sqlite_autoindex_job_1", "(id=?)", "pk_job")
NEW_LINES = ("ix_job_event_xid", "USING INTEGER PRIMARY KEY (rowid>?)")

QUERIES: dict[str, tuple[Select, tuple[str, ...]]] = {
    "active": (select(job.c.user_id, job.c.slot).where(ACTIVE), ACTIVE_ROWS),
    "held": (select(job).where(ALL_ACTIVE, job.c.worker == "w"), ACTIVE_ROWS),
    "of one claim": (_OF_DISPATCH.params(dispatch="x"), ACTIVE_ROWS),
    "lapsed": (select(job.c.seq).where(ACTIVE, job.c.lease_until < now()), ACTIVE_ROWS),
    "overdue": (select(job.c.seq).where(QUEUED, job.c.deadline < now()), WAITING_ROWS),
    "submission": (_KNOWN_AND_WAITING.params(user="u3", key="k"), WAITING_ROWS),
    "a part of the queue": (select(job.c.seq).where(QUEUED, job.c.seq > 7).order_by(job.c.seq).limit(9), (*WAITING_ROWS, *ONE_JOB)),
    "writes of lease holders": (_LOCKING.params(ids=["j1", "j2"]), ONE_JOB),
    "accounts of other hosts' claims": (select(account).where(account.c.stamp > 3), ("ix_account_stamp",)),
    "outbox": (_due().params(most=9), OPEN_ROWS),
    "what ended lately": (_ended(moment_from_now(-3600), "done"), ("ix_job_event_at",)),
}


async def test_frequent_queries_never_walk_through_what_has_ended(long_queue: Database):
    plans = {name: await long_queue.read(partial(_plan, query=query)) for name, (query, _) in QUERIES.items()}

    lost = {name: plan for name, plan in plans.items() if not any(index in plan for index in QUERIES[name][1])}
    assert lost == {}


async def _plan(tx: AsyncConnection, *, query: Select) -> str:
    return await _explain(tx, sql=str(query.compile(dialect=tx.dialect, compile_kwargs={"literal_binds": True})))


async def _explain(tx: AsyncConnection, *, sql: str) -> str:
    if tx.dialect.name == "postgresql":
        await tx.exec_driver_sql("SET LOCAL enable_seqscan = off")  # a table this small is read whole otherwise
        return "\n".join((await tx.exec_driver_sql("EXPLAIN " + sql)).scalars())
    return "\n".join(row[3] for row in await tx.exec_driver_sql("EXPLAIN QUERY PLAN " + sql))


async def test_the_log_is_read_from_where_it_was_left_off(long_queue: Database):
    """Whatever the database believes of the parameter: prepared once, it is asked with another one each time."""
    query = _news(long_queue.is_postgresql)
    plan = await long_queue.read(partial(_plan_of_log, query=query))

    assert any(index in plan for index in NEW_LINES)
    assert not any(whole in plan for whole in ("Seq Scan on job_event", "SCAN job_event"))


async def _plan_of_log(tx: AsyncConnection, *, query: Select) -> str:
    seen = await read_position(tx)
    values = {"seen": seen, "oldest": int(seen.partition(":")[0])} if tx.dialect.name == "postgresql" else {"seen": seen}
    return await _plan(tx, query=query.params(**values))


async def test_a_lease_finds_its_jobs_and_their_persons_slots_by_index(long_queue: Database):
    sql = str(_statement("postgresql" if long_queue.is_postgresql else "sqlite"))
    chosen = '[{"id": "j0", "nth": 0, "predicted": 1.0, "charged": "{}"}]'
    for name, value in {"ids": "ARRAY['j0']", "chosen": f"'{chosen}'", "worker": "'w'", "owner": "'o'", "dispatch": "'d'", "seconds": "30.0"}.items():
        sql = sql.replace(f":{name}", value)

    plan = await long_queue.read(partial(_explain, sql=sql))

    assert any(index in plan for index in ("uq_job_id", "sqlite_autoindex_job_1", "(id=?)"))
    assert any(index in plan for index in ACTIVE_ROWS)


async def test_jobs_that_change_together_are_found_by_index(long_queue: Database):
    """PostgreSQL, left to itself, believes that what it is sent are a hundred jobs. On SQLite each is a statement by its key."""
    if not long_queue.is_postgresql:
        return
    statement = _together(((job, ("seq", "state"), (), True),)).params(rows_0="[]", seqs_0=[1, 2])

    async def explain(tx: AsyncConnection) -> str:
        sql = str(statement.compile(dialect=tx.dialect, compile_kwargs={"literal_binds": True}))
        return "\n".join((await tx.exec_driver_sql("EXPLAIN " + sql)).scalars())

    plan = await long_queue.read(explain)

    assert "pk_job" in plan
    assert "Seq Scan on job" not in plan
