"""The judge of the kills finds what it is there to find."""

import pytest

from tests.acceptance.books import Entry, Told
from tests.acceptance.history import Told as Line
from tests.acceptance.history import gaps, third_active
from tests.acceptance.kill_loop import Kills

WISH = "wish number 0001 of many"


def posted(number: str, wish: str = WISH) -> dict:
    gallery = {"type": 12, "items": [{"media": {"url": "http://pictures/1.png"}}]}
    return {"id": number, "content": "", "components": [gallery, {"type": 10, "content": f"**{wish}**"}]}


def entry(*told: Told, state: str = "done", wish: str = WISH) -> Entry:
    return Entry("j1", state, "", wish, list(told))


CARD, PICTURE = Told("card", "sent", "1", "c"), Told("picture", "sent", "2", "c")
LOG = [Line("j1", "u", None, "queued"), Line("j1", "u", "queued", "leased"), Line("j1", "u", "leased", "done")]


class FakeLab:
    def __init__(self, books: list[Entry], messages: list[dict], log: list[Line]) -> None:
        self._books, self._messages, self._log = books, messages, log

    async def books(self) -> list[Entry]:
        return self._books

    async def everything(self) -> list[dict]:
        return self._messages

    async def history(self) -> list[Line]:
        return self._log


async def verdict_on(books, messages, log=LOG):
    kills = Kills(seed=1)
    kills.promised = {WISH: True}
    return await kills.verdict(FakeLab(books, messages, log))  # type: ignore[arg-type]


CARD_MESSAGE = {"id": "1", "content": "", "components": []}


async def test_a_wish_made_and_told_once_is_in_order():
    assert (await verdict_on([entry(CARD, PICTURE)], [CARD_MESSAGE, posted("2")])).is_clean


@pytest.mark.parametrize(
    ("books", "messages", "lost", "twice"),
    [
        ([], [], 1, 0),  # promised, and no job
        ([entry(CARD, PICTURE)], [CARD_MESSAGE], 2, 0),  # sent, says the ledger, and not there
        ([entry(CARD)], [CARD_MESSAGE], 1, 0),  # done, and nothing to be told of it
        ([entry(CARD, state="running")], [CARD_MESSAGE], 1, 0),
        ([entry(CARD, PICTURE)], [CARD_MESSAGE, posted("2"), posted("3")], 0, 1),
        ([entry(CARD, PICTURE), entry(CARD, PICTURE)], [CARD_MESSAGE, posted("2")], 1, 1),  # two jobs of one wish
        ([entry(CARD, PICTURE)], [CARD_MESSAGE, posted("2", "wish number 0002 of many")], 1, 1),  # somebody else's picture
    ],
)
async def test_what_is_lost_or_told_twice_is_counted(books, messages, lost, twice):
    verdict = await verdict_on(books, messages)

    assert (len(verdict.lost), len(verdict.twice)) == (lost, twice), verdict


async def test_a_cancel_that_nobody_asked_for_is_noticed():
    verdict = await verdict_on([entry(CARD, state="cancelled")], [CARD_MESSAGE])

    assert verdict.broken == ["something was cancelled that nobody cancelled"]


def test_a_third_active_job_is_seen_in_the_log():
    leases = [Line(f"j{n}", "u", "queued", "leased") for n in range(3)]
    freed = Line("j0", "u", "leased", "queued")

    assert third_active(leases) == 1
    assert third_active([*leases[:2], freed, leases[2]]) == 0


def test_a_gap_in_the_log_is_seen():
    assert gaps(LOG) == []
    assert len(gaps([LOG[0], LOG[2]])) == 1
