"""Who is banned is read once for everybody, and what is decided meanwhile counts at once."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from bot.cogs.safety.gates import ACCUSED_FOR, Gates
from jobs.errors import DarkroomError
from jobs.job import UserId


class Ledger:
    """Bans only; counts the questions."""

    def __init__(self) -> None:
        self.banned: set[UserId] = set()
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None

    async def accused(self, *, seconds: float, limit: int) -> set[UserId]:
        self.asked.append("all")
        found = set(self.banned)
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def ban_of(self, user_id: UserId) -> dict[str, Any] | None:
        self.asked.append(user_id)
        return {"until": None, "reason": "enough"} if user_id in self.banned else None

    async def standing(self, user_id: UserId, *, seconds: float) -> list[Any]:
        return []


class Clock:
    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def gates(ledger: Ledger) -> Gates:
    given: Any = {"conduct": ledger, "clock": Clock(), "rules": [], "quotas": None}
    return Gates(**given, adult_models=frozenset(), usual_model=lambda: "house")


def user(number: int) -> UserId:
    return UserId(f"discord:{number}")


async def test_a_thousand_newcomers_are_one_question(gates: Gates, ledger: Ledger):
    await asyncio.gather(*(gates._check_ban(user(number)) for number in range(1000)))
    assert ledger.asked == ["all"]


async def test_whoever_is_banned_is_refused(gates: Gates, ledger: Ledger):
    ledger.banned.add(user(7))
    await gates._check_ban(user(8))
    with pytest.raises(DarkroomError, match="banned"):
        await gates._check_ban(user(7))


async def test_a_ban_given_here_counts_at_once(gates: Gates, ledger: Ledger):
    await gates._check_ban(user(7))
    ledger.banned.add(user(7))
    gates.look_again(user(7))
    with pytest.raises(DarkroomError):
        await gates._check_ban(user(7))


async def test_a_ban_given_while_all_are_read_counts_at_once(gates: Gates, ledger: Ledger):
    ledger.gate = asyncio.Event()
    reading = asyncio.create_task(gates._check_ban(user(1)))
    await asyncio.sleep(0)
    ledger.banned.add(user(7))
    gates.look_again(user(7))
    ledger.gate.set()
    await reading
    with pytest.raises(DarkroomError):
        await gates._check_ban(user(7))


async def test_a_ban_given_elsewhere_counts_after_a_while(gates: Gates, ledger: Ledger):
    await gates._check_ban(user(7))
    ledger.banned.add(user(7))
    gates._clock = SimpleNamespace(monotonic=lambda: 100.0 + ACCUSED_FOR)  # type: ignore[assignment]
    with pytest.raises(DarkroomError):
        await gates._check_ban(user(7))
