"""Which host lives, and which one holds what only one may have (the Discord gateway and posting), by rows that lapse.

Every take raises the epoch; whoever finds another epoch than its own has lost it. By the database's clock alone, and without a lock of
a session, so that it works behind a pooler.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, case, delete, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import Database
from database.moments import moment_from_now, now
from database.tables import host_lease
from database.upsert import upsert


@dataclass(frozen=True, kw_only=True)
class HostLease:
    """A lease as it stands."""

    name: str
    owner: str
    epoch: int
    lives: bool


def host_name(owner: ColumnElement[str] | str) -> Any:
    """The name of the lease that says that a host lives."""
    return literal("host:", Text) + owner if isinstance(owner, ColumnElement) else f"host:{owner}"


class HostLeases:
    """Leases of hosts. All methods raise StoreUnavailable when the database cannot take it."""

    def __init__(self, database: Database, *, owner: str) -> None:
        self._database = database
        self._owner = owner

    async def take(self, name: str, *, seconds: float) -> int | None:
        """Take a free or lapsed lease, or prolong our own. Its epoch; None while somebody else has it."""
        return await self._database.write(partial(_take, name=name, owner=self._owner, seconds=seconds))

    async def live(self, *, seconds: float) -> None:
        """Say that this host lives."""
        await self.take(host_name(self._owner), seconds=seconds)

    async def give_back(self, name: str) -> None:
        """Let somebody else have it at once. Harmless when it is not ours."""
        mine = and_(host_lease.c.name == name, host_lease.c.owner == self._owner)
        # Not deleted: the next holder's epoch must be larger.
        change = update(host_lease).where(mine).values(until=moment_from_now(-1))
        await self._database.write(lambda tx: tx.execute(change))

    async def all(self) -> list[HostLease]:
        """Every lease, by name."""
        return await self._database.read(_all)

    async def forget_old(self, *, seconds: float) -> None:
        """Remove what hosts that are gone for so long have left."""
        old = and_(host_lease.c.name.startswith("host:"), host_lease.c.until < moment_from_now(-seconds))
        await self._database.write(lambda tx: tx.execute(delete(host_lease).where(old)))


async def _take(tx: AsyncConnection, *, name: str, owner: str, seconds: float) -> int | None:
    until = moment_from_now(seconds)
    free = or_(host_lease.c.owner == owner, host_lease.c.until < now())
    insert = upsert(tx, host_lease).values(name=name, owner=owner, epoch=1, until=until)
    statement = insert.on_conflict_do_update(
        index_elements=["name"],
        set_={
            # Our own goes on under its epoch, unless it had lapsed: somebody may have had it meanwhile, or have seen it free.
            "epoch": _next_epoch(owner),
            "owner": insert.excluded.owner,
            "until": insert.excluded.until,
        },
        where=free,
    ).returning(host_lease.c.epoch)
    return (await tx.execute(statement)).scalar_one_or_none()


def _next_epoch(owner: str) -> Any:
    goes_on = and_(host_lease.c.owner == owner, host_lease.c.until >= now())
    return case((goes_on, host_lease.c.epoch), else_=host_lease.c.epoch + 1)


async def _all(tx: AsyncConnection) -> list[HostLease]:
    lives = (host_lease.c.until > now()).label("lives")
    query = select(host_lease.c.name, host_lease.c.owner, host_lease.c.epoch, lives).order_by(host_lease.c.name)
    return [HostLease(name=row.name, owner=row.owner, epoch=row.epoch, lives=bool(row.lives)) for row in await tx.execute(query)]
