"""A contact sheet of unpicked samples: `python -m housemodel.sheet FILE.png`, the first held-out captions in order.

A red bar stands under the pictures that the checker does not read as their caption.
"""

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from housemodel import weights_folder
from housemodel.checker import compare, read
from housemodel.dataset import held_out
from housemodel.evaluate import Setting, paint
from housemodel.parts import PICTURE, load_pipeline

COLUMNS, GAP, TEXT = 6, 16, 64
CELL = (PICTURE + 2 * GAP, PICTURE + 2 * GAP + TEXT)
PAPER, INK, WRONG = (250, 249, 246), (40, 40, 44), (200, 40, 40)


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the sheet and write it."""
    reader = argparse.ArgumentParser(prog="python -m housemodel.sheet", description=__doc__)
    reader.add_argument("file", type=Path)
    reader.add_argument("--n", type=int, default=24)
    reader.add_argument("--weights", type=Path, default=weights_folder())
    given = reader.parse_args(arguments)
    torch.set_num_threads(1)
    asked = held_out(given.n)
    pictures = paint(load_pipeline(given.weights), [said for _, said in asked], Setting())
    shown = [(picture, said, compare(read(picture), scene).exact)
             for picture, (scene, said) in zip(pictures, asked, strict=True)]  # fmt: skip
    lay_out(shown).save(given.file, optimize=True)


if __name__ == "__main__":
    main()
