"""/session, and the news of channels and members that come and go."""

import discord
from discord import app_commands, ui
from discord.ext import commands

from bot.cogs.imagine.localised import localised
from bot.cogs.interactions import Reply, answer_in_time, locale_of, tell, turn_into
from bot.cogs.parts import BAD, MAIN, Address, Card, Choice, button, panel, pick, row
from bot.cogs.sessions.channels import Studios
from bot.cogs.sessions.errors import StudioImpossible
from bot.cogs.switchboard import Press
from bot.cogs.verbs.commands import named
from bot.cogs.voices.persona import PLAIN
from bot.cogs.voices.speaker import Speaker
from jobs.errors import InvalidRequest
from jobs.words import say

AS_CHOSEN = "-"


class SessionsCog(commands.Cog):
    """A person's studio, as they command it, and its memory kept true."""

    session = app_commands.Group(name=localised("command.session"), description=localised("command.session_about"), guild_only=True)

    def __init__(self, studios: Studios, *, guild_id: int, speaker: Speaker) -> None:
        self._studios = studios
        self._guild_id = guild_id
        self._speaker = speaker

    @session.command(name=localised("command.open"), description=localised("command.open_about"))
    async def open(self, interaction: discord.Interaction) -> None:
        """Find it, wake it, or make it."""

        async def work() -> str:
            locale = locale_of(interaction)
            channel_id = await self._studios.find_or_make(interaction.user, locale=locale)
            return say("studio.open", locale, channel=f"<#{channel_id}>")

        await answer_in_time(interaction, work())

    @session.command(name=localised("command.close"), description=localised("command.close_about"))
    async def close(self, interaction: discord.Interaction) -> None:
        """Rest or be gone: asked before anything happens."""
        locale = locale_of(interaction)
        rest = button(Address(area="session", subject="me", verb="rest"), "studio.rest", locale, style=MAIN)
        gone = button(Address(area="session", subject="me", verb="remove"), "studio.remove", locale, style=BAD)
        await tell(interaction, Reply(card=panel(ui.TextDisplay(say("studio.close_ask", locale)), row(rest, gone))))

    @session.command(name=localised("command.invite"), description=localised("command.invite_about"))
    @named("friend")
    async def invite(self, interaction: discord.Interaction, friend: discord.Member) -> None:
        """Let a friend see and write there."""

        async def work() -> str:
            if friend.bot or friend.id == interaction.user.id:
                raise InvalidRequest("invite_whom", field="friend")
            await self._studios.invite(interaction.user, friend, locale=locale_of(interaction))
            return say("studio.invited", locale_of(interaction), person=f"<@{friend.id}>")

        await answer_in_time(interaction, work())

    @session.command(name=localised("command.uninvite"), description=localised("command.uninvite_about"))
    @named("friend")
    async def uninvite(self, interaction: discord.Interaction, friend: discord.User) -> None:
        """The friend sees it no more."""

        async def work() -> str:
            if friend.bot:
                raise InvalidRequest("invite_whom", field="friend")
            await self._studios.uninvite(interaction.user, friend.id)
            return say("studio.uninvited", locale_of(interaction), person=f"<@{friend.id}>")

        await answer_in_time(interaction, work())

    @session.command(name=localised("command.rename"), description=localised("command.rename_about"))
    @named("name")
    async def rename(self, interaction: discord.Interaction, name: str) -> None:
        """Another name; Discord allows two changes in ten minutes."""

        async def work() -> str:
            made = await self._studios.rename(interaction.user, name)
            return say("studio.renamed", locale_of(interaction), name=made)

        await answer_in_time(interaction, work())

    @session.command(name=localised("command.settings"), description=localised("command.session_settings_about"))
    async def settings(self, interaction: discord.Interaction) -> None:
        """The studio's own voice, and who sees it."""
        await answer_in_time(interaction, self._settings(interaction, locale_of(interaction)))

    async def _settings(self, interaction: discord.Interaction, locale: str) -> Reply:
        about = await self._studios.about(interaction.user.id)
        if about is None:
            raise StudioImpossible("no_studio")
        guests = [f"<@{guest}>" for guest in about.get("guests", ())]
        chosen = about.get("persona")
        voices = [Choice(label=say("studio.as_chosen", locale), value=AS_CHOSEN, chosen=chosen is None)]
        voices.append(Choice(label=say("likes.plain", locale), value=PLAIN, chosen=chosen == PLAIN))
        voices += [Choice(label=p.name(locale), value=key, chosen=chosen == key) for key, p in sorted(self._speaker.personas.items())]
        return Reply(card=_settings_card(guests, voices, locale))

    async def on_press(self, press: Press) -> None:
        """Rest, remove, or a voice chosen."""
        if press.address.verb == "persona":

            async def change() -> Reply:
                value = press.values[0] if press.values else AS_CHOSEN
                await self._studios.change(press.interaction.user.id, persona=None if value == AS_CHOSEN else value)
                return await self._settings(press.interaction, press.locale)

            await turn_into(press.interaction, change())
            return

        async def work() -> str:
            person = press.interaction.user
            if press.address.verb == "rest":
                done = await self._studios.rest(person.id, say("studio.resting", press.locale))
                return say("studio.rests" if done else "studio.none", press.locale)
            done = await self._studios.remove(person.id)
            return say("studio.removed" if done else "studio.none", press.locale)

        await answer_in_time(press.interaction, work())

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """Somebody deleted a channel: if it was a studio, the next request makes a new one."""
        if channel.guild.id == self._guild_id:
            await self._studios.channel_gone(channel.id)

    @commands.Cog.listener()
    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        """The same for a studio that is a thread."""
        if payload.guild_id == self._guild_id:
            await self._studios.channel_gone(payload.thread_id)

    @commands.Cog.listener()
    async def on_guild_channel_create(self, channel: discord.abc.GuildChannel) -> None:
        """A channel appeared: perhaps the double of a studio."""
        if channel.guild.id == self._guild_id:
            await self._studios.channel_appeared(channel)

    @commands.Cog.listener()
    async def on_raw_member_remove(self, payload: discord.RawMemberRemoveEvent) -> None:
        """Whoever leaves or is banned: the studio rests and keeps everything. Comes only with the members intent."""
        if payload.guild_id == self._guild_id:
            await self._studios.rest(payload.user.id, say("studio.left", None))

    @commands.Cog.listener()
    async def on_member_join(self, member: discord.Member) -> None:
        """Whoever returns finds the studio awake. Comes only with the members intent."""
        if member.guild.id == self._guild_id and await self._studios.find(member.id) is not None:
            await self._studios.find_or_make(member, locale=None)


def _settings_card(guests: list[str], voices: list[Choice], locale: str) -> Card:
    who = say("studio.guests", locale, people=", ".join(guests)) if guests else say("studio.only_you", locale)
    address = Address(area="session", subject="me", verb="persona")
    return panel(
        ui.TextDisplay(f"**{say('studio.settings', locale)}**\n{who}"),
        ui.TextDisplay(f"-# {say('studio.voice', locale)}"),
        pick(address, voices, say("studio.voice", locale)),
    )
