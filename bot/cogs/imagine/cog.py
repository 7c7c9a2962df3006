"""/imagine."""

import asyncio
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.cogs.imagine.ask import CHOICES_MAX, read_request, sizes_of
from bot.cogs.imagine.localised import localised
from bot.cogs.interactions import answer_in_time
from bot.cogs.sessions.channels import Studios
from jobs.desk import Desk
from jobs.errors import StoreUnavailable
from jobs.job import Place, UserId
from jobs.offer import ModelOffer
from jobs.ports import Fleet
from jobs.request import Request
from jobs.words import say

_OPTIONS = ("prompt", "model", "size", "steps", "seed")

SUBMIT_TIMEOUT = 60.0
"""Seconds for the ledger's commit; past them the person is told to try again."""


class ImagineCog(commands.Cog):
    """Takes requests. No limits are given to Discord: what it refuses by itself, it refuses without a kind word."""

    def __init__(self, *, desk: Desk, fleet: Fleet, studios: Studios) -> None:
        self._desk = desk
        self._fleet = fleet
        self._studios = studios

    # The seed is text: Discord's numbers end at 2^53, a seed at 2^63.
    @app_commands.command(name=localised("command.imagine"), description=localised("command.imagine_about"))
    @app_commands.rename(**{name: localised(f"command.{name}") for name in _OPTIONS})
    @app_commands.describe(**{name: localised(f"command.{name}_about") for name in _OPTIONS})
    @app_commands.guild_only()
    async def imagine(
        self,
        interaction: discord.Interaction,
        prompt: str,
        model: str | None = None,
        size: str | None = None,
        steps: int | None = None,
        seed: str | None = None,
    ) -> None:
        """Find or make the person's studio, enqueue, and say where the photo will come."""
        wish = {"prompt": prompt, "model": model, "size": size, "steps": steps, "seed": seed}
        await answer_in_time(interaction, self._take(interaction, wish))

    async def _take(self, interaction: discord.Interaction, wish: dict[str, Any]) -> str:
        locale = str(interaction.locale)
        request = read_request(**wish, offers=self._fleet.offers(), usual=self._fleet.default_model)
        self._desk.check(request)  # before a channel is made for what cannot be taken
        channel_id = await self._studios.find_or_make(interaction.user, locale=locale)
        place = Place(guild_id=str(interaction.guild_id), channel_id=str(channel_id), locale=locale)
        await self._submit(request, interaction, place)
        if interaction.channel_id == channel_id:
            return say("ask.taken_here", locale)
        return say("ask.taken", locale, channel=f"<#{channel_id}>")

    async def _submit(self, request: Request, interaction: discord.Interaction, place: Place) -> None:
        try:
            async with asyncio.timeout(SUBMIT_TIMEOUT):
                # The key makes an event that came twice, or a repeat after a lost answer, the same job.
                await self._desk.submit(
                    request,
                    user_id=UserId(f"discord:{interaction.user.id}"),
                    door="discord",
                    idempotency_key=f"discord:{interaction.id}",
                    place=place,
                )
        except TimeoutError as error:
            raise StoreUnavailable("slow") from error

    @imagine.autocomplete("model")
    async def suggest_models(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        """Models whose name or title holds what was typed; from memory, since nobody waits for a network here."""
        wanted = current.strip().lower()
        offers = [
            offer
            for offer in self._fleet.offers().values()
            if wanted in offer.name.lower() or wanted in offer.title.lower()
        ]
        usual = self._fleet.default_model
        offers.sort(key=lambda offer: (offer.name != usual, offer.name.lower()))
        return [app_commands.Choice(name=_title(offer), value=offer.name) for offer in offers[:CHOICES_MAX]]

    @imagine.autocomplete("size")
    async def suggest_sizes(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        """Sizes that suit the model chosen so far."""
        chosen = getattr(interaction.namespace, "model", None) or self._fleet.default_model
        offer = self._fleet.offers().get(chosen)
        if offer is None:
            return []
        wanted = current.strip().lower().replace("×", "x")
        choices: list[app_commands.Choice[str]] = []
        for index, (width, height) in enumerate(sizes_of(offer)):
            size = f"{width}×{height}"
            name = say("command.size_usual", str(interaction.locale), size=size) if index == 0 else size
            if wanted in f"{width}x{height}":
                choices.append(app_commands.Choice(name=name, value=f"{width}x{height}"))
        return choices


def _title(offer: ModelOffer) -> str:
    return (f"{offer.name}: {offer.title}" if offer.title else offer.name)[:100]
