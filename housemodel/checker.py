"""Reads a picture of the house back into a scene, by rules and without a network, and compares it with a prompt.

Judge pictures as they left the decoder, or as PNG: a small JPEG costs up to a tenth of the shapes.
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from housemodel.captions import parse
from housemodel.layout import PLACES, Scene, Thing
from housemodel.palette import nearest
from housemodel.shapes import SHAPE_NAMES, template
from housemodel.spots import Spot, find_spots

FOREGROUND = 90.0
"""Summed over the channels: a pixel farther than this from the background belongs to an object."""
SMALLEST = 0.006
"""Spots of a smaller share of the picture are dirt, not objects."""
TEMPLATE = 24
MOST_COMPARED = 5
_WORDS = ("", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class PromptNotUnderstoodError(ValueError):
    """The prompt asks for nothing in the grammar, so no picture can be held against it."""


@dataclass(frozen=True, kw_only=True)
class ReadThing:
    """An object as seen: names, centre and longer side in shares of the picture, and how sure colour and shape are."""

    colour: str
    shape: str
    place: str
    x: float
    y: float
    size: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class ReadScene:
    """A picture as seen: its background and its objects, the largest first."""

    background: str
    things: tuple[ReadThing, ...]
    confidence: float

    def describe(self) -> str:
        """A short sentence, such as "a red star in the centre on cyan"."""
        if not self.things:
            return f"nothing on {self.background}"
        looks = {(thing.colour, thing.shape) for thing in self.things}
        if len(looks) == 1 and len(self.things) > 1:
            first = self.things[0]
            plural = first.shape + ("es" if first.shape == "cross" else "s")
            said = f"{_WORDS[min(len(self.things), 9)]} {first.colour} {plural}"
        else:
            said = " and ".join(_describe(thing) for thing in self.things)
        return f"{said} on {self.background}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What of a prompt a picture holds, attribute by attribute; `confidence` (0 to 1) is the checker's own."""

    background: bool
    colour: bool
    count: bool
    position: bool
    shape: bool
    confidence: float
    seen: ReadScene

    @property
    def tells_apart(self) -> bool:
        """Background, colours and count are right: about one other prompt in 450 would pass too."""
        return self.background and self.colour and self.count

    @property
    def exact(self) -> bool:
        """Everything is right."""
        return self.tells_apart and self.position and self.shape


def _describe(thing: ReadThing) -> str:
    article = "an" if thing.colour[0] in "aeiou" else "a"
    where = {"centre": "in the centre", "left": "on the left", "right": "on the right"}
    return f"{article} {thing.colour} {thing.shape} {where.get(thing.place, f'at the {thing.place}')}"


def judge(image: Image.Image, prompt: str) -> Verdict:
    """Hold a picture against a prompt of the grammar (English or Spanish); raises PromptNotUnderstoodError."""
    wanted = parse(prompt)
    if wanted is None:
        raise PromptNotUnderstoodError(f"not a scene of the house: {prompt[:80]!r}; ask for example for 'a red star on a cyan background'")
    return compare(read(image), wanted)


def compare(seen: ReadScene, wanted: Scene) -> Verdict:
    """Hold what was seen against a scene; objects are paired in the way that serves the picture best."""
    pairs = _pair(seen.things, wanted.things)
    full = len(pairs) == len(wanted.things)
    return Verdict(
        background=seen.background == wanted.background,
        count=len(seen.things) == len(wanted.things),
        colour=full and all(got.colour == want.colour for got, want in pairs),
        shape=full and all(got.shape == want.shape for got, want in pairs),
        position=full and all(got.place == want.place for got, want in pairs),
        confidence=seen.confidence,
        seen=seen,
    )


def _pair(got: tuple[ReadThing, ...], wanted: tuple[Thing, ...]) -> list[tuple[ReadThing, Thing]]:
    few = got[:MOST_COMPARED]
    if len(few) < len(wanted):
        return list(zip(few, wanted, strict=False))
    tries = ([*zip(order, wanted, strict=True)] for order in permutations(few, len(wanted)))
    return max(tries, key=lambda pairs: sum(_agreement(*pair) for pair in pairs))


def _agreement(got: ReadThing, want: Thing) -> float:
    near = 1 - abs(got.x - want.x) - abs(got.y - want.y)
    return 3 * (got.colour == want.colour) + 3 * (got.place == want.place) + 2 * (got.shape == want.shape) + near


def read(image: Image.Image, *, hollow: bool = False) -> ReadScene:
    """Read a picture of any size (a side of 48 pixels or more) into a scene; `hollow` if its shapes are outlines."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    border = np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3),
                             pixels[:, :2].reshape(-1, 3), pixels[:, -2:].reshape(-1, 3)])  # fmt: skip
    ground = np.median(border, axis=0)
    background, sure = nearest(ground)
    distance = np.abs(pixels - ground).sum(axis=2)
    spots = find_spots(distance > FOREGROUND, SMALLEST * distance.size)
    things = tuple(_read_thing(pixels, distance, spot, hollow) for spot in spots)
    confidence = min([sure, *(thing.confidence for thing in things)]) if things else 0.0
    return ReadScene(background=background, things=things, confidence=confidence)


def _read_thing(
    pixels: NDArray[np.float32], distance: NDArray[np.float32], spot: Spot, hollow: bool
) -> ReadThing:  # fmt: skip
    rows, columns = spot.box
    inside, far = spot.mask, distance[rows, columns]
    colour, colour_sure = nearest(_core_colour(pixels[rows, columns][inside], far[inside]))
    # half its own contrast: where a blurred edge lies must not depend on how strong the colours differ
    half = inside & (far > np.quantile(far[inside], 0.7) / 2)
    shape, shape_sure = classify(half, hollow=hollow)
    ys, xs = np.nonzero(half)
    height, width = distance.shape
    x = (columns.start + (xs.min() + xs.max() + 1) / 2) / width
    y = (rows.start + (ys.min() + ys.max() + 1) / 2) / height
    size = max((np.ptp(xs) + 1) / width, (np.ptp(ys) + 1) / height)
    return ReadThing(colour=colour, shape=shape, place=_place(float(x), float(y)), x=float(x), y=float(y),
                     size=float(size), confidence=min(colour_sure, shape_sure))  # fmt: skip


def _core_colour(pixels: NDArray[np.float32], far: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.median(pixels[far >= np.quantile(far, 0.4)], axis=0)


def _place(x: float, y: float) -> str:
    return min(_NAMED, key=lambda name: max(abs(PLACES[name][0] - x), abs(PLACES[name][1] - y)))


_NAMED = (*PLACES,)


def classify(mask: NDArray[np.bool_], *, hollow: bool = False) -> tuple[str, float]:
    """The shape of a mask (height x width) by its overlap with the templates, and the margin (0 to 1).

    Hollow shapes are held against hollow templates, among which a ring is a circle.
    """
    ys, xs = np.nonzero(mask)
    cropped = mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    seen = _fitted(cropped)
    names = [name for name in SHAPE_NAMES if not (hollow and name == "ring")]
    scores = {name: _overlap(seen, template_of(name, hollow=hollow)) for name in names}
    best, second = sorted(scores, key=lambda name: scores[name], reverse=True)[:2]
    return best, min(1.0, (scores[best] - scores[second]) * 4)


def _fitted(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The mask in the middle of a square, reduced to TEMPLATE x TEMPLATE coverage."""
    side = max(mask.shape)
    top, left = (side - mask.shape[0]) // 2, (side - mask.shape[1]) // 2
    square = np.zeros((side, side), dtype=np.uint8)
    square[top : top + mask.shape[0], left : left + mask.shape[1]] = mask * np.uint8(255)
    small = Image.fromarray(square).resize((TEMPLATE, TEMPLATE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / np.float32(255)


def _overlap(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(np.minimum(first, second).sum() / np.maximum(first, second).sum())


def template_of(name: str, *, hollow: bool = False) -> NDArray[np.float32]:
    """The template of a shape; drawn once."""
    if (name, hollow) not in _TEMPLATES:
        _TEMPLATES[name, hollow] = template(name, TEMPLATE, hollow=hollow)
    return _TEMPLATES[name, hollow]


_TEMPLATES: dict[tuple[str, bool], NDArray[np.float32]] = {}
