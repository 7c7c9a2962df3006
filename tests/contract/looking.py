"""The tables as they are, for tests that look behind the port."""

from typing import Any

from sqlalchemy import select

from database.engine import Database
from database.tables import job_event, metadata


async def rows(database: Database, table: str) -> list[dict[str, Any]]:
    query = select(metadata.tables[table])
    return await database.read(lambda tx: _rows(tx, query))


async def events(database: Database, job_id: str) -> list[tuple[str | None, str, int, str]]:
    """(from, to, epoch, actor) of every line of a job's history."""
    query = select(job_event).where(job_event.c.job_id == job_id).order_by(job_event.c.seq)
    found = await database.read(lambda tx: _rows(tx, query))
    return [(row["from_state"], row["to_state"], row["epoch"], row["actor"]) for row in found]


async def do(database: Database, statement: str) -> None:
    async def work(tx: Any) -> None:
        await tx.exec_driver_sql(statement)

    await database.write(work)


async def _rows(tx: Any, query: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in (await tx.execute(query)).mappings()]
