"""Publishing: what was agreed to and nothing else, once, with votes, remixes and a way back."""

import asyncio
import io

import pytest
from PIL import Image, PngImagePlugin

from bot.cogs.gallery import cog as gallery_cog
from database.gallery_store import SqlGalleryStore
from database.operating import Operating
from jobs.job import UserId
from rehearsal.client import Refused
from rehearsal.contract import Contract
from tests.bot.conftest import OpenScene, Scene, buttons, gallery, parts_of, texts
from tests.bot.test_verbs import ABLE_WORKER, newest, press_id, pressed
from workers.bare import without_words


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


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


async def test_the_file_in_the_gallery_holds_no_words_either(able: Scene):
    message = await published(able, "ada")
    data = await able.play.download(gallery(message)[0])
    kept = await able.lab.pictures.read((await newest(able, "ada")).pictures[0].sha256)
    assert b"secret" in kept
    assert opened(data).info == {}
    assert opened(data).tobytes() == opened(kept).tobytes()


async def test_with_its_words_shown_the_file_may_tell_how_it_was_made(able: Scene):
    message = await published(able, "ada", "ask-prompt")
    assert "secret" in opened(await able.play.download(gallery(message)[0])).info["darkroom"]


async def test_the_file_of_a_published_clip_holds_no_words(able: Scene):
    await able.imagine("ada", "a secret fox")
    asked = await pressed(able, "ada", await able.picture_of("ada"), "animate")
    await able.play.modal("ada", asked["id"], {"prompt": "a secret dance"}, wait="answer")
    clip = await able.card_of("ada", "Here is your clip")
    card = (await pressed(able, "ada", clip, "publish"))["original"]
    await clicked(able, "ada", card, "go")
    (message,) = await hanging(able)
    data = await able.play.download(gallery(message)[0])
    assert opened(data).format == "WEBP"
    assert b"secret" not in data


_FRAMES = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]


def worded(form: str) -> bytes:
    out, info = io.BytesIO(), PngImagePlugin.PngInfo()
    exif = Image.Exif()
    exif[0x010E] = "secret words"
    info.add_text("prompt", "secret words")
    info.add_itxt("darkroom", "secret words", zip=True)
    if form == "PNG":
        _FRAMES[0].save(out, form, pnginfo=info, exif=exif)
        return out.getvalue() + b"secret words"
    more = {"save_all": True, "append_images": _FRAMES[1:], "duration": 100} if form == "clip" else {}
    _FRAMES[0].save(out, "WEBP", exif=exif, xmp=b"<x>secret words</x>", icc_profile=b"secret words!", **more)
    return out.getvalue()


@pytest.mark.parametrize("form", ["PNG", "WEBP", "clip"])
def test_no_kind_of_file_keeps_words_and_every_frame_stays(form):
    told = worded(form)
    bare = without_words(told)
    assert b"secret" in told
    assert b"secret" not in bare
    assert set(opened(bare).info) <= {"loop", "background", "timestamp", "duration"}
    before, after = opened(told), opened(bare)
    assert getattr(after, "n_frames", 1) == getattr(before, "n_frames", 1) == (2 if form == "clip" else 1)
    for number in range(getattr(after, "n_frames", 1)):
        before.seek(number)
        after.seek(number)
        assert before.convert("RGB").tobytes() == after.convert("RGB").tobytes()


@pytest.mark.parametrize("data", [b"", b"GIF89a", worded("PNG")[:60], worded("clip")[:200]])
def test_what_cannot_be_read_is_not_published(data):
    with pytest.raises(ValueError, match=r"cut off|neither"):
        without_words(data)


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
    found = Contract().check(await able.play.recording()).findings
    assert found == [], "\n".join(found)


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
    shown, kept = await able.play.download(gallery(hung)[0]), await able.lab.pictures.read(third.sha256)
    assert opened(shown).tobytes() == opened(kept).tobytes()


async def test_taken_back_it_can_be_published_again_at_once(able: Scene):
    message = await published(able, "ada")
    await clicked(able, "ada", message, "undo")
    card = (await pressed(able, "ada", await able.picture_of("ada"), "publish"))["original"]
    await clicked(able, "ada", card, "go")
    (again,) = await hanging(able)
    assert again["id"] != message["id"]


async def test_what_is_for_adults_hangs_in_no_unrestricted_gallery(able: Scene):
    await able.imagine("ada")
    message = await able.picture_of("ada")
    await able.restart(adult_models=("house",))
    card = (await pressed(able, "ada", message, "publish"))["original"]
    assert "age-restricted" in card["content"]
    await able.play.post("channels/edit", {"channel_id": await wall(able), "nsfw": True})
    card = (await pressed(able, "ada", message, "publish"))["original"]
    await clicked(able, "ada", card, "go")
    assert len(await hanging(able)) == 1


@pytest.fixture
async def forum(able: Scene) -> str:
    """The gallery is a forum with tags that it insists on."""
    await able.play.delete_channel(await wall(able))
    more = {"type": 15, "tags": ["other", "House"], "requires_tag": True}
    made = await able.play.add_channel(able.guild_id, "gallery", **more)
    return made["id"]


async def posts(scene: Scene, forum: str) -> list[dict]:
    return [c for c in (await scene.play.state())["guilds"][0]["channels"] if c["parent_id"] == forum]


async def publish_in_forum(scene: Scene, forum: str, *choices: str) -> tuple[dict, dict]:
    await scene.imagine("ada", "a secret fox `@everyone`")
    card = (await pressed(scene, "ada", await scene.picture_of("ada"), "publish"))["original"]
    for choice in choices:
        card = await clicked(scene, "ada", card, choice)
    told = await clicked(scene, "ada", card, "go")
    (post,) = await posts(scene, forum)
    (message,) = await scene.play.messages(post["id"])
    assert f"/{post['id']}/{message['id']}" in texts(told)
    return post, message


async def test_a_forum_gets_a_post_with_title_tag_votes_and_a_way_back(able: Scene, forum: str):
    post, message = await publish_in_forum(able, forum, "ask-prompt")
    assert post["name"] == "a secret fox `@everyone`"
    rest = await able.play.recording(kind="rest")
    (made,) = [r for r in rest if r["method"] == "POST" and r["path"] == f"/channels/{forum}/threads"]
    state = await able.bot.fetch_channel(int(forum))
    assert made["body"]["applied_tags"] == [str(tag.id) for tag in state.available_tags if tag.name == "House"]
    assert message["id"] == post["id"]
    assert len(gallery(message)) == 1
    assert message["mention_everyone"] is False
    await able.restart()
    assert "el primer voto" in (await clicked(able, "bruno", message, "vote"))["content"]
    assert "otra persona" in (await clicked(able, "bruno", message, "undo"))["content"]
    assert "no longer published" in (await clicked(able, "ada", message, "undo"))["content"]
    async with asyncio.timeout(20):  # the answer comes first: it is told in the post itself
        while [m for p in await posts(able, forum) for m in await able.play.messages(p["id"]) if gallery(m)]:
            await asyncio.sleep(0.05)
    found = Contract().check(await able.play.recording()).findings
    assert found == [], "\n".join(found)


async def test_a_forums_title_keeps_words_that_are_not_to_be_shown(able: Scene, forum: str):
    post, message = await publish_in_forum(able, forum)
    assert post["name"] == "Photo 1"
    assert "secret" not in str(message)


@pytest.mark.parametrize("fault", ["after_drop", "after_status:502"])
async def test_a_forum_post_whose_answer_was_lost_is_there_once(able: Scene, forum: str, fault):
    await able.imagine("ada")
    card = (await pressed(able, "ada", await able.picture_of("ada"), "publish"))["original"]
    await able.fault(fault, path=rf"/channels/{forum}/threads$", method="POST")
    await clicked(able, "ada", card, "go")
    for _ in range(2):
        await clicked(able, "ada", card, "go")
    (post,) = await posts(able, forum)
    (message,) = await able.play.messages(post["id"])
    assert "el primer voto" in (await clicked(able, "bruno", message, "vote"))["content"]


async def test_a_forum_s_post_holds_no_words_that_were_not_agreed_to(able: Scene, forum: str):
    post, message = await publish_in_forum(able, forum)
    assert "secret" not in str(post) + str(message)
    assert opened(await able.play.download(gallery(message)[0])).info == {}


async def nothing_hangs(scene: Scene) -> None:
    async with asyncio.timeout(20):
        while await hanging(scene):
            await asyncio.sleep(0.05)


async def forgotten(scene: Scene) -> None:
    """No row of a publication is left."""
    async with asyncio.timeout(20):
        while await SqlGalleryStore(scene.lab.database).get(1) is not None:
            await asyncio.sleep(0.05)


async def erased(scene: Scene, who: str) -> str:
    question = (await scene.play.slash(who, scene.welcome, "privacy delete", {}, wait="answer"))["original"]
    return (await clicked(scene, who, question, "erase"))["content"]


async def test_who_has_everything_deleted_hangs_nowhere_any_more(able: Scene):
    await able.bot.wait_until_ready()  # what is unfinished then is looked for then
    await published(able, "ada", "ask-prompt")
    assert "Deleted: 1 request" in await erased(able, "ada")
    await nothing_hangs(able)
    await forgotten(able)


async def test_what_is_to_go_is_tried_again_until_it_is_gone(able: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gallery_cog, "TEND_EVERY", 0.1)
    await able.restart()
    message = await published(able, "ada")
    await able.fault("status:403", path=rf"/channels/{await wall(able)}/messages/{message['id']}$", method="DELETE", count=3)
    await erased(able, "ada")
    await nothing_hangs(able)
    await forgotten(able)


async def test_what_was_removed_while_no_bot_was_there_is_taken_down_at_its_start(able: Scene):
    message = await published(able, "ada")
    await able.stop()
    assert (await Operating(able.lab.database).purge(UserId(f"discord:{able.users['ada']}"))).jobs == 1
    assert [m["id"] for m in await hanging(able)] == [message["id"]]
    await able.restart()
    await nothing_hangs(able)
    await forgotten(able)


async def test_a_running_bot_takes_down_what_an_operator_removed(able: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gallery_cog, "TEND_EVERY", 0.1)
    await able.restart()
    await published(able, "ada")
    await Operating(able.lab.database).purge(UserId(f"discord:{able.users['ada']}"))
    await nothing_hangs(able)
