"""Scenes: what a caption of the house can ask for, how it is drawn, and where everything has its place.

A scene is one object (in the centre, in a corner, or at one side), two to four alike in set places, or two different
ones. Captions fix the places: that is what makes the pictures of so small a model readable.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from housemodel.captions import caption, parse
from housemodel.layout import PLACES, Layout, Scene, Thing, arrange
from housemodel.palette import COLOUR_NAMES, COLOURS, distinct
from housemodel.shapes import OVERSAMPLING, SHAPE_NAMES, mask

__all__ = ["PLACES", "Layout", "Scene", "Thing", "caption", "draw", "parse", "random_scene", "scatter"]

JITTER = 0.015
_KINDS: tuple[tuple[Layout, float], ...] = (
    (Layout.CENTRE, 0.18),
    (Layout.CORNER, 0.22),
    (Layout.SIDE, 0.05),
    (Layout.ALIKE, 0.27),
    (Layout.BESIDE, 0.08),
    (Layout.CORNERS, 0.20),
)
_CORNERS = ("top left", "top right", "bottom left", "bottom right")


def random_scene(rng: np.random.Generator, kind: Layout | None = None) -> Scene:
    """A scene of the training mix (or of one kind), without jitter; the same generator state gives the same scene."""
    chosen = kind or _draw_kind(rng)
    background = str(rng.choice(COLOUR_NAMES))
    first, second = _look(rng, background), _look(rng, background)
    while second == first:
        second = _look(rng, background)
    return _BUILDERS[chosen](rng, background, first, second)


def _draw_kind(rng: np.random.Generator) -> Layout:
    shares = np.array([share for _, share in _KINDS])
    return _KINDS[int(rng.choice(len(_KINDS), p=shares / shares.sum()))][0]


def _look(rng: np.random.Generator, background: str) -> tuple[str, str]:
    colours = [name for name in COLOUR_NAMES if distinct(name, background)]
    return str(rng.choice(colours)), str(rng.choice(SHAPE_NAMES))


_Look = tuple[str, str]


def _single(places: tuple[str, ...]) -> Callable[[np.random.Generator, str, _Look, _Look], Scene]:
    def build(rng: np.random.Generator, background: str, first: _Look, _: _Look) -> Scene:
        return arrange(background, [(*first, str(rng.choice(places)))])

    return build


def _alike(rng: np.random.Generator, background: str, first: _Look, _: _Look) -> Scene:
    return arrange(background, [(*first, None)] * int(rng.integers(2, 5)))


def _beside(_: np.random.Generator, background: str, first: _Look, second: _Look) -> Scene:
    return arrange(background, [(*first, "left"), (*second, "right")])


def _corners(rng: np.random.Generator, background: str, first: _Look, second: _Look) -> Scene:
    one, two = rng.choice(_CORNERS, size=2, replace=False)
    return arrange(background, [(*first, str(one)), (*second, str(two))])


_BUILDERS = {
    Layout.CENTRE: _single(("centre",)),
    Layout.CORNER: _single(_CORNERS),
    Layout.SIDE: _single(("left", "right")),
    Layout.ALIKE: _alike,
    Layout.BESIDE: _beside,
    Layout.CORNERS: _corners,
}


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far a drawn scene strays from its set places and sizes; shares of the side, and of the diameter."""

    shift: float = JITTER
    growth: float = 0.04


def scatter(scene: Scene, rng: np.random.Generator, spread: Spread | None = None) -> Scene:
    """The scene with every object a little moved and resized, as in the training pictures."""
    by = spread or Spread()
    things = tuple(
        replace(
            thing,
            x=thing.x + float(rng.uniform(-by.shift, by.shift)),
            y=thing.y + float(rng.uniform(-by.shift, by.shift)),
            diameter=thing.diameter * (1 + float(rng.uniform(-by.growth, by.growth))),
        )
        for thing in scene.things
    )
    return replace(scene, things=things)


def draw(scene: Scene, size: int = 128, rng: np.random.Generator | None = None) -> Image.Image:
    """The scene as an RGB picture of size x size pixels, edges smoothed; with a generator, slightly scattered."""
    shown = scatter(scene, rng) if rng is not None else scene
    side = size * OVERSAMPLING
    canvas = Image.new("RGB", (side, side), COLOURS[shown.background])
    for thing in shown.things:
        canvas.paste(COLOURS[thing.colour], mask=mask(thing.shape, side, thing.x, thing.y, thing.diameter))
    return canvas.resize((size, size), Image.Resampling.BOX)
