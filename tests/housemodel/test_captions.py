"""Captions: the words they use, and that both languages ask for the same scenes."""

import numpy as np
import pytest

from housemodel.captions import caption, parse
from housemodel.layout import ALIKE_PLACES
from housemodel.palette import distinct
from housemodel.scenes import random_scene
from housemodel.words import vocabulary


def _key(scene):
    return scene.background, frozenset((thing.colour, thing.shape, thing.place) for thing in scene.things)


def test_captions_use_only_the_words_of_the_vocabulary():
    rng = np.random.default_rng(3)
    known = set(vocabulary())
    for i in range(300):
        said = caption(random_scene(rng), rng, "es" if i % 2 else "en")
        assert set(said.replace(",", " , ").split()) <= known, said


def test_objects_are_always_seen_against_their_ground():
    rng = np.random.default_rng(4)
    for _ in range(500):
        scene = random_scene(rng)
        assert all(distinct(thing.colour, scene.background) for thing in scene.things)


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


def test_unknown_words_are_passed_over():
    plain = parse("a red star in the center on a blue background")
    assert plain == parse("masterpiece, a gorgeous red star in the center on a blue background, trending, 8k")
