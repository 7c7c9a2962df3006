"""Contact sheets, unpicked: `python -m housemodel.sheet FILE.png [--of samples|styles|motion|edits]`.

Samples are the first held-out captions in order; a red bar stands under the pictures that the checker does not read as
their caption. Styles are rows of the first captions under each LoRA and each pair, motion is one clip a row, edits show
a picture above what became of it inside a mask.
"""

import argparse
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import MotionAdapter, StableDiffusionPipeline
from PIL import Image, ImageDraw, ImageFont

from housemodel import motion_folder, weights_folder
from housemodel.checker import compare, read
from housemodel.dataset import held_out
from housemodel.edits import edit, mask_of_object, wishes, words_for
from housemodel.evaluate import OTHER_SETTINGS, Setting, paint
from housemodel.motion import clip_pipeline, film
from housemodel.parts import PICTURE, load_pipeline

COLUMNS, GAP, TEXT = 6, 16, 64
CELL = (PICTURE + 2 * GAP, PICTURE + 2 * GAP + TEXT)
PAPER, INK, WRONG = (250, 249, 246), (40, 40, 44), (200, 40, 40)
FILMED = (
    "a red star in the center on a cyan background",
    "una luna blanca en el centro sobre fondo azul",
    "a green ring on a white background",
    "a yellow square in the middle on purple",
)


def lay_out(pictures: Sequence[tuple[Image.Image, str, bool]]) -> Image.Image:
    """Pictures with their captions, and whether each is right, as one RGB sheet."""
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL[0], rows * CELL[1]), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for i, (picture, said, right) in enumerate(pictures):
        x, y = i % COLUMNS * CELL[0] + GAP, i // COLUMNS * CELL[1] + GAP
        sheet.paste(picture, (x, y))
        if not right:
            pen.rectangle((x, y + PICTURE + 2, x + PICTURE - 1, y + PICTURE + 4), fill=WRONG)
        pen.multiline_text((x, y + PICTURE + 8), "\n".join(textwrap.wrap(said, 24)), fill=INK, font=font, spacing=2)
    return sheet


def in_rows(rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Rows of pictures, each with a line of text above it."""
    step, line = PICTURE + 4, 18
    sheet = Image.new("RGB", (max(len(row) for _, row in rows) * step + 4, len(rows) * (step + line) + 4), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for i, (said, row) in enumerate(rows):
        pen.text((4, i * (step + line) + 2), said, fill=INK, font=font)
        for j, picture in enumerate(row):
            sheet.paste(picture, (4 + j * step, i * (step + line) + line + 2))
    return sheet


def samples(pipe: StableDiffusionPipeline, count: int) -> Image.Image:
    """The first held-out captions."""
    asked = held_out(count)
    pictures = paint(pipe, [said for _, said in asked], Setting())
    pairs = zip(pictures, asked, strict=True)
    return lay_out([(picture, said, compare(read(picture), scene).exact) for picture, (scene, said) in pairs])


def styles(pipe: StableDiffusionPipeline, count: int) -> Image.Image:
    """The first held-out captions without a LoRA, with each, and with each pair."""
    said = [text for _, text in held_out(count)]
    worn = [(), *(setting.loras for setting in OTHER_SETTINGS if setting.loras)]
    named = [(" + ".join(f"house-{name}" for name, _ in loras) or "no LoRA", Setting(loras=loras)) for loras in worn]
    return in_rows([(name, list(paint(pipe, said, setting))) for name, setting in named])


def motion(pipe: StableDiffusionPipeline, count: int) -> Image.Image:
    """Clips of the motion adapter, `count` frames each."""
    clips = clip_pipeline(pipe, MotionAdapter.from_pretrained(motion_folder()))
    return in_rows([(said, film(clips, said, frames=count)) for said in FILMED])


def edits(pipe: StableDiffusionPipeline, count: int) -> Image.Image:
    """Pictures of the model, and the same with their object in another colour, painted inside a mask."""
    asked = wishes(count)
    before = list(paint(pipe, [words_for(old, place=True) for old, _ in asked], Setting()))
    masks = [mask_of_object(picture) for picture in before]
    after = edit(pipe, before, [words_for(new, place=True) for _, new in asked], 0.7, masks)
    return in_rows([("before", before), ("another colour, strength .7, inside a mask", after)])


KINDS: dict[str, tuple[Callable[[StableDiffusionPipeline, int], Image.Image], int]] = {
    "samples": (samples, 24), "styles": (styles, 8), "motion": (motion, 8), "edits": (edits, 8),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the sheet and write it."""
    reader = argparse.ArgumentParser(prog="python -m housemodel.sheet", description=__doc__)
    reader.add_argument("file", type=Path)
    reader.add_argument("--of", choices=list(KINDS), default="samples")
    reader.add_argument("--n", type=int, help="captions (or frames of a clip, from 8 to 16)")
    reader.add_argument("--weights", type=Path, default=weights_folder())
    given = reader.parse_args(arguments)
    torch.set_num_threads(1)
    make, usual = KINDS[given.of]
    make(load_pipeline(given.weights), given.n or usual).save(given.file, optimize=True)


if __name__ == "__main__":
    main()
