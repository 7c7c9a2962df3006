"""A share of Discord's 50 requests a second: discord.py has no limiter of its own (it only obeys what 429s tell it)."""

from jobs.ports import Clock


class Budget:
    """A token bucket. Posts wait for a token; progress edits take one only while plenty are left."""

    def __init__(self, clock: Clock, *, per_second: float = 40.0) -> None:
        self._clock = clock
        self._rate = per_second
        self._tokens = per_second
        self._at = clock.monotonic()

    async def spend(self) -> None:
        """Take one request, waiting for it. Who waits is served in turn: tokens may be owed."""
        self._refill()
        self._tokens -= 1
        if self._tokens < 0:
            await self._clock.sleep(-self._tokens / self._rate)

    def spare(self) -> bool:
        """Take one request if more than half of the second's are left; progress is the first to be dropped."""
        self._refill()
        if self._tokens < self._rate / 2:
            return False
        self._tokens -= 1
        return True

    def _refill(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
