"""Where a guild has no room for more channels: a private thread in one lobby channel. Threads do not count as channels."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

import discord

from bot.cogs.interactions import NETWORK_FAULTS
from bot.cogs.sessions.errors import StudioImpossible
from bot.cogs.sessions.marks import thread_mark, thread_name, thread_person
from jobs.words import say

_log = logging.getLogger(__name__)

MAKE_TIMEOUT = 20.0
WEEK = 10_080
"""Minutes until Discord archives a quiet thread; the next message opens it again."""


class ThreadStudios:
    """Private threads of one guild. Nobody but its members, and who may manage threads, sees one."""

    def __init__(self, *, staff: Collection[int] = (), spend: Callable[[], Awaitable[None]]) -> None:
        """``spend``: waits until one more request to Discord may be made."""
        self._staff = staff
        self._spend = spend
        self._lock = asyncio.Lock()

    def find(self, guild: discord.Guild, person_id: int) -> int | None:
        """The person's thread among those that are open, from the cache."""
        mark, me = thread_mark(person_id), guild.me.id  # compared first: there may be a thousand threads
        found = [thread.id for thread in guild.threads if thread.name.endswith(mark) and thread_person(thread, me=me) == person_id]
        return min(found, default=None)

    async def make(self, guild: discord.Guild, person: discord.abc.User) -> int:
        """A new thread with the person in it; its first request is paid for. Raises StudioImpossible, and what discord.py raises."""
        mine = guild.me.guild_permissions
        wanted = {"create_private_threads": "Create Private Threads", "send_messages_in_threads": "Send Messages in Threads"}
        missing = [title for name, title in wanted.items() if not getattr(mine, name)]
        if missing:
            raise StudioImpossible("studio_forbidden", permissions=missing)
        async with self._lock:
            lobby = await self._lobby(guild)
        async with asyncio.timeout(MAKE_TIMEOUT):
            thread = await lobby.create_thread(
                name=thread_name(person), type=discord.ChannelType.private_thread, invitable=False, auto_archive_duration=WEEK
            )
        if thread.type is not discord.ChannelType.private_thread:
            await thread.delete()
            raise StudioImpossible("studio_not_private")
        await self._spend()
        await self.add(thread, person.id)
        return thread.id

    async def add(self, thread: discord.Thread, person_id: int) -> None:
        """Let somebody in; a member who left the guild and came back must be let in anew."""
        async with asyncio.timeout(MAKE_TIMEOUT):
            await thread.add_user(discord.Object(person_id))

    async def _lobby(self, guild: discord.Guild) -> discord.TextChannel:
        name = say("studio.lobby", None)
        found = [channel for channel in guild.text_channels if channel.name == name]
        if found:
            return min(found, key=lambda channel: channel.id)
        mine = guild.me.guild_permissions
        granted = {"view_channel": True, "send_messages_in_threads": True, "create_private_threads": True, "send_messages": True}
        overwrites: dict[discord.Role | discord.Member | discord.Object, discord.PermissionOverwrite] = {
            guild.default_role: discord.PermissionOverwrite(view_channel=True, send_messages=False, send_messages_in_threads=True),
            guild.me: discord.PermissionOverwrite(**{bit: True for bit in granted if getattr(mine, bit)}),
        }
        try:
            async with asyncio.timeout(MAKE_TIMEOUT):
                return await guild.create_text_channel(
                    name, overwrites=overwrites, topic=say("studio.lobby_topic", None), reason="a lobby for studios"
                )
        except NETWORK_FAULTS as error:
            if isinstance(error, discord.HTTPException) and error.status < 500:
                raise
            _log.warning("the answer to making the lobby was lost (%s); looking for it", type(error).__name__)
            async with asyncio.timeout(MAKE_TIMEOUT):
                channels = await guild.fetch_channels()
            mine_there = [c for c in channels if isinstance(c, discord.TextChannel) and c.name == name]
            if not mine_there:
                raise
            return min(mine_there, key=lambda channel: channel.id)
