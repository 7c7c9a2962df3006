"""Faults F30 to F37: Discord loses answers, is away, refuses, resets and repeats. Judged by the channels and the ledger.

F30 is also in test_delivery.py, with each kind of lost answer for card and picture, and F35 in test_asking.py for interactions.
"""

import asyncio
import io
import random
import sqlite3
from contextlib import closing
from datetime import datetime

import pytest
from PIL import Image

from bot.clock import SystemClock
from bot.door_errors import GatewayRefused, TokenRefused
from bot.poster import IN_HAND, Posted, Poster
from jobs.feed import Feed
from jobs.job import JobId, Place
from jobs.ports import Delivery, DeliveryKind
from tests.bot.conftest import OpenScene, Scene, gallery, texts
from tests.bot.test_admin import answer
from tests.bot.test_delivery import POST, count, settled


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows come back at once, so that ten minutes of refusals are as many tries in seconds."""
    monkeypatch.setattr("bot.poster.backoff", lambda attempts: 0.02)


async def attempts(scene: Scene, at_least: int) -> None:
    """Until some delivery was tried so often."""
    async with asyncio.timeout(40):
        while max((tries for tries, _ in rows(scene)), default=0) < at_least:
            await asyncio.sleep(0.05)


def rows(scene: Scene) -> list[tuple[int, str]]:
    """(attempts, state) of every delivery, read past our own code."""
    with closing(sqlite3.connect(scene.bot.options.commands_file.parent / "darkroom.sqlite3")) as ledger:
        return ledger.execute("select attempts, state from outbox order by seq").fetchall()


async def test_f30_a_post_that_took_effect_and_whose_answer_was_lost_is_one_message(scene: Scene):
    await scene.fault("truncate", path=POST, method="POST", skip=1)
    await scene.imagine("ada")
    await scene.picture_of("ada")
    await settled(scene)
    assert await count(scene, "ada") == (1, 1)


async def test_f31_after_an_outage_of_many_tries_everything_is_there_once(scene: Scene, hurried):
    await scene.fault("status:503", path=POST, method="POST", count=10_000)
    for who in ("ada", "chen"):
        await scene.imagine(who)
    await attempts(scene, 15)  # more than a refusal that only an admin can mend would live through
    await scene.play.clear_faults()
    for who in ("ada", "chen"):
        await scene.picture_of(who)
    await settled(scene)
    for who in ("ada", "chen"):
        assert await count(scene, who) == (1, 1)


class Endless:
    """An outbox in which a thousand channels wait."""

    def __init__(self) -> None:
        self.out: list[Delivery] = []
        self.settled = 0

    async def take(self, *, limit: int, lease_seconds: float) -> list[Delivery]:
        made = [delivery(len(self.out) + n) for n in range(min(limit, 1000 - len(self.out)))]
        self.out += made
        return made

    async def sent(self, delivery: Delivery, message_id: str) -> None:
        self.settled += 1


def delivery(number: int) -> Delivery:
    place = Place(guild_id="1", channel_id=str(number), locale="en-US")
    return Delivery(
        id=f"d{number}", job_id=JobId("j"), generation=0, kind=DeliveryKind.CARD, part=0, epoch=1, attempts=1, place=place, first_try_at=None
    )


class Hangs:
    """A courier whose Discord does not answer until it is told to."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def deliver(self, delivery: Delivery) -> Posted:
        await self.gate.wait()
        return Posted(message_id="1")


async def test_f31_while_discord_hangs_only_so_many_rows_are_in_hand():
    outbox, courier, stop = Endless(), Hangs(), asyncio.Event()
    poster = Poster(outbox=outbox, courier=courier, feed=Feed(), clock=SystemClock(), poll=0.01)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(poster.run(stop))
        await asyncio.sleep(0.3)
        assert len(outbox.out) == IN_HAND
        courier.gate.set()
        while outbox.settled < 1000:
            await asyncio.sleep(0.01)
        stop.set()


def when(record: dict) -> float:
    return datetime.fromisoformat(record["at"]).timestamp()


@pytest.mark.parametrize("fault", ["429:1.5", "global429:1.5"])
async def test_f32_a_rate_limit_is_waited_out(scene: Scene, fault):
    await scene.fault(fault, path=POST, method="POST", skip=1)
    await scene.imagine("ada")
    await scene.picture_of("ada")
    await settled(scene)
    assert await count(scene, "ada") == (1, 1)
    sent = [r for r in await scene.play.recording(kind="rest") if r["method"] == "POST" and r["path"].endswith("/messages")]
    (refused,) = [n for n, record in enumerate(sent) if record["status"] == 429]
    assert when(sent[refused + 1]) - when(sent[refused]) >= 1.5


async def test_f32_the_edges_ban_stops_everything_with_an_alarm_until_it_is_over(scene: Scene, caplog):
    await scene.imagine("ada")
    await scene.picture_of("ada")
    await settled(scene)
    await scene.fault("cf429:6", path=POST, method="POST")
    await asyncio.gather(scene.imagine("ada", "second"), scene.imagine("chen"))
    await scene.card_of("chen", "Here is your photo", seconds=60)
    await settled(scene)
    assert await count(scene, "ada") == (2, 2)
    assert any(record.levelname == "CRITICAL" and "bars this address" in record.message for record in caplog.records)
    rest = await scene.play.recording(kind="rest")
    banned = next(n for n, r in enumerate(rest) if r["status"] == 429)
    posts = [r for r in rest[banned:] if r["path"].startswith("/channels/")]
    under_way = [r for r in posts if when(r) - when(posts[0]) < 1]  # sent before the refusal was heard
    assert len(under_way) <= 3
    assert when(posts[len(under_way)]) - when(under_way[-1]) >= 5


async def test_f33_a_channel_that_is_closed_to_the_bot_gets_its_picture_when_it_is_opened_again(scene: Scene, monkeypatch):
    monkeypatch.setattr("bot.cogs.photos.courier.FORBIDDEN_AFTER", 0.3)
    scene.worker.gate.clear()
    await scene.imagine("ada")
    await scene.card_of("ada", "Step")
    studio, me = await scene.studio_of("ada"), (await scene.play.health())["bot_user_id"]
    mine = next(o for o in studio["overwrites"] if o["id"] == me)
    await scene.play.permissions(channel_id=studio["id"], overwrite={"id": me, "type": 1, "allow": 0, "deny": ["VIEW_CHANNEL", "SEND_MESSAGES"]})
    scene.worker.gate.set()
    async with asyncio.timeout(20):
        while not any(tries > 1 and state == "pending" for tries, state in rows(scene)):
            await asyncio.sleep(0.02)
    await scene.play.permissions(channel_id=studio["id"], overwrite={**mine, "type": 1})
    await scene.picture_of("ada")
    await settled(scene)
    assert await count(scene, "ada") == (1, 1)


async def test_f33_who_waits_in_a_deleted_studio_hears_of_the_photo_in_private_and_finds_it(scene: Scene):
    scene.worker.gate.clear()
    await scene.imagine("ada")
    await scene.card_of("ada", "Step")
    await scene.play.delete_channel((await scene.studio_of("ada"))["id"])
    scene.worker.gate.set()
    dm = await scene.play.dm("ada")
    await scene.play.wait_message("ada", dm["id"], lambda m: "your studio was deleted" in m["content"], timeout_s=20)
    await settled(scene)
    job = (await scene.lab.store.recent(f"discord:{scene.users['ada']}", limit=1))[0]
    shown = await scene.play.slash("ada", scene.welcome, "show", {"job": job.id}, wait="answer")
    assert len(gallery(shown["original"])) == 1


async def test_f33_a_bot_that_was_kicked_posts_once_after_it_is_back(scene: Scene, monkeypatch):
    monkeypatch.setattr("bot.cogs.photos.courier.FORBIDDEN_AFTER", 0.3)
    scene.worker.gate.clear()
    await scene.imagine("ada")
    await scene.card_of("ada", "Step")
    me = (await scene.play.health())["bot_user_id"]
    await scene.play.kick(scene.guild_id, me)
    scene.worker.gate.set()
    async with asyncio.timeout(20):
        while not any(tries > 1 and state == "pending" for tries, state in rows(scene)):
            await asyncio.sleep(0.02)
    await scene.play.post("members", {"guild_id": str(scene.guild_id), "user": me})
    studio = await scene.studio_of("ada")
    for channel in (studio["parent_id"], studio["id"]):  # its role went with it; an admin lets it in again
        await scene.play.permissions(channel_id=channel, overwrite={"id": me, "type": 1, "allow": ["VIEW_CHANNEL", "SEND_MESSAGES"], "deny": 0})
    await scene.picture_of("ada")
    await settled(scene)
    assert await count(scene, "ada") == (1, 1)


@pytest.mark.parametrize("fault", ["op7", "op9_true", "op9_false", "ws_close:4000", "ws_close:4009"])
async def test_f34_a_session_that_discord_ends_is_taken_up_or_begun_anew(scene: Scene, fault):
    before = await identifies(scene)
    await scene.fault(fault)
    await asyncio.sleep(0.2)
    await scene.play.wait_bot(timeout_s=40)
    assert "studio" in await scene.said("ada")
    await scene.picture_of("ada")
    assert await identifies(scene) - before <= 1  # a thousand a day, then the token is reset


async def identifies(scene: Scene) -> int:
    return len([r for r in await scene.play.recording(kind="gateway") if r.get("op") == 2])


async def test_f34_a_gateway_that_falls_silent_is_left_and_found_again(open_scene: OpenScene):
    scene = await open_scene(rehearsal={"heartbeat_interval": 0.5})
    scene.bot._connection.heartbeat_timeout = 1.5
    await scene.fault("no_ack", count=8)
    await scene.fault("ws_reset")  # the next connection has the shorter patience
    async with asyncio.timeout(40):
        while sum(f["hits"] for f in await scene.play.faults() if f["name"] == "no_ack") < 8:
            await asyncio.sleep(0.1)
    await scene.play.wait_bot(timeout_s=40)
    assert "studio" in await scene.said("ada")


@pytest.mark.parametrize(("code", "refusal"), [(4004, TokenRefused), (4013, GatewayRefused)])
async def test_f34_a_close_that_means_never_ends_the_door_with_its_reason(scene: Scene, code, refusal):
    before = await identifies(scene)
    await scene.fault(f"ws_close:{code}")
    with pytest.raises(refusal):
        await scene.stop()  # hands on what the bot ended with
    assert await identifies(scene) == before


async def test_f35_a_message_that_comes_twice_is_answered_once(scene: Scene):
    mention = f"<@{(await scene.play.health())['bot_user_id']}>"
    await scene.fault("event_dup", path="MESSAGE_CREATE")
    await answer(scene, "mara", f"{mention} getid")
    await answer(scene, "mara", f"{mention} getid")
    said = [m for m in await scene.play.messages(scene.welcome) if "Server" in m["content"]]
    assert len(said) == 2


async def test_f35_a_replayed_interaction_is_one_job(scene: Scene):
    await scene.fault("event_dup", path="INTERACTION_CREATE", count=2)
    await asyncio.gather(scene.imagine("ada"), scene.imagine("chen"))
    for who in ("ada", "chen"):
        await scene.picture_of(who)
        assert len(await scene.lab.store.recent(f"discord:{scene.users[who]}", limit=9)) == 1


async def test_f36_a_picture_that_is_done_after_the_interactions_token_died_comes_all_the_same(scene: Scene):
    scene.worker.gate.clear()
    record = await scene.imagine("ada")
    await scene.card_of("ada", "Step")
    await scene.play.advance(1000)
    scene.worker.gate.set()
    await scene.picture_of("ada")
    await settled(scene)
    assert await count(scene, "ada") == (1, 1)
    late = [r for r in await scene.play.recording(kind="rest") if record["id"] in r["path"] and r["status"] >= 400]
    assert late == []


def noise(width: int, height: int, seed: int = 1) -> bytes:
    """A PNG that no encoder makes small: about three bytes a pixel."""
    out = io.BytesIO()
    Image.frombytes("RGB", (width, height), random.Random(seed).randbytes(width * height * 3)).save(out, "PNG", compress_level=0)
    return out.getvalue()


async def test_f37_a_picture_over_ten_mebibytes_comes_as_a_smaller_copy(scene: Scene, monkeypatch):
    original = noise(2048, 2048)
    assert len(original) > 10 << 20

    async def read(sha256: str) -> bytes:
        return original

    monkeypatch.setattr(scene.lab.pictures, "read", read)
    await scene.imagine("ada")
    message = await scene.picture_of("ada", seconds=60)
    (url,) = gallery(message)
    copy = await scene.play.download(url)
    assert len(copy) <= 10 << 20
    assert Image.open(io.BytesIO(copy)).format == "WEBP"
    assert "smaller copy" in texts(message)


