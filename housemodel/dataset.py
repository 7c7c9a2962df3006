"""Training data: scenes drawn by the house itself, as latents, and the captions that are redrawn at every step."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from housemodel.layout import Scene
from housemodel.parts import CHANNELS, DETAIL_GAIN
from housemodel.scenes import caption, draw, random_scene
from housemodel.words import Language

DRAWN = 64
COARSE = 16
SPANISH = 0.35
OBJECT_WEIGHT = 3.0
HELD_OUT_SEED = 990_001
"""Captions of the evaluation come from this seed; training uses others."""


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Scenes with their latents (n, 12, 8, 8) and, cell by cell, the weight of the loss (n, 1, 8, 8)."""

    scenes: list[Scene]
    latents: torch.Tensor
    weights: torch.Tensor


def make_scenes(count: int, seed: int) -> Scenes:
    """Draw scenes and encode them. A cell that an object touches counts 1 + OBJECT_WEIGHT times in the loss."""
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng) for _ in range(count)]
    coarse = np.empty((count, COARSE, COARSE, 3), dtype=np.float32)
    cells = np.empty((count, 1, 8, 8), dtype=np.float32)
    for i, scene in enumerate(scenes):
        picture = np.asarray(draw(scene, DRAWN, rng), dtype=np.float32) / 127.5 - 1
        coarse[i] = picture.reshape(COARSE, 4, COARSE, 4, 3).mean(axis=(1, 3))
        covered = np.abs(picture - picture[:1, :1]).sum(axis=2) > 0.3
        cells[i, 0] = covered.reshape(8, 8, 8, 8).any(axis=(1, 3))
    return Scenes(scenes=scenes, latents=torch.from_numpy(haar(coarse)), weights=torch.from_numpy(1 + OBJECT_WEIGHT * cells))


def haar(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """16 x 16 averages (n, 16, 16, 3) to latents (n, 12, 8, 8), exactly as the autoencoder's encoder does it."""
    a, b = coarse[:, 0::2, 0::2], coarse[:, 0::2, 1::2]
    c, d = coarse[:, 1::2, 0::2], coarse[:, 1::2, 1::2]
    bands = [a + b + c + d, (a - b + c - d) * DETAIL_GAIN, (a + b - c - d) * DETAIL_GAIN,
             (a - b - c + d) * DETAIL_GAIN]  # fmt: skip
    latents = np.concatenate(bands, axis=3).transpose(0, 3, 1, 2) / 4
    return np.ascontiguousarray(latents, dtype=np.float32).reshape(-1, CHANNELS, 8, 8)


def language(rng: np.random.Generator) -> Language:
    """Spanish for a third of the captions."""
    return "es" if float(rng.random()) < SPANISH else "en"


def write_captions(scenes: list[Scene], rng: np.random.Generator, empty: float, change: Callable[[str], str] | None = None) -> list[str]:
    """Fresh captions for scenes, a share of them empty for classifier-free guidance."""
    said = ["" if float(rng.random()) < empty else caption(scene, rng, language(rng)) for scene in scenes]
    return [change(text) if change else text for text in said]


def held_out(count: int, seed: int = HELD_OUT_SEED) -> list[tuple[Scene, str]]:
    """Scenes with captions that training never sees."""
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng) for _ in range(count)]
    return [(scene, caption(scene, rng, language(rng))) for scene in scenes]
