"""Which private channel is whose. The row is a memory, not the truth: the channel carries its owner's mark too."""

from functools import partial

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import Database
from database.rows import storable
from database.tables import session
from database.upsert import upsert
from jobs.errors import InvalidRequest
from jobs.job import UserId


class SqlSessionStore:
    """Sessions by person and guild. All methods raise StoreUnavailable when the database cannot take it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, user_id: UserId, guild_id: str) -> str | None:
        """The person's channel in this guild, or None."""
        query = select(session.c.channel_id).where(session.c.user_id == user_id, session.c.guild_id == guild_id)
        return await self._one(query, user_id, guild_id)

    async def owner_of(self, channel_id: str) -> UserId | None:
        """Whose session this channel is, or None when it is nobody's."""
        found = await self._one(select(session.c.user_id).where(session.c.channel_id == channel_id), channel_id)
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

    async def _one(self, query: Select, *texts: str) -> str | None:
        if not all(map(storable, texts)):
            return None
        return await self._database.read(partial(_scalar, query=query))


async def _scalar(tx: AsyncConnection, *, query: Select) -> str | None:
    return (await tx.execute(query)).scalar_one_or_none()


async def _put(tx: AsyncConnection, *, values: dict[str, str]) -> None:
    elsewhere = or_(session.c.user_id != values["user_id"], session.c.guild_id != values["guild_id"])
    await tx.execute(delete(session).where(session.c.channel_id == values["channel_id"], elsewhere))
    insert = upsert(tx, session).values(values)
    await tx.execute(
        insert.on_conflict_do_update(
            index_elements=["user_id", "guild_id"], set_={"channel_id": insert.excluded.channel_id}
        )
    )
