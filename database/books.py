"""Accounts, pools and what age was allowed, between the tables and :mod:`jobs.fairness`. Written by claims alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.log import CLOCK
from database.one_trip import Part, write_parts
from database.tables import account, claim_clock, pool, worker
from jobs.fairness import Account, Changes, Pool
from jobs.job import UserId


async def read_changes(tx: AsyncConnection, *, after: int) -> tuple[Changes, dict[str, float]]:
    """What claims have written since the one numbered ``after``; all of it after -1."""
    accounts = (await tx.execute(select(account).where(account.c.stamp > after))).mappings()
    pools = (await tx.execute(select(pool).where(pool.c.stamp > after))).mappings()
    query = select(worker.c.name, worker.c.forced_at).where(worker.c.stamp > after, worker.c.forced_at.is_not(None))
    forced_at = {row.name: row.forced_at for row in await tx.execute(query)}
    known = tuple(_account(row) for row in accounts)
    return Changes(accounts=known, pools=tuple(_pool(row) for row in pools)), forced_at


async def read_pool_ids(tx: AsyncConnection) -> set[str]:
    """The pools there are."""
    return set((await tx.execute(select(pool.c.id))).scalars())


async def write_changes(
    tx: AsyncConnection,
    changes: Changes,
    forced_at: Mapping[str, float],
    *,
    stamp: int,
    applied: str,
    history: Sequence[Part] = (),
) -> None:
    """Store a claim's changes as number ``stamp``, and that the accounts contain the log up to ``applied``; with them its history."""
    if changes.gone:
        await tx.execute(delete(account).where(account.c.pool.in_(changes.gone)))
        await tx.execute(delete(pool).where(pool.c.id.in_(changes.gone)))
    for name, seconds in forced_at.items():
        await tx.execute(update(worker).where(worker.c.name == name).values(forced_at=seconds, stamp=stamp))
    accounts = [{"user_id": row.user_id, "pool": row.pool, "v": row.v, "stamp": stamp} for row in changes.accounts]
    pools = [_pool_row(row, stamp) for row in changes.pools]
    parts = [
        Part(table=account, rows=accounts, over=("user_id", "pool")),
        Part(table=pool, rows=pools, over=("id",)),
        Part(table=claim_clock, rows=[{"name": CLOCK, "stamp": stamp, "applied": applied}], over=("name",)),
    ]
    await write_parts(tx, [*history, *parts])


def _account(row: RowMapping) -> Account:
    return Account(user_id=UserId(row["user_id"]), pool=row["pool"], v=row["v"])


def _pool(row: RowMapping) -> Pool:
    facts = row["facts"] or {}
    return Pool(
        id=row["id"],
        clock=row["v"],
        shift=facts.get("shift", 0.0),
        needs=frozenset(facts.get("needs", ())),
        workers=frozenset(facts.get("workers", ())),
    )


def _pool_row(row: Pool, stamp: int) -> dict[str, Any]:
    facts = {"shift": row.shift, "needs": sorted(row.needs), "workers": sorted(row.workers)}
    return {"id": row.id, "v": row.clock, "facts": facts, "stamp": stamp}
