"""From a person's wish to a job: every command and button comes through here, so that none forgets a rule or a studio."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import discord

from bot.cogs.interactions import defer, locale_of, user_of
from bot.cogs.members import Preferences
from bot.cogs.preferring import Choices
from bot.cogs.sessions.channels import Studios
from jobs.desk import Desk, Standing
from jobs.errors import StoreUnavailable
from jobs.job import Place
from jobs.request import Request
from jobs.words import say

SUBMIT_TIMEOUT = 60.0
"""Seconds for the ledger's commit; past them the person is told to try again."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A request with who asks for it and where: what a gate judges."""

    person: discord.User | discord.Member
    request: Request
    channel: discord.abc.GuildChannel | discord.Thread | discord.abc.PrivateChannel | None
    locale: str


Gate = Callable[[Wish], Awaitable[None]]
"""Lets a wish pass or raises a DarkroomError whose sentence says why not (rules, quotas, bans)."""


class Taker:
    """Finds or makes the person's studio, submits, and says where the photo will come."""

    def __init__(
        self,
        *,
        desk: Desk,
        studios: Studios,
        choices: Choices,
        gates: Sequence[Gate] = (),
        standing: Callable[[discord.User | discord.Member], Standing],
        is_adult: Callable[[str | None], bool] = lambda model: False,
        may_wait: Gate,
    ) -> None:
        self._desk = desk
        self._studios = studios
        self._choices = choices
        self._gates = tuple(gates)
        self._standing = standing
        self._is_adult = is_adult
        self._may_wait = may_wait

    async def usual(self, interaction: discord.Interaction) -> Preferences:
        """What this person chose in /settings."""
        return await self._choices.of(user_of(interaction))

    async def take(self, interaction: discord.Interaction, request: Request) -> str:
        """The sentence that answers. Raises DarkroomError for what cannot be taken, and what discord.py raises."""
        locale = locale_of(interaction)
        self._desk.check(request)  # before a channel is made for what cannot be taken
        wish = Wish(person=interaction.user, request=request, channel=interaction.channel, locale=locale)
        for gate in self._gates:
            await gate(wish)
        channel_id = await self._studios.find_or_make(
            interaction.user, locale=locale, before_making=partial(self._may_wait, wish), when_slow=partial(defer, interaction)
        )
        if self._is_adult(request.model):
            await self._studios.restrict_by_age(channel_id)
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
                    user_id=user_of(interaction),
                    door="discord",
                    idempotency_key=f"discord:{interaction.id}",
                    place=place,
                    standing=self._standing(interaction.user),
                )
        except TimeoutError as error:
            raise StoreUnavailable("slow") from error
