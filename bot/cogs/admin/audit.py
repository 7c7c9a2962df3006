"""What admins did: a line in the ledger, and a copy in the channel that the operator named for it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import discord
from discord import ui

from bot.cogs.interactions import NETWORK_FAULTS, user_of_person
from bot.cogs.parts import panel
from bot.cogs.photos.text import shown
from bot.cogs.safety.gates import Conduct

_log = logging.getLogger(__name__)

COPY_TIMEOUT = 20.0


class Audit:
    """Writes to the log, and to the channel."""

    def __init__(self, *, conduct: Conduct, channel: Callable[[], discord.TextChannel | None]) -> None:
        self._conduct = conduct
        self._channel = channel

    async def note(self, person: discord.abc.User, action: str, subject: str, **detail: Any) -> None:
        """Into the ledger first; the channel is a copy, whose failure undoes nothing."""
        await self._conduct.note(user_of_person(person), action, subject, **detail)
        channel = self._channel()
        if channel is None:
            return
        figures = " ".join(f"{name} {shown(str(value), limit=80)}" for name, value in detail.items() if value not in (None, ""))
        words = f"<@{person.id}> **{shown(action, limit=40)}** {shown(subject, limit=100)}"
        try:
            async with asyncio.timeout(COPY_TIMEOUT):
                await channel.send(view=panel(ui.TextDisplay(f"{words}\n-# {figures}" if figures else words)))
        except NETWORK_FAULTS as error:
            _log.warning("%s was not copied to the audit channel: %s", action, error)
