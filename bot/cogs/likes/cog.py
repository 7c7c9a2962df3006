"""/settings, /privacy export and delete."""

import asyncio
import io
from collections.abc import Callable
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.cogs.archive.cog import ArchiveCog
from bot.cogs.archive.zipping import pack
from bot.cogs.imagine import suggest
from bot.cogs.imagine.localised import localised
from bot.cogs.interactions import Reply, answer_in_time, locale_of, tell, turn_into, user_of
from bot.cogs.likes.cards import AS_HOUSE, erase_card, settings_card
from bot.cogs.members import Members
from bot.cogs.preferring import Choices
from bot.cogs.sessions.channels import Studios
from bot.cogs.switchboard import Press
from bot.cogs.voices.speaker import Speaker
from jobs.job import UserId
from jobs.ports import Fleet
from jobs.words import say

_PRIVACY = app_commands.Group(name=localised("command.privacy"), description=localised("command.privacy_about"), guild_only=True)


class LikesCog(commands.Cog):
    """What somebody chose, and everything that is stored of them."""

    def __init__(
        self,
        *,
        members: Members,
        choices: Choices,
        fleet: Fleet,
        speaker: Speaker,
        studios: Studios,
        archive: ArchiveCog,
        file_limit: int,
        on_erased: Callable[[], None],
    ) -> None:
        """``on_erased``: called when somebody's records are gone, and what they published is to follow."""
        self._members = members
        self._choices = choices
        self._fleet = fleet
        self._speaker = speaker
        self._studios = studios
        self._archive = archive
        self._file_limit = file_limit
        self._on_erased = on_erased

    privacy = _PRIVACY

    @app_commands.command(name=localised("command.settings"), description=localised("command.settings_about"))
    @app_commands.guild_only()
    async def settings(self, interaction: discord.Interaction) -> None:
        """A card of selects."""
        await answer_in_time(interaction, self._card(user_of(interaction), locale_of(interaction)))

    async def _card(self, user_id: UserId, locale: str) -> Reply:
        chosen = await self._choices.of(user_id)
        offers = self._fleet.offers()
        models = [one.value for one in suggest.models(offers, "", usual=self._fleet.default_model)]
        sizes = suggest.sizes(offers.get(chosen.model or self._fleet.default_model), "")
        return Reply(card=settings_card(chosen, models=models, sizes=sizes, personas=self._speaker.personas, locale=locale))

    async def on_press(self, press: Press) -> None:
        """A choice, or the press that erases."""
        if press.address.verb == "erase":
            await answer_in_time(press.interaction, self._erase(press))
            return
        changes: dict[str, Any] = {}
        if press.address.verb == "dm":
            changes["dm"] = not (await self._choices.of(press.user_id)).dm
        elif press.address.verb in ("language", "model", "size", "persona") and press.values:
            changes[press.address.verb] = None if press.values[0] == AS_HOUSE else press.values[0]

        async def work() -> Reply:
            await self._choices.change(press.user_id, changes)
            return await self._card(press.user_id, press.locale)

        await turn_into(press.interaction, work())

    @privacy.command(name=localised("command.export"), description=localised("command.export_about"))
    async def export(self, interaction: discord.Interaction) -> None:
        """One ZIP: everything stored, and the pictures as far as one message holds them."""

        async def work() -> Reply:
            user_id = user_of(interaction)
            record = await self._members.export(user_id)
            found = await self._members.search(user_id, words="", model=None, favourites=False, with_pictures=True, skip=0, limit=200)
            files = await self._archive.files_of(found)
            packed = await asyncio.to_thread(pack, files, limit=self._file_limit, record=record)
            words = say("privacy.exported", locale_of(interaction), n=packed.count)
            if packed.left_out:
                words += f" {say('history.left_out', locale_of(interaction), n=packed.left_out)}"
            return Reply(words=words, files=[discord.File(io.BytesIO(packed.data), filename="darkroom-export.zip")])

        await answer_in_time(interaction, work())

    @privacy.command(name=localised("command.delete"), description=localised("command.delete_about"))
    async def delete(self, interaction: discord.Interaction) -> None:
        """Asks first."""
        await tell(interaction, Reply(card=erase_card(locale_of(interaction))))

    async def _erase(self, press: Press) -> str:
        """Records first, then the studio with all its messages: what a crash leaves is an empty room, not a record."""
        locale = press.locale
        count = await self._members.erase(press.user_id)
        self._choices.forget(press.user_id)
        self._on_erased()
        await self._studios.remove(press.interaction.user.id)
        return say("privacy.erased", locale, n=count)
