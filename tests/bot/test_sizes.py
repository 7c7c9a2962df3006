"""Pictures that are too large: in several messages, smaller, or as a link; one big file never sinks the others."""

import io
import random

import discord
import pytest
from PIL import Image

from bot.cogs.photos.shrink import Copy, first_group, fitted
from tests.bot.conftest import OpenScene, Scene, gallery, texts
from tests.bot.test_delivery import POST, settled
from tests.bot.test_verbs import ABLE_WORKER, newest, press_id, pressed

FILE, REQUEST = 300_000, 560_000
LIMITS = {"file_limit": FILE, "request_limit": REQUEST}
"""Bytes; Discord's are 10 and 25 MiB. What counts is that two pictures fit one request and three do not."""


def noise(side: int, seed: int = 1) -> bytes:
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(seed).randbytes(side * side * 3)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits in little, in bot and rehearsal, and a worker whose pictures nothing makes small."""
    monkeypatch.setattr("bot.cogs.photos.shrink.REQUEST_LIMIT", REQUEST)
    monkeypatch.setattr("bot.cogs.photos.parcels.REQUEST_LIMIT", REQUEST)
    monkeypatch.setattr(discord.Guild, "filesize_limit", property(lambda guild: FILE))
    monkeypatch.setattr("tests.fake_worker.picture", lambda order, *, size=None, index=0: noise(order["width"], index))


@pytest.fixture
async def scene(open_scene: OpenScene, small_limits: None) -> Scene:
    return await open_scene(worker=ABLE_WORKER, rehearsal=LIMITS)


async def pictures_of(scene: Scene, who: str) -> list[list[str]]:
    """What each message with pictures shows."""
    return [shown for message in await scene.messages_of(who) if (shown := gallery(message))]


async def three(scene: Scene, *, side: int = 256) -> None:
    await scene.imagine("ada", count=3, size=f"{side}x{side}")
    await scene.card_of("ada", "Here are your 3 photos")
    await settled(scene)


async def test_what_fits_one_by_one_and_not_together_comes_in_several_messages(scene: Scene):
    await three(scene)
    messages = [m for m in await scene.messages_of("ada") if gallery(m)]
    assert [len(gallery(m)) for m in messages] == [2, 1]
    assert "Photos 3 to 3 of 3." in texts(messages[1])
    assert [[user["id"] for user in m["mentions"]] for m in messages] == [[scene.users["ada"]], []]
    job = await newest(scene, "ada")
    sent = [await scene.play.download(url) for m in messages for url in gallery(m)]
    assert sent == [await scene.lab.pictures.read(picture.sha256) for picture in job.pictures]


@pytest.mark.parametrize("fault", ["drop", "after_drop", "after_status:502", "status:503"])
@pytest.mark.parametrize("which", [1, 2])
async def test_a_part_in_trouble_is_there_once(scene: Scene, fault, which):
    await scene.fault(fault, path=POST, method="POST", skip=which)  # the card is the first
    await three(scene)
    shown = [url.partition("?")[0].rpartition("/")[2] for message in await pictures_of(scene, "ada") for url in message]
    assert len(shown) == len(set(shown)) == 3


@pytest.mark.parametrize("which", [1, 2])
async def test_after_the_nonces_window_the_channel_tells_which_pictures_came(open_scene: OpenScene, small_limits, which):
    scene = await open_scene(worker=ABLE_WORKER, rehearsal=LIMITS | {"nonce_window": 0.0})
    await scene.fault("after_drop", path=POST, method="POST", skip=which)
    await three(scene)
    assert [len(message) for message in await pictures_of(scene, "ada")] == [2, 1]


async def test_what_was_not_posted_of_several_messages_before_a_restart_is_posted_after_it(scene: Scene):
    await scene.fault("status:503", path=POST, method="POST", skip=2, count=1000)
    await scene.imagine("ada", count=3, size="256x256")
    await scene.card_of("ada", "Here are your 3 photos")
    await scene.stop()
    await scene.play.clear_faults()
    await scene.restart()
    await settled(scene)
    assert [len(message) for message in await pictures_of(scene, "ada")] == [2, 1]


async def test_deleting_takes_every_message_of_the_pictures_away(scene: Scene):
    await three(scene)
    message = next(m for m in await scene.messages_of("ada") if gallery(m))
    asked = (await pressed(scene, "ada", message, "delete"))["original"]
    await scene.play.click("ada", asked["id"], press_id(asked, "delete-sure"), wait="answer")
    assert await pictures_of(scene, "ada") == []


async def test_one_file_that_is_broken_or_gone_keeps_no_other_back(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    read = scene.lab.pictures.read
    job = None

    async def damaged(sha256: str) -> bytes:
        nonlocal job
        job = job or await newest(scene, "ada")
        index = next(p.index for p in job.pictures if p.sha256 == sha256)
        if index == 0:
            return b"no picture" * FILE
        if index == 1:
            raise FileNotFoundError(sha256)
        return await read(sha256)

    monkeypatch.setattr(scene.lab.pictures, "read", damaged)
    await three(scene)
    assert [len(message) for message in await pictures_of(scene, "ada")] == [1]
    words = "\n".join(texts(message) for message in await scene.messages_of("ada"))
    assert "One photo does not fit this channel" in words
    assert "its file is gone" in words


async def test_a_smaller_copy_comes_with_a_link_to_the_original_where_the_house_is_reached(scene: Scene, monkeypatch):
    scene.bot.courier._parcels._link_of = lambda job_id, index, seconds: f"https://photos.example.org/media/{job_id}/{index}"
    big = noise(400)

    async def read(sha256: str) -> bytes:
        return big

    monkeypatch.setattr(scene.lab.pictures, "read", read)
    await scene.imagine("bruno")
    message = await scene.card_of("bruno", "Aquí está tu foto")
    assert len(await scene.play.download(gallery(message)[0])) <= FILE
    assert f"[1](https://photos.example.org/media/{(await newest(scene, 'bruno')).id}/0)" in texts(message)
    assert "El original, hasta el <t:" in texts(message)


async def test_where_no_size_is_small_enough_for_discord_the_words_and_the_link_come(scene: Scene):
    scene.bot.courier._parcels._link_of = lambda job_id, index, seconds: f"https://photos.example.org/media/{job_id}/{index}"
    await scene.fault("file_limit", count=3)  # three limits are refused; the fourth try brings no file
    await scene.imagine("ada", size="256x256")
    message = await scene.picture_of("ada")
    await settled(scene)
    assert gallery(message) == []
    assert "photos.example.org" in texts(message)
    assert len([m for m in await scene.messages_of("ada") if "Here is your photo" in texts(m)]) == 1


def test_messages_are_filled_in_order_up_to_ten_files_and_the_requests_size():
    mib = 1 << 20
    made = {n: Copy(data=bytes(9 * mib), ending="png") for n in range(3)}
    assert first_group(made, limit=10 * mib) == [0, 1]
    assert first_group(made, limit=50 * mib) == [0, 1, 2]
    assert first_group({n: Copy(data=b"x", ending="png") for n in range(12)}, limit=10 * mib) == list(range(10))
    assert first_group({7: Copy(data=bytes(40 * mib), ending="png")}, limit=10 * mib) == [7]  # a message has one at least
    assert first_group({}, limit=0) == []


def test_what_does_not_fit_at_all_is_none():
    assert fitted(noise(64), 1 << 20) == Copy(data=noise(64), ending="png")
    assert fitted(noise(512), 100) is None
    assert fitted(b"rubbish" * 10_000, 20_000) is None
    copy = fitted(noise(512), 60_000)
    assert copy is not None and copy.smaller and len(copy.data) <= 60_000
