"""What can be done with a picture that is there, by its buttons, also after a restart and never by somebody else."""

import io

import pytest
from PIL import Image

from bot.cogs.verbs import derive
from jobs.job import Job, UserId
from rehearsal.client import Refused
from rehearsal.contract import Contract
from tests.bot.conftest import OpenScene, Scene, buttons, gallery, parts_of, texts
from tests.fake_worker import ABLE, LORAS

ABLE_WORKER = {"abilities": ABLE, "loras": LORAS, "max_batch": 12}


@pytest.fixture
async def able(open_scene: OpenScene) -> Scene:
    return await open_scene(worker=ABLE_WORKER)


async def newest(scene: Scene, who: str) -> Job:
    return (await scene.lab.store.recent(UserId(f"discord:{scene.users[who]}"), limit=1))[0]


def press_id(message: dict, verb: str) -> str:
    return next(custom_id for custom_id in buttons(message) if custom_id.split(":")[2] == verb)


async def pressed(scene: Scene, who: str, message: dict, verb: str) -> dict:
    return await scene.play.click(who, message["id"], press_id(message, verb), wait="answer")


async def next_picture(scene: Scene, who: str, before: dict) -> dict:
    """The picture that comes after this one."""
    studio = await scene.studio_of(who)
    return await scene.play.wait_message(
        who, studio["id"], lambda m: int(m["id"]) > int(before["id"]) and gallery(m) and "<@" in texts(m), timeout_s=40
    )


async def test_four_pictures_come_in_one_message_with_a_select_seeds_and_alternative_texts(able: Scene):
    await able.imagine("ada", "a red fox", count=4, lora="film-grain:0.8, noir:0.4", seed="100")
    message = await able.card_of("ada", "Here are your 4 photos")
    assert len(gallery(message)) == 4
    assert "seeds 100, 101, 102, 103" in texts(message)
    assert "film-grain 0.8 · noir 0.4" in texts(message)
    assert "each" in texts(message)
    (shown,) = [part for part in parts_of(message) if part["type"] == 12]
    assert [item["description"] for item in shown["items"]][1] == "a red fox. Photo, 128 by 128. Number 2 of 4."
    (order,) = able.worker.orders.values()
    assert list(order["loras"]) == [{"name": "film-grain", "weight": 0.8}, {"name": "noir", "weight": 0.4}]
    assert order["count"] == 4


async def test_reroll_keeps_the_wish_and_changes_nothing_but_the_seed(able: Scene):
    await able.imagine("ada", "a red fox", negative="blur", steps=5, seed="77")
    message = await able.picture_of("ada")
    record = await pressed(able, "ada", message, "reroll")
    assert "right here" in record["original"]["content"]
    again = await next_picture(able, "ada", message)
    job = await newest(able, "ada")
    assert (job.order.prompt, job.order.negative, job.order.steps, job.order.seed) == ("a red fox", "blur", 5, 5)
    assert f"/{message['id']})" in texts(again)
    assert "after [an earlier photo]" in texts(again)


async def test_buttons_work_after_a_restart_and_not_for_somebody_else(open_scene: OpenScene):
    scene = await open_scene(worker=ABLE_WORKER)
    staff = next(r["id"] for r in (await scene.play.state())["guilds"][0]["roles"] if r["name"] == "Staff")
    await scene.restart(staff_role_ids=(int(staff),))
    await scene.imagine("ada")
    message = await scene.picture_of("ada")
    await scene.restart(staff_role_ids=(int(staff),))
    for verb in ("reroll", "vary", "upscale", "edit", "animate", "remix", "details"):
        refused = await pressed(scene, "mara", message, verb)
        assert refused["original"]["content"] == "This card belongs to someone else.", verb
    await pressed(scene, "ada", message, "upscale")
    await next_picture(scene, "ada", message)
    assert (await newest(scene, "ada")).order.kind == "upscale"


async def test_a_variation_starts_from_the_picture_and_asks_how_far_it_may_go(able: Scene):
    await able.imagine("ada", lora="noir:0.5")
    message = await able.picture_of("ada")
    question = (await pressed(able, "ada", message, "vary"))["original"]
    assert "How different" in texts(question)
    await able.play.click("ada", question["id"], press_id(question, "vary-strong"), wait="answer")
    made = await next_picture(able, "ada", message)
    first, second = reversed(await able.lab.store.recent(UserId(f"discord:{able.users['ada']}"), limit=2))
    assert (second.order.kind, second.order.strength) == ("image_to_image", derive.STRONG)
    assert (second.order.image, second.order.parent) == (first.pictures[0].sha256, first.id)
    assert second.order.loras == first.order.loras
    assert second.order.image in able.worker.inputs
    assert "varied from [this photo]" in texts(made)


async def test_an_edit_opens_a_form_and_paints_over_where_no_model_follows_instructions(able: Scene):
    await able.imagine("bruno", "un zorro")
    message = await able.card_of("bruno", "Aquí está tu foto")
    opened = await pressed(able, "bruno", message, "edit")
    assert opened["callback_type"] == 9
    assert opened["modal"]["title"] == "Editar esta foto"
    await able.restart()  # a form that was open while the bot restarted is still answered
    sent = await able.play.modal("bruno", opened["id"], {"prompt": "un zorro azul"}, wait="answer")
    assert "Estoy tomando la foto" in sent["original"]["content"]
    await next_picture(able, "bruno", message)
    job = await newest(able, "bruno")
    assert (job.order.kind, job.order.prompt) == ("image_to_image", "un zorro azul")


async def test_remix_changes_the_words_and_an_empty_form_is_refused_kindly(able: Scene):
    await able.imagine("ada", "a red fox", steps=7)
    message = await able.picture_of("ada")
    opened = await pressed(able, "ada", message, "remix")
    refused = await able.play.modal("ada", opened["id"], {"prompt": " ", "negative": ""}, wait="answer")
    assert "Write what the photo should show" in refused["original"]["content"]
    opened = await pressed(able, "ada", message, "remix")
    await able.play.modal("ada", opened["id"], {"prompt": "a blue fox", "negative": "snow"}, wait="answer")
    await next_picture(able, "ada", message)
    job = await newest(able, "ada")
    assert (job.order.prompt, job.order.negative, job.order.steps) == ("a blue fox", "snow", 7)


async def test_an_animated_picture_is_a_clip_with_fewer_buttons(able: Scene):
    await able.imagine("ada")
    message = await able.picture_of("ada")
    opened = await pressed(able, "ada", message, "animate")
    await able.play.modal("ada", opened["id"], {"prompt": "the fox runs"}, wait="answer")
    clip = await able.card_of("ada", "Here is your clip")
    assert gallery(clip)[0].split("?")[0].endswith(".webp")
    assert [custom_id.split(":")[2] for custom_id in buttons(clip)] == ["reroll", "remix", "publish", "details", "delete"]
    (shown,) = [part for part in parts_of(clip) if part["type"] == 12]
    assert "Clip, 128 by 128" in shown["items"][0]["description"]


async def test_one_of_several_pictures_is_chosen_first(able: Scene):
    await able.imagine("ada", count=3, seed="10")
    message = await able.card_of("ada", "Here are your 3 photos")
    (select,) = [part for part in parts_of(message) if part["type"] == 3]
    chosen = await able.play.select("ada", message["id"], select["custom_id"], ["2"], wait="answer")
    assert "Photo 2" in texts(chosen["original"])
    assert "seed 11" in texts(chosen["original"])
    asked = (await pressed(able, "ada", message, "upscale"))["original"]
    (which,) = [part for part in parts_of(asked) if part["type"] == 3]
    await able.play.select("ada", asked["id"], which["custom_id"], ["3"], wait="answer")
    await next_picture(able, "ada", message)
    second, first = await able.lab.store.recent(UserId(f"discord:{able.users['ada']}"), limit=2)
    assert second.order.image == first.pictures[2].sha256
    assert second.pictures[0].width == 2 * first.pictures[2].width


async def test_a_house_that_cannot_says_so_before_any_form(scene: Scene):
    await scene.imagine("ada")
    message = await scene.picture_of("ada")
    for verb, words in (("vary", "vary"), ("upscale", "enlarge"), ("edit", "edit"), ("animate", "animate")):
        record = await pressed(scene, "ada", message, verb)
        assert record["original"]["content"].startswith("No worker here can"), verb
        assert words in record["original"]["content"]
    assert len(await scene.lab.store.recent(UserId(f"discord:{scene.users['ada']}"), limit=9)) == 1


async def test_details_tell_everything_of_a_job(able: Scene):
    await able.imagine("ada", "a *red* fox", negative="blur", seed="7", lora="noir:0.5")
    message = await able.picture_of("ada")
    card = texts((await pressed(able, "ada", message, "details"))["original"])
    job = await newest(able, "ada")
    for part in (job.id, "a \\*red\\* fox", "blur", "seed 7", "noir 0.5", "128×128", "steps: 12", "guidance: 3"):
        assert part in card, part


async def test_a_failed_card_offers_to_try_again_and_a_cancelled_one_to_ask_again(able: Scene):
    able.worker.faults = ["refuse"]
    await able.imagine("ada", "a red fox", seed="9")
    card = await able.card_of("ada", "No photo this time.")
    await able.play.wait_message("ada", card["channel_id"], lambda m: m["id"] == card["id"] and buttons(m), timeout_s=40)
    card = await able.play.message(card["id"], "ada")
    await pressed(able, "ada", card, "retry")
    await able.picture_of("ada")
    assert (await newest(able, "ada")).order.seed == 9


async def image_upload(scene: Scene, who: str, size=(96, 64), colour="red") -> str:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return await scene.play.upload(who, "mine.png", out.getvalue())


async def test_a_file_that_somebody_brings_is_edited_varied_enlarged_and_animated(able: Scene):
    for command, options, kind in (
        ("edit", {"prompt": "make it blue"}, "image_to_image"),
        ("vary", {"prompt": "a red field", "strength": 0.5, "count": 2}, "image_to_image"),
        ("upscale", {"scale": 4}, "upscale"),
        ("animate", {"prompt": "waves", "frames": 8, "fps": 4}, "animate"),
    ):
        upload = await image_upload(able, "ada")
        record = await able.play.slash("ada", able.welcome, command, {"image": upload, **options}, wait="answer")
        assert "I'm taking the photo" in record["original"]["content"], record
        job = await newest(able, "ada")
        assert job.order.kind == kind, command
        assert job.order.image is not None
        await able.lab.ended(job.id)
        assert (await newest(able, "ada")).state == "done", command


async def test_without_a_file_the_last_picture_is_meant_and_use_as_input_chooses_another(able: Scene):
    refused = await able.play.slash("ada", able.welcome, "upscale", {}, wait="answer")
    assert "no picture to start from" in refused["original"]["content"]
    await able.imagine("ada", "first")
    first = await able.picture_of("ada")
    await able.imagine("ada", "second")
    await next_picture(able, "ada", first)
    await able.play.slash("ada", able.welcome, "upscale", {}, wait="answer")
    jobs = await able.lab.store.recent(UserId(f"discord:{able.users['ada']}"), limit=3)
    assert jobs[0].order.image == jobs[1].pictures[0].sha256
    assert "Kept." in (await pressed(able, "ada", first, "use"))["original"]["content"]
    await able.restart()
    await able.play.slash("ada", able.welcome, "upscale", {}, wait="answer")
    assert (await newest(able, "ada")).order.image == jobs[2].pictures[0].sha256


@pytest.mark.parametrize(
    ("command", "options", "sentence"),
    [
        ("edit", {"prompt": "x" * 5000}, "5000 characters"),
        ("edit", {"prompt": " "}, "Write what the photo should show"),
        ("vary", {"strength": 7.0}, "from 0 (nothing) to 1"),
        ("vary", {"prompt": "a field", "count": 99}, "At most 10 photos"),
        ("animate", {"prompt": "waves", "frames": 9999}, "At most 16 frames"),
        ("edit", {"prompt": "x", "job": "no-such-job"}, "no such request of yours"),
    ],
)
async def test_bad_options_of_the_verbs_get_one_kind_sentence(able: Scene, command, options, sentence):
    if "job" not in options:
        options = options | {"image": await image_upload(able, "ada")}
    record = await able.play.slash("ada", able.welcome, command, options, wait="answer")
    assert sentence in record["original"]["content"]
    assert await able.lab.store.unfinished() == []


async def test_a_file_that_is_no_picture_is_refused_kindly(able: Scene):
    upload = await able.play.upload("ada", "trap.png", b"GIF89a" + bytes(99))
    record = await able.play.slash("ada", able.welcome, "edit", {"prompt": "blue", "image": upload}, wait="answer")
    assert "cannot be used as a picture" in record["original"]["content"]


async def test_the_message_menu_goes_on_from_ones_own_picture(able: Scene):
    await able.imagine("ada", "a red fox")
    message = await able.picture_of("ada")
    channel = message["channel_id"]
    opened = await able.play.menu("ada", channel, "Edit this", message["id"], wait="answer")
    assert opened["modal"]["title"] == "Edit this photo"
    await able.play.modal("ada", opened["id"], {"prompt": "a blue fox"}, wait="answer")
    await next_picture(able, "ada", message)
    info = await able.play.menu("ada", channel, "Image info", message["id"], wait="answer")
    assert "a red fox" in texts(info["original"])
    told = await able.play.menu("ada", channel, "Describe", message["id"], wait="answer")
    assert "> a red fox" in told["original"]["content"]
    kept = await able.play.menu("ada", channel, "Use as reference", message["id"], wait="answer")
    assert "Kept." in kept["original"]["content"]


async def test_the_message_menu_takes_somebody_elses_picture_in_first(able: Scene):
    upload = await image_upload(able, "bruno")
    posted = await able.play.say("bruno", able.welcome, "look", files=[upload])
    told = await able.play.menu("ada", able.welcome, "Describe", posted["id"], wait="answer")
    assert "not made here" in told["original"]["content"]
    offered = (await able.play.menu("ada", able.welcome, "Edit this", posted["id"], wait="answer"))["original"]
    assert [custom_id.split(":")[2] for custom_id in buttons(offered)] == ["edit", "vary", "upscale", "animate"]
    await able.restart()
    opened = await able.play.click("ada", offered["id"], press_id(offered, "edit"), wait="answer")
    await able.play.modal("ada", opened["id"], {"prompt": "make it green"}, wait="answer")
    job = await newest(able, "ada")
    assert (job.order.prompt, job.order.width, job.order.height) == ("make it green", 96, 64)
    await able.lab.ended(job.id)


async def test_nobody_reads_how_somebody_elses_picture_was_made(able: Scene):
    await able.imagine("ada", "a secret fox")
    message = await able.picture_of("ada")
    copy = await able.play.upload("bruno", "copy.png", await able.play.download(gallery(message)[0]))
    posted = await able.play.say("bruno", able.welcome, files=[copy])
    told = await able.play.menu("ada", able.welcome, "Describe", posted["id"], wait="answer")
    assert "a secret fox" in told["original"]["content"]  # known by its bytes
    refused = await able.play.menu("bruno", able.welcome, "Describe", posted["id"], wait="answer")
    assert "secret" not in refused["original"]["content"]
    assert "Solo quien" in refused["original"]["content"]


async def test_delete_asks_first_then_takes_message_and_pictures_away(able: Scene):
    await able.imagine("ada", count=2)
    message = await able.card_of("ada", "Here are your 2 photos")
    asked = (await pressed(able, "ada", message, "delete"))["original"]
    assert "Delete these 2 photos?" in texts(asked)
    assert (await newest(able, "ada")).pictures
    done = await able.play.click("ada", asked["id"], press_id(asked, "delete-sure"), wait="answer")
    assert "Deleted." in done["original"]["content"]
    assert (await newest(able, "ada")).pictures == ()
    with pytest.raises(Refused):
        await able.play.message(message["id"], "ada")


async def test_every_request_of_the_verbs_is_one_that_discord_takes(able: Scene):
    await able.imagine("ada", count=10, lora="film-grain, noir")
    message = await able.card_of("ada", "Here are your 10 photos")
    for verb in ("vary", "upscale", "edit", "animate", "remix", "details"):
        await pressed(able, "ada", message, verb)
    (select,) = [part for part in parts_of(message) if part["type"] == 3]
    await able.play.select("ada", message["id"], select["custom_id"], ["10"], wait="answer")
    assert Contract().check(await able.play.recording()).findings == []
    assert (await able.play.limits())["invalid_requests"] == 0
