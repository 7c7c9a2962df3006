"""The question under `!clearall`, which stands in public: its button is the asker's alone."""

import discord

from bot.cogs.parts import BAD, Address, button
from jobs.words import say


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
