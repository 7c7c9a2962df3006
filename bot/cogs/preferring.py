"""What each person chose, from memory: one read of the ledger a person, since commands must be answered within seconds."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from bot.cogs.members import Members, Preferences
from jobs.errors import StoreUnavailable
from jobs.job import UserId

KEPT = 10_000
"""People whose choices are kept in memory: some hundred bytes each."""


PATIENCE = 0.6
"""Seconds: an answer is due within three, and choices are worth less than that."""


class Choices:
    """Preferences with a cache. One process writes them, so the cache is right; a second host reads anew after its restart."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._known: OrderedDict[UserId, Preferences] = OrderedDict()

    async def of(self, user_id: UserId) -> Preferences:
        """The person's choices; the house's own when the ledger cannot be read now."""
        known = self._known.get(user_id)
        if known is None:
            try:
                async with asyncio.timeout(PATIENCE):
                    known = self._keep(user_id, await self._members.preferences(user_id))
            except (StoreUnavailable, TimeoutError):
                return Preferences()
        self._known.move_to_end(user_id)
        return known

    def language_of(self, user_id: UserId) -> str | None:
        """The language chosen, as far as memory knows."""
        known = self._known.get(user_id)
        return known.language if known else None

    async def change(self, user_id: UserId, changes: Mapping[str, Any]) -> Preferences:
        """Change some; raises StoreUnavailable."""
        return self._keep(user_id, await self._members.prefer(user_id, changes))

    def forget(self, user_id: UserId) -> None:
        """They were erased."""
        self._known.pop(user_id, None)

    def _keep(self, user_id: UserId, values: Mapping[str, Any]) -> Preferences:
        made = self._known[user_id] = Preferences.read(values)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return made
