"""How far "change the circle to blue" goes, by image-to-image and inside a mask: `python -m housemodel.edits [--n 30]`.

Pictures of one object in a corner are drawn by the model, then given back with a caption that names another colour and
the old place, or no place: then alone the picture knows where the object was, for the caption means the centre.

Inside a mask, the recipe is image-to-image with the rest put back after every step: latents outside the mask are
replaced by the picture's own, noised for the next step; at last the pixels outside are the picture's pixels. That needs
no denoiser with a mask among its inputs, and works with any number of latent channels.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from housemodel import weights_folder
from housemodel.checker import FOREGROUND, SMALLEST, read
from housemodel.layout import Layout, Scene, arrange
from housemodel.palette import COLOUR_NAMES, distinct
from housemodel.scenes import random_scene
from housemodel.spots import find_spots

if TYPE_CHECKING:
    import torch
    from diffusers import StableDiffusionPipeline

STRENGTHS = (0.3, 0.5, 0.7, 0.9)
STEPS, GUIDANCE = 20, 3.0
SEED = 880_001
CELL_SIDE = 16
"""Pixels to the side of a cell of the latents: a mask can be no finer while the model paints."""
NAMES = ("colour", "shape", "background", "place", "all")


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


def mask_of_object(image: Image.Image, margin: int = 4) -> Image.Image:
    """An "L" mask: white over the largest object's bounding box and `margin` pixels round it; black without one."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    ground = np.median(np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3)]), axis=0)
    spots = find_spots(np.abs(pixels - ground).sum(axis=2) > FOREGROUND, SMALLEST * pixels[..., 0].size)
    shown = np.zeros(pixels.shape[:2], dtype=np.uint8)
    if spots:
        rows, columns = spots[0].box
        top, left = max(0, rows.start - margin), max(0, columns.start - margin)
        shown[top : rows.stop + margin, left : columns.stop + margin] = 255
    return Image.fromarray(shown)


def cells_of(mask: Image.Image) -> NDArray[np.float32]:
    """The mask in cells of the latents (height / 16, width / 16), one where any of a cell's pixels is white."""
    white = np.asarray(mask.convert("L")) > 127
    rows, columns = white.shape[0] // CELL_SIDE, white.shape[1] // CELL_SIDE
    cells: NDArray[np.bool_] = white.reshape(rows, CELL_SIDE, columns, CELL_SIDE).max(axis=(1, 3))
    return cells.astype(np.float32)


def put_back(before: Image.Image, after: Image.Image, mask: Image.Image) -> Image.Image:
    """The new picture inside the mask, the old one outside, pixel by pixel."""
    return Image.composite(after, before, mask.convert("L").point([255 * (level > 127) for level in range(256)]))


def edit(
    pipe: "StableDiffusionPipeline", pictures: Sequence[Image.Image], said: Sequence[str], strength: float,
    masks: Sequence[Image.Image] | None = None,
) -> list[Image.Image]:  # fmt: skip
    """Image-to-image over pictures with one caption each; with masks, only inside these."""
    import torch
    from diffusers import StableDiffusionImg2ImgPipeline

    editor = StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    editor.set_progress_bar_config(disable=True)
    seeds = [torch.Generator().manual_seed(SEED + i) for i in range(len(said))]
    after_each: Any = _put_back_latents(editor, pictures, masks) if masks else None
    made: Any = editor(list(said), image=list(pictures), strength=strength, guidance_scale=GUIDANCE,
                       num_inference_steps=STEPS, generator=seeds, callback_on_step_end=after_each)  # fmt: skip
    if not masks:
        return made.images
    return [put_back(*three) for three in zip(pictures, made.images, masks, strict=True)]


def _put_back_latents(
    editor: Any, pictures: Sequence[Image.Image], masks: Sequence[Image.Image]
) -> Callable[..., dict[str, "torch.Tensor"]]:
    import torch

    with torch.no_grad():
        clean = editor.vae.encode(editor.image_processor.preprocess(list(pictures))).latents
    inside = torch.from_numpy(np.stack([cells_of(mask) for mask in masks]))[:, None]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(SEED))

    def after_each(running: Any, _: int, time: "torch.Tensor", tensors: dict[str, Any]) -> dict[str, "torch.Tensor"]:
        left = running.scheduler.timesteps[running.scheduler.timesteps < time]
        outside = running.scheduler.add_noise(clean, noise, left[:1]) if len(left) else clean
        return {"latents": torch.lerp(outside, tensors["latents"], inside)}

    return after_each


def measure_edits(pipe: "StableDiffusionPipeline", count: int, *, place: bool, masked: bool) -> dict[float, dict[str, float]]:
    """For each strength the shares of edits with the new colour, the old shape, background and place, and all four.

    With `place` the caption of the edit names the object's place, else the picture alone knows it.
    """
    from housemodel.evaluate import Setting, paint

    asked = wishes(count)
    before = list(paint(pipe, [words_for(old, place=True) for old, _ in asked], Setting(steps=STEPS)))
    masks = [mask_of_object(picture) for picture in before] if masked else None
    table: dict[float, dict[str, float]] = {}
    for strength in STRENGTHS:
        after = edit(pipe, before, [words_for(new, place=place) for _, new in asked], strength, masks)
        shares = np.mean([kept(picture, new) for picture, (_, new) in zip(after, asked, strict=True)], axis=0)
        table[strength] = {name: round(float(share), 3) for name, share in zip(NAMES, shares, strict=True)}
    return table


def kept(picture: Image.Image, wanted: Scene) -> tuple[bool, bool, bool, bool, bool]:
    """Whether colour, shape, background, place, and all of them are as wanted, for a scene of one object."""
    seen, thing = read(picture), wanted.things[0]
    if len(seen.things) != 1:
        return False, False, seen.background == wanted.background, False, False
    got = seen.things[0]
    parts = (got.colour == thing.colour, got.shape == thing.shape, seen.background == wanted.background,
             got.place == thing.place)  # fmt: skip
    return (*parts, all(parts))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    import torch

    from housemodel.parts import load_pipeline

    reader = argparse.ArgumentParser(prog="python -m housemodel.edits", description=__doc__)
    reader.add_argument("--n", type=int, default=30)
    reader.add_argument("--weights", type=Path, default=weights_folder())
    given = reader.parse_args(arguments)
    torch.set_num_threads(1)
    pipe = load_pipeline(given.weights)
    for masked in (False, True):
        for place in (True, False):
            print(f"{'inside a mask' if masked else 'image to image'}, {'with' if place else 'without'} the place in words")
            for strength, shares in measure_edits(pipe, given.n, place=place, masked=masked).items():
                print(f"  strength {strength}: " + "  ".join(f"{name} {share:.2f}" for name, share in shares.items()))


if __name__ == "__main__":
    main()
