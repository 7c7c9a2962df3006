"""Exactly one card and one picture, whatever happens to the requests that post them."""

import asyncio
import io
import random

import discord
import pytest
from PIL import Image

from bot.cogs.photos.courier import outcome_of
from bot.cogs.photos.shrink import shrink
from bot.poster import Hopeless, Posted, TryLater, backoff
from tests.bot.conftest import OpenScene, Scene, gallery, texts

POST = r"/channels/\d+/messages$"

LOST = ["drop", "after_drop", "after_status:502", "after_status:503", "status:503", "429:0.3"]


async def settled(scene: Scene, *, seconds: float = 60) -> None:
    """Until the outbox is empty."""
    async with asyncio.timeout(seconds):
        while await scene.lab.outbox.pending():
            await asyncio.sleep(0.05)


async def count(scene: Scene, who: str) -> tuple[int, int]:
    """(cards, pictures) in the person's studio."""
    messages = await scene.messages_of(who)
    pictures = [message for message in messages if "Here is your photo" in texts(message)]
    return len(messages) - len(pictures), len(pictures)


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("which", ["card", "picture"])
async def test_a_post_in_trouble_is_there_once(scene: Scene, fault, which):
    await scene.fault(fault, path=POST, method="POST", skip=0 if which == "card" else 1)
    await scene.imagine("ada")
    await scene.picture_of("ada")
    await settled(scene)
    assert await count(scene, "ada") == (1, 1)


@pytest.mark.parametrize("which", ["card", "picture"])
async def test_after_the_nonces_window_the_channel_is_read_back(open_scene: OpenScene, which):
    scene = await open_scene(rehearsal={"nonce_window": 0.0})
    await scene.fault("after_drop", path=POST, method="POST", skip=0 if which == "card" else 1)
    await scene.imagine("ada")
    await scene.picture_of("ada")
    await settled(scene)
    assert await count(scene, "ada") == (1, 1)


async def test_a_failure_line_whose_answer_was_lost_is_there_once(open_scene: OpenScene):
    scene = await open_scene(rehearsal={"nonce_window": 0.0})
    scene.worker.faults = ["refuse"]
    await scene.fault("after_drop", path=POST, method="POST", skip=1)
    await scene.imagine("ada")
    line = await scene.card_of("ada", "the card above says why")
    await settled(scene)
    messages = await scene.messages_of("ada")
    assert len(messages) == 2
    assert [user["id"] for user in line["mentions"]] == [scene.users["ada"]]
    assert line["message_reference"]["message_id"] == messages[0]["id"]
    assert "No photo this time" in texts(messages[0])


async def test_a_picture_that_somebody_deleted_is_not_posted_again(scene: Scene):
    await scene.fault("after_drop", path=POST, method="POST", skip=1)
    await scene.imagine("ada")
    message = await scene.picture_of("ada")
    await scene.play.post("messages/delete", {"message_id": message["id"]})
    await settled(scene)
    assert await count(scene, "ada") == (1, 0)


async def test_a_picture_too_large_for_what_discord_told_is_tried_again_smaller(scene: Scene):
    await scene.fault("file_limit")
    await scene.imagine("ada")
    assert len(gallery(await scene.picture_of("ada"))) == 1


async def test_a_deleted_studio_ends_its_deliveries_and_nobody_elses(scene: Scene):
    scene.worker.gate.clear()
    await scene.imagine("ada")
    await scene.imagine("bruno")
    await scene.card_of("ada", "I'm taking the photo")
    await scene.play.post("channels/delete", {"channel_id": (await scene.studio_of("ada"))["id"]})
    scene.worker.gate.set()
    await scene.card_of("bruno", "Aquí está tu foto")
    await settled(scene)
    scene_ids = [c["id"] for c in await scene.studios_of("ada")]
    assert scene_ids == []
    assert "studio" in await scene.said("ada", "again")
    await scene.picture_of("ada")


async def hanging(scene: Scene) -> None:
    """Ada has a studio in which the next post hangs, and a request whose card meets that."""
    await scene.imagine("ada")
    await scene.picture_of("ada")
    await settled(scene)
    studio = await scene.studio_of("ada")
    await scene.fault("hang", path=rf"/channels/{studio['id']}/messages$", method="POST")
    await scene.imagine("ada", "second")


async def test_a_channel_that_hangs_holds_up_nobody_else(scene: Scene):
    await hanging(scene)  # for 45 s, which is longer than the next line waits
    await scene.imagine("chen")
    await scene.picture_of("chen")
    assert await count(scene, "ada") == (1, 1)


async def test_a_post_that_hung_is_made_again(open_scene: OpenScene):
    scene = await open_scene(door={"send_timeout": 2.0})
    await hanging(scene)
    await settled(scene)
    assert await count(scene, "ada") == (2, 2)


async def test_what_was_not_posted_before_a_restart_is_posted_after_it(scene: Scene):
    scene.worker.gate.clear()
    await scene.imagine("ada")
    await scene.card_of("ada", "Step")
    await scene.stop()
    scene.worker.gate.set()
    async with asyncio.timeout(10):
        while (await scene.lab.store.recent(f"discord:{scene.users['ada']}", limit=1))[0].state != "done":
            await asyncio.sleep(0.02)
    await scene.restart()
    await scene.picture_of("ada")
    await settled(scene)
    assert await count(scene, "ada") == (1, 1)
    await scene.card_of("ada", "Done in")


async def test_a_card_that_was_deleted_keeps_no_picture_back(scene: Scene):
    scene.worker.gate.clear()
    await scene.imagine("ada")
    card = await scene.card_of("ada", "I'm taking the photo")
    await scene.play.post("messages/delete", {"message_id": card["id"]})
    scene.worker.gate.set()
    await scene.picture_of("ada")
    await settled(scene)
    assert await count(scene, "ada") == (0, 1)


async def test_the_picture_is_posted_with_its_deliverys_id_as_nonce_and_name(scene: Scene):
    await scene.imagine("ada")
    (url,) = gallery(await scene.picture_of("ada"))
    posts = [r for r in await scene.play.recording(kind="rest") if r["method"] == "POST" and r["path"].endswith("/messages")]
    assert f"/{posts[-1]['body']['nonce']}.png" in url
    assert posts[-1]["body"]["enforce_nonce"] is True


class Answer:
    reason = "told"
    headers: dict = {}

    def __init__(self, status: int) -> None:
        self.status = status


def http(status: int, code: int) -> discord.HTTPException:
    kind = {403: discord.Forbidden, 404: discord.NotFound}.get(status, discord.HTTPException)
    return kind(Answer(status), {"code": code, "message": "no"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (http(404, 10008), Posted),
        (http(404, 10003), Hopeless),
        (http(400, 50035), Hopeless),
        (http(403, 50013), TryLater),
        (http(401, 0), TryLater),
        (http(429, 0), TryLater),
        (http(502, 0), TryLater),
        (discord.RateLimited(31.0), TryLater),
        (ConnectionResetError(), TryLater),
        (TimeoutError(), TryLater),
    ],
)
def test_each_refusal_has_its_consequence(error, outcome):
    assert isinstance(outcome_of(error, posting=True), outcome)


def test_a_missing_permission_is_retried_slowly_and_not_for_ever():
    assert outcome_of(http(403, 50013), posting=True) == TryLater(
        reason="403 50013 no", after=60.0, patient=False
    )


def test_tries_come_ever_more_rarely_and_never_in_step():
    assert all(2**n / 2 <= backoff(n) <= min(2**n, 120) for n in range(7))
    assert backoff(99) <= 120
    assert len({backoff(3) for _ in range(20)}) > 1


def test_a_copy_is_made_small_enough():
    noise = Image.frombytes("RGB", (256, 256), random.Random(1).randbytes(256 * 256 * 3))
    png = io.BytesIO()
    noise.save(png, "PNG")
    small = shrink(png.getvalue(), 30_000)
    assert len(small) <= 30_000
    assert Image.open(io.BytesIO(small)).format == "WEBP"
