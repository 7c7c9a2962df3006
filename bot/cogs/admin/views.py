"""The button that confirms `clearall`."""

import re
from typing import Any, Protocol, Self, cast

import discord

from bot.cogs.interactions import KindItem, answer_in_time
from jobs.desk import Desk
from jobs.words import say


class AdminDoor(Protocol):
    """What the button needs of the client."""

    desk: Desk

    def may_administer(self, person: discord.User | discord.Member) -> bool:
        """Whether this person may use the admin commands."""
        ...


class ClearAllButton(KindItem, template=r"admin:(?P<asker>\d{1,20}):clearall:0"):
    """Cancels all that waits, for whoever asked and may still do so."""

    def __init__(self, asker_id: int, locale: str | None) -> None:
        super().__init__(
            discord.ui.Button(
                style=discord.ButtonStyle.danger,
                label=say("admin.clear_button", locale),
                custom_id=f"admin:{asker_id}:clearall:0",
            )
        )
        self._asker_id = asker_id

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction, item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """The button of a question that may be older than this process."""
        return cls(int(match["asker"]), str(interaction.locale))

    async def act(self, interaction: discord.Interaction) -> None:
        """Judge the presser anew: roles may have changed since the question."""
        door = cast("AdminDoor", interaction.client)
        await answer_in_time(interaction, self._clear(door, interaction))

    async def _clear(self, door: AdminDoor, interaction: discord.Interaction) -> str:
        locale = str(interaction.locale)
        if interaction.user.id != self._asker_id:
            return say("limit.not_yours", locale)
        if not door.may_administer(interaction.user):
            return say("limit.not_allowed", locale)
        return cleared(await door.desk.clear_waiting(), locale)


def cleared(count: int, locale: str | None) -> str:
    """What became of `clearall`."""
    return say("admin.cleared", locale, n=count) if count else say("admin.nothing_waits", locale)


def question(asker_id: int, locale: str | None) -> discord.ui.View:
    """The confirmation's one button."""
    view = discord.ui.View(timeout=None)
    view.add_item(ClearAllButton(asker_id, locale))
    return view
