"""Trains the decoder: from 8 x 8 cells to crisp 128 x 128 pixels.

Whole pictures go through the coarse levels, where shapes are recognised; the last and dearest level sees only a quarter
of each, round the edge of an object. Two fifths of the pictures are hollow or dotted, for the LoRAs' sake.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import DecoderTiny
from numpy.typing import NDArray

from housemodel.layout import Layout, Scene
from housemodel.parts import PICTURE
from housemodel.scenes import random_scene
from housemodel.styles import draw_styled

WINDOW = 32
"""Side of the part that the last level sees, in pixels of the level before (half the picture's)."""
MARGIN = 5
"""Pixels along a cut edge, whose neighbours are false; they do not count."""


@dataclass(frozen=True, kw_only=True)
class DecoderPlan:
    """The settings of the decoder's training."""

    steps: int = 4000
    batch: int = 12
    pictures: int = 4000
    rate: float = 2e-3
    noise: float = 0.10
    average: float = 0.995
    styled: float = 0.42
    stars: float = 0.35
    seed: int = 3
    save_every: int = 100


@dataclass(frozen=True, kw_only=True)
class _Pictures:
    """Pictures (n, 3, 128, 128) as bytes, their latents, and the pixels that belong to objects."""

    pixels: torch.Tensor
    latents: torch.Tensor
    objects: NDArray[np.bool_]


@torch.no_grad()
def _pictures(vae: AutoencoderTiny, plan: DecoderPlan, rng: np.random.Generator) -> _Pictures:
    drawn = [np.asarray(draw_styled(_scene(plan, rng), _styles(plan, rng), PICTURE, rng)) for _ in range(plan.pictures)]
    pixels = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).contiguous()
    latents = [vae.encoder(part.float() / 127.5 - 1) for part in pixels.split(100)]
    border = pixels[:, :, :1].float().median(dim=3, keepdim=True).values
    from_ground = (pixels.float() - border).abs().sum(dim=1)
    return _Pictures(pixels=pixels, latents=torch.cat(latents), objects=(from_ground > 60).numpy())


def _scene(plan: DecoderPlan, rng: np.random.Generator) -> Scene:
    """A scene; a share of them holds a small star, whose arms are thinner than a cell and by far the hardest to draw."""
    small_star = float(rng.random()) < plan.stars
    while True:
        scene = random_scene(rng)
        shapes = {thing.shape for thing in scene.things}
        if not small_star or ("star" in shapes and scene.layout is not Layout.CENTRE):
            return scene


_MIXTURES = (("outline",), ("outline",), ("dots",), ("outline", "dots"), ("night", "outline"), ("night", "dots"))


def _styles(plan: DecoderPlan, rng: np.random.Generator) -> tuple[str, ...]:
    if float(rng.random()) > plan.styled:
        return ()
    return _MIXTURES[int(rng.integers(len(_MIXTURES)))]


def _window(objects: NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int]:
    """The corner of a window, in pixels of half the picture; it mostly holds a random pixel of an object."""
    most = PICTURE // 2 - WINDOW
    if float(rng.random()) > 0.85:
        y, x = rng.integers(0, most + 1, 2)
        return int(y), int(x)
    ys, xs = np.nonzero(objects)
    k = int(rng.integers(len(ys)))
    y, x = (int(at[k]) // 2 - WINDOW // 2 + int(rng.integers(-8, 9)) for at in (ys, xs))
    return min(max(y, 0), most), min(max(x, 0), most)


def _counting(y: int, x: int) -> torch.Tensor:
    """Ones (1, 64, 64) where a window's pixels count: everywhere but along edges that are not the picture's own."""
    side = 2 * WINDOW
    weight = torch.ones(1, side, side)
    last = PICTURE // 2 - WINDOW
    weight[:, : MARGIN if y > 0 else 0] = 0
    weight[:, :, : MARGIN if x > 0 else 0] = 0
    weight[:, side - (MARGIN if y < last else 0) :] = 0
    weight[:, :, side - (MARGIN if x < last else 0) :] = 0
    return weight


def _decode_windows(decoder: DecoderTiny, latents: torch.Tensor, corners: list[tuple[int, int]]) -> torch.Tensor:
    """The decoder's own forward pass, but the last level for one window of each picture only."""
    layers = list(decoder.layers)
    last = max(i for i, layer in enumerate(layers) if isinstance(layer, torch.nn.Upsample))
    states = torch.tanh(latents / 3) * 3
    for layer in layers[:last]:
        states = layer(states)
    cut = torch.stack([one[:, y : y + WINDOW, x : x + WINDOW] for one, (y, x) in zip(states, corners, strict=True)])
    for layer in layers[last:]:
        cut = layer(cut)
    return cut * 2 - 1


class DecoderCourse:
    """A decoder's training under way; `state` and `restore` let it be taken up again."""

    def __init__(self, vae: AutoencoderTiny, plan: DecoderPlan) -> None:
        self.plan = plan
        self.decoder, self.average = vae.decoder, copy.deepcopy(vae.decoder)
        self.optimiser = torch.optim.AdamW(self.decoder.parameters(), lr=plan.rate, betas=(0.9, 0.99))
        self.rng = np.random.default_rng(plan.seed)
        self.data = _pictures(vae, plan, self.rng)
        self.step = 0

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on, but the pictures, which are drawn anew."""
        return {"decoder": self.decoder.state_dict(), "average": self.average.state_dict(), "step": self.step,
                "optimiser": self.optimiser.state_dict(), "rng": self.rng.bit_generator.state}  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.decoder.load_state_dict(state["decoder"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.bit_generator.state = state["rng"]
        self.step = state["step"]

    def advance(self) -> float:
        """One step; returns the loss."""
        plan = self.plan
        share = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.step / plan.steps))
        for group in self.optimiser.param_groups:
            group["lr"] = plan.rate * min(1, (self.step + 1) / 100) * share
        loss = self._loss()
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.decoder.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        keep = min(plan.average, self.step / (self.step + 9))
        with torch.no_grad():
            for old, new in zip(self.average.parameters(), self.decoder.parameters(), strict=True):
                old.lerp_(new, 1 - keep)
        return float(loss.detach())

    def _loss(self) -> torch.Tensor:
        data, rng, side = self.data, self.rng, 2 * WINDOW
        picked = rng.integers(0, len(data.pixels), self.plan.batch)
        corners = [_window(data.objects[i], rng) for i in picked]
        cuts = [data.pixels[i, :, 2 * y : 2 * y + side, 2 * x : 2 * x + side]
                for i, (y, x) in zip(picked, corners, strict=True)]  # fmt: skip
        latents = data.latents[torch.from_numpy(picked)]
        strength = torch.from_numpy(rng.random((len(picked), 1, 1, 1), dtype=np.float32)) * self.plan.noise
        noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
        off = _decode_windows(self.decoder, latents + noise * strength, corners) - (torch.stack(cuts) / 127.5 - 1)
        weight = torch.stack([_counting(y, x) for y, x in corners])
        return ((off.abs() + 2 * off.square()) * weight).sum() / (3 * weight.sum())


def train_decoder(course: DecoderCourse, report: Callable[[int, float], None], save: Callable[[], None]) -> None:
    """Run the course to its end, then put the weight average in the decoder's place."""
    while course.step < course.plan.steps:
        report(course.step + 1, course.advance())
        if course.step % course.plan.save_every == 0:
            save()
    save()
    course.decoder.load_state_dict(course.average.state_dict())
