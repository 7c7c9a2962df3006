"""Edits: the mask, what stays outside it, and that a new colour comes inside it."""

import numpy as np
import pytest
from PIL import Image

from housemodel.checker import judge
from housemodel.edits import cells_of, mask_of_object, put_back, wishes, words_for
from housemodel.scenes import draw


def test_a_wish_is_the_same_object_at_its_place_in_another_colour():
    for old, new in wishes(20):
        (before,), (after,) = old.things, new.things
        assert (before.shape, before.place, old.background) == (after.shape, after.place, new.background)
        assert before.colour != after.colour
        assert words_for(new, place=True) != words_for(new, place=False)


def test_the_mask_covers_the_object_and_little_else():
    for scene, _ in wishes(10):
        picture = draw(scene)
        mask = np.asarray(mask_of_object(picture)) > 0
        ground = np.asarray(picture)[0, 64].astype(np.int16)
        thing = np.abs(np.asarray(picture, dtype=np.int16) - ground).sum(axis=2) > 90
        assert mask[thing].all()
        assert mask.mean() < 0.3


def test_a_cell_is_painted_if_any_of_its_pixels_is():
    mask = Image.new("L", (128, 128), 0)
    mask.putpixel((16, 0), 255)
    assert cells_of(mask).tolist() == [[0, 1, 0, 0, 0, 0, 0, 0], *[[0] * 8] * 7]
    assert not cells_of(mask_of_object(Image.new("RGB", (128, 128)))).any()


def test_outside_the_mask_the_old_pixels_stay():
    old, new = Image.new("RGB", (128, 128), "red"), Image.new("RGB", (128, 128), "blue")
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (0, 0, 64, 128))
    made = put_back(old, new, mask)
    assert (made.getpixel((10, 10)), made.getpixel((100, 10))) == ((0, 0, 255), (255, 0, 0))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("strength", [0.3, 0.9])
def test_inside_a_mask_the_new_colour_comes_and_the_rest_stays(strength: float):
    torch = pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    from housemodel import weights_folder
    from housemodel.edits import edit
    from housemodel.parts import load_pipeline

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        asked = wishes(4)
        before = [draw(old) for old, _ in asked]
        masks = [mask_of_object(picture) for picture in before]
        said = [words_for(new, place=True) for _, new in asked]
        after = edit(load_pipeline(weights_folder()), before, said, strength, masks)
    finally:
        torch.set_num_threads(threads)
    for old, new, mask in zip(before, after, masks, strict=True):
        outside = np.asarray(mask) == 0
        assert (np.asarray(old)[outside] == np.asarray(new)[outside]).all()
    assert sum(judge(picture, text).exact for picture, text in zip(after, said, strict=True)) >= 3
