"""Strikes, bans, the audit log, and how much of the house somebody used: for rules and quotas."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import bindparam, delete, insert, or_, select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import Database
from database.moments import moment_from_now, now
from database.tables import audit, ban, job, strike
from database.upsert import upsert
from jobs.job import UserId

# Building a statement costs more than running it, and these are asked with every request: they are built once.
_OPEN = select(job.c.slot, job.c.cost).where(job.c.user_id == bindparam("user"), job.c.state.in_(["queued", "leased", "running"]))
_MADE_LATELY = (
    select(job.c.making)
    .where(job.c.user_id == bindparam("user"), job.c.state == "done", job.c.finished_at > moment_from_now(-86_400.0))
    .limit(10_000)
)


@dataclass(frozen=True, kw_only=True)
class Load:
    """What somebody has waiting and active, and the GPU seconds of their finished jobs of the last day, beside what is expected."""

    waiting: int
    active: int
    seconds: float


class SqlConductStore:
    """Each method is one transaction; all raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def strike(self, user_id: UserId, rule: str, wish: Mapping[str, Any]) -> int:
        """Note a strike; its number."""
        values = {"user_id": user_id, "rule": rule, "wish": dict(wish), "state": "standing"}
        return await self._database.write(partial(_insert, statement=insert(strike).values(values).returning(strike.c.seq)))

    async def standing(self, user_id: UserId, *, seconds: float) -> Sequence[datetime]:
        """When each strike of the last ``seconds`` was given, newest first; lifted ones do not count."""
        mine = (strike.c.user_id == user_id, strike.c.state != "lifted", strike.c.at > moment_from_now(-seconds))
        query = select(strike.c.at).where(*mine).order_by(strike.c.at.desc())
        return await self._database.read(partial(_scalars, query=query))

    async def get_strike(self, seq: int) -> Mapping[str, Any] | None:
        """One strike, or None."""
        return await self._database.read(partial(_row, query=select(strike).where(strike.c.seq == seq)))

    async def settle_strike(self, seq: int, *, before: Sequence[str], after: str) -> bool:
        """Move a strike on; False when it was not in one of ``before`` any more."""
        change = update(strike).where(strike.c.seq == seq, strike.c.state.in_(list(before))).values(state=after)
        return await self._database.write(partial(_changed, statement=change))

    async def ban(self, user_id: UserId, *, by: str, reason: str, seconds: float | None) -> None:
        """Nothing is taken from this person for so long (None: until it is lifted)."""
        until = None if seconds is None else moment_from_now(seconds)
        await self._database.write(partial(_ban, values={"user_id": user_id, "by": by, "reason": reason, "until": until}))

    async def unban(self, user_id: UserId) -> bool:
        """Lift it; False when there was none."""
        return await self._database.write(partial(_changed, statement=delete(ban).where(ban.c.user_id == user_id)))

    async def ban_of(self, user_id: UserId) -> Mapping[str, Any] | None:
        """The ban that holds now, or None."""
        query = select(ban).where(ban.c.user_id == user_id, or_(ban.c.until.is_(None), ban.c.until > now()))
        return await self._database.read(partial(_row, query=query))

    async def accused(self, *, seconds: float, limit: int) -> Collection[UserId]:
        """Whoever has a ban, or had a strike in the last ``seconds``; ``limit`` of them at most."""
        struck = select(strike.c.user_id).where(strike.c.at > moment_from_now(-seconds))
        query = union(select(ban.c.user_id), struck).limit(limit)
        return {UserId(found) for found in await self._database.read(partial(_scalars, query=query))}

    async def note(self, actor: str, action: str, subject: str, **detail: Any) -> None:
        """A line of the audit log."""
        values = {"actor": actor, "action": action, "subject": subject, "detail": detail or None}
        await self._database.write(lambda tx: tx.execute(insert(audit).values(values)))

    async def log(self, *, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest lines of the audit log first."""
        return await self._database.read(partial(_rows, query=select(audit).order_by(audit.c.seq.desc()).limit(limit)))

    async def load(self, user_id: UserId) -> Load:
        """How much of the house this person uses. What failed costs nothing: only what was made is counted."""
        return await self._database.read(partial(_load, user_id=user_id))


async def _insert(tx: AsyncConnection, *, statement: Any) -> int:
    return (await tx.execute(statement)).scalar_one()


async def _changed(tx: AsyncConnection, *, statement: Any) -> bool:
    return (await tx.execute(statement)).rowcount > 0


async def _row(tx: AsyncConnection, *, query: Any) -> Mapping[str, Any] | None:
    row = (await tx.execute(query)).mappings().one_or_none()
    return None if row is None else {**row}


async def _rows(tx: AsyncConnection, *, query: Any) -> Sequence[Mapping[str, Any]]:
    return [{**row} for row in (await tx.execute(query)).mappings()]


async def _scalars(tx: AsyncConnection, *, query: Any) -> Sequence[Any]:
    return (await tx.execute(query)).scalars().all()


async def _ban(tx: AsyncConnection, *, values: Mapping[str, Any]) -> None:
    write = upsert(tx, ban).values({**values, "at": now()})
    again = {name: getattr(write.excluded, name) for name in ("by", "reason", "until", "at")}
    await tx.execute(write.on_conflict_do_update(index_elements=["user_id"], set_=again))


def _counted(making: Mapping[str, Any] | None) -> float:
    """GPU seconds that count in the quota: none of what an operator gave back."""
    return 0.0 if making is None or making.get("refunded") else float(making.get("seconds", 0.0))


async def _load(tx: AsyncConnection, *, user_id: str) -> Load:
    open_jobs = (await tx.execute(_OPEN, {"user": user_id})).all()
    made = (await tx.execute(_MADE_LATELY, {"user": user_id})).scalars().all()
    return Load(
        waiting=sum(row.slot is None for row in open_jobs),
        active=sum(row.slot is not None for row in open_jobs),
        seconds=sum(map(_counted, made)) + sum(row.cost or 0.0 for row in open_jobs),
    )
