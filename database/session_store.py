"""Which private channel is whose. The row is a memory, not the truth: the channel carries its owner's mark too."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import Database
from database.moments import moment_from_now, now
from database.rows import storable
from database.tables import session
from database.upsert import upsert
from jobs.errors import InvalidRequest
from jobs.job import UserId

_MINE = and_(session.c.user_id == bindparam("user"), session.c.guild_id == bindparam("guild"))
# Asked with every request, so built once: that costs more than running them.
_CHANNEL = select(session.c.channel_id).where(_MINE)
_KIND = select(session.c.kind).where(_MINE)
_OWNER = select(session.c.user_id).where(session.c.channel_id == bindparam("channel"))
_USED = update(session).where(_MINE).values(used_at=now(), archived_at=None)


class SqlSessionStore:
    """Sessions by person and guild. All methods raise StoreUnavailable when the database cannot take it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, user_id: UserId, guild_id: str) -> str | None:
        """The person's channel in this guild, or None."""
        return await self._one(_CHANNEL, user=user_id, guild=guild_id)

    async def owner_of(self, channel_id: str) -> UserId | None:
        """Whose session this channel is, or None when it is nobody's."""
        found = await self._one(_OWNER, channel=channel_id)
        return None if found is None else UserId(found)

    async def put(self, user_id: UserId, guild_id: str, channel_id: str) -> None:
        """Remember the channel; replaces the person's earlier one there, and an earlier owner of the channel."""
        if not all(map(storable, (user_id, guild_id, channel_id))):
            raise InvalidRequest("invalid_field", field="channel", hint="Use plain text.")
        values = {"user_id": user_id, "guild_id": guild_id, "channel_id": channel_id}
        await self._database.write(partial(_put, values=values))

    async def forget(self, user_id: UserId, guild_id: str) -> None:
        """The channel is gone. Harmless when nothing was known."""
        if storable(user_id) and storable(guild_id):
            gone = delete(session).where(session.c.user_id == user_id, session.c.guild_id == guild_id)
            await self._database.write(lambda tx: tx.execute(gone))

    async def kind(self, user_id: UserId, guild_id: str) -> str | None:
        """Channel or thread; None when nothing is known."""
        return await self._one(_KIND, user=user_id, guild=guild_id)

    async def set_kind(self, user_id: UserId, guild_id: str, kind: str) -> None:
        """Remember which it is."""
        await self._set(user_id, guild_id, kind=kind)

    async def about(self, user_id: UserId, guild_id: str) -> Mapping[str, Any] | None:
        """What the person chose for it; {} where nothing was chosen, None when there is no session."""
        query = select(session.c.about, session.c.channel_id).where(*_of(user_id, guild_id))
        row = await self._database.read(partial(_row, query=query))
        return None if row is None else row["about"] or {}

    async def change(self, user_id: UserId, guild_id: str, changes: Mapping[str, Any]) -> None:
        """Change some of it; None takes a choice back. Harmless where there is no session."""
        await self._database.write(partial(_change, user_id=user_id, guild_id=guild_id, changes=changes))

    async def used(self, user_id: UserId, guild_id: str) -> None:
        """Its person came by: it rests no more."""
        if storable(user_id) and storable(guild_id):
            await self._database.write(lambda tx: tx.execute(_USED, {"user": user_id, "guild": guild_id}))

    async def rested(self, user_id: UserId, guild_id: str) -> None:
        """It rests from now on."""
        await self._set(user_id, guild_id, archived_at=now())

    async def idle(self, guild_id: str, *, seconds: float) -> Sequence[tuple[UserId, str]]:
        """(person, channel) of sessions awake that nobody used for so long, oldest first."""
        last = func.coalesce(session.c.used_at, session.c.made_at)
        query = select(session.c.user_id, session.c.channel_id).where(
            session.c.guild_id == guild_id, session.c.archived_at.is_(None), last < moment_from_now(-seconds)
        )
        rows = await self._database.read(partial(_rows, query=query.order_by(last).limit(100)))
        return [(UserId(row["user_id"]), row["channel_id"]) for row in rows]

    async def _set(self, user_id: UserId, guild_id: str, **values: Any) -> None:
        if storable(user_id) and storable(guild_id):
            change = update(session).where(*_of(user_id, guild_id)).values(**values)
            await self._database.write(lambda tx: tx.execute(change))

    async def _one(self, query: Select, **texts: str) -> str | None:
        if not all(map(storable, texts.values())):
            return None
        return await self._database.read(partial(_scalar, query=query, given=texts))


def _of(user_id: UserId, guild_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return session.c.user_id == user_id, session.c.guild_id == guild_id


async def _row(tx: AsyncConnection, *, query: Select) -> RowMapping | None:
    return (await tx.execute(query)).mappings().one_or_none()


async def _rows(tx: AsyncConnection, *, query: Select) -> Sequence[RowMapping]:
    return (await tx.execute(query)).mappings().all()


async def _change(tx: AsyncConnection, *, user_id: UserId, guild_id: str, changes: Mapping[str, Any]) -> None:
    mine = _of(user_id, guild_id)
    row = await _row(tx, query=select(session.c.about).where(*mine).with_for_update())
    if row is not None:
        about = {name: value for name, value in {**(row["about"] or {}), **changes}.items() if value is not None}
        await tx.execute(update(session).where(*mine).values(about=about))


async def _scalar(tx: AsyncConnection, *, query: Select, given: Mapping[str, str]) -> str | None:
    return (await tx.execute(query, given)).scalar_one_or_none()


async def _put(tx: AsyncConnection, *, values: dict[str, str]) -> None:
    elsewhere = or_(session.c.user_id != values["user_id"], session.c.guild_id != values["guild_id"])
    await tx.execute(delete(session).where(session.c.channel_id == values["channel_id"], elsewhere))
    insert = upsert(tx, session).values(values)
    await tx.execute(insert.on_conflict_do_update(index_elements=["user_id", "guild_id"], set_={"channel_id": insert.excluded.channel_id}))
