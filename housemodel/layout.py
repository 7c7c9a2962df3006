"""Places, sizes and the rule that gives every scene of the grammar its arrangement."""

from dataclasses import dataclass
from enum import StrEnum

NEAR, FAR = 0.25, 0.75
PLACES: dict[str, tuple[float, float]] = {
    "centre": (0.5, 0.5),
    "top left": (NEAR, NEAR),
    "top right": (FAR, NEAR),
    "bottom left": (NEAR, FAR),
    "bottom right": (FAR, FAR),
    "left": (NEAR, 0.5),
    "right": (FAR, 0.5),
    "bottom": (0.5, FAR),
}
"""Centres of the objects in shares of the side; x to the right, y downwards."""

ALIKE_PLACES: dict[int, tuple[str, ...]] = {
    2: ("left", "right"),
    3: ("top left", "top right", "bottom"),
    4: ("top left", "top right", "bottom left", "bottom right"),
}
CENTRE_DIAMETER, ALONE_DIAMETER, PAIR_DIAMETER, ALIKE_DIAMETER = 0.57, 0.40, 0.37, 0.34


class Layout(StrEnum):
    """The kinds of scene."""

    CENTRE = "centre"
    CORNER = "corner"
    SIDE = "side"
    ALIKE = "alike"
    BESIDE = "beside"
    CORNERS = "corners"


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One object: its colour, shape and place by name; centre and diameter in shares of the picture's side."""

    colour: str
    shape: str
    place: str
    x: float
    y: float
    diameter: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A background colour and one to four objects on it."""

    background: str
    things: tuple[Thing, ...]

    @property
    def alike(self) -> bool:
        """Whether there are several objects, all of one colour and shape."""
        return len(self.things) > 1 and len({(thing.colour, thing.shape) for thing in self.things}) == 1

    @property
    def layout(self) -> Layout:
        """The kind of this scene."""
        if self.alike:
            return Layout.ALIKE
        places = [thing.place for thing in self.things]
        if len(places) == 1:
            return {"centre": Layout.CENTRE, "left": Layout.SIDE, "right": Layout.SIDE}.get(places[0], Layout.CORNER)
        return Layout.BESIDE if places == ["left", "right"] else Layout.CORNERS


def arrange(background: str, wanted: list[tuple[str, str, str | None]]) -> Scene:
    """Build a scene from (colour, shape, place) triples; without a place the grammar's own places are taken.

    Raises ValueError when the triples are no scene of the grammar (five objects, or two at one place).
    """
    places = _places(wanted)
    if len(set(places)) != len(wanted):
        raise ValueError("two objects cannot share one place")
    alike = len(wanted) > 1 and len({look[:2] for look in wanted}) == 1
    things = []
    for (colour, shape, _), place in zip(wanted, places, strict=True):
        x, y = PLACES[place]
        size = _diameter(place, len(wanted), alike)
        things.append(Thing(colour=colour, shape=shape, place=place, x=x, y=y, diameter=size))
    return Scene(background=background, things=tuple(things))


def _places(wanted: list[tuple[str, str, str | None]]) -> tuple[str, ...]:
    given = [place for _, _, place in wanted]
    if len(wanted) == 1:
        return (given[0] or "centre",)
    if len(wanted) not in ALIKE_PLACES:
        raise ValueError("a scene has one to four objects")
    if all(place is None for place in given):
        return ALIKE_PLACES[len(wanted)]
    if len(wanted) > 2 or None in given:
        raise ValueError("either all objects have a place, or none")
    return tuple(place for place in given if place is not None)


def _diameter(place: str, count: int, alike: bool) -> float:
    if alike:
        return ALIKE_DIAMETER
    if count > 1:
        return PAIR_DIAMETER
    return CENTRE_DIAMETER if place == "centre" else ALONE_DIAMETER
