"""Places for pictures on their way in: each holds its bytes in memory, and nobody may hold all of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from gateway.errors import Refusal
from jobs.job import UserId

PATIENCE = 30.0
"""Seconds for a free place."""


class UploadPlaces:
    """``places`` for everybody, ``own`` of them for one person: who sends slowly waits for themselves, not the others for them."""

    def __init__(self, places: int, own: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._own = own
        self._turns: WeakValueDictionary[UserId, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, user_id: UserId) -> AsyncIterator[None]:
        """A place while the context lasts. Raises Refusal (503) when none came free in time."""
        turn = self._turns.setdefault(user_id, asyncio.Semaphore(self._own))
        patience = asyncio.timeout(PATIENCE)
        try:
            async with patience, turn, self._places:
                patience.reschedule(None)
                yield
        except TimeoutError:
            if patience.expired():
                raise Refusal(503, "too_many_uploads", headers={"Retry-After": "10"}) from None
            raise
