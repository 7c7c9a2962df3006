"""Scenes, captions in both languages, and the way back."""

import subprocess
import sys

import numpy as np
import pytest

from housemodel.scenes import PLACES, Layout, Scene, caption, draw, parse, random_scene
from housemodel.words import LANGUAGES, Language


def same(first: Scene | None, second: Scene) -> bool:
    if first is None:
        return False
    key = [sorted(repr(thing) for thing in scene.things) for scene in (first, second)]
    return first.background == second.background and key[0] == key[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_caption_is_read_back_as_its_scene(language: Language) -> None:
    rng = np.random.default_rng(1)
    lost = []
    for _ in range(1500):
        scene = random_scene(rng)
        said = caption(scene, rng, language)
        if not same(parse(said), scene):
            lost.append(said)
    assert lost == []


@pytest.mark.parametrize(
    ("prompt", "background", "things"),
    [
        ("a red star in the center on a cyan background", "cyan", [("red", "star", "centre")]),
        ("tres lunas blancas sobre fondo azul", "blue", [("white", "moon", place) for place in
                                                          ("top left", "top right", "bottom")]),
        ("UNA ESTRELLA ROJA, fondo negro!", "black", [("red", "star", "centre")]),
        ("a cute little blue heart on pink, please", "pink", [("blue", "heart", "centre")]),
        ("a red star and a blue moon on white", "white", [("red", "star", "left"), ("blue", "moon", "right")]),
        ("a black ring", "white", [("black", "ring", "centre")]),
        ("a white ring", "black", [("white", "ring", "centre")]),
        ("2 yellow crosses on blue", "blue", [("yellow", "cross", "left"), ("yellow", "cross", "right")]),
    ],
)  # fmt: skip
def test_ways_to_say_it(prompt: str, background: str, things: list[tuple[str, str, str]]) -> None:
    scene = parse(prompt)
    assert scene is not None
    assert scene.background == background
    assert [(thing.colour, thing.shape, thing.place) for thing in scene.things] == things


@pytest.mark.parametrize(
    "prompt",
    [
        "", "   ", "a dog on a skateboard", "a red star on a red background", "five red stars on blue", "red",
        "two red stars and a blue moon on white", "a star on blue", "a red star at the top on blue",
        "a red star at the top left and a blue moon at the top left on white", "‮\x00" * 50, "on on on fondo",
        "a red star and a blue moon and a pink ring on white", "a " * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_scene_is_none_and_never_an_error(prompt: str) -> None:
    assert parse(prompt) is None


def test_the_same_seed_gives_the_same_picture() -> None:
    pictures = []
    for _ in range(2):
        rng = np.random.default_rng(5)
        pictures.append(draw(random_scene(rng), 128, rng).tobytes())
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("kind", list(Layout))
def test_every_kind_of_scene_has_its_objects_inside_the_picture_and_apart(kind: Layout) -> None:
    rng = np.random.default_rng(2)
    for _ in range(60):
        scene = random_scene(rng, kind)
        assert scene.layout is kind
        assert all(thing.place in PLACES for thing in scene.things)
        for i, thing in enumerate(scene.things):
            half = thing.diameter / 2
            assert half < min(thing.x, thing.y, 1 - thing.x, 1 - thing.y)
            for other in scene.things[:i]:
                gap = max(abs(thing.x - other.x), abs(thing.y - other.y))
                assert gap > (thing.diameter + other.diameter) / 2


def test_scenes_and_checker_need_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['diffusers'] = None\n"
        "import housemodel.scenes, housemodel.checker, housemodel.styles; print(housemodel.weights_folder().name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )  # our own interpreter and code
    assert (done.stdout.strip(), done.stderr) == ("weights", "")
