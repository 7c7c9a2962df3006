"""What an admin types, by ``!`` or by mentioning the bot: sync, clearall, getid.

Without the message-content intent only the mention reaches the bot with its text; the commands are the same.
"""

import asyncio
import logging

import discord
from discord.ext import commands

from bot.cogs.admin.part import AdminParts
from bot.cogs.admin.views import cleared, question
from bot.cogs.interactions import is_expected, sentence_of
from jobs.words import say

_log = logging.getLogger(__name__)

REPLY_TIMEOUT = 20.0
SYNC_TIMEOUT = 60.0

Context = commands.Context[commands.Bot]


class NotForThem(commands.CheckFailure):
    """Refused; ``key`` is the sentence, None where an answer could start a loop between bots."""

    def __init__(self, key: str | None) -> None:
        self.key = key
        super().__init__(key or "a bot")


class AdminCog(commands.Cog):
    """Commands for members with Manage Server, and for the configured owners."""

    def __init__(self, parts: AdminParts) -> None:
        self._desk = parts.desk
        self._scopes = parts.scopes
        self._permits = parts.permits
        self._audit = parts.audit

    async def cog_check(self, ctx: Context) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]  the library awaits either
        """Refuse bots, webhooks, DMs, other servers, and people without the right."""
        if ctx.author.bot or ctx.message.webhook_id is not None:
            raise NotForThem(None)
        if ctx.guild is None:
            raise NotForThem("limit.no_dm")
        if ctx.guild.id != self._permits.allowed_guild_id:
            raise NotForThem("limit.other_server")
        if not self._permits.may_administer(ctx.author):
            raise NotForThem("limit.not_allowed")
        return True

    @commands.command()
    async def sync(self, ctx: Context, scope: str = "guild") -> None:
        """Put the slash commands into this server, or everywhere, or nowhere."""
        locale = _locale(ctx)
        if scope not in ("guild", "global", "clear"):
            await _reply(ctx, say("admin.sync_usage", locale))
            return
        async with asyncio.timeout(SYNC_TIMEOUT):
            count = await self._scopes.put(scope)
        await self._audit.note(ctx.author, "sync", scope)
        key = {"guild": "admin.synced_guild", "global": "admin.synced_global", "clear": "admin.cleared_commands"}[scope]
        await _reply(ctx, say(key, locale, n=count))

    @commands.command()
    async def clearall(self, ctx: Context, sure: str = "") -> None:
        """Cancel everything that waits: after a press of the button, or at once with ``yes``."""
        locale = _locale(ctx)
        if sure.lower() in ("yes", "si", "sí"):
            count = await self._desk.clear_waiting()
            await self._audit.note(ctx.author, "clear", "", count=count)
            await _reply(ctx, cleared(count, locale))
            return
        waiting = (await self._desk.snapshot()).waiting
        if waiting:
            await _reply(ctx, say("admin.clear_ask", locale, n=waiting), view=question(ctx.author.id, locale))
        else:
            await _reply(ctx, say("admin.nothing_waits", locale))

    @commands.command()
    async def getid(self, ctx: Context) -> None:
        """The ids of this server, this channel, and whoever and whatever is mentioned (or of the asker)."""
        assert ctx.guild is not None
        locale = _locale(ctx)
        me = ctx.me.id
        channels = ctx.message.channel_mentions or [ctx.channel]
        people = [person for person in ctx.message.mentions if person.id != me] or [ctx.author]
        lines = [say("admin.id_server", locale, name=_name(ctx.guild.name), id=ctx.guild.id)]
        lines += [say("admin.id_channel", locale, name=_name(str(channel)), id=channel.id) for channel in channels]
        lines += [say("admin.id_user", locale, name=_name(person.display_name), id=person.id) for person in people]
        lines += [say("admin.id_role", locale, name=_name(role.name), id=role.id) for role in ctx.message.role_mentions]
        await _reply(ctx, "\n".join(lines)[:2000])

    async def cog_command_error(self, ctx: Context, error: Exception) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  Context of this bot
        """One sentence for whatever went wrong; silence towards bots."""
        cause = error.original if isinstance(error, commands.CommandInvokeError) else error
        if isinstance(cause, NotForThem):
            if cause.key is not None:
                await _reply(ctx, say(cause.key, _locale(ctx)))
            return
        if not is_expected(cause):
            _log.error("!%s failed", ctx.command, exc_info=cause)
        await _reply(ctx, sentence_of(cause, _locale(ctx)))


def _locale(ctx: Context) -> str | None:
    """A message has no locale of its author: the server's is the nearest."""
    return str(ctx.guild.preferred_locale) if ctx.guild is not None else None


def _name(name: str) -> str:
    return discord.utils.escape_markdown(discord.utils.escape_mentions(name))[:100]


async def _reply(ctx: Context, text: str, *, view: discord.ui.View | None = None) -> None:
    async with asyncio.timeout(REPLY_TIMEOUT):
        if view is None:
            await ctx.reply(text, mention_author=False)
        else:
            await ctx.reply(text, mention_author=False, view=view)
