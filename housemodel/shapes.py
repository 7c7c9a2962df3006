"""The eight shapes, as masks: each is centred by its bounding box, whose longer side is the diameter."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Point = tuple[float, float]
SHAPE_NAMES: tuple[str, ...] = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon")
OVERSAMPLING = 4
RING_HOLE = 0.55
HOLLOW = 0.52
"""The hole of an outlined shape, as a share of its diameter."""
NEVER_HOLLOWED = ("ring", "moon")
"""The ring is hollow anyway, and the crescent too thin."""
MOON_BITE = (0.82, 0.48)
"""Radius of the circle that is taken out of the moon, and how far to the right its centre lies."""


def _star() -> list[Point]:
    radii = (1.0, 0.42)
    turns = [math.pi * (0.2 * i - 0.5) for i in range(10)]
    return [(radii[i % 2] * math.cos(turn), radii[i % 2] * math.sin(turn)) for i, turn in enumerate(turns)]


def _heart() -> list[Point]:
    turns = [2 * math.pi * i / 72 for i in range(72)]
    return [
        (
            16 * math.sin(t) ** 3,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)),
        )
        for t in turns
    ]


def _cross() -> list[Point]:
    w = 0.34
    return [
        (-w, -1), (w, -1), (w, -w), (1, -w), (1, w), (w, w),
        (w, 1), (-w, 1), (-w, w), (-1, w), (-1, -w), (-w, -w),
    ]  # fmt: skip


def _circle() -> list[Point]:
    return [(math.cos(2 * math.pi * i / 96), math.sin(2 * math.pi * i / 96)) for i in range(96)]


def _moon() -> list[Point]:
    radius, shift = MOON_BITE
    tip = math.acos((1 + shift**2 - radius**2) / (2 * shift))
    outer = [tip + (2 * math.pi - 2 * tip) * i / 64 for i in range(65)]
    points = [(math.cos(t), math.sin(t)) for t in outer]
    bite = math.atan2(math.sin(tip), math.cos(tip) - shift)
    inner = [-bite - (2 * math.pi - 2 * bite) * i / 64 for i in range(65)]
    return points + [(shift + radius * math.cos(t), radius * math.sin(t)) for t in inner]


_OUTLINES: dict[str, Callable[[], list[Point]]] = {
    "circle": _circle,
    "square": lambda: [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    "triangle": lambda: [(0, -0.95), (1, 0.85), (-1, 0.85)],
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "ring": _circle,
    "moon": _moon,
}


def outline(shape: str) -> list[Point]:
    """The outer edge of a shape around (0, 0), scaled so that its longer side reaches from -1 to 1."""
    points = np.array(_OUTLINES[shape]())
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - (low + high) / 2) * (2 / (high - low).max())
    return [(float(x), float(y)) for x, y in scaled]


def mask(shape: str, side: int, x: float, y: float, diameter: float, *, hollow: bool = False) -> Image.Image:
    """An "L" picture of side x side pixels, white where the shape covers it; x, y, diameter in shares of the side.

    A hollow one lacks its own shape, HOLLOW times as large, in its middle (a triangle's lies below that of its box).
    """
    canvas = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(canvas)
    radius = diameter / 2
    points = [((x + px * radius) * side - 0.5, (y + py * radius) * side - 0.5) for px, py in outline(shape)]
    pen.polygon(points, fill=255)
    if shape == "ring":
        hole = radius * RING_HOLE
        box = [(x - hole) * side - 0.5, (y - hole) * side - 0.5, (x + hole) * side - 0.5, (y + hole) * side - 0.5]
        pen.ellipse(box, fill=0)
    if hollow and shape not in NEVER_HOLLOWED:
        lower = 0.07 * diameter if shape == "triangle" else 0.0
        canvas.paste(0, mask=mask(shape, side, x, y + lower, diameter * HOLLOW))
    return canvas


def template(shape: str, size: int, *, hollow: bool = False) -> NDArray[np.float32]:
    """The shape filling a size x size square, as coverage from 0 to 1."""
    big = mask(shape, size * 8, 0.5, 0.5, 1.0, hollow=hollow).resize((size, size), Image.Resampling.BOX)
    return np.asarray(big, dtype=np.float32) / np.float32(255)
