"""The checker against pictures whose scene is known."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from housemodel.checker import PromptNotUnderstoodError, ReadScene, compare, judge, read
from housemodel.scenes import Scene, draw, random_scene
from housemodel.spots import find_spots
from housemodel.styles import STYLES, compare_styled, draw_styled, read_styles

COUNT = 400


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Scene, ReadScene]]:
    rng = np.random.default_rng(77)
    scenes = [random_scene(rng) for _ in range(COUNT)]
    return [(scene, read(draw(scene, 128, rng))) for scene in scenes]


def test_true_pictures_are_read_right(drawn: list[tuple[Scene, ReadScene]]) -> None:
    right = [compare(seen, scene).exact for scene, seen in drawn]
    assert sum(right) / COUNT >= 0.995


def test_hardly_any_picture_answers_another_prompt(drawn: list[tuple[Scene, ReadScene]]) -> None:
    wrong = total = 0
    for i, (scene, _) in enumerate(drawn):
        for away in (1, 7, 31, 90):
            other, seen = drawn[(i + away) % COUNT]
            if other != scene:
                total += 1
                wrong += compare(seen, scene).exact
    assert wrong / total <= 0.002


def test_background_colour_and_count_tell_neighbours_apart(drawn: list[tuple[Scene, ReadScene]]) -> None:
    taken = [compare(drawn[(i + 1) % COUNT][1], scene).tells_apart for i, (scene, _) in enumerate(drawn)]
    assert sum(taken) / COUNT <= 0.02


def test_noise_and_a_small_picture_do_not_confuse_it() -> None:
    rng = np.random.default_rng(8)
    right = []
    for _ in range(80):
        scene = random_scene(rng)
        pixels = np.asarray(draw(scene, 64, rng), dtype=np.float32) + rng.normal(0, 12, (64, 64, 3))
        right.append(compare(read(Image.fromarray(pixels.clip(0, 255).astype(np.uint8))), scene).exact)
    assert sum(right) / len(right) >= 0.97


def test_blur_costs_few_shapes() -> None:
    rng = np.random.default_rng(9)
    right = []
    for _ in range(80):
        scene = random_scene(rng)
        right.append(compare(read(draw(scene, 128, rng).filter(ImageFilter.GaussianBlur(1.5))), scene).exact)
    assert sum(right) / len(right) >= 0.93


def test_each_attribute_fails_alone() -> None:
    picture = draw(random_like("a red star at the top left on a cyan background"))
    said = "a {} {} {} on a {} background"
    good = judge(picture, said.format("red", "star", "at the top left", "cyan"))
    assert good.exact
    assert good.confidence > 0.1
    for attribute, words in {
        "colour": ("black", "star", "at the top left", "cyan"),
        "shape": ("red", "ring", "at the top left", "cyan"),
        "position": ("red", "star", "at the bottom right", "cyan"),
        "background": ("red", "star", "at the top left", "white"),
    }.items():
        verdict = judge(picture, said.format(*words))
        wrong = [name for name in ("background", "colour", "count", "position", "shape") if not getattr(verdict, name)]
        assert wrong == [attribute]
    assert not judge(picture, "two red stars on cyan").count


def random_like(prompt: str) -> Scene:
    from housemodel.scenes import parse

    scene = parse(prompt)
    assert scene is not None
    return scene


def test_it_says_what_it_sees() -> None:
    assert read(draw(random_like("a red star on cyan"))).describe() == "a red star in the centre on cyan"
    assert read(draw(random_like("three white crosses on blue"))).describe() == "three white crosses on blue"
    assert read(Image.new("RGB", (128, 128), (250, 250, 250))).describe() == "nothing on white"


def test_a_prompt_outside_the_grammar_is_refused_with_a_hint() -> None:
    with pytest.raises(PromptNotUnderstoodError, match="ask for example"):
        judge(Image.new("RGB", (64, 64)), "a dog on a skateboard")


def test_rubbish_is_read_without_an_error() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 96, 3), dtype=np.uint8)
    for picture in (Image.fromarray(noise), Image.new("L", (48, 48)), Image.new("RGBA", (60, 60))):
        assert 0 <= read(picture).confidence <= 1


def test_spots_that_touch_by_a_corner_are_one() -> None:
    mask = np.zeros((6, 6), dtype=np.bool_)
    mask[0, 0] = mask[1, 1] = mask[2, 0] = mask[5, 5] = True
    assert [spot.area for spot in find_spots(mask, 1)] == [3, 1]


@pytest.mark.parametrize("style", STYLES)
def test_each_style_is_read_from_its_own_pictures_only(style: str) -> None:
    rng = np.random.default_rng(4)
    right = others = total = 0
    for _ in range(60):
        scene = random_scene(rng)
        if scene.background == "black" or any(thing.shape in {"ring", "moon"} for thing in scene.things):
            continue
        total += 1
        right += getattr(read_styles(draw_styled(scene, (style,), 128, rng)), style)
        others += getattr(read_styles(draw_styled(scene, (), 128, rng)), style)
    assert total > 25
    assert right / total >= 0.98
    assert others == 0


@pytest.mark.parametrize("styles", [("night",), ("outline",), ("dots",), ("night", "outline"), ("outline", "dots"), ("dots", "night")])
def test_a_style_leaves_what_the_caption_asks_for(styles: tuple[str, ...]) -> None:
    rng = np.random.default_rng(6)
    scenes = [random_scene(rng) for _ in range(61)]
    pictures = [draw_styled(scene, styles, 128, rng) for scene in scenes]
    kept = [compare_styled(picture, scene, styles).exact for picture, scene in zip(pictures, scenes, strict=True)]
    others = [compare_styled(picture, scene, styles).exact for picture, scene in zip(pictures, scenes[1:], strict=False)]
    assert sum(kept) >= 60
    assert sum(others) == 0
