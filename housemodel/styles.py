"""The styles that the LoRAs of the house teach, drawn by rules and read back by rules.

`night`: every ground is black (and what was black is white). `outline`: shapes are hollow
(a crescent's middle is open anyway, so it is not read as one). `dots`: the ground is dotted.
Each leaves the rest of the scene as it is, so a mixture of them can be told from the pixels, picture by picture.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from housemodel.checker import FOREGROUND, SMALLEST
from housemodel.layout import Scene, Thing
from housemodel.palette import COLOURS, nearest
from housemodel.scenes import scatter
from housemodel.shapes import OVERSAMPLING, mask
from housemodel.spots import find_spots

STYLES: tuple[str, ...] = ("night", "outline", "dots")
HOLLOW = 0.52
"""The hole of an outlined shape, as a share of its diameter."""
GRID = 8
"""Dots to a side: one in each cell of the latents."""
DOT = 7 / 128
LEAST_DOTS = 10


@dataclass(frozen=True, kw_only=True)
class ReadStyles:
    """Which of the styles a picture shows."""

    night: bool
    outline: bool
    dots: bool


def by_night(scene: Scene) -> Scene:
    """The scene on black; black objects turn white, to stay in sight."""
    things = tuple(replace(thing, colour="white") if thing.colour == "black" else thing for thing in scene.things)
    return replace(scene, background="black", things=things)


def draw_styled(
    scene: Scene, styles: tuple[str, ...], size: int = 128, rng: np.random.Generator | None = None
) -> Image.Image:
    """The scene in a mixture of styles, as an RGB picture of size x size pixels."""
    shown = by_night(scene) if "night" in styles else scene
    shown = scatter(shown, rng) if rng is not None else shown
    side = size * OVERSAMPLING
    canvas = Image.new("RGB", (side, side), COLOURS[shown.background])
    if "dots" in styles:
        _dot(canvas, shown, side)
    for thing in shown.things:
        canvas.paste(COLOURS[thing.colour], mask=mask(thing.shape, side, thing.x, thing.y, thing.diameter))
        if "outline" in styles and thing.shape != "ring":
            hole = mask(thing.shape, side, *_hole(thing))
            canvas.paste(COLOURS[shown.background], mask=hole)
    return canvas.resize((size, size), Image.Resampling.BOX)


def _hole(thing: Thing) -> tuple[float, float, float]:
    """Centre and diameter of the hole: a triangle's middle lies below that of its box, a crescent's to the left."""
    x = thing.x - (0.09 * thing.diameter if thing.shape == "moon" else 0)
    y = thing.y + (0.07 * thing.diameter if thing.shape == "triangle" else 0)
    return x, y, thing.diameter * HOLLOW


def _dot(canvas: Image.Image, scene: Scene, side: int) -> None:
    pen = ImageDraw.Draw(canvas)
    ink = COLOURS[dot_colour(scene.background)]
    for row in range(GRID):
        for column in range(GRID):
            x, y = (column + 0.25) / GRID, (row + 0.25) / GRID
            if all(max(abs(thing.x - x), abs(thing.y - y)) > thing.diameter / 2 + DOT for thing in scene.things):
                box = [(at + way * DOT / 2) * side - 0.5 for way in (-1, 1) for at in (x, y)]
                pen.ellipse(box, fill=ink)


def dot_colour(background: str) -> str:
    """White dots, and black ones on light grounds."""
    return "black" if sum(COLOURS[background]) > 480 else "white"


def read_styles(image: Image.Image) -> ReadStyles:
    """Read the styles of a picture; without any object nothing counts as outlined."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    border = np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3)])
    ground = np.median(border, axis=0)
    distance = np.abs(pixels - ground).sum(axis=2)
    large = find_spots(distance > FOREGROUND, SMALLEST * distance.size)
    small = find_spots(distance > FOREGROUND / 2, 0.0004 * distance.size)
    return ReadStyles(
        night=nearest(ground)[0] == "black",
        outline=bool(large) and all(hollow(spot.mask) for spot in large),
        dots=sum(spot.area < SMALLEST * distance.size for spot in small) >= LEAST_DOTS,
    )


def hollow(spot: NDArray[np.bool_]) -> bool:
    """Whether a spot is open in its middle and closed round it: seen from there, seven of eight ways meet it.

    A gap in the outline is forgiven, the open side of a filled crescent (three ways) is not.
    """
    height, width = spot.shape
    y, x = height // 2, width // 2
    reach_y, reach_x = max(1, height // 12), max(1, width // 12)
    if spot[y - reach_y : y + reach_y + 1, x - reach_x : x + reach_x + 1].mean() > 0.35:
        return False
    return sum(_meets(spot, y, x, way) for way in _WAYS) >= 7


def _meets(spot: NDArray[np.bool_], y: int, x: int, way: tuple[int, int]) -> bool:
    steps = np.arange(max(spot.shape))
    ys, xs = y + way[0] * steps, x + way[1] * steps
    inside = (ys >= 0) & (ys < spot.shape[0]) & (xs >= 0) & (xs < spot.shape[1])
    return bool(spot[ys[inside], xs[inside]].any())


_WAYS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
