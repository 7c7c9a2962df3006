"""Group commit: what concurrent callers ask within one commit's time goes into the next commit together.

One flight at a time: while it is under way the next one fills, so a lone caller never waits for company, and the number of
commits a second bounds nothing but latency.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

Fly = Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]]
"""Do all of them in one commit; for each its result or what it alone raises. What it raises itself is everybody's."""


_PATIENCE = 5.0
"""Seconds for a flight that was cancelled to undo what it did."""


@dataclass(frozen=True, eq=False)
class _Seat(Generic[T, R]):
    item: T
    future: "asyncio.Future[R]"


class Together(Generic[T, R]):
    """Callers in, flights out, in the order of arrival."""

    def __init__(self, fly: Fly[T, R], *, at_most: int) -> None:
        self._fly = fly
        self._at_most = at_most
        self._waiting: deque[_Seat[T, R]] = deque()
        self._aboard: list[_Seat[T, R]] = []
        self._flights: asyncio.Task[None] | None = None
        self._flight: asyncio.Task[Sequence[R | Exception]] | None = None

    async def __call__(self, item: T) -> R:
        """Take the next flight. A caller that is cancelled leaves; what it asked may take effect, as any lost answer may."""
        loop = asyncio.get_running_loop()
        seat = _Seat(item, loop.create_future())
        self._waiting.append(seat)
        if self._flights is None or self._flights.done():
            # Held here and ended by `close`: its life is the database's, not that of the caller who came first.
            self._flights = loop.create_task(self._take_off(), name="group commit")
        try:
            return await seat.future
        except asyncio.CancelledError:
            if self._flight is not None and seat in self._aboard and all(other.future.cancelled() for other in self._aboard):
                self._flight.cancel()  # nobody waits for what is under way: it need not be carried to its end
            raise

    async def close(self) -> None:
        """End the flight under way and refuse those who wait."""
        if self._flights is not None and not self._flights.done():
            self._flights.cancel()
            with suppress(asyncio.CancelledError):
                await self._flights

    async def _take_off(self) -> None:
        try:
            while self._waiting:
                await self._fly_once()
        finally:  # also when all of it is cancelled, as at the end of the process
            for seat in (*self._aboard, *self._waiting):
                seat.future.cancel()
            self._waiting.clear()

    async def _fly_once(self) -> None:
        seats = [self._waiting.popleft() for _ in range(min(self._at_most, len(self._waiting)))]
        self._aboard = [seat for seat in seats if not seat.future.cancelled()]
        # A task of its own, so that desertion, which cancels it, is never taken for the end of everything.
        self._flight = asyncio.get_running_loop().create_task(self._outcomes(), name="group commit: one")
        try:
            await asyncio.wait({self._flight})
        except asyncio.CancelledError:
            self._flight.cancel()
            await asyncio.wait({self._flight}, timeout=_PATIENCE)
            raise
        if not self._flight.cancelled():
            for seat, result in zip(self._aboard, self._flight.result(), strict=True):
                _tell(seat.future, result)
        self._aboard = []

    async def _outcomes(self) -> Sequence[R | Exception]:
        if not self._aboard:
            return ()
        try:
            return await self._fly([seat.item for seat in self._aboard])
        except Exception as error:  # noqa: BLE001  whatever it was, each of those aboard hears of it
            return [error] * len(self._aboard)


def _tell(future: "asyncio.Future[R]", result: R | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
