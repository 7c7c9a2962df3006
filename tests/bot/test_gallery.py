"""Publishing: what was agreed to and nothing else, once, with votes, remixes and a way back."""

import pytest

from rehearsal.client import Refused
from rehearsal.contract import Contract
from tests.bot.conftest import OpenScene, Scene, buttons, gallery, parts_of, texts
from tests.bot.test_verbs import ABLE_WORKER, newest, press_id, pressed


@pytest.fixture
async def able(open_scene: OpenScene) -> Scene:
    return await open_scene(worker=ABLE_WORKER)


async def wall(scene: Scene) -> str:
    return next(c["id"] for c in (await scene.play.state())["guilds"][0]["channels"] if c["name"] == "gallery")


async def clicked(scene: Scene, who: str, message: dict, verb: str) -> dict:
    return (await scene.play.click(who, message["id"], press_id(message, verb), wait="answer"))["original"]


async def hanging(scene: Scene) -> list[dict]:
    return [m for m in await scene.play.messages(await wall(scene)) if gallery(m)]


async def published(scene: Scene, who: str, *choices: str) -> dict:
    await scene.imagine(who, "a secret fox")
    card = (await pressed(scene, who, await scene.picture_of(who), "publish"))["original"]
    for choice in choices:
        card = await clicked(scene, who, card, choice)
    await clicked(scene, who, card, "go")
    (message,) = await hanging(scene)
    return message


async def test_nothing_is_shown_that_was_not_agreed_to(able: Scene):
    message = await published(able, "ada")
    assert "secret" not in str(message)
    assert f"<@{able.users['ada']}>" in texts(message)
    assert message["mentions"] == []
    assert [custom_id.split(":")[2] for custom_id in buttons(message)] == ["vote", "undo"]
    (part,) = [part for part in parts_of(message) if part["type"] == 12]
    assert part["items"][0]["description"] == "A photo, 128 by 128. Its words are not shown."


async def test_what_was_agreed_to_is_shown_and_others_remix_vote_and_read_it(able: Scene):
    message = await published(able, "ada", "ask-prompt", "ask-remix")
    assert "> a secret fox" in texts(message)
    await able.restart()
    assert "el primer voto" in (await clicked(able, "bruno", message, "vote"))["content"]
    assert "2 now" in (await clicked(able, "chen", message, "vote"))["content"]
    assert "se retiró: ahora son 1" in (await clicked(able, "bruno", message, "vote"))["content"]
    opened = await able.play.click("bruno", message["id"], press_id(message, "remix"), wait="answer")
    await able.play.modal("bruno", opened["id"], {"prompt": "un zorro azul"}, wait="answer")
    job = await newest(able, "bruno")
    assert (job.order.kind, job.order.prompt) == ("text_to_image", "un zorro azul")
    told = await able.play.menu("bruno", await wall(able), "Describe", message["id"], wait="answer")
    assert "a secret fox" in told["original"]["content"]
    assert Contract().check(await able.play.recording()).findings == []


async def test_a_remix_without_the_words_goes_on_from_the_picture(able: Scene):
    message = await published(able, "ada", "ask-remix")
    opened = await able.play.click("chen", message["id"], press_id(message, "remix"), wait="answer")
    assert opened["modal"]["components"][0]["component"].get("value") is None
    await able.play.modal("chen", opened["id"], {"prompt": "a blue one"}, wait="answer")
    job = await newest(able, "chen")
    assert (job.order.kind, job.order.prompt) == ("image_to_image", "a blue one")
    await able.lab.ended(job.id)


async def test_it_is_published_once_however_often_it_is_pressed_and_after_a_lost_answer(able: Scene):
    await able.imagine("ada")
    message = await able.picture_of("ada")
    card = (await pressed(able, "ada", message, "publish"))["original"]
    await able.fault("after_drop", path=rf"/channels/{await wall(able)}/messages$", method="POST")
    await clicked(able, "ada", card, "go")
    assert len(await hanging(able)) == 1
    for _ in range(2):
        await clicked(able, "ada", card, "go")
    assert len(await hanging(able)) == 1


async def test_only_its_maker_takes_it_back(able: Scene):
    message = await published(able, "ada")
    assert "otra persona" in (await clicked(able, "bruno", message, "undo"))["content"]
    assert "no longer published" in (await clicked(able, "ada", message, "undo"))["content"]
    assert await hanging(able) == []


async def test_deleting_a_picture_takes_it_from_the_gallery_too(able: Scene):
    await published(able, "ada")
    message = await able.picture_of("ada")
    asked = (await pressed(able, "ada", message, "delete"))["original"]
    await clicked(able, "ada", asked, "delete-sure")
    assert await hanging(able) == []
    with pytest.raises(Refused):
        await able.play.message(message["id"], "ada")


async def test_a_server_without_a_gallery_says_so(able: Scene):
    await able.play.post("channels/delete", {"channel_id": await wall(able)})
    await able.imagine("ada")
    card = (await pressed(able, "ada", await able.picture_of("ada"), "publish"))["original"]
    assert "has no gallery" in card["content"]


async def test_one_of_several_pictures_is_published(able: Scene):
    await able.imagine("ada", count=3)
    message = await able.card_of("ada", "Here are your 3 photos")
    asked = (await pressed(able, "ada", message, "publish"))["original"]
    (which,) = [part for part in parts_of(asked) if part["type"] == 3]
    card = (await able.play.select("ada", asked["id"], which["custom_id"], ["3"], wait="answer"))["original"]
    await clicked(able, "ada", card, "go")
    (hung,) = await hanging(able)
    third = (await newest(able, "ada")).pictures[2]
    assert await able.play.download(gallery(hung)[0]) == await able.lab.pictures.read(third.sha256)
