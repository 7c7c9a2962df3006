"""The button that confirms `clearall`."""

from typing import Protocol, cast

import discord

from bot.cogs.interactions import answer_in_time
from bot.cogs.parts import BAD, Address, button
from bot.cogs.switchboard import Press
from jobs.desk import Desk
from jobs.words import say


class AdminDoor(Protocol):
    """What the button needs of the client."""

    desk: Desk

    def may_administer(self, person: discord.User | discord.Member) -> bool:
        """Whether this person may use the admin commands."""
        ...


async def on_admin_press(press: Press) -> None:
    """Judge the presser anew: roles may have changed since the question."""
    await answer_in_time(press.interaction, _clear(cast("AdminDoor", press.interaction.client), press))


async def _clear(door: AdminDoor, press: Press) -> str:
    if str(press.interaction.user.id) != press.address.subject:
        return say("limit.not_yours", press.locale)
    if not door.may_administer(press.interaction.user):
        return say("limit.not_allowed", press.locale)
    return cleared(await door.desk.clear_waiting(), press.locale)


def cleared(count: int, locale: str | None) -> str:
    """What became of `clearall`."""
    return say("admin.cleared", locale, n=count) if count else say("admin.nothing_waits", locale)


def question(asker_id: int, locale: str | None) -> discord.ui.View:
    """The confirmation's one button."""
    view = _Question(timeout=None)
    view.add_item(button(Address(area="admin", subject=str(asker_id), verb="clearall"), "admin.clear_button", locale, style=BAD))
    return view


class _Question(discord.ui.View):
    """Looks finished to the library, so that it is never stored."""

    def is_finished(self) -> bool:
        return True
