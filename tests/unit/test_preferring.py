"""What people chose is read once for everybody, and never older than what they changed since."""

import asyncio
from typing import Any

from bot.cogs import preferring
from bot.cogs.preferring import Choices
from jobs.job import UserId

ADA, BRUNO = UserId("discord:1"), UserId("discord:2")


class Stored:
    """What the ledger has; counts how often it is asked."""

    def __init__(self, **rows: dict[str, Any]) -> None:
        self.rows = {UserId(f"discord:{name[1:]}"): values for name, values in rows.items()}
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None

    async def preferences(self, user_id: UserId) -> dict[str, Any]:
        self.asked.append(user_id)
        return self.rows.get(user_id, {})

    async def everybodys_preferences(self, *, limit: int) -> dict[UserId, dict[str, Any]]:
        self.asked.append("all")
        found = dict(list(self.rows.items())[:limit])
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def prefer(self, user_id: UserId, changes: dict[str, Any]) -> dict[str, Any]:
        self.rows[user_id] = self.rows.get(user_id, {}) | changes
        return self.rows[user_id]


def choices_of(stored: Stored) -> Choices:
    return Choices(stored)  # type: ignore[arg-type]  # only what this test needs of the port


async def test_a_thousand_newcomers_are_one_question():
    stored = Stored(u1={"language": "es"})
    choices = choices_of(stored)
    assert (await choices.of(ADA)).language == "es"
    for number in range(1000):
        assert (await choices.of(UserId(f"discord:9{number}"))).language is None
    assert stored.asked == ["all"]


async def test_where_they_are_too_many_each_is_asked_for(monkeypatch):
    monkeypatch.setattr(preferring, "KEPT", 1)
    stored = Stored(u1={"language": "es"}, u2={"language": "de"})
    choices = choices_of(stored)
    assert [(await choices.of(one)).language for one in (BRUNO, ADA, BRUNO)] == ["de", "es", "de"]
    assert stored.asked == ["all", BRUNO, ADA, BRUNO]


async def test_a_change_made_while_all_are_read_stays():
    stored = Stored(u1={"language": "es"})
    stored.gate = asyncio.Event()
    choices = choices_of(stored)
    reading = asyncio.create_task(choices.of(BRUNO))
    await asyncio.sleep(0)
    await choices.change(ADA, {"language": "fr"})
    stored.gate.set()
    await reading
    assert (await choices.of(ADA)).language == "fr"


async def test_who_was_erased_chose_nothing():
    stored = Stored(u1={"language": "es"})
    choices = choices_of(stored)
    await choices.of(ADA)
    choices.forget(ADA)
    assert (await choices.of(ADA)).language is None
