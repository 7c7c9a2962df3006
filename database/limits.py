"""How many rows a pass may have where a worker ran out of memory with more. Doubles again with time: memory may be freed."""

import json
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from database.moments import now
from database.tables import worker_limit
from database.upsert import upsert
from jobs.batch import BatchKey
from jobs.ports import RowLimit

DOUBLES_AFTER = timedelta(hours=6)
_FORGOTTEN = 256
"""Rows that no worker takes in one pass: a limit above says nothing."""

def key_text(key: BatchKey) -> str:
    """A batch key in one line."""
    return json.dumps([key.kind, key.model, key.width, key.height, key.frames, key.detail], separators=(",", ":"))


def key_of(text: str) -> BatchKey:
    """The batch key of :func:`key_text`."""
    kind, model, width, height, frames, detail = json.loads(text)
    return BatchKey(kind=kind, model=model, width=width, height=height, frames=frames, detail=detail)


async def remember_limits(tx: AsyncConnection, limits: Sequence[RowLimit]) -> None:
    """Keep each in place of an earlier one for its worker and key."""
    for limit in limits:
        values = {"worker": limit.worker, "key": key_text(limit.key), "rows": max(1, limit.rows), "at": now()}
        insert = upsert(tx, worker_limit).values(values)
        changed = {"rows": insert.excluded.rows, "at": insert.excluded.at}
        await tx.execute(insert.on_conflict_do_update(index_elements=["worker", "key"], set_=changed))


async def read_limits(tx: AsyncConnection) -> dict[tuple[str, BatchKey], int]:
    """Every limit as it is after its time."""
    rows = (await tx.execute(select(worker_limit, now().label("present")))).mappings().all()
    limits: dict[tuple[str, BatchKey], int] = {}
    for row in rows:
        allowed = row["rows"] * 2 ** min(8, (row["present"] - row["at"]) // DOUBLES_AFTER)
        if allowed < _FORGOTTEN:
            limits[row["worker"], key_of(row["key"])] = allowed
    return limits
