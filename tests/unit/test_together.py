"""Group commit: nobody waits for company, nobody pays for another's fault, and the end is an end."""

import asyncio

import pytest

from database.together import Together


class Flights:
    """Flights that last until they are let go."""

    def __init__(self) -> None:
        self.flown: list[list[int]] = []
        self.may_land = asyncio.Event()
        self.stopped = 0

    async def fly(self, items):
        self.flown.append(list(items))
        try:
            await self.may_land.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return [ValueError(item) if item < 0 else item * 2 for item in items]


async def test_what_comes_during_a_flight_takes_the_next_one_together():
    flights = Flights()
    together = Together(flights.fly, at_most=3)
    tasks = [asyncio.ensure_future(together(n)) for n in range(1, 6)]
    await asyncio.sleep(0)
    flights.may_land.set()

    assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10]
    assert flights.flown == [[1, 2, 3], [4, 5]]


async def test_one_item_fails_alone():
    flights = Flights()
    flights.may_land.set()
    together = Together(flights.fly, at_most=9)

    results = await asyncio.gather(*(together(n) for n in (1, -1, 3)), return_exceptions=True)

    assert results[0] == 2
    assert results[2] == 6
    assert isinstance(results[1], ValueError)


async def test_a_flight_that_everybody_left_is_stopped_and_the_next_one_goes():
    flights = Flights()
    together = Together(flights.fly, at_most=1)
    first, second = asyncio.ensure_future(together(1)), asyncio.ensure_future(together(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    flights.may_land.set()

    assert await second == 4
    assert first.cancelled()
    assert flights.stopped == 1


async def test_closing_while_callers_leave_ends_everything():
    flights = Flights()
    together = Together(flights.fly, at_most=1)
    tasks = [asyncio.ensure_future(together(n)) for n in (1, 2, 3)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.wait_for(together.close(), 5)

    for task in tasks:
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(flights.flown) == 1
