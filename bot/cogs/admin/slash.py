"""/admin: the slash twins of the admins' words, and what only a form with options can say well.

Authority is judged at each use, by this guild's permissions, the configured roles and the configured owners. Whatever takes something
from somebody says first what it would do: at a press of its button, or with ``sure`` at once, it is done.
"""

import asyncio
from typing import Any

import discord
from discord import app_commands, ui
from discord.ext import commands

from bot.cogs.admin.deeds import Deed, Deeds
from bot.cogs.admin.job_part import JobPart
from bot.cogs.admin.jobs import Cancel, Clear, House, Move, Refunding, Requeue
from bot.cogs.admin.part import ADMIN, AdminParts
from bot.cogs.admin.reload import Reload, Reloader
from bot.cogs.admin.workers import Rest
from bot.cogs.imagine.localised import localised
from bot.cogs.interactions import Answer, Reply, answer_in_time, user_of
from bot.cogs.parts import panel
from bot.cogs.photos.text import shown
from bot.cogs.switchboard import Press
from bot.cogs.verbs.commands import named
from jobs.job import UserId
from jobs.words import say

ANNOUNCE_TIMEOUT = 20.0
LOG_SHOWN = 15


def deeds_of(parts: AdminParts, reloader: Reloader) -> Deeds:
    """Every deed by its verb, as the buttons name them."""
    house = House(desk=parts.desk, store=parts.store, operator=parts.operator, fleet=parts.fleet)
    rest, cancel = Rest(operator=parts.operator, store=parts.store), Cancel(house)
    workers = {"pause": rest, "drain": rest, "resume": rest}
    jobs = {"requeue": Requeue(house), "move": Move(house), "refund": Refunding(house), "clear": Clear(house)}
    return Deeds(parts, {**workers, **jobs, "cancel-job": cancel, "cancel-member": cancel, "reload": Reload(reloader)})


class AdminSlash(JobPart, commands.Cog):
    """Answers are for the asker only; what was done goes to the audit log and its channel."""

    admin = ADMIN

    def __init__(self, parts: AdminParts, reloader: Reloader) -> None:
        super().__init__(parts, deeds_of(parts, reloader))

    async def on_press(self, press: Press) -> None:
        """A question's button; the one under ``!clearall`` stands in public and is its asker's alone."""
        if press.address.verb == "clearall":
            await answer_in_time(press.interaction, self._clear(press))
        else:
            await self.deeds.on_press(press)

    async def _clear(self, press: Press) -> Answer:
        if str(press.interaction.user.id) != press.address.subject:
            return say("limit.not_yours", press.locale)
        return await self.deeds.answer(press.interaction, Deed(verb="clear", subject="all"), sure=True)

    @ADMIN.command(name=localised("command.sync"), description=localised("command.sync_about"))
    @named("scope")
    @app_commands.choices(scope=[app_commands.Choice(name=name, value=name) for name in ("guild", "global", "clear")])
    async def sync(self, interaction: discord.Interaction, scope: str = "guild") -> None:
        """As ``!sync``."""

        async def work() -> str:
            locale = self.check(interaction)
            count = await self.parts.scopes.put(scope)
            await self.parts.audit.note(interaction.user, "sync", scope)
            key = {"guild": "admin.synced_guild", "global": "admin.synced_global", "clear": "admin.cleared_commands"}[scope]
            return say(key, locale, n=count)

        await answer_in_time(interaction, work())

    @ADMIN.command(name=localised("command.clearall"), description=localised("command.clearall_about"))
    @named("sure")
    async def clearall(self, interaction: discord.Interaction, sure: bool = False) -> None:
        """As ``!clearall``."""
        await answer_in_time(interaction, self.deeds.answer(interaction, Deed(verb="clear", subject="all"), sure=sure))

    @ADMIN.command(name=localised("command.reload"), description=localised("command.reload_about"))
    @named("sure")
    async def reload(self, interaction: discord.Interaction, sure: bool = False) -> None:
        """The operator's files again; without ``sure`` they are only looked at."""
        await answer_in_time(interaction, self.deeds.answer(interaction, Deed(verb="reload", subject="files"), sure=sure))

    @ADMIN.command(name=localised("command.ban"), description=localised("command.ban_about"))
    @named("member", "reason", "hours", "sure")
    async def ban(
        self, interaction: discord.Interaction, member: discord.User, reason: str, hours: float | None = None, sure: bool = False
    ) -> None:
        """Nothing is taken from this person any more; what waits is cancelled."""

        async def work() -> str:
            locale = self.check(interaction)
            user_id, person = UserId(f"discord:{member.id}"), f"<@{member.id}>"
            jobs = [job for job in await self.parts.store.recent(user_id, limit=500) if not job.state.is_terminal]
            if not sure:
                return say("admin.would_ban", locale, person=person, n=len(jobs))
            seconds = None if hours is None else max(hours, 0.0) * 3600
            await self.parts.conduct.ban(user_id, by=user_of(interaction), reason=reason[:300], seconds=seconds)
            self.parts.gates.look_again(user_id)
            for job in jobs:
                await self.parts.desk.cancel(job.id, user_id=user_id)
            await self.parts.audit.note(interaction.user, "ban", str(member.id), reason=reason[:300], hours=hours)
            return say("admin.banned", locale, person=person, n=len(jobs))

        await answer_in_time(interaction, work())

    @ADMIN.command(name=localised("command.unban"), description=localised("command.unban_about"))
    @named("member")
    async def unban(self, interaction: discord.Interaction, member: discord.User) -> None:
        """Requests are taken again."""

        async def work() -> str:
            locale = self.check(interaction)
            done = await self.parts.conduct.unban(UserId(f"discord:{member.id}"))
            self.parts.gates.look_again(UserId(f"discord:{member.id}"))
            await self.parts.audit.note(interaction.user, "unban", str(member.id))
            return say("admin.unbanned" if done else "admin.not_banned", locale, person=f"<@{member.id}>")

        await answer_in_time(interaction, work())

    @ADMIN.command(name=localised("command.announce"), description=localised("command.announce_about"))
    @named("text", "channel", "sure")
    async def announce(self, interaction: discord.Interaction, text: str, channel: discord.TextChannel, sure: bool = False) -> None:
        """Say something as the bot; it pings nobody. Without ``sure`` it only shows how it would look."""

        async def work() -> Answer:
            locale = self.check(interaction)
            card = panel(ui.TextDisplay(shown(text, limit=1500)))
            if not sure:
                return Reply(card=panel(ui.TextDisplay(say("admin.would_announce", locale, channel=f"<#{channel.id}>")), *_copied(text)))
            async with asyncio.timeout(ANNOUNCE_TIMEOUT):
                await channel.send(view=card)
            await self.parts.audit.note(interaction.user, "announce", str(channel.id), text=text[:300])
            return say("admin.announced", locale, channel=f"<#{channel.id}>")

        await answer_in_time(interaction, work())

    @ADMIN.command(name=localised("command.audit"), description=localised("command.audit_about"))
    async def audit(self, interaction: discord.Interaction) -> None:
        """The newest lines of the audit log."""

        async def work() -> Answer:
            locale = self.check(interaction)
            lines = [_line(entry) for entry in await self.parts.conduct.log(limit=LOG_SHOWN)]
            return Reply(card=panel(ui.TextDisplay("\n".join(lines) or say("admin.no_log", locale))))

        await answer_in_time(interaction, work())


def _copied(text: str) -> list[ui.Item[Any]]:
    return [ui.TextDisplay(shown(text, limit=1500))]


def _line(entry: Any) -> str:
    actor = str(entry["actor"]).partition(":")[2]
    subject = shown(str(entry["subject"]), limit=60)
    return f"<t:{int(entry['at'].timestamp())}:R> <@{actor}> **{shown(entry['action'], limit=40)}** {subject}"

