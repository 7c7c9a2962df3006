"""The styles that the LoRAs of the house teach, drawn by rules and read back by rules.

`night`: every ground is black (and what was black is white). `outline`: shapes are hollow, but for rings,
which are so anyway, and moons, whose crescent is too thin for a hole. `dots`: the ground is dotted.
Each leaves the rest of the scene as it is, so a mixture of them can be told from the pixels, picture by picture.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from housemodel.checker import FOREGROUND, SMALLEST, Verdict, classify, compare, read
from housemodel.layout import Scene
from housemodel.palette import COLOURS, nearest
from housemodel.scenes import JITTER, Spread, scatter
from housemodel.shapes import OVERSAMPLING, mask
from housemodel.spots import find_spots

STYLES: tuple[str, ...] = ("night", "outline", "dots")
GRID = 8
"""Dots to a side: one in each cell of the latents."""
DOT = 7 / 128
GAP = 0.8 * DOT
"""A dot whose centre is nearer to an object's box is left out: it would run together with the object."""
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


def draw_styled(scene: Scene, styles: tuple[str, ...], size: int = 128, rng: np.random.Generator | None = None) -> Image.Image:
    """The scene in a mixture of styles, as an RGB picture of size x size pixels."""
    shown = by_night(scene) if "night" in styles else scene
    # dots stand close to the objects, so these may not stray far
    spread = Spread(shift=JITTER / 2, growth=0.02) if "dots" in styles else None
    shown = scatter(shown, rng, spread) if rng is not None else shown
    side = size * OVERSAMPLING
    canvas = Image.new("RGB", (side, side), COLOURS[shown.background])
    if "dots" in styles:
        # by the set places: which dots there are must not hang on a jitter that no caption tells
        _dot(canvas, scene, side, COLOURS[dot_colour(shown.background)])
    for thing in shown.things:
        shape = mask(thing.shape, side, thing.x, thing.y, thing.diameter, hollow="outline" in styles)
        canvas.paste(COLOURS[thing.colour], mask=shape)
    return canvas.resize((size, size), Image.Resampling.BOX)


def _dot(canvas: Image.Image, scene: Scene, side: int, ink: tuple[int, int, int]) -> None:
    pen = ImageDraw.Draw(canvas)
    for row in range(GRID):
        for column in range(GRID):
            x, y = (column + 0.25) / GRID, (row + 0.25) / GRID
            if all(max(abs(thing.x - x), abs(thing.y - y)) > thing.diameter / 2 + GAP for thing in scene.things):
                box = [(at + way * DOT / 2) * side - 0.5 for way in (-1, 1) for at in (x, y)]
                pen.ellipse(box, fill=ink)


def dot_colour(background: str) -> str:
    """White dots, and black ones on light grounds."""
    return "black" if sum(COLOURS[background]) > 480 else "white"


def read_styles(image: Image.Image) -> ReadStyles:
    """Read the styles of a picture. Moons say nothing about outlines; a picture of moons only is not outlined."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    border = np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3)])
    ground = np.median(border, axis=0)
    distance = np.abs(pixels - ground).sum(axis=2)
    large = find_spots(distance > FOREGROUND, SMALLEST * distance.size)
    told = [spot for spot in large if classify(spot.mask)[0] != "moon"]
    small = find_spots(distance > FOREGROUND / 2, 0.0004 * distance.size)
    return ReadStyles(
        night=nearest(ground)[0] == "black",
        outline=bool(told) and all(hollow(spot.mask) for spot in told),
        dots=sum(spot.area < SMALLEST * distance.size for spot in small) >= LEAST_DOTS,
    )


def compare_styled(image: Image.Image, scene: Scene, styles: Iterable[str]) -> Verdict:
    """What a picture in these styles keeps of its caption's scene; as outlines, rings and circles are the same."""
    wanted = by_night(scene) if "night" in styles else scene
    if "outline" not in styles:
        return compare(read(image), wanted)
    things = tuple(replace(thing, shape="circle") if thing.shape == "ring" else thing for thing in wanted.things)
    return compare(read(image, hollow=True), replace(wanted, things=things))


def hollow(spot: NDArray[np.bool_]) -> bool:
    """Whether a spot is open in its middle and closed round it: seen from there, six of eight ways meet it.

    A gap in the outline is forgiven, the open side of a filled crescent (three ways) is not.
    """
    height, width = spot.shape
    y, x = height // 2, width // 2
    reach_y, reach_x = max(1, height // 12), max(1, width // 12)
    if spot[y - reach_y : y + reach_y + 1, x - reach_x : x + reach_x + 1].mean() > 0.35:
        return False
    return sum(_meets(spot, y, x, way) for way in _WAYS) >= 6


def _meets(spot: NDArray[np.bool_], y: int, x: int, way: tuple[int, int]) -> bool:
    steps = np.arange(max(spot.shape))
    ys, xs = y + way[0] * steps, x + way[1] * steps
    inside = (ys >= 0) & (ys < spot.shape[0]) & (xs >= 0) & (xs < spot.shape[1])
    return bool(spot[ys[inside], xs[inside]].any())


_WAYS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
