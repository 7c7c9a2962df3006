"""The motion adapter: how clips are read, and that the shipped one moves what the caption asks for to the right."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import AnimateDiffPipeline, MotionAdapter  # noqa: E402  # only where torch is

from housemodel import motion_folder, weights_folder  # noqa: E402
from housemodel.layout import Layout  # noqa: E402
from housemodel.motion import LONGEST, SPEED, clip_pipeline, drifting, film, measure_clips, read_drift  # noqa: E402
from housemodel.parts import load_pipeline  # noqa: E402
from housemodel.scenes import draw, random_scene  # noqa: E402

LARGEST = 4_000_000


@pytest.mark.parametrize("frames", [8, LONGEST])
def test_a_drawn_clip_is_read_as_moving_right_at_its_speed(frames: int):
    rng = np.random.default_rng(2)
    for _ in range(10):
        scene = random_scene(rng, Layout.CENTRE)
        read = read_drift([draw(frame) for frame in drifting(scene, frames)])
        assert read.steady
        assert read.moved == pytest.approx(SPEED * (frames - 1), abs=0.02)
        assert read.strayed < 0.01
        assert set(read.looks) == {(scene.background, scene.things[0].colour, scene.things[0].shape)}


def test_what_stands_still_or_turns_back_is_not_a_drift():
    scene = random_scene(np.random.default_rng(3), Layout.CENTRE)
    clip = [draw(frame) for frame in drifting(scene, 8)]
    assert not read_drift([clip[0]] * 8).steady
    assert not read_drift(clip[::-1]).steady
    assert not read_drift([*clip[:4], clip[0], *clip[5:]]).steady


def test_a_frame_without_an_object_is_an_error():
    with pytest.raises(ValueError, match="no object"):
        read_drift([Image.new("RGB", (128, 128), (20, 20, 24))] * 2)


def test_a_clip_of_a_scene_ends_where_the_object_still_fits():
    scene = random_scene(np.random.default_rng(4), Layout.CENTRE)
    ends = [frame.things[0] for frame in drifting(scene, LONGEST)]
    assert min(thing.x - thing.diameter / 2 for thing in ends) >= 0
    assert max(thing.x + thing.diameter / 2 for thing in ends) <= 1
    assert replace(ends[0], x=0.0) == replace(ends[-1], x=0.0)


@pytest.fixture(scope="module")
def clips() -> Iterator[AnimateDiffPipeline]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield clip_pipeline(load_pipeline(weights_folder()), MotionAdapter.from_pretrained(motion_folder()))
    torch.set_num_threads(threads)


def test_the_shipped_adapter_is_small():
    assert sum(file.stat().st_size for file in motion_folder().iterdir()) <= LARGEST


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("frames", [8, LONGEST])
def test_the_shipped_adapter_moves_what_was_asked_for_to_the_right(clips: AnimateDiffPipeline, frames: int):
    got = measure_clips(clips, 6, frames)
    assert got["steady"] >= 0.8
    assert got["strayed"] <= 0.06
    assert got["background"] >= 0.95
    assert got["colour"] >= 0.95


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_the_adapter_nothing_drifts(clips: AnimateDiffPipeline):
    kept = clips.unet
    try:
        clips.unet = clip_pipeline(load_pipeline(weights_folder()), still_adapter()).unet
        frames = film(clips, "a red square in the center on a white background", steps=8)
    finally:
        clips.unet = kept
    assert not read_drift(frames).steady


def still_adapter() -> MotionAdapter:
    from housemodel.motion import build_adapter

    return build_adapter()
