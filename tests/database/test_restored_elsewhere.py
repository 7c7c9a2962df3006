"""A dump of PostgreSQL played into another server: its lines carry transaction numbers that this server has not reached."""

from sqlalchemy import text

from database.engine import Database
from database.job_store import SqlJobStore
from database.log import read_news, read_position
from jobs.line import Line
from jobs.run import Run
from tests.contract.asking import ANA, BEN, MAKING, ask, by_turns, picture


async def test_old_lines_are_not_news_for_ever_and_what_is_asked_now_is_seen(database: Database):
    if not database.is_postgresql:
        return  # SQLite numbers lines, not transactions
    former = SqlJobStore(database)
    for _ in range(3):
        await ask(former, ANA)
        (job,) = await former.claim("gpu", by_turns(1), lease_seconds=30)
        await former.finish(Run.of(job).key, [picture()], MAKING)
    ahead = 10**9
    for change in ("UPDATE job_event SET xid = xid + {by}", "UPDATE claim_clock SET applied = '{by}:{by}:'"):
        await database.write(lambda tx, change=change: tx.execute(text(change.format(by=ahead))))

    store = SqlJobStore(database)
    await store.look(waiting, fresh=0)
    asked = await ask(store, BEN)

    assert await store.look(waiting, fresh=0) == [asked.id]
    position = await database.read(read_position)
    news = await database.read(lambda tx: read_news(tx, position))
    assert [line["event"] for line in news] == [None]


def waiting(line: Line) -> list[str]:
    return sorted(line.waiting)
