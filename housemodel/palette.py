"""The ten colours of the house, and which of them can be told apart when one lies on the other."""

import numpy as np
from numpy.typing import NDArray

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 40, 45),
    "green": (45, 165, 70),
    "blue": (45, 80, 215),
    "yellow": (250, 220, 60),
    "purple": (135, 55, 175),
    "orange": (250, 140, 30),
    "cyan": (60, 210, 225),
    "pink": (255, 150, 200),
    "white": (250, 250, 250),
    "black": (20, 20, 24),
}
COLOUR_NAMES: tuple[str, ...] = tuple(COLOURS)
LEAST_CONTRAST = 160
"""Object and background differ by more than this, summed over the three channels."""


def table() -> NDArray[np.float32]:
    """The colours as rows of RGB, 0-255, in the order of COLOUR_NAMES."""
    return np.array([COLOURS[name] for name in COLOUR_NAMES], dtype=np.float32)


def contrast(first: str, second: str) -> int:
    """The distance of two named colours, summed over the channels."""
    return sum(abs(a - b) for a, b in zip(COLOURS[first], COLOURS[second], strict=True))


def distinct(first: str, second: str) -> bool:
    """Whether an object of one colour is clearly seen on a ground of the other."""
    return contrast(first, second) > LEAST_CONTRAST


def nearest(rgb: NDArray[np.float32]) -> tuple[str, float]:
    """The palette name closest to an RGB value, and how much closer it is than the runner-up (0 to 1)."""
    distances = np.abs(table() - rgb).sum(axis=1)
    order = np.argsort(distances)
    first, second = float(distances[order[0]]), float(distances[order[1]])
    return COLOUR_NAMES[int(order[0])], (second - first) / max(second + first, 1e-6)
