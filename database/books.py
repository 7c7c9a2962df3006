"""Accounts, pools and what age was allowed, between the tables and :mod:`jobs.fairness`. Written by claims alone."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import RowMapping, bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.log import CLOCK
from database.tables import account, claim_clock, pool, worker
from database.upsert import upsert_into
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
    tx: AsyncConnection, changes: Changes, forced_at: Mapping[str, float], *, stamp: int, applied: str
) -> None:
    """Store a claim's changes as number ``stamp``, and that the accounts contain the log up to ``applied``."""
    dialect = tx.dialect.name
    if changes.gone:
        await tx.execute(delete(account).where(account.c.pool.in_(changes.gone)))
        await tx.execute(delete(pool).where(pool.c.id.in_(changes.gone)))
    if changes.accounts:
        rows = [{"user_id": row.user_id, "pool": row.pool, "v": row.v, "stamp": stamp} for row in changes.accounts]
        await tx.execute(_put_accounts(dialect), rows)
    if changes.pools:
        await tx.execute(_put_pools(dialect), [_pool_row(row, stamp) for row in changes.pools])
    for name, seconds in forced_at.items():
        await tx.execute(update(worker).where(worker.c.name == name).values(forced_at=seconds, stamp=stamp))
    await tx.execute(_put_clock(dialect), {"name": CLOCK, "stamp": stamp, "applied": applied})


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


@cache
def _put_accounts(dialect: str) -> Any:
    insert = upsert_into(dialect, account).values(
        user_id=bindparam("user_id"), pool=bindparam("pool"), v=bindparam("v"), stamp=bindparam("stamp")
    )
    changed = {"v": insert.excluded.v, "stamp": insert.excluded.stamp}
    return insert.on_conflict_do_update(index_elements=["user_id", "pool"], set_=changed)


@cache
def _put_pools(dialect: str) -> Any:
    insert = upsert_into(dialect, pool).values(
        id=bindparam("id"), v=bindparam("v"), facts=bindparam("facts"), stamp=bindparam("stamp")
    )
    changed = {"v": insert.excluded.v, "facts": insert.excluded.facts, "stamp": insert.excluded.stamp}
    return insert.on_conflict_do_update(index_elements=["id"], set_=changed)


@cache
def _put_clock(dialect: str) -> Any:
    insert = upsert_into(dialect, claim_clock).values(
        name=bindparam("name"), stamp=bindparam("stamp"), applied=bindparam("applied")
    )
    changed = {"stamp": insert.excluded.stamp, "applied": insert.excluded.applied}
    return insert.on_conflict_do_update(index_elements=["name"], set_=changed)
