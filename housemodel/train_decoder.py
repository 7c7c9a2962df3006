"""Trains the decoder: from 8 x 8 cells to crisp 128 x 128 pixels, on crops round the edges of objects."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray

from housemodel.parts import CELLS, PICTURE
from housemodel.scenes import draw, random_scene

CROP = 5
"""Cells to a side of a crop; the outer ring has false neighbours and counts little."""
CELL = PICTURE // CELLS


@dataclass(frozen=True, kw_only=True)
class DecoderPlan:
    """The settings of the decoder's training."""

    steps: int = 2600
    batch: int = 12
    pictures: int = 1500
    rate: float = 2e-3
    noise: float = 0.10
    average: float = 0.995
    seed: int = 3


@dataclass(frozen=True, kw_only=True)
class _Pictures:
    """Pictures (n, 3, 128, 128) as bytes, their latents, and the pixels that belong to objects."""

    pixels: torch.Tensor
    latents: torch.Tensor
    objects: NDArray[np.bool_]


@torch.no_grad()
def _pictures(vae: AutoencoderTiny, plan: DecoderPlan, rng: np.random.Generator) -> _Pictures:
    drawn = [np.asarray(draw(random_scene(rng), PICTURE, rng)) for _ in range(plan.pictures)]
    pixels = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).contiguous()
    latents = [vae.encoder(part.float() / 127.5 - 1) for part in pixels.split(100)]
    from_ground = (pixels.float() - pixels[:, :, :1, :1].float()).abs().sum(dim=1)
    return _Pictures(pixels=pixels, latents=torch.cat(latents), objects=(from_ground > 60).numpy())


def _corner(objects: NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int]:
    """The first cell of a crop: mostly one that holds a random pixel of an object."""
    if float(rng.random()) > 0.85:
        y, x = rng.integers(0, CELLS + 1 - CROP, 2)
        return int(y), int(x)
    ys, xs = np.nonzero(objects)
    k = int(rng.integers(len(ys)))
    y, x = (int(at[k]) // CELL - CROP // 2 + int(rng.integers(-1, 2)) for at in (ys, xs))
    return min(max(y, 0), CELLS - CROP), min(max(x, 0), CELLS - CROP)


def _crops(data: _Pictures, plan: DecoderPlan, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    latents, pixels = [], []
    for i in rng.integers(0, len(data.pixels), plan.batch):
        y, x = _corner(data.objects[i], rng)
        latents.append(data.latents[i, :, y : y + CROP, x : x + CROP])
        pixels.append(data.pixels[i, :, y * CELL : (y + CROP) * CELL, x * CELL : (x + CROP) * CELL])
    return torch.stack(latents), torch.stack(pixels).float() / 127.5 - 1


def _loss(decoded: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    off = decoded - pixels
    weight = torch.full_like(off[:1, :1], 0.15)
    weight[..., CELL:-CELL, CELL:-CELL] = 1
    return ((off.abs() + 2 * off.square()) * weight).mean()


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
        latents, pixels = _crops(self.data, plan, self.rng)
        strength = torch.from_numpy(self.rng.random((plan.batch, 1, 1, 1), dtype=np.float32)) * plan.noise
        noise = torch.from_numpy(self.rng.standard_normal(latents.shape, dtype=np.float32))
        loss = _loss(self.decoder(latents + noise * strength), pixels)
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


def train_decoder(course: DecoderCourse, report: Callable[[int, float], None], save: Callable[[], None]) -> None:
    """Run the course to its end, then put the weight average in the decoder's place."""
    while course.step < course.plan.steps:
        report(course.step + 1, course.advance())
        if course.step % 100 == 0:
            save()
    save()
    course.decoder.load_state_dict(course.average.state_dict())
