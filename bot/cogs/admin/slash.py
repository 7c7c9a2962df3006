"""/admin: the slash twins of the admins' words, and what only a form with options can say well.

Authority is judged at each use, by this guild's permissions and the configured owners; hiding a command is no guard. Whatever
cannot be undone says first what it would do (``sure`` left out is the dry run).
"""

import asyncio
import logging
from typing import Any

import discord
from discord import app_commands, ui
from discord.ext import commands

from bot.cogs.admin.cog import CommandScopes, Permits
from bot.cogs.admin.views import cleared
from bot.cogs.imagine.localised import localised
from bot.cogs.interactions import NETWORK_FAULTS, Answer, Reply, answer_in_time, locale_of, user_of
from bot.cogs.parts import panel
from bot.cogs.photos.text import shown
from bot.cogs.safety.gates import Conduct, Gates
from bot.cogs.verbs.commands import named
from jobs.desk import Desk
from jobs.errors import DarkroomError, JobNotFound
from jobs.job import JobId, UserId
from jobs.ports import JobStore
from jobs.words import say

_log = logging.getLogger(__name__)

ANNOUNCE_TIMEOUT = 20.0
LOG_SHOWN = 15


class NotAdmin(DarkroomError):
    """The person may not use the admin commands here."""

    def __init__(self) -> None:
        super().__init__("not_admin")


class AdminSlash(commands.Cog):
    """Answers are for the asker only; what was done goes to the audit log and its channel."""

    admin = app_commands.Group(
        name=localised("command.admin"),
        description=localised("command.admin_about"),
        guild_only=True,
        default_permissions=discord.Permissions(manage_guild=True),
    )

    def __init__(
        self, *, desk: Desk, store: JobStore, scopes: CommandScopes, permits: Permits, conduct: Conduct, audit: "Audit", gates: Gates
    ) -> None:
        self._desk = desk
        self._store = store
        self._scopes = scopes
        self._permits = permits
        self._conduct = conduct
        self._audit = audit
        self._gates = gates

    def _check(self, interaction: discord.Interaction) -> str:
        if not self._permits.may_administer(interaction.user):
            raise NotAdmin
        return locale_of(interaction)

    @admin.command(name=localised("command.sync"), description=localised("command.sync_about"))
    @named("scope")
    @app_commands.choices(scope=[app_commands.Choice(name=name, value=name) for name in ("guild", "global", "clear")])
    async def sync(self, interaction: discord.Interaction, scope: str = "guild") -> None:
        """As ``!sync``."""

        async def work() -> str:
            locale = self._check(interaction)
            count = await self._scopes.put(scope)
            await self._audit.note(interaction, "sync", scope)
            key = {"guild": "admin.synced_guild", "global": "admin.synced_global", "clear": "admin.cleared_commands"}[scope]
            return say(key, locale, n=count)

        await answer_in_time(interaction, work())

    @admin.command(name=localised("command.clearall"), description=localised("command.clearall_about"))
    @named("sure")
    async def clearall(self, interaction: discord.Interaction, sure: bool = False) -> None:
        """As ``!clearall``; without ``sure`` it only counts."""

        async def work() -> str:
            locale = self._check(interaction)
            if not sure:
                return say("admin.would_clear", locale, n=await self._waiting())
            count = await self._desk.clear_waiting()
            await self._audit.note(interaction, "clearall", "", count=count)
            return cleared(count, locale)

        await answer_in_time(interaction, work())

    async def _waiting(self) -> int:
        return (await self._desk.snapshot()).waiting

    @admin.command(name=localised("command.cancel"), description=localised("command.cancel_about"))
    @named("member", "job", "sure")
    async def cancel(
        self, interaction: discord.Interaction, member: discord.User | None = None, job: str | None = None, sure: bool = False
    ) -> None:
        """What somebody has waiting and running, or one job by its id."""

        async def work() -> str:
            locale = self._check(interaction)
            jobs = await self._meant(member, job)
            if not sure:
                return say("admin.would_cancel", locale, n=len(jobs))
            for job_id, user_id in jobs:
                await self._desk.cancel(job_id, user_id=user_id)
            await self._audit.note(interaction, "cancel", str(member.id) if member else str(job), count=len(jobs))
            return say("admin.cancelled", locale, n=len(jobs))

        await answer_in_time(interaction, work())

    async def _meant(self, member: discord.User | None, job: str | None) -> list[tuple[JobId, UserId]]:
        if job is not None:
            found = await self._store.get(JobId(job.strip()))
            if found is None:
                raise JobNotFound(job[:60])
            return [] if found.state.is_terminal else [(found.id, found.user_id)]
        if member is None:
            raise DarkroomError("whom")
        user_id = UserId(f"discord:{member.id}")
        return [(one.id, user_id) for one in await self._store.recent(user_id, limit=500) if not one.state.is_terminal]

    @admin.command(name=localised("command.ban"), description=localised("command.ban_about"))
    @named("member", "reason", "hours")
    async def ban(self, interaction: discord.Interaction, member: discord.User, reason: str, hours: float | None = None) -> None:
        """Nothing is taken from this person any more; what waits is cancelled."""

        async def work() -> str:
            locale = self._check(interaction)
            user_id = UserId(f"discord:{member.id}")
            seconds = None if hours is None else max(hours, 0.0) * 3600
            await self._conduct.ban(user_id, by=user_of(interaction), reason=reason[:300], seconds=seconds)
            self._gates.look_again(user_id)
            jobs = await self._meant(member, None)
            for job_id, owner in jobs:
                await self._desk.cancel(job_id, user_id=owner)
            await self._audit.note(interaction, "ban", str(member.id), reason=reason[:300], hours=hours)
            return say("admin.banned", locale, person=f"<@{member.id}>", n=len(jobs))

        await answer_in_time(interaction, work())

    @admin.command(name=localised("command.unban"), description=localised("command.unban_about"))
    @named("member")
    async def unban(self, interaction: discord.Interaction, member: discord.User) -> None:
        """Requests are taken again."""

        async def work() -> str:
            locale = self._check(interaction)
            done = await self._conduct.unban(UserId(f"discord:{member.id}"))
            await self._audit.note(interaction, "unban", str(member.id))
            return say("admin.unbanned" if done else "admin.not_banned", locale, person=f"<@{member.id}>")

        await answer_in_time(interaction, work())

    @admin.command(name=localised("command.announce"), description=localised("command.announce_about"))
    @named("text", "channel", "sure")
    async def announce(self, interaction: discord.Interaction, text: str, channel: discord.TextChannel, sure: bool = False) -> None:
        """Say something as the bot; it pings nobody. Without ``sure`` it only shows how it would look."""

        async def work() -> Answer:
            locale = self._check(interaction)
            card = panel(ui.TextDisplay(shown(text, limit=1500)))
            if not sure:
                return Reply(card=panel(ui.TextDisplay(say("admin.would_announce", locale, channel=f"<#{channel.id}>")), *_copied(text)))
            async with asyncio.timeout(ANNOUNCE_TIMEOUT):
                await channel.send(view=card)
            await self._audit.note(interaction, "announce", str(channel.id), text=text[:300])
            return say("admin.announced", locale, channel=f"<#{channel.id}>")

        await answer_in_time(interaction, work())

    @admin.command(name=localised("command.audit"), description=localised("command.audit_about"))
    async def audit(self, interaction: discord.Interaction) -> None:
        """The newest lines of the audit log."""

        async def work() -> Answer:
            locale = self._check(interaction)
            lines = [_line(entry) for entry in await self._conduct.log(limit=LOG_SHOWN)]
            return Reply(card=panel(ui.TextDisplay("\n".join(lines) or say("admin.no_log", locale))))

        await answer_in_time(interaction, work())


def _copied(text: str) -> list[ui.Item[Any]]:
    return [ui.TextDisplay(shown(text, limit=1500))]


def _line(entry: Any) -> str:
    actor = str(entry["actor"]).partition(":")[2]
    subject = shown(str(entry["subject"]), limit=60)
    return f"<t:{int(entry['at'].timestamp())}:R> <@{actor}> **{shown(entry['action'], limit=40)}** {subject}"


class Audit:
    """Writes to the log, and to the channel that the operator named for it."""

    def __init__(self, *, conduct: Conduct, channel: Any) -> None:
        self._conduct = conduct
        self._channel = channel

    async def note(self, interaction: discord.Interaction, action: str, subject: str, **detail: Any) -> None:
        """Into the ledger first; the channel is a copy, whose failure undoes nothing."""
        await self._conduct.note(user_of(interaction), action, subject, **detail)
        channel = self._channel()
        if channel is not None:
            words = f"<@{interaction.user.id}> **{shown(action, limit=40)}** {shown(subject, limit=60)}"
            try:
                async with asyncio.timeout(ANNOUNCE_TIMEOUT):
                    await channel.send(view=panel(ui.TextDisplay(words)))
            except NETWORK_FAULTS as error:
                _log.warning("%s was not copied to the audit channel: %s", action, error)
