"""What each person chose, from memory: read once for everybody, since commands must be answered within seconds."""

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
    """Preferences with a cache. One bot at a time writes them, so its cache is right; the next bot begins with an empty one."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._known: OrderedDict[UserId, Preferences] = OrderedDict()
        self._has_all = False
        """Everybody's choices were read and none was dropped since: whoever is not here chose nothing."""
        self._is_new = True
        self._reading = asyncio.Lock()

    async def of(self, user_id: UserId) -> Preferences:
        """The person's choices; the house's own when the ledger cannot be read now."""
        if user_id not in self._known and not self._has_all:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._read(user_id)
            except (StoreUnavailable, TimeoutError):
                return Preferences()
        if user_id not in self._known:
            return Preferences()
        self._known.move_to_end(user_id)
        return self._known[user_id]

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

    async def _read(self, user_id: UserId) -> None:
        """Everybody's, the first time; one person's where they are too many to keep."""
        async with self._reading:
            if user_id in self._known or self._has_all:
                return
            if self._is_new:
                everybody = await self._members.everybodys_preferences(limit=KEPT)
                self._is_new, self._has_all = False, len(everybody) < KEPT
                for each in everybody.keys() - self._known.keys():  # what was changed meanwhile is newer
                    self._keep(each, everybody[each])
        if not self._has_all and user_id not in self._known:
            self._keep(user_id, await self._members.preferences(user_id))

    def _keep(self, user_id: UserId, values: Mapping[str, Any]) -> Preferences:
        made = self._known[user_id] = Preferences.read(values)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
            self._has_all = False
        return made
