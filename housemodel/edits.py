"""How far image-to-image carries "change the circle to blue": `python -m housemodel.edits [--n 30]`.

Pictures of one object in a corner are drawn by the model, then given back with a caption that names another colour and
the old place, or no place: then alone the picture knows where the object was, for the caption means the centre.
The table says, for each strength, how often the new colour came and how often shape, background and place stayed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from PIL import Image

from housemodel import weights_folder
from housemodel.checker import read
from housemodel.evaluate import GUIDANCE, Setting, paint
from housemodel.layout import Layout, Scene, arrange
from housemodel.palette import COLOUR_NAMES, distinct
from housemodel.parts import load_pipeline
from housemodel.scenes import random_scene

STRENGTHS = (0.05, 0.1, 0.15, 0.2, 0.5, 0.8)
STEPS = 20
SEED = 880_001


def wishes(count: int, seed: int = SEED) -> list[tuple[Scene, Scene]]:
    """Scenes of one object in a corner, and what they shall become: the same in another colour."""
    rng = np.random.default_rng(seed)
    found: list[tuple[Scene, Scene]] = []
    for _ in range(count):
        scene = random_scene(rng, Layout.CORNER)
        thing = scene.things[0]
        others = [name for name in COLOUR_NAMES if name != thing.colour and distinct(name, scene.background)]
        found.append((scene, arrange(scene.background, [(str(rng.choice(others)), thing.shape, thing.place)])))
    return found


def words_for(scene: Scene, place: bool) -> str:
    """A plain caption, with the object's place or without it."""
    thing = scene.things[0]
    article = "an" if thing.colour[0] in "aeiou" else "a"
    where = f" at the {thing.place}" if place else ""
    return f"{article} {thing.colour} {thing.shape}{where} on a {scene.background} background"


def edit(pipe: StableDiffusionPipeline, pictures: Sequence[Image.Image], said: Sequence[str], strength: float) -> list:
    """Image-to-image over pictures with one caption each."""
    editor = StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    editor.set_progress_bar_config(disable=True)
    seeds = [torch.Generator().manual_seed(SEED + i) for i in range(len(said))]
    made: Any = editor(list(said), image=list(pictures), strength=strength, guidance_scale=GUIDANCE,
                       num_inference_steps=STEPS, generator=seeds)  # fmt: skip
    return made.images


def measure_edits(pipe: StableDiffusionPipeline, count: int, *, place: bool) -> dict[float, dict[str, float]]:
    """For each strength the shares of edits with the new colour, the old shape, background and place, and all four.

    With `place` the caption of the edit names the object's place, else the picture alone knows it.
    """
    asked = wishes(count)
    before = list(paint(pipe, [words_for(old, place=True) for old, _ in asked], Setting()))
    table: dict[float, dict[str, float]] = {}
    for strength in STRENGTHS:
        after = edit(pipe, before, [words_for(new, place=place) for _, new in asked], strength)
        rows = [_kept(picture, new) for picture, (_, new) in zip(after, asked, strict=True)]
        shares = np.mean(rows, axis=0)
        names = ("colour", "shape", "background", "place", "all")
        table[strength] = {name: round(float(share), 3) for name, share in zip(names, shares, strict=True)}
    return table


def _kept(picture: Image.Image, wanted: Scene) -> tuple[bool, bool, bool, bool, bool]:
    seen, thing = read(picture), wanted.things[0]
    if len(seen.things) != 1:
        return False, False, seen.background == wanted.background, False, False
    got = seen.things[0]
    parts = (got.colour == thing.colour, got.shape == thing.shape, seen.background == wanted.background,
             got.place == thing.place)  # fmt: skip
    return (*parts, all(parts))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    reader = argparse.ArgumentParser(prog="python -m housemodel.edits", description=__doc__)
    reader.add_argument("--n", type=int, default=30)
    reader.add_argument("--weights", type=Path, default=weights_folder())
    given = reader.parse_args(arguments)
    pipe = load_pipeline(given.weights)
    for place in (True, False):
        print("the caption names the place" if place else "the caption does not name the place")
        for strength, shares in measure_edits(pipe, given.n, place=place).items():
            print(f"  strength {strength}: " + "  ".join(f"{name} {share:.2f}" for name, share in shares.items()))


if __name__ == "__main__":
    main()
