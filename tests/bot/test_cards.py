"""What cards say, in both languages, within their limits, whatever the prompt is made of."""

from dataclasses import replace
from datetime import timedelta

import pytest

from bot.cogs.photos import cards, result
from bot.cogs.photos.cards import Outlook
from bot.cogs.photos.memory import CardMemory, fingerprint, marker_of, preview_type
from bot.cogs.photos.text import cut, shown
from jobs.desk import Why
from jobs.estimate import Eta
from jobs.events import JobProgressed
from jobs.feed import Feed
from jobs.job import Failure, JobState
from jobs.ports import DeliveryKind
from jobs.request import LoraUse
from tests.bot.asking import NOW, done, job, status
from tests.bot.conftest import buttons, gallery, parts_of, texts

WORST = "@everyone <@42> [x](http://y) **b** `c` ||s|| <#1> \\ ~~z~~ " * 40


def message(view) -> dict:
    return {"components": view.to_components()}


def progress(step: int = 12, **known) -> JobProgressed:
    return JobProgressed(job_id=job().id, step=step, total_steps=20, elapsed=3.0, eta=2.0, worker="gpu1", **known)


def every_card(locale: str, prompt: str) -> list[dict]:
    waiting = status(job(locale=locale, prompt=prompt), position=3, why=Why(code="ahead", details={"n": 2, "seconds": 40}))
    failed = job(JobState.FAILED, locale=locale, prompt=prompt, failure=Failure(code="run_refused", details={"detail": WORST}))
    running = status(job(JobState.RUNNING, locale=locale, prompt=prompt), progress=progress())
    outlooks = [
        Outlook(status=waiting, ready_at=NOW),
        Outlook(status=running, preview="preview-12.webp", ready_at=NOW),
        Outlook(status=running, late=True),
        Outlook(status=status(failed)),
        Outlook(status=status(job(JobState.CANCELLED, locale=locale, prompt=prompt), progress=progress())),
        Outlook(status=status(done(locale=locale, prompt=prompt))),
    ]
    shown_cards = [message(cards.card(outlook, marker=5)) for outlook in outlooks]
    return [*shown_cards, message(result.result(done(locale=locale, prompt=prompt), [result.Print(name="x.png", picture=done().pictures[0])], marker=5))]


@pytest.mark.parametrize("locale", ["en-US", "es-419"])
@pytest.mark.parametrize("prompt", ["a lighthouse", WORST, "🦊" * 2000, "x" * 2000])
def test_every_card_stays_within_its_limits(locale, prompt):
    for card in every_card(locale, prompt):
        assert len(parts_of(card)) <= 20
        assert len(texts(card)) <= 1200
        for part in parts_of(card):
            assert len(part.get("custom_id", "")) <= 100
            for item in part.get("items", []):
                assert len(item["description"]) <= 1024


@pytest.mark.parametrize("locale", ["en-US", "es-ES"])
def test_no_card_calls_anybody_but_its_owner(locale):
    for card in every_card(locale, WORST):
        text = texts(card)
        assert "@everyone" not in text
        assert text.count("<@42>") - text.count("\\<@42>") <= 1
        assert "**b**" not in text


def test_cards_speak_the_language_of_the_request():
    english, spanish = every_card("en-GB", "a fox"), every_card("es-ES", "a fox")
    assert "Waiting, number **3** in the queue" in texts(english[0])
    assert "En espera, número **3** en la cola" in texts(spanish[0])
    assert "2 people who used less time go first." in texts(english[0])
    for one, other in zip(english, spanish, strict=True):
        assert texts(one) != texts(other)


def test_waiting_card_has_place_time_prompt_and_a_cancel_button_and_a_grey_bar():
    waiting = status(job(), position=1, why=Why(code="next"))
    card = message(cards.card(Outlook(status=waiting, ready_at=NOW), marker=5))
    assert f"<t:{int(NOW.timestamp())}:R>" in texts(card)
    assert "house · 128×96 · 20 steps" in texts(card)
    assert buttons(card) == [f"job:{job().id}:cancel:0"]
    assert card["components"][0]["accent_color"] == 0x87776C
    assert card["components"][0]["id"] == 5


def test_running_card_shows_step_and_preview_and_without_one_a_meter():
    running = status(job(JobState.RUNNING), progress=progress(10))
    with_preview = message(cards.card(Outlook(status=running, preview="preview-10.png"), marker=5))
    assert "Step **10** of 20" in texts(with_preview)
    assert gallery(with_preview) == ["attachment://preview-10.png"]
    assert "▰" not in texts(with_preview)
    assert "▰▰▰▰▰▱▱▱▱▱" in texts(message(cards.card(Outlook(status=running), marker=5)))


def test_a_card_whose_cancel_was_asked_says_so_and_has_no_button():
    stopping = status(job(JobState.RUNNING, cancel_requested=True), progress=progress())
    card = message(cards.card(Outlook(status=stopping, ready_at=NOW), marker=5))
    assert "Stopping it now." in texts(card)
    assert buttons(card) == []


def test_a_cancelled_card_tells_the_step_where_it_stopped():
    stopped = status(job(JobState.CANCELLED), progress=progress(12))
    assert "You stopped it at step 12 of 20" in texts(message(cards.card(Outlook(status=stopped), marker=5)))
    early = status(job(JobState.CANCELLED))
    assert "Cancelled before it started." in texts(message(cards.card(Outlook(status=early), marker=5)))


def test_a_failed_card_names_the_cause_and_that_nothing_is_lost():
    failed = job(JobState.FAILED, failure=Failure(code="workers_lost", details={"n": 5}))
    card = message(cards.card(Outlook(status=status(failed)), marker=5))
    assert "went away 5 times" in texts(card)
    assert "not counted against you" in texts(card)
    assert card["components"][0]["accent_color"] == 0xFF9C90


def test_a_done_card_shrinks_to_one_line():
    card = message(cards.card(Outlook(status=status(done())), marker=5))
    assert texts(card) == "-# ✓ Done in 25 s, below."
    assert len(parts_of(card)) == 1


def test_the_picture_message_has_facts_and_an_alternative_text():
    made = message(result.result(done(prompt="a fox"), [result.Print(name="abc.png", picture=done().pictures[0])], marker=5))
    assert "seed 7 · house" in texts(made)
    assert "128×96 · 20 steps · 6.2 s · shared with 3" in texts(made)
    (part,) = [part for part in parts_of(made) if part["type"] == 12]
    assert part["items"][0]["description"] == "a fox. Photo, 128 by 96."
    verbs = [custom_id.split(":")[2] for custom_id in buttons(made)]
    assert verbs == ["reroll", "vary", "upscale", "edit", "animate", "remix", "use", "publish", "details", "delete"]
    assert all(custom_id.startswith(f"job:{done().id}:") and custom_id.endswith(":1") for custom_id in buttons(made))


def several(count: int = 10, **changes):
    first = done(**changes)
    pictures = tuple(replace(first.pictures[0], index=n, seed=2**63 - 11 + n) for n in range(count))
    loras = tuple(LoraUse(name="x" * 99 + str(n), weight=0.85) for n in range(8))
    return replace(first, pictures=pictures, order=first.order.model_copy(update={"count": count, "loras": loras}))


@pytest.mark.parametrize("locale", ["en-US", "es-419"])
def test_ten_pictures_fit_one_message_with_a_select_and_an_alternative_text_each(locale):
    job_ = several(locale=locale, prompt=WORST)
    prints = [result.Print(name=f"x-{p.index}.png", picture=p) for p in job_.pictures]
    made = message(result.result(job_, prints, marker=5, extras=result.Extras(origin="https://x", notes=["small"] * 2)))
    assert len(parts_of(made)) <= 20
    assert len(texts(made)) <= 1200
    (shown_gallery,) = [part for part in parts_of(made) if part["type"] == 12]
    alts = [item["description"] for item in shown_gallery["items"]]
    assert len(set(alts)) == 10
    assert all(len(alt) <= 1024 for alt in alts)
    (select,) = [part for part in parts_of(made) if part["type"] == 3]
    assert [option["value"] for option in select["options"]] == [str(n) for n in range(1, 11)]
    assert all(custom_id.endswith(":0") for custom_id in buttons(made))
    assert "0.85" in texts(made)


def test_seconds_are_told_for_each_picture_and_the_parent_is_linked():
    job_ = several(2, prompt="a fox")
    made = message(result.result(job_, [], marker=5, extras=result.Extras(origin="https://discord.com/channels/1/2/3")))
    assert "3.1 s each" in texts(made)
    assert "[an earlier photo](https://discord.com/channels/1/2/3)" in texts(made)


def test_prompts_are_shown_on_one_line_cut_at_a_word_and_escaped():
    assert shown("# heading\n- list") == "\\# heading - list"
    assert shown("1. first") == "1\\. first"
    assert shown("film-grain, 35 mm") == "film-grain, 35 mm"
    assert shown("@here") == "@\u200bhere"
    assert cut("one two three", 9) == "one two…"
    assert cut("onetwothree", 9) == "onetwoth…"


def test_only_pictures_of_a_sane_size_are_previews():
    assert preview_type(b"\x89PNG\r\n\x1a\n" + bytes(9)) == "png"
    assert preview_type(b"RIFF0000WEBPVP8 ") == "webp"
    assert preview_type(b"<html>") is None
    assert preview_type(b"\x89PNG\r\n\x1a\n" + bytes(70_000)) is None


def test_an_edit_is_worth_it_only_when_something_can_be_seen():
    def at(step: int):
        return fingerprint(Outlook(status=status(job(JobState.RUNNING), progress=progress(step))))

    assert at(6) == at(7)
    assert at(6) != at(11)
    moved = Outlook(status=status(job(), position=2))
    assert fingerprint(moved) != fingerprint(Outlook(status=status(job(), position=1)))
    later = Outlook(status=status(job(), position=2), ready_at=NOW + timedelta(seconds=30))
    assert fingerprint(later) != fingerprint(moved)


class StillClock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self):
        return self.at


def promised(memory: CardMemory, clock: StillClock, seconds: float, eta: float | None) -> tuple[float | None, bool]:
    """(the promised moment, whether it is late) ``seconds`` from the start, when ``eta`` more seconds are expected."""
    clock.at = NOW + timedelta(seconds=seconds)
    known = None if eta is None else Eta(low=eta, high=eta)
    outlook = memory.sight(job(), status(job(), position=1, eta=known)).outlook
    return (outlook.ready_at - NOW).total_seconds() if outlook.ready_at else None, outlook.late


def test_the_promised_moment_stays_until_the_estimate_really_moves():
    clock = StillClock()
    memory = CardMemory(desk=None, store=None, feed=Feed(), clock=clock)  # type: ignore[arg-type]  not asked here
    assert promised(memory, clock, 0, 100) == (100, False)
    assert promised(memory, clock, 10, 99) == (100, False)  # 9 s later: under 10 s
    assert promised(memory, clock, 10, 105) == (100, False)  # 15 s later: under a fifth of what is left
    assert promised(memory, clock, 10, 120) == (130, False)
    assert promised(memory, clock, 131, 1) == (130, False)
    assert promised(memory, clock, 133, 1) == (130, True)
    assert promised(memory, clock, 140, None) == (None, False)


def test_a_wide_estimate_is_told_as_a_range_and_a_narrow_one_as_a_moment():
    memory = CardMemory(desk=None, store=None, feed=Feed(), clock=StillClock())  # type: ignore[arg-type]  not asked here
    wide = memory.sight(job(), status(job(), position=1, eta=Eta(low=60, high=240))).outlook
    assert [(at - NOW).total_seconds() for at in (wide.ready_at, wide.ready_by)] == [60, 240]
    card = texts(message(cards.card(wide, marker=5)))
    assert f"<t:{int(wide.ready_at.timestamp())}:R>, at the latest <t:{int(wide.ready_by.timestamp())}:R>" in card
    memory.forget(job().id)
    narrow = memory.sight(job(), status(job(), position=1, eta=Eta(low=60, high=80))).outlook
    assert ((narrow.ready_at - NOW).total_seconds(), narrow.ready_by) == (70, None)


def test_markers_differ_between_deliveries_and_fit_discords_component_ids():
    made = {marker_of(job().id, 1, kind) for kind in DeliveryKind} | {marker_of(job().id, 2, DeliveryKind.CARD)}
    assert len(made) == len(DeliveryKind) + 1
    assert all(0 < marker < 2**31 for marker in made)
