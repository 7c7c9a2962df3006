"""/imagine: what is refused, in whose language, and that an answer always comes in time."""

import asyncio

import pytest

from bot.cogs.imagine.ask import Typed, read_loras, read_request, sizes_of
from jobs.errors import InvalidRequest
from jobs.offer import ModelOffer
from tests.bot.conftest import OpenScene, Scene
from tests.fake_worker import OFFER

HOUSE = ModelOffer.model_validate(OFFER)


def read(**wish):
    return read_request(Typed(**({"prompt": "a fox"} | wish)), offers={"house": HOUSE}, usual="house")


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"prompt": "   \n"}, "empty_prompt"),
        ({"prompt": "\u0000\u0007"}, "empty_prompt"),
        ({"prompt": "x" * 5000}, "prompt_too_long"),
        ({"steps": 0}, "invalid_steps"),
        ({"steps": -1}, "invalid_steps"),
        ({"steps": 10**9}, "invalid_steps"),
        ({"size": "513"}, "invalid_size"),
        ({"size": "-5x9"}, "invalid_size"),
        ({"size": "513x90000"}, "invalid_side"),
        ({"seed": str(2**64)}, "invalid_seed"),
        ({"seed": "-1"}, "invalid_seed"),
        ({"seed": "²"}, "invalid_seed"),
        ({"model": "x" * 200}, "unknown_model"),
        ({"count": 0}, "invalid_count"),
        ({"count": 11}, "invalid_count"),
        ({"guidance": -1.0}, "invalid_guidance"),
        ({"guidance": 1e9}, "invalid_guidance"),
        ({"aspect": "wide"}, "invalid_aspect"),
        ({"aspect": "0:1"}, "invalid_aspect"),
        ({"lora": "noir:9"}, "invalid_lora"),
        ({"lora": "noir:-1"}, "invalid_lora"),
        ({"lora": "noir:."}, "invalid_lora"),
        ({"lora": ":0.5"}, "invalid_lora"),
        ({"lora": "noir, noir:0.5"}, "lora_twice"),
        ({"lora": ", ".join(f"l{n}" for n in range(9))}, "invalid_loras"),
        ({"negative": "x" * 5000}, "prompt_too_long"),
    ],
)
def test_what_cannot_be_taken_is_named(wish, code):
    with pytest.raises(InvalidRequest) as refused:
        read(**wish)
    assert refused.value.code == code


def test_sizes_and_seeds_are_read_as_people_write_them():
    request = read(size=" 128 × 96 ", seed=" 9223372036854775807 ", steps=7)
    assert (request.width, request.height, request.seed, request.steps) == (128, 96, 2**63 - 1, 7)
    assert (read(size="", seed=" ").width, read(seed="").seed) == (None, None)


@pytest.mark.parametrize(
    ("text", "mix"),
    [
        ("film-grain:0.8, name2:0.4", [("film-grain", 0.8), ("name2", 0.4)]),
        ("a:0,4, b:1", [("a", 0.4), ("b", 1.0)]),
        ("noir", [("noir", 1.0)]),
        (" noir : 2 ;a:b:0.5", [("noir", 2.0), ("a:b", 0.5)]),
        ("", []),
        (None, []),
    ],
)
def test_loras_are_read_as_people_write_them(text, mix):
    assert [(use["name"], use["weight"]) for use in read_loras(text)] == mix


def test_an_aspect_keeps_the_models_area_and_a_size_beats_it():
    portrait = read(aspect="2:3")
    assert portrait.width < portrait.height
    assert abs(portrait.width * portrait.height - 128 * 128) < 128 * 64
    assert read(aspect="2:3", size="96x96").width == 96


def test_suggested_sizes_fit_the_model():
    sizes = sizes_of(HOUSE)
    assert sizes[0] == (128, 128)
    assert len(set(sizes)) == len(sizes) >= 3
    for width, height in sizes:
        HOUSE.fit(read(size=f"{width}x{height}"), seed=1)


def is_post(record: dict) -> bool:
    return record["method"] == "POST" and record["path"].endswith("/messages")


BAD = [
    ("empty", {"prompt": " "}, "Write what the photo should show.", "Escribe qué debe mostrar la foto."),
    ("long", {"prompt": "x" * 5000}, "5000 characters; 2000 fit", "5000 caracteres; caben 2000"),
    ("no steps", {"steps": 0}, "Steps: 1 to 60", "Pasos: de 1 a 60"),
    ("steps below", {"steps": -1}, "Steps: 1 to 60", "Pasos: de 1 a 60"),
    ("steps", {"steps": 10**9}, "Steps: 1 to 60", "Pasos: de 1 a 60"),
    ("size", {"size": "513x9000"}, "64 to 256 pixels", "de 64 a 256 píxeles"),
    ("odd size", {"size": "100x128"}, "multiple of 32: try 96 or 128", "múltiplo de 32: prueba 96 o 128"),
    ("seed", {"seed": str(2**64)}, "whole number from 0", "número entero de 0"),
    ("model", {"model": "dall-e"}, "dall-e is not installed here. There is: house", "dall-e no está instalado aquí"),
]


async def test_bad_input_gets_one_kind_sentence_in_the_persons_language_and_nothing_is_enqueued(scene: Scene):
    for name, wish, english, spanish in BAD:
        for who, sentence in (("ada", english), ("bruno", spanish)):
            record = await scene.imagine(who, **wish)
            assert sentence in record["original"]["content"], name
            assert record["ephemeral"], name
    assert await scene.lab.store.unfinished() == []
    assert await scene.studios_of("ada") == []
    assert (await scene.play.limits())["invalid_requests"] == 0


async def test_a_prompt_of_tricks_is_shown_as_text_and_calls_nobody(scene: Scene):
    await scene.imagine("ada", "@everyone <@&1> **bold** [x](http://y)")
    message = await scene.picture_of("ada")
    assert message["mention_everyone"] is False
    assert [user["id"] for user in message["mentions"]] == [scene.users["ada"]]
    sent = [r["body"]["allowed_mentions"] for r in await scene.play.recording(kind="rest") if is_post(r)]
    assert sent == [{"parse": []}, {"parse": [], "users": [int(scene.users["ada"])]}]


async def test_the_waiting_limit_is_told_and_the_third_request_waits(open_scene: OpenScene):
    scene = await open_scene(worker={"max_batch": 2})
    scene.worker.gate.clear()
    answers = [await scene.said("bruno", f"foto {number}") for number in range(24)]  # twenty may wait, two are made
    assert all("Estoy tomando la foto" in answer for answer in answers[:20])
    assert "pedidos en espera" in answers[23]
    card = await scene.card_of("bruno", "Tienes 2 fotos en camino")
    assert "En espera" in str(card["components"])


async def test_a_command_from_another_server_is_declined_kindly(scene: Scene):
    guild = await scene.play.post("guilds", {"name": "Elsewhere", "owner": "ada", "bot": True})
    channel = await scene.play.post("channels", {"guild_id": guild["id"], "name": "talk"})
    await scene.bot.scopes.put("global")
    record = await scene.play.slash("ada", channel["id"], "imagine", {"prompt": "a fox"}, wait="answer")
    assert "one server only" in record["original"]["content"]
    assert await scene.lab.store.unfinished() == []


async def test_an_event_that_comes_twice_is_handled_once(scene: Scene):
    await scene.fault("event_dup", path="INTERACTION_CREATE")
    await scene.imagine("ada")
    await scene.picture_of("ada")
    jobs = await scene.lab.store.recent(f"discord:{scene.users['ada']}", limit=9)
    assert len(jobs) == 1
    record = (await scene.play.interactions("ada"))[-1]
    assert record["refused"] == []


async def test_a_slow_ledger_is_waited_for_behind_a_deferred_answer(scene: Scene):
    desk = scene.lab.desk
    submit = desk.submit

    async def slow(*args, **kwargs):
        await asyncio.sleep(1.6)
        return await submit(*args, **kwargs)

    desk.submit = slow
    record = await scene.imagine("ada")
    assert record["callback_type"] == 5
    assert "Your studio" in record["original"]["content"] or "your studio" in record["original"]["content"]


async def test_a_newcomer_hears_at_once_while_the_studio_is_still_being_made(scene: Scene, monkeypatch):
    monkeypatch.setattr("bot.cogs.interactions.ANSWER_BUDGET", 30.0)  # so that nobody defers for having waited
    await scene.fault("slow:1.5", path=r"/guilds/\d+/channels$", method="POST")
    wishes = [scene.play.slash("bruno", scene.welcome, "imagine", {"prompt": f"foto {n}"}, wait="ack") for n in range(2)]
    records = await asyncio.gather(*wishes)  # the second waits for the first one's studio
    assert [record["callback_type"] for record in records] == [5, 5]
    assert await scene.studios_of("bruno") == []
    await scene.card_of("bruno", "foto")
    assert [record["refused"] for record in await scene.play.interactions("bruno")] == [[], []]


async def test_models_and_sizes_are_suggested(scene: Scene):
    models = await scene.play.autocomplete("ada", scene.welcome, "imagine", {"prompt": "x", "model": "ho"}, "model")
    assert [choice["value"] for choice in models] == ["house"]
    sizes = await scene.play.autocomplete("bruno", scene.welcome, "imagine", {"prompt": "x", "size": "12"}, "size")
    assert sizes[0] == {"name": "128×128, la que va con el modelo", "value": "128x128"}


async def test_the_command_is_named_in_spanish_too(scene: Scene):
    command = next(c for c in (await scene.play.state("bruno"))["commands"] if c["name"] == "imagine")
    assert command["name_localizations"]["es-ES"] == "imagina"
    names = ["prompt", "model", "lora", "negative", "aspect", "size", "steps", "guidance", "seed", "count", "advanced"]
    assert [option["name"] for option in command["options"]] == names
    assert command["options"][0]["name_localizations"]["es-419"] == "texto"
    assert {"de", "fr", "it", "ja", "pt-BR", "zh-CN", "zh-TW"} <= command["description_localizations"].keys()


async def test_no_two_commands_or_options_have_one_name_in_any_language(scene: Scene):
    def check(siblings: list[dict]) -> None:
        for locale in ("en-US", "es-ES", "de", "fr", "it", "ja", "pt-BR", "zh-CN"):
            names = [(one.get("name_localizations") or {}).get(locale, one["name"]) for one in siblings]
            assert len(set(names)) == len(names), (locale, names)
        for one in siblings:
            check(one.get("options") or [])

    check([command for command in (await scene.play.state("ada"))["commands"] if command.get("type", 1) == 1])
