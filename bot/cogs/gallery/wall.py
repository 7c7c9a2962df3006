"""Where published pictures hang: a text channel with a message a picture, or a forum with a post a picture. Each once.

A message has a nonce, so that a repeat within Discord's window of minutes returns the first one; a forum's post has none, and the
library repeats its create after a 5xx by itself. So whatever was begun before is looked for before it is hung, by its first component's
id, and after a post doubles are removed.
"""

import asyncio
import hashlib
import io
import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import discord

from bot.cogs.parts import Card
from bot.cogs.photos.budget import Budget

_log = logging.getLogger(__name__)

Channel = discord.TextChannel | discord.ForumChannel

POST_TIMEOUT = 30.0
READ_BACK = 1000
"""Messages of the gallery that are looked through for one whose answer was lost."""

CLOCK_DOUBT = timedelta(minutes=10)
"""How far the database's clock and Discord's may differ."""

TITLE_MAX = 90


@dataclass(frozen=True, kw_only=True)
class Hanging:
    """What is to be hung."""

    seq: int
    nonce: str
    """Another one for each time that it is hung: Discord remembers those of deleted messages, too."""
    since: datetime
    """When it was decided, by the database's clock: no earlier post is it."""
    card: Card
    file: str
    data: bytes
    title: str
    words: frozenset[str] = field(default_factory=frozenset)
    """Small letters; a forum's tags of these names are put on it."""


class Wall:
    """Hangs, finds and takes down."""

    def __init__(self, *, client: discord.Client, budget: Budget) -> None:
        self._client = client
        self._budget = budget

    async def hang(self, channel: Channel, hanging: Hanging) -> int:
        """Post it; its message's id (a forum's post has the same). Raises what discord.py raises."""
        await self._budget.spend()
        file = discord.File(io.BytesIO(hanging.data), filename=hanging.file)
        async with asyncio.timeout(POST_TIMEOUT):
            if isinstance(channel, discord.TextChannel):
                message = await channel.send(view=hanging.card, file=file, nonce=hanging.nonce, silent=True)
                return message.id
            post = await channel.create_thread(
                name=hanging.title,
                view=hanging.card,
                file=file,
                applied_tags=tags_of(channel, hanging.words),
                allowed_mentions=discord.AllowedMentions.none(),
            )
        return await self._without_doubles(channel, hanging, post.thread.id)

    async def _without_doubles(self, channel: discord.ForumChannel, hanging: Hanging, made: int) -> int:
        """The first of what a repeated create made; the others go."""
        async with asyncio.timeout(POST_TIMEOUT):
            found = await self._posts(channel, hanging.seq, since=hanging.since)
        for double in sorted({*found, made})[1:]:
            _log.warning("publication %s was posted twice by a repeated request: %s is removed", hanging.seq, double)
            await self.take_down(channel, double)
        return min([*found, made])

    async def find(self, channel: Channel, seq: int, *, since: datetime) -> int | None:
        """Our message with this publication's mark; None where there is none. Raises what discord.py raises."""
        await self._budget.spend()
        async with asyncio.timeout(POST_TIMEOUT):
            if isinstance(channel, discord.ForumChannel):
                return min(await self._posts(channel, seq, since=since), default=None)
            after = since - CLOCK_DOUBT
            async for message in channel.history(limit=READ_BACK, after=after, oldest_first=True):
                if self._is_it(message, seq):
                    return message.id
        return None

    async def _posts(self, channel: discord.ForumChannel, seq: int, *, since: datetime) -> list[int]:
        me = self._client.user.id if self._client.user else 0
        found: list[int] = []
        for post in await channel.guild.active_threads():
            young = post.created_at is not None and post.created_at >= since - CLOCK_DOUBT
            if post.parent_id == channel.id and post.owner_id == me and young:
                try:
                    first = await post.fetch_message(post.id)
                except discord.NotFound:
                    continue
                if self._is_it(first, seq):
                    found.append(post.id)
        return found

    def _is_it(self, message: discord.Message, seq: int) -> bool:
        me = self._client.user.id if self._client.user else 0
        return message.author.id == me and any(getattr(part, "id", None) == marker_of(seq) for part in message.components)

    async def take_down(self, channel: Channel | int, message_id: int) -> None:
        """Delete it; harmless when it is gone. ``channel`` may be the id of one that the bot does not see any more."""
        await self._budget.spend()
        try:
            async with asyncio.timeout(POST_TIMEOUT):
                await self._delete(channel, message_id)
        except discord.NotFound:
            _log.info("the published message %s was gone before", message_id)

    async def _delete(self, channel: Channel | int, message_id: int) -> None:
        if isinstance(channel, discord.ForumChannel):
            await self._delete_post(channel, message_id)
        else:
            channel_id = channel if isinstance(channel, int) else channel.id
            await self._client.get_partial_messageable(channel_id).get_partial_message(message_id).delete()

    async def _delete_post(self, channel: discord.ForumChannel, post_id: int) -> None:
        """The post with what others wrote in it; without Manage Threads the picture alone, and the post is closed."""
        try:
            await self._client.http.delete_channel(post_id, reason="its maker took it back")
        except discord.Forbidden:
            await self._client.get_partial_messageable(post_id, guild_id=channel.guild.id).get_partial_message(post_id).delete()
            await self._client.http.edit_channel(post_id, archived=True, reason="its maker took it back")


def tags_of(channel: discord.ForumChannel, words: frozenset[str]) -> list[discord.ForumTag]:
    """At most five tags whose names are among ``words``; where a forum insists on one and none fits, its first."""
    open_tags = [tag for tag in channel.available_tags if not tag.moderated]
    fitting = [tag for tag in open_tags if tag.name.casefold() in words][:5]
    return fitting or (open_tags[:1] if channel.flags.require_tag else [])


def may_hang(channel: Channel) -> bool:
    """Whether the bot may post pictures there."""
    mine = channel.permissions_for(channel.guild.me)
    return mine.view_channel and mine.send_messages and mine.attach_files


def marker_of(seq: int) -> int:
    """A number for the ``id`` of the message's first component: history returns it, unlike the nonce."""
    return int.from_bytes(hashlib.sha256(f"publication|{seq}".encode()).digest()[:4]) % (2**31 - 1) + 1

