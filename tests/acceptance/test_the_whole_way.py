"""From six prompts to six right pictures in six private channels, by real processes and from the pixels."""

import asyncio

import pytest

from housemodel.checker import judge
from jobs.words import say
from tests.acceptance.lab import (
    MEMBERS,
    Refused,
    answer_text,
    button,
    channel_of,
    eventually,
    is_failure,
    is_picture,
    open_lab,
    open_worker,
    picture_url,
    texts,
)
from tests.fake_worker import FakeWorker, colour_of

WISHES = dict(zip(MEMBERS, [
    "a red star in the center on a cyan background", "una luna blanca en el centro sobre fondo azul",
    "a yellow circle in the center on a purple background", "a green heart in the center on a white background",
    "an orange square in the center on a black background", "a pink cross in the center on a blue background",
], strict=True))  # fmt: skip


async def all_pictures(lab, count):
    found = [message for message in await lab.everything() if is_picture(message)]
    return found if len(found) >= count else None


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_six_members_at_once_each_get_the_picture_of_their_own_words(tmp_path, store, request):
    url = ""
    if store == "postgresql":
        server = request.getfixturevalue("postgres_server")
        url = server.url(server.new_database())
    async with open_worker(tmp_path) as (_, worker), open_lab(tmp_path, [worker], database_url=url) as lab:
        records = await asyncio.gather(*(lab.imagine(member, prompt) for member, prompt in WISHES.items()))
        assert all(record["acked_after_ms"] < 3000 and record["ephemeral"] for record in records)
        channels = dict(zip(MEMBERS, map(channel_of, records), strict=True))
        assert len(set(channels.values())) == 6
        await eventually(lambda: all_pictures(lab, 6), seconds=90, what="six pictures")
        shared = 0
        for member, channel in channels.items():
            pictures = [m for m in await lab.messages(channel, member) if is_picture(m)]
            assert len(pictures) == 1
            verdict = judge(await lab.picture(pictures[0]), WISHES[member])
            assert verdict.tells_apart, (member, verdict.seen.describe())
            shared += "shared with" in texts(pictures[0]) or "compartida con" in texts(pictures[0])
            for other in MEMBERS:
                if other != member:
                    with pytest.raises(Refused) as refused:
                        await lab.messages(channel, other)
                    assert refused.value.code == "not_visible"
        assert shared >= 2


async def test_words_that_the_house_model_cannot_read_any_more_are_told_of_under_the_picture(tmp_path):
    long = "a red star in the center on a cyan background" + " and one more" * 120
    async with open_worker(tmp_path) as (_, worker), open_lab(tmp_path, [worker]) as lab:
        short, cut = channel_of(await lab.imagine("ada", "a red star on a cyan background")), channel_of(await lab.imagine("chen", long))
        await eventually(lambda: all_pictures(lab, 2), seconds=90, what="two pictures")
        for channel, member, is_cut in ((short, "ada", False), (cut, "chen", True)):
            (picture,) = [m for m in await lab.messages(channel, member) if is_picture(m)]
            assert (say("note.prompt_cut", "en") in texts(picture)) is is_cut


@pytest.fixture
async def fake():
    async with FakeWorker(step_seconds=0.02, max_batch=4).serve() as worker:
        yield worker


@pytest.fixture
async def lab(tmp_path, fake):
    async with open_lab(tmp_path, [fake.url]) as opened:
        yield opened


async def test_the_card_moves_and_the_picture_comes_as_a_second_message(lab, fake):
    fake.gate.clear()
    channel = channel_of(await lab.imagine("ada", "my wish"))

    async def running_card():
        return next((m for m in await lab.messages(channel, "ada") if button(m, "cancel") and "of 12" in texts(m)), None)

    card = await eventually(running_card, what="a running card")
    assert say("card.title", "en") in texts(card)
    fake.gate.set()
    (picture,) = await eventually(lambda: all_pictures(lab, 1), what="the picture")
    assert picture["id"] != card["id"]
    assert [user["username"] for user in picture["mentions"]] == ["ada"]
    assert (await lab.picture(picture)).getpixel((3, 3)) == colour_of("my wish")

    async def closed():
        after = next(m for m in await lab.messages(channel, "ada") if m["id"] == card["id"])
        return button(after, "cancel") is None

    await eventually(closed, what="the closed card")


async def test_a_member_is_answered_in_their_own_language(lab):
    record = await lab.imagine("bruno", "una luna")
    channel = channel_of(record)
    (picture,) = await eventually(lambda: all_pictures(lab, 1), what="the picture")
    said = "\n".join(texts(m) for m in await lab.messages(channel, "bruno"))
    assert say("done.title", "es", n=1) in texts(picture)
    assert say("done.title", "en", n=1) not in said


async def test_cancel_by_its_owner_stops_it_and_by_anybody_else_does_not(lab, fake):
    fake.gate.clear()
    mine = channel_of(await lab.imagine("ada", "mine"))
    neighbour = channel_of(await lab.imagine("chen", "neighbour"))

    async def card(channel, member):
        return next((m for m in await lab.messages(channel, member) if button(m, "cancel")), None)

    message = await eventually(lambda: card(mine, "ada"), what="the card")
    await eventually(lambda: card(neighbour, "chen"), what="the other card")
    click = {"message_id": message["id"], "custom_id": button(message, "cancel")}
    with pytest.raises(Refused):  # chen cannot even see that card; staff can, and is refused by the bot
        await lab.post("/control/click", {"as": "chen", **click}, wait="answer")
    owner = await lab.post("/control/click", {"as": "olga", **click}, wait="answer")
    assert say("limit.not_yours", "en") in answer_text(owner)
    await lab.post("/control/click", {"as": "ada", **click}, wait="ack")
    await eventually(lambda: _is_closed(lab, mine, message["id"]), what="the cancelled card")
    fake.gate.set()
    (picture,) = await eventually(lambda: all_pictures(lab, 1), what="the neighbour's picture")
    assert (await lab.picture(picture)).getpixel((3, 3)) == colour_of("neighbour")
    await asyncio.sleep(0.5)
    assert not any(is_picture(m) for m in await lab.messages(mine, "ada"))


async def _is_closed(lab, channel, message_id):
    message = next(m for m in await lab.messages(channel) if m["id"] == message_id)
    return button(message, "cancel") is None


async def test_a_studio_that_the_database_forgot_is_found_again(tmp_path, fake):
    async with open_lab(tmp_path, [fake.url]) as lab:
        first = channel_of(await lab.imagine("ada", "first"))
        await eventually(lambda: all_pictures(lab, 1), what="the picture")
        await lab.host.stop()
        for file in (tmp_path / "storage").glob("darkroom.sqlite3*"):
            if file.suffix != ".lock":
                file.unlink()
        await lab.host.start()
        await lab.up()
        assert channel_of(await lab.imagine("ada", "second")) == first
        assert len(await lab.studios()) == 1


BAD = [
    ({"prompt": " "}, "empty_prompt"), ({"prompt": "x" * 5000}, "prompt_too_long"), ({"prompt": "a star", "steps": 0}, "invalid_steps"),
    ({"prompt": "a star", "steps": -1}, "invalid_steps"), ({"prompt": "a star", "steps": 10**9}, "invalid_steps"),
    ({"prompt": "a star", "size": "513x9000"}, "invalid_side"), ({"prompt": "a star", "size": "big"}, "invalid_size"),
    ({"prompt": "a star", "seed": str(2**64)}, "invalid_seed"), ({"prompt": "a star", "model": "nothing-here"}, "unknown_model"),
]  # fmt: skip


async def test_every_bad_wish_gets_one_kind_sentence_and_nothing_is_enqueued(lab, fake):
    sentences = set()
    for options, code in BAD:
        for member in ("ada", "bruno"):
            record = await lab.imagine(member, **options)
            text = answer_text(record)
            assert record["ephemeral"], code
            assert 10 < len(text) < 400, (code, text)
            sentences.add((code, member, text))
    assert len({text for code, member, text in sentences if member == "ada"} & {t for _, m, t in sentences if m == "bruno"}) == 0
    assert not fake.orders
    assert not await lab.everything()


async def test_a_prompt_cannot_ping_or_format(lab):
    channel = channel_of(await lab.imagine("ada", "@everyone **bold** [x](http://evil) <@&1> `code`"))
    await eventually(lambda: all_pictures(lab, 1), what="the picture")
    for message in await lab.messages(channel, "ada"):
        assert not message["mention_everyone"]
        assert not message["mention_roles"]
        assert "**bold**" not in texts(message).replace("\\*", "")


async def test_a_third_request_waits_and_a_twenty_third_is_told_the_limit(lab, fake):
    fake.gate.clear()
    records = [await lab.imagine("ada", f"wish {i}") for i in range(23)]
    assert "20" in answer_text(records[-1])
    assert len(fake.orders) <= 2
    fake.gate.set()
    await eventually(lambda: all_pictures(lab, 22), seconds=90, what="22 pictures")
    assert sum(fake.started.values()) == 22


async def test_a_failure_is_one_line_that_says_why(lab, fake):
    fake.faults = ["refuse"]
    channel = channel_of(await lab.imagine("ada", "impossible"))

    async def told():
        messages = await lab.messages(channel, "ada")
        return [m for m in messages if is_failure(m)] if any("a sentence about" in texts(m) for m in messages) else []

    (line,) = await eventually(told, what="the failure, and its cause on the card")
    assert [user["username"] for user in line["mentions"]] == ["ada"]
    await asyncio.sleep(0.5)
    assert not any(picture_url(m) for m in await lab.messages(channel, "ada"))
