"""What /status tells of each worker: its places, that it rests, and what it says of itself."""

import asyncio
from dataclasses import replace

import pytest

from bot.cogs.house.cards import WORKERS_SHOWN, Speed, status_card
from jobs.run import WorkerReport
from jobs.words import say
from tests.bot.conftest import Scene, texts
from tests.bot.test_cards import message

GPU = WorkerReport(name="gpu1", instance="one", device="Test GPU", models=(), loaded=frozenset({"house"}), max_batch=4, room=3)
PACK = "Pictures are made one by one: it lacks darkroom's node pack (copy comfy_custom_nodes into its custom_nodes folder)."


def card(*workers: WorkerReport, locale: str = "en", resting=()) -> str:
    return texts(message(status_card(workers, 0, Speed(model="house", eta=None), locale, resting=resting)))


@pytest.mark.parametrize("locale", ["en", "es"])
def test_what_a_worker_says_of_itself_stands_under_it_as_plain_text(locale):
    lead = say("house.note", locale, note="").strip()
    said = card(replace(GPU, notes=(PACK, "@everyone [click](https://evil.example)")), locale=locale)
    assert said.count(f"\n-# {lead}") == 2
    assert "node pack" in said
    assert "@everyone" not in said and "[click](" not in said
    assert lead not in card(GPU, locale=locale)


def test_a_fleet_with_much_to_say_still_fits_into_one_message():
    long = replace(GPU, name="g" * 60, device="d" * 60, notes=("word " * 200,) * 9, loaded=frozenset(f"{n}{'m' * 90}" for n in range(9)))
    view = status_card([long] * 50, 3, Speed(model="m" * 100, eta=None), "es")
    assert view.content_length() <= 4000
    shown = texts(message(view)).count(f"**{'g' * 60}**")
    assert 3 < shown < WORKERS_SHOWN
    assert say("house.more", "es", n=50 - shown) in texts(message(view))
    small = status_card([GPU] * 12, 3, Speed(model="m", eta=None), "es")
    assert texts(message(small)).count("**gpu1**") == WORKERS_SHOWN


async def test_a_paused_worker_is_not_counted_as_free(scene: Scene):
    async def status() -> str:
        return texts((await scene.play.slash("ada", scene.welcome, "status", {}, wait="answer"))["original"])

    assert "1 of 1 free" in await status()
    await scene.bot.parts.operator.rest("w0", "pause")
    async with asyncio.timeout(10):
        while "0 of 1 free" not in (told := await status()):
            pass
    assert "resting, as an admin said (0 of 4 places taken)" in told
