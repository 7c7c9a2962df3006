"""What goes to the database in one statement arrives as it would alone, and as often as it should."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Select, event, select
from sqlalchemy.exc import IntegrityError

from database.engine import Database
from database.job_store import SqlJobStore
from database.moments import now
from database.one_trip import Part, write_parts
from database.tables import account, job, job_event, result
from jobs.job import UserId
from jobs.run import Run
from tests.contract.asking import MAKING, ask, by_turns, order, picture
from tests.contract.looking import rows

ODD = {"text": "NUL \0, half \ud83d, \\u0000, 'quoted' \"twice\", 日本 🪁\n", "deep": [None, {"a": []}], "number": 0.1 + 0.2}


@pytest.fixture
async def kept(database: Database) -> Database:
    store = SqlJobStore(database)
    for n in range(3):
        await ask(store, UserId(f"u{n}"))
    return database


async def write(database: Database, *parts: Part) -> None:
    await database.write(lambda tx: write_parts(tx, parts))


async def in_order(database: Database) -> list[dict]:
    return sorted(await rows(database, "job"), key=lambda row: row["seq"])


async def read(database: Database, query: Select) -> Sequence[tuple]:
    async def work(tx) -> Sequence[tuple]:
        return [tuple(row) for row in (await tx.execute(query)).all()]

    return await database.read(work)


async def test_rows_arrive_as_they_were_sent(kept: Database):
    at = datetime(2026, 11, 21, 12, 34, 56, 789012, tzinfo=UTC)
    elsewhere = at.astimezone(tz=datetime.strptime("+0530", "%z").tzinfo) + timedelta(days=1)
    before = await in_order(kept)
    changed = [
        {"seq": before[0]["seq"], "making": ODD, "started_at": at, "cost": 0.1 + 0.2, "locale": "日本 'x' \\ \"", "suspect": 3},
        {"seq": before[2]["seq"], "making": None, "started_at": elsewhere, "cost": 1e-300, "locale": None, "suspect": 0},
    ]
    await write(kept, Part(table=job, rows=changed, known=True))

    after = await in_order(kept)
    assert after == [{**was, **(dict(new) if new else {})} for was, new in zip(before, [changed[0], None, changed[1]], strict=True)]


async def test_rows_are_new_or_changed_by_their_key_and_defaults_are_the_databases(kept: Database):
    first, second = ({"user_id": f"u{n}", "pool": "p", "v": n / 3, "stamp": n} for n in range(2))
    line = {"job_id": "x", "to_state": "done", "generation": 0, "epoch": 2**31 - 1, "actor": "me", "facts": ODD}
    mine = select(job_event.c.at, job_event.c.facts, job_event.c.epoch).where(job_event.c.job_id == "x")
    for stamp in (7, 8):
        accounts = Part(table=account, rows=[{**first, "stamp": stamp}, second], over=("user_id", "pool"))
        await write(kept, accounts, Part(table=job_event, rows=[line]), Part(table=result, rows=[]))

    assert await rows(kept, "account") == [{**first, "stamp": 8}, second]
    found = await read(kept, mine)
    present = (await read(kept, select(now())))[0][0]
    assert [(facts, epoch) for _, facts, epoch in found] == [(ODD, 2**31 - 1)] * 2
    assert all(timedelta(0) <= present - at < timedelta(minutes=1) for at, _, _ in found)


async def test_one_refused_row_undoes_every_part(kept: Database):
    line = {"job_id": "x", "to_state": "done", "generation": 0, "epoch": 0, "actor": "me"}
    pictures = [{"job_id": "nobody's", "generation": 0, **vars(picture())}]
    before = await rows(kept, "job_event")

    with pytest.raises(IntegrityError):
        await write(kept, Part(table=job_event, rows=[line]), Part(table=result, rows=pictures))

    assert await rows(kept, "job_event") == before


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """Every statement meanwhile; many rows for one are one."""
    engine = database._writer.sync_engine if database._thread is None else database._thread._engine
    said: list[str] = []

    def count(_connection, _cursor, statement, *_) -> None:
        said.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", count)


async def test_a_claim_and_its_ends_are_as_many_statements_however_large_the_batch(database: Database):
    store = SqlJobStore(database)
    for size in (1, 8, 2, 8):
        for n in range(size):
            await ask(store, UserId(f"u{n}"), order=order(seed=n))
        await store.look(lambda line: line, fresh=0)
        with counted(database) as claiming:
            batch = await store.claim("gpu", by_turns(size), lease_seconds=60)
        assert len(batch) == size
        with counted(database) as ending:
            await asyncio.gather(*(store.finish(Run.of(one).key, [picture()], MAKING) for one in batch))
        if database.is_postgresql:  # the lock, the log, the lease, all else; the rows, all else
            assert (len(claiming), len(ending)) == (4, 2)
        else:  # one a table, and not every claim moves a pool's clock
            assert len(claiming) in (6, 7) and len(ending) == 5
