"""Captions, both ways, in English and Spanish."""

import numpy as np
import pytest

from housemodel.captions import caption, parse
from housemodel.layout import ALIKE_PLACES
from housemodel.palette import distinct
from housemodel.scenes import Layout, draw, random_scene
from housemodel.words import vocabulary


def _key(scene):
    return scene.background, frozenset((thing.colour, thing.shape, thing.place) for thing in scene.things)


@pytest.mark.parametrize("language", ["en", "es"])
def test_every_caption_is_read_back_as_its_scene(language):
    rng = np.random.default_rng(77)
    for _ in range(1500):
        scene = random_scene(rng)
        said = caption(scene, rng, language)
        found = parse(said)
        assert found is not None, said
        assert _key(found) == _key(scene), said


def test_captions_use_only_the_words_of_the_vocabulary():
    rng = np.random.default_rng(3)
    known = set(vocabulary())
    for i in range(600):
        said = caption(random_scene(rng), rng, "es" if i % 2 else "en")
        assert {word for word in said.replace(",", " , ").split()} <= known, said


def test_objects_are_always_seen_against_their_ground():
    rng = np.random.default_rng(4)
    for _ in range(500):
        scene = random_scene(rng)
        assert all(distinct(thing.colour, scene.background) for thing in scene.things)


def test_the_same_seed_gives_the_same_scenes_captions_and_pixels():
    def once():
        rng = np.random.default_rng(12)
        scenes = [random_scene(rng) for _ in range(5)]
        return [(caption(s, rng), draw(s, 64, rng).tobytes()) for s in scenes]

    assert once() == once()


def test_every_layout_of_the_mix_comes_up():
    rng = np.random.default_rng(6)
    assert {random_scene(rng).layout for _ in range(200)} == set(Layout)


@pytest.mark.parametrize(
    ("english", "spanish"),
    [
        ("a red star in the center on a cyan background", "una estrella roja en el centro sobre fondo cian"),
        ("three white moons on a blue background", "tres lunas blancas sobre fondo azul"),
        ("a green heart at the top left on a black background", "un corazon verde arriba a la izquierda, fondo negro"),
        ("a PURPLE ring on white", "un anillo morado sobre fondo blanco"),
        ("please draw a violet ring on a white background", "por favor dibuja un aro violeta, fondo blanco"),
    ],
)
def test_both_languages_ask_for_the_same_scene(english, spanish):
    assert parse(english) is not None
    assert parse(english) == parse(spanish)


def test_two_objects_named_the_other_way_round_are_the_same_scene():
    first = parse("a red star at the top left and a blue heart at the bottom right on a white background")
    second = parse("a blue heart at the bottom right and a red star at the top left on a white background")
    assert first is not None
    assert second is not None
    assert _key(first) == _key(second)


def test_a_number_takes_its_set_places():
    for count, word in ((2, "two"), (3, "three"), (4, "four")):
        scene = parse(f"{word} red stars on a white background")
        assert scene is not None
        assert tuple(thing.place for thing in scene.things) == ALIKE_PLACES[count]


@pytest.mark.parametrize(
    "said",
    [
        "",
        "a castle at dawn",
        "five red stars on a blue background",
        "a star on a blue background",
        "a red star on a red background",
        "a red star at the top left and a blue heart at the top left on a white background",
        "a red star and a blue heart and a green moon on a white background",
        "a red star heart on a white background",
        "🚀" * 5000,
        "a red " * 3000,
        "fondo fondo fondo",
        "\x00\x01 a, ; & ,",
    ],
)
def test_what_is_no_scene_of_the_grammar_is_none_and_never_an_error(said):
    assert parse(said) is None


def test_unknown_words_are_passed_over():
    plain = parse("a red star in the center on a blue background")
    assert plain == parse("masterpiece, a gorgeous red star in the center on a blue background, trending, 8k")
