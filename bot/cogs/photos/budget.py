"""A share of Discord's 50 requests a second: discord.py has no limiter of its own (it only obeys what 429s tell it)."""

import asyncio
import logging

import aiohttp

from jobs.ports import Clock

_log = logging.getLogger(__name__)

BAR_LEAST, BAR_MOST, BAR_USUAL = 1.0, 3600.0, 600.0
"""Seconds that nothing is sent after the edge's refusal: at least, at most, and where it tells of none."""


SLOW = 15.0
"""Requests a second for what may wait."""


class Barred(ConnectionError):
    """Nothing is sent for now: Discord's edge refuses this address, and each further request would prolong that."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Discord refuses this address; nothing is sent for {seconds:.0f} s")
        self.retry_after = seconds


class Budget:
    """A token bucket. Posts wait for a token; progress edits take one only while plenty are left.

    A full bucket and a second's tokens together stay under Discord's 50 a second, whatever second one looks at.
    """

    def __init__(self, clock: Clock, *, per_second: float = 36.0, burst: float = 12.0) -> None:
        self._clock = clock
        self._rate = per_second
        self._burst = burst
        self._tokens = burst
        self._slow = asyncio.Lock()
        self._slow_from = float("-inf")
        self._at = clock.monotonic()
        self._barred_until = float("-inf")

    def listening(self) -> aiohttp.TraceConfig:
        """For the client: the budget hears of every answer, whoever asked, as it comes.

        The library tells whoever asked up to seconds later: it waits for the end of an exhausted bucket before it raises.
        """
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._hear)
        return trace

    async def _hear(self, _session: object, _context: object, told: aiohttp.TraceRequestEndParams) -> None:
        """A 429 of the API without ``Via`` is no rate limit but a ban at the edge, for all of this address."""
        if told.response.status != 429 or "Via" in told.response.headers or not told.url.path.startswith("/api/"):
            return
        seconds = min(max(_seconds(told.response.headers.get("Retry-After")), BAR_LEAST), BAR_MOST)
        self._barred_until = max(self._barred_until, self._clock.monotonic() + seconds)
        _log.critical("Discord's edge bars this address (too many invalid requests?): nothing is sent for %.0f s", seconds)

    def barred_for(self) -> float:
        """Seconds until something may be sent again; 0 when it may."""
        return max(0.0, self._barred_until - self._clock.monotonic())

    async def spend(self) -> None:
        """Take one request, waiting for it. Who waits is served in turn: tokens may be owed. Raises Barred."""
        if self.barred_for():
            raise Barred(self.barred_for())
        self._refill()
        self._tokens -= 1
        if self._tokens < 0:
            await self._clock.sleep(-self._tokens / self._rate)

    async def spend_slowly(self) -> None:
        """As :meth:`spend`, for what comes in crowds and may wait (studios of newcomers): posts come through between them."""
        async with self._slow:
            early = self._slow_from - self._clock.monotonic()
            if early > 0:
                await self._clock.sleep(early)
            self._slow_from = self._clock.monotonic() + 1 / SLOW
            await self.spend()

    def spare(self) -> bool:
        """Take one request if more than half of the bucket is left; progress is the first to be dropped."""
        self._refill()
        if self.barred_for() or self._tokens < self._burst / 2:
            return False
        self._tokens -= 1
        return True

    def _refill(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now


def _seconds(told: str | None) -> float:
    return float(told) if told and told.isascii() and told.isdecimal() else BAR_USUAL
