"""The bot's share of Discord's requests: never over 50 in any second, and newcomers' studios leave room for posts."""

import asyncio
from bisect import bisect_left

from bot.cogs.photos.budget import SLOW, Budget


class Clock:
    """Time that passes only in sleeps, each woken in its turn."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now_s + seconds, len(self._sleepers), future))
        await future

    async def run(self, *tasks: asyncio.Task[None]) -> None:
        while not all(task.done() for task in tasks):
            for _ in range(20):
                await asyncio.sleep(0)
            if self._sleepers:
                due = min(self._sleepers, key=lambda sleeper: sleeper[:2])
                self._sleepers.remove(due)
                self.now_s = max(self.now_s, due[0])
                due[2].set_result(None)


def busiest_second(moments: list[float]) -> int:
    return max(bisect_left(moments, moment + 1.0) - number for number, moment in enumerate(moments))


async def test_a_crowd_never_makes_more_than_fifty_requests_in_a_second():
    clock = Clock()
    budget, sent = Budget(clock), []  # type: ignore[arg-type]  # of a Clock it uses these two

    async def one() -> None:
        await budget.spend()
        sent.append(clock.now_s)

    await clock.run(*(asyncio.create_task(one()) for _ in range(200)))
    assert len(sent) == 200
    assert busiest_second(sorted(sent)) <= 50


async def test_a_post_comes_through_between_the_studios_of_a_thousand_newcomers():
    clock = Clock()
    budget, made, posted = Budget(clock), [], []  # type: ignore[arg-type]

    async def studio() -> None:
        await budget.spend_slowly()
        made.append(clock.now_s)

    async def posts() -> None:
        for _ in range(20):
            before = clock.now_s
            await budget.spend()
            posted.append(clock.now_s - before)
            await clock.sleep(0.1)

    await clock.run(*(asyncio.create_task(studio()) for _ in range(100)), asyncio.create_task(posts()))
    assert busiest_second(sorted(made)) <= SLOW + 1
    assert max(posted) < 0.2
