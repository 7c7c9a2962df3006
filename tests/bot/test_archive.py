"""History, show, rerun, queue, status, help, settings, privacy: what somebody finds of their own, and nobody else's."""

import asyncio
import io
import json
import zipfile

import pytest

from bot.cogs.archive.pages import WORDS_MAX, Query
from jobs.job import UserId
from rehearsal.client import Refused
from rehearsal.contract import Contract
from tests.bot.conftest import OpenScene, Scene, buttons, gallery, parts_of, texts
from tests.bot.test_verbs import ABLE_WORKER, next_picture, press_id, pressed
from tests.fake_worker import colour_of


@pytest.fixture
async def able(open_scene: OpenScene) -> Scene:
    return await open_scene(worker=ABLE_WORKER)


async def ask(scene: Scene, who: str, command: str, **options) -> dict:
    return (await scene.play.slash(who, scene.welcome, command, options, wait="answer"))["original"]


async def made(scene: Scene, who: str, *prompts: str) -> list[dict]:
    messages: list[dict] = []
    for prompt in prompts:
        await scene.imagine(who, prompt)
        first = not messages
        messages.append(await scene.picture_of(who) if first else await next_picture(scene, who, messages[-1]))
    return messages


def test_what_is_looked_for_survives_in_the_buttons_id():
    for query in (Query(), Query(words="ñandú über 狐", favourites=True), Query(words="x" * WORDS_MAX)):
        assert Query.unpack(query.pack()) == query
        assert len(query.pack()) <= 64
    assert Query.unpack("a%%%") == Query()


async def test_history_has_pages_search_favourites_and_survives_a_restart(able: Scene):
    messages = await made(able, "ada", *[f"fox number {n}" for n in range(10)], "Ñandú azul")
    card = await ask(able, "ada", "history")
    assert len(gallery(card)) == 9
    assert "Ñandú azul" in texts(card)
    await able.restart()
    turned = (await able.play.click("ada", card["id"], press_id(card, "next"), wait="answer"))["original"]
    assert len(gallery(turned)) == 2
    assert "fox number 0" in texts(turned)
    assert "Page 2" in texts(turned)
    found = await ask(able, "ada", "history", search="ÑANDÚ")
    assert len(gallery(found)) == 1
    assert "Nothing found" in texts(await ask(able, "ada", "history", search="no such thing"))
    details = (await pressed(able, "ada", messages[3], "details"))["original"]
    await able.play.click("ada", details["id"], press_id(details, "star"), wait="answer")
    stars = await ask(able, "ada", "history", favourites=True)
    assert len(gallery(stars)) == 1
    assert "fox number 3" in texts(stars)
    assert Contract().check(await able.play.recording()).findings == []


async def test_history_shows_nobody_elses(able: Scene):
    await made(able, "ada", "a secret fox")
    assert "secret" not in texts(await ask(able, "bruno", "history"))


async def test_a_page_as_zip_has_the_originals_and_their_records(able: Scene):
    await made(able, "ada", "a red fox", "a blue fox")
    card = await ask(able, "ada", "history", search="red")
    got = (await able.play.click("ada", card["id"], press_id(card, "zip"), wait="answer"))["original"]
    assert "1 photo with its record" in got["content"]
    archive = zipfile.ZipFile(io.BytesIO(await able.play.download(got["attachments"][0]["url"])))
    names = archive.namelist()
    assert sum(name.endswith(".png") for name in names) == 1
    (order,) = json.loads(archive.read("jobs.json")).values()
    assert order["prompt"] == "a red fox"


async def test_show_brings_a_picture_back_with_live_buttons_and_rerun_makes_it_again(able: Scene):
    from PIL import Image

    (message,) = await made(able, "ada", "a red fox")
    job_id = buttons(message)[0].split(":")[1]
    card = await ask(able, "ada", "show", job=job_id)
    data = await able.play.download(gallery(card)[0])
    assert Image.open(io.BytesIO(data)).getpixel((3, 3)) == colour_of("a red fox")
    await able.play.click("ada", card["id"], press_id(card, "upscale"), wait="answer")
    await next_picture(able, "ada", message)
    await ask(able, "ada", "rerun", job=job_id)
    again, _, first = await able.lab.store.recent(UserId(f"discord:{able.users['ada']}"), limit=3)
    assert again.order.seed == first.order.seed
    assert again.order.parent == first.id
    refused = (await able.play.slash("bruno", able.welcome, "show", {"job": job_id}, wait="answer"))["original"]
    assert "No hay ningún pedido tuyo así" in refused["content"]
    choices = await able.play.autocomplete("ada", able.welcome, "show", {"job": "red"}, "job")
    assert job_id in [choice["value"] for choice in choices]


async def test_queue_and_status_and_help_tell_what_there_is(open_scene: OpenScene):
    scene = await open_scene(worker={"max_batch": 2})
    assert "Nobody is waiting" in texts(await ask(scene, "ada", "queue"))
    scene.worker.gate.clear()
    for n in range(3):
        await scene.imagine("ada", f"fox {n}")
    await scene.card_of("ada", "Step")
    async with asyncio.timeout(20):  # the queue in memory may be a second old
        while "1 request is waiting." not in (card := texts(await ask(scene, "ada", "queue"))):
            await asyncio.sleep(0.2)
    assert "number 1 in the queue" in card
    assert "fox 0" in card
    assert "fox" not in texts(await ask(scene, "bruno", "queue"))
    status = texts(await ask(scene, "ada", "status"))
    assert "2 of 2 places taken" in status
    assert "/imagina" in texts(await ask(scene, "bruno", "help"))


async def test_settings_count_at_once_and_after_a_restart(able: Scene):
    card = await ask(able, "ada", "settings")
    selects = {part["custom_id"].split(":")[2]: part["custom_id"] for part in parts_of(card) if part["type"] == 3}
    assert set(selects) == {"language", "model", "size", "persona"}
    turned = await able.play.select("ada", card["id"], selects["language"], ["es"], wait="answer")
    assert "Tus ajustes" in texts(turned["original"])
    await able.play.select("ada", card["id"], selects["persona"], ["shy"], wait="answer")
    await able.play.select("ada", card["id"], selects["size"], ["160x96"], wait="answer")
    await able.restart()
    answer = await able.said("ada", "a red fox")
    assert "Llega a tu estudio" in answer
    message = await able.card_of("ada", "a red fox")
    picture = await able.play.wait_message("ada", message["channel_id"], gallery, timeout_s=40)
    assert "160×96" in texts(picture)
    assert "Aquí está tu foto" not in texts(picture)  # the shy voice has its own words
    cleared = await able.play.select("ada", card["id"], selects["language"], ["-"], wait="answer")
    assert "Your settings" in texts(cleared["original"])


async def test_privacy_export_holds_everything_and_delete_leaves_nothing(able: Scene):
    await made(able, "ada", "a red fox")
    got = await ask(able, "ada", "privacy export")
    archive = zipfile.ZipFile(io.BytesIO(await able.play.download(got["attachments"][0]["url"])))
    record = json.loads(archive.read("jobs.json"))
    assert record["jobs"][0]["order"]["prompt"] == "a red fox"
    assert any(name.endswith(".png") for name in archive.namelist())
    studio = await able.studio_of("ada")
    await able.card_of("ada", "Done in")
    question = await ask(able, "ada", "privacy delete")
    told = (await able.play.click("ada", question["id"], press_id(question, "erase"), wait="answer"))["original"]
    assert "Deleted: 1 request" in told["content"]
    assert await able.lab.store.recent(UserId(f"discord:{able.users['ada']}"), limit=9) == []
    with pytest.raises(Refused):
        await able.play.channel(studio["id"], "ada")
    assert "your studio" in await able.said("ada", "again")


async def test_delete_stops_what_waits_and_what_is_being_made(able: Scene):
    able.worker.gate.clear()
    for number in range(4):
        await able.imagine("ada", f"a red fox {number}")
    await able.imagine("chen", "a blue fox")
    user = UserId(f"discord:{able.users['ada']}")
    async with asyncio.timeout(20):
        while sorted(job.state for job in await able.lab.store.recent(user, limit=9)) != ["queued", "queued", "running", "running"]:
            await asyncio.sleep(0.02)
    running = {f"{job.id}.{job.epoch}" for job in await able.lab.store.recent(user, limit=9) if job.state == "running"}
    question = await ask(able, "ada", "privacy delete")
    told = (await able.play.click("ada", question["id"], press_id(question, "erase"), wait="answer"))["original"]
    assert "Deleted: 4 requests" in told["content"]
    assert await able.lab.store.recent(user, limit=9) == []
    async with asyncio.timeout(20):
        while not running <= able.worker.cancelled:
            await asyncio.sleep(0.02)
    able.worker.gate.set()
    await able.picture_of("chen")
    assert {order["prompt"] for order in able.worker.orders.values()} == {"a red fox 0", "a red fox 1", "a blue fox"}
    assert await able.studios_of("ada") == []


async def test_who_chose_it_is_told_by_direct_message(able: Scene):
    card = await ask(able, "ada", "settings")
    await able.play.click("ada", card["id"], press_id(card, "dm"), wait="answer")
    (message,) = await made(able, "ada", "a red fox")
    dm = await able.play.dm("ada")
    told = await able.play.wait_message("ada", dm["id"], lambda m: "Your photo is ready" in m["content"], timeout_s=20)
    assert f"/{message['channel_id']}/{message['id']}" in told["content"]
    await made(able, "chen", "a blue fox")
    assert await able.play.messages((await able.play.dm("chen"))["id"]) == []
