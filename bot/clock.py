"""The real clock, and names drawn from it."""

import asyncio
import random
import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime

from jobs.job import JobId
from jobs.request import SEED_MAX

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32, lower case: no i, l, o, u."""


class SystemClock:
    """jobs.ports.Clock on this machine's clocks."""

    def now(self) -> datetime:
        """UTC, aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some start."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


async def until_set(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def new_job_id() -> JobId:
    """26 characters that sort by time (the shape of a ULID): 48 bits of milliseconds, 80 of chance."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return JobId("".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5)))


def draw_seed() -> int:
    """A seed that is easy to read out and type: below 2^32."""
    return random.randrange(min(2**32, SEED_MAX))  # noqa: S311  (no secret)
