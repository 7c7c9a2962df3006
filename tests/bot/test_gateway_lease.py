"""Holding the Discord gateway: what ends it, and how it says so."""

import asyncio

import pytest

from bot.clock import SystemClock
from bot.door_errors import TokenRefused
from bot.presence import hold_gateway


class Leases:
    """Free, then (after ``answers`` takes) as silent as a database behind a broken line."""

    def __init__(self, answers: int) -> None:
        self._answers = answers
        self.given_back = False

    async def take(self, name: str, *, seconds: float) -> int:
        self._answers -= 1
        if self._answers < 0:
            await asyncio.Event().wait()
        return 1

    async def give_back(self, name: str) -> None:
        self.given_back = True


async def test_a_refused_token_comes_out_as_itself():
    async def serve(_stop: asyncio.Event) -> None:
        raise TokenRefused

    with pytest.raises(TokenRefused):
        await hold_gateway(Leases(answers=9), SystemClock(), asyncio.Event(), serve)  # pyright: ignore[reportArgumentType]  a fake


async def test_stopping_does_not_wait_for_a_database_that_is_silent():
    stop, leases = asyncio.Event(), Leases(answers=1)

    async def serve(enough: asyncio.Event) -> None:
        await asyncio.sleep(0.01)  # the lease is watched by now
        stop.set()
        await enough.wait()

    async with asyncio.timeout(30):  # no measurement: without its cure it waits for ever
        await hold_gateway(leases, SystemClock(), stop, serve)  # pyright: ignore[reportArgumentType]  a fake

    assert leases.given_back
