"""/admin reload: the operator's files again, each by itself; what cannot be used changes nothing and is told with its fault."""

from pathlib import Path

import pytest

from bot.cogs.voices.persona import PersonaInvalid, read_persona
from flows.catalog import read_catalog
from tests.bot.conftest import OpenScene, Scene, texts
from tests.bot.test_operators import press

DEFINITIONS = Path(__file__).resolve().parents[2] / "flows" / "definitions"

RULE = '[[rule]]\nname = "gore"\nreason = { en = "No gore here." }\nany = ["gore"]\n'


async def reloaded(scene: Scene, *, sure: bool) -> str:
    answer = (await scene.play.slash("mara", scene.welcome, "admin reload", {"sure": sure}, wait="answer"))["original"]
    return answer["content"] or texts(answer)


@pytest.fixture
async def filed(open_scene: OpenScene, tmp_path: Path) -> tuple[Scene, Path]:
    door = {"rules": tmp_path / "rules.toml", "quotas": tmp_path / "quotas.toml", "personas": tmp_path / "voices"}
    return await open_scene(door=door), tmp_path


async def test_a_rule_counts_from_its_reload_on_and_not_from_the_look_before_it(filed: tuple[Scene, Path]):
    scene, folder = filed
    assert "studio" in await scene.said("ada", "gore")
    (folder / "rules.toml").write_text(RULE)
    looked = await reloaded(scene, sure=False)
    assert "rules: 1 of this server's own" in looked and "Nothing has been done yet" in looked
    assert "studio" in await scene.said("ada", "more gore")
    answer = (await scene.play.slash("mara", scene.welcome, "admin reload", {}, wait="answer"))["original"]
    assert "in force" in await press(scene, "mara", answer, "reload")
    refused = (await scene.imagine("ada", "still more gore"))["original"]
    assert "No gore here" in texts(refused)
    assert [line["action"] for line in await scene.bot.parts.conduct.log(limit=9)] == ["reload"]


async def test_one_file_that_cannot_be_used_stays_as_it_was_and_the_others_are_taken(filed: tuple[Scene, Path]):
    scene, folder = filed
    (folder / "rules.toml").write_text(RULE)
    await reloaded(scene, sure=True)
    (folder / "rules.toml").write_text(RULE + "[[rule]]\nname = 'half'\n")
    (folder / "quotas.toml").write_text("[everyone]\nwaiting = 3\n[role.7]\nweight = 2\n")
    (folder / "voices").mkdir()
    (folder / "voices" / "mine.toml").write_bytes(b"\xff")
    told = await reloaded(scene, sure=True)
    assert "rules: refused, the former ones stay. rules.toml: rule 2.reason is missing" in told.replace("\\", "")
    assert "mine.toml is not written in UTF-8" in told.replace("\\", "")
    assert "quotas: everybody's, and 1 role's" in told
    assert "No gore here" in texts((await scene.imagine("ada", "gore"))["original"])
    quota = (await scene.play.slash("ada", scene.welcome, "quota", {}, wait="answer"))["original"]
    assert "of 3 requests waiting" in texts(quota)


async def test_a_voice_of_ones_own_is_there_after_the_reload(filed: tuple[Scene, Path]):
    scene, folder = filed
    (folder / "voices").mkdir()
    lines = "\n".join(f'[{occasion}]\nen = ["Ahoy {occasion}!", "Ahoy again, {occasion}!"]' for occasion in ("waiting", "done", "failed"))
    (folder / "voices" / "pirate.toml").write_text(f'name = {{ en = "Pirate" }}\n{lines}\n')
    assert "voices: 1 of this server's own" in await reloaded(scene, sure=True)
    await scene.bot.choices.change(f"discord:{scene.users['chen']}", {"persona": "pirate"})
    await scene.imagine("chen")
    await scene.card_of("chen", "Ahoy")


async def test_flows_are_read_again_and_a_broken_one_leaves_the_former(open_scene: OpenScene, tmp_path: Path):
    own = tmp_path / "own-flows"
    flow = own / "text_to_image" / "flow.toml"
    flow.parent.mkdir(parents=True)
    flow.write_text((DEFINITIONS / "text_to_image" / "flow.toml").read_text())
    scene = await open_scene(flows=own)
    catalogue = read_catalog()
    assert f"flows: {len(catalogue.flows) + len(catalogue.comfy)}" in await reloaded(scene, sure=True)
    models = set(scene.lab.pool.offers())

    flow.write_text(flow.read_text().replace('name = "house"', 'name = "house-two"').replace('default_model = "house"', 'default_model = "house-two"'))
    await reloaded(scene, sure=False)
    assert set(scene.lab.pool.offers()) == models
    await reloaded(scene, sure=True)
    assert set(scene.lab.pool.offers()) == {*models, "house-two"}

    flow.write_text("kind = 3")
    told = (await reloaded(scene, sure=True)).replace("\\", "")
    assert "refused, the former ones stay" in told and "text_to_image/flow.toml" in told
    assert "house-two" in scene.lab.pool.offers()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name = 'x'", 'mine.toml: name needs at least { en = "…" }, and a text for each language.'),
        ("name = { en = 'x', es = 5 }", 'mine.toml: name needs at least { en = "…" }, and a text for each language.'),
        ("name = { en = 'x' }\n[waitings]\nen = ['a', 'b']", "mine.toml, line 2: waitings is not known: did you mean waiting?"),
        ("name = { en = 'x' }\n[waiting]\nen = 'a'", "mine.toml: waiting.en needs two or more different lines"),
        ("name = ", "mine.toml: "),
    ],
)
def test_a_voice_that_cannot_be_used_gets_a_sentence(text, sentence):
    with pytest.raises(PersonaInvalid) as refused:
        read_persona("mine.toml", text)
    assert str(refused.value).startswith(sentence)
