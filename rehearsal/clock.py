"""The one clock of the twin: snowflakes, token life, nonce window, signed urls and rate windows all read it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime

DISCORD_EPOCH_MS = 1_420_070_400_000


def iso(seconds: float) -> str:
    """`seconds` since 1970 as Discord writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


class Clock:
    """Wall time that never goes back and can be pushed forward; timers follow the push."""

    def __init__(self, start: float | None = None) -> None:
        self._base = (time.time() if start is None else start) - time.monotonic()
        self.offset = 0.0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._handle: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Seconds since 1970."""
        return self._base + time.monotonic() + self.offset

    def iso(self) -> str:
        """Now, as text."""
        return iso(self.now())

    def advance(self, seconds: float) -> None:
        """Push the clock forward; every timer that became due fires before this returns."""
        self.offset += seconds
        self._fire()

    def call_later(self, seconds: float, action: Callable[[], None]) -> None:
        """Run `action` once, `seconds` of this clock from now."""
        heapq.heappush(self._timers, (self.now() + seconds, next(self._numbers), action))
        self._arm()

    def close(self) -> None:
        """Forget every timer."""
        self._timers.clear()
        if self._handle is not None:
            self._handle.cancel()

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= self.now():
            heapq.heappop(self._timers)[2]()
        self._arm()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._timers:
            delay = max(0.0, self._timers[0][0] - self.now())
            self._handle = asyncio.get_running_loop().call_later(delay, self._fire)


class Snowflakes:
    """Ids that always grow and always exceed 2^53. Deterministic: one millisecond apart from a fixed start."""

    def __init__(self, clock: Clock, *, deterministic: bool = False) -> None:
        self._clock = clock
        self._deterministic = deterministic
        self._last = (1_790_000_000_000 - DISCORD_EPOCH_MS) << 22 if deterministic else 0

    def next(self) -> int:
        """The next id."""
        if self._deterministic:
            self._last += 1 << 22
        else:
            self._last = max(self.at(self._clock.now()), self._last + 1)
        return self._last

    @staticmethod
    def at(seconds: float) -> int:
        """The smallest id of that moment."""
        return (int(seconds * 1000) - DISCORD_EPOCH_MS) << 22

    @staticmethod
    def seconds(snowflake: int) -> float:
        """When that id was made."""
        return ((snowflake >> 22) + DISCORD_EPOCH_MS) / 1000
