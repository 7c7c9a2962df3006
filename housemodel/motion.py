"""A motion adapter for AnimateDiffPipeline on the house model: what stands in the centre drifts to the right.

`python -m housemodel.motion --out FOLDER` trains it with the denoiser frozen and reads a few clips back.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AnimateDiffPipeline, MotionAdapter, StableDiffusionPipeline, UNetMotionModel
from PIL import Image

from housemodel import motion_folder, weights_folder
from housemodel.checker import read
from housemodel.dataset import haar, language
from housemodel.layout import Layout, Scene
from housemodel.parts import build_scheduler, load_pipeline
from housemodel.scenes import caption, draw, random_scene
from housemodel.train import Progress, say
from housemodel.train_denoiser import draw_times
from housemodel.train_text import tokenize

LENGTHS, LONGEST = (8, 12, 16), 16
SPEED = 0.028
"""How far an object moves from frame to frame, in shares of the side; half-way through the longest clip it is at its place."""


@dataclass(frozen=True, kw_only=True)
class MotionPlan:
    """The settings of the adapter's training; `pictures` is the number of frames in a batch of clips."""

    steps: int = 1000
    pictures: int = 48
    rate: float = 1.5e-3
    warm_up: int = 50
    seed: int = 31
    save_every: int = 100


def build_adapter() -> MotionAdapter:
    """Temporal attention at every level of the denoiser, 1.9 M parameters; untrained, it changes nothing."""
    adapter = MotionAdapter(
        block_out_channels=(80, 128), motion_layers_per_block=1, motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=4, motion_norm_num_groups=16, motion_max_seq_length=LONGEST,
        use_motion_mid_block=True,
    )  # fmt: skip
    for name, parameter in adapter.named_parameters():
        # a module that begins by adding nothing leaves the frozen denoiser what it is
        if ".proj_out." in name:
            torch.nn.init.zeros_(parameter)
    return adapter


def drifting(scene: Scene, frames: int) -> list[Scene]:
    """The frames of a clip: every object slides to the right, by as much from frame to frame in long clips as in short."""
    shifts = (np.arange(frames) - (LONGEST - 1) / 2) * SPEED
    return [replace(scene, things=tuple(replace(thing, x=thing.x + float(shift)) for thing in scene.things)) for shift in shifts]


def clip_latents(scene: Scene, frames: int) -> torch.Tensor:
    """Latents (12, frames, 8, 8) of a drifting scene."""
    pictures = np.stack([np.asarray(draw(frame, 64)) for frame in drifting(scene, frames)]).astype(np.float32)
    coarse = pictures.reshape(frames, 16, 4, 16, 4, 3).mean(axis=(2, 4)) / 127.5 - 1
    return torch.from_numpy(haar(coarse)).transpose(0, 1)


class MotionCourse:
    """An adapter's training on the frozen denoiser of a pipeline."""

    def __init__(self, pipe: StableDiffusionPipeline, plan: MotionPlan, begin: MotionAdapter | None = None) -> None:
        torch.manual_seed(plan.seed)
        self.pipe, self.plan = pipe, plan
        self.model: Any = UNetMotionModel.from_unet2d(pipe.unet, begin or build_adapter())
        self.model.freeze_unet2d_params()
        self.learned = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(self.learned, lr=plan.rate, betas=(0.9, 0.99), weight_decay=0.01)
        self.rng, self.generator = np.random.default_rng(plan.seed), torch.Generator().manual_seed(plan.seed)
        self.alphas = build_scheduler().alphas_cumprod
        self.step = 0

    def advance(self) -> float:
        """One step on one-object clips of one length; returns the loss."""
        plan, falling = self.plan, (1 + math.cos(math.pi * self.step / self.plan.steps)) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = plan.rate * min(1, (self.step + 1) / plan.warm_up) * (0.02 + 0.98 * falling)
        loss = self._loss(int(self.rng.choice(LENGTHS)))
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learned, 1.0)
        self.optimiser.step()
        self.step += 1
        return float(loss.detach())

    def _loss(self, frames: int) -> torch.Tensor:
        count = self.plan.pictures // frames
        scenes = [random_scene(self.rng, Layout.CENTRE) for _ in range(count)]
        said = ["" if float(self.rng.random()) < 0.1 else caption(s, self.rng, language(self.rng)) for s in scenes]
        clean = torch.stack([clip_latents(scene, frames) for scene in scenes])
        times = draw_times(count, self.alphas, self.generator)
        signal, rest = (part[times].sqrt()[:, None, None, None, None] for part in (self.alphas, 1 - self.alphas))
        # every frame has a noise of its own, as in the pipeline that will use the adapter
        noise = torch.randn(clean.shape, generator=self.generator)
        with torch.no_grad():
            states = self.pipe.text_encoder(tokenize(self.pipe.tokenizer, said)).last_hidden_state
        guess = self.model(signal * clean + rest * noise, times, states.repeat_interleave(frames, dim=0)).sample
        moving = (clean - clean[:, :, :, :1, :1]).abs().sum(dim=1, keepdim=True) > 0.3
        return ((1 + 3 * moving) * (guess - (signal * noise - rest * clean)) ** 2).mean()

    def adapter(self) -> MotionAdapter:
        """The adapter as it is now; its modules carry the same names in the denoiser with motion."""
        made = build_adapter()
        own = made.state_dict()
        made.load_state_dict({name: tensor for name, tensor in self.model.state_dict().items() if name in own})
        return made


def train_motion(course: MotionCourse, report: Callable[[int, float], None], save: Callable[[MotionAdapter], None]) -> None:
    """Run the course to the end of its plan; `save` gets the adapter now and then, and at the end."""
    while course.step < course.plan.steps:
        loss = course.advance()
        report(course.step, loss)
        if course.step % course.plan.save_every == 0 or course.step == course.plan.steps:
            save(course.adapter())


def clip_pipeline(pipe: StableDiffusionPipeline, adapter: MotionAdapter) -> AnimateDiffPipeline:
    """An AnimateDiffPipeline from the parts of the house model."""
    clips = AnimateDiffPipeline(vae=pipe.vae, text_encoder=pipe.text_encoder, tokenizer=pipe.tokenizer, unet=pipe.unet,
                                motion_adapter=adapter, scheduler=build_scheduler())  # fmt: skip
    clips.set_progress_bar_config(disable=True)
    return clips


def film(clips: AnimateDiffPipeline, said: str, *, frames: int = 8, steps: int = 12, seed: int = 1) -> list[Image.Image]:
    """One clip at the house's guidance."""
    made: Any = clips(said, num_frames=frames, num_inference_steps=steps, guidance_scale=3.0, height=128, width=128,
                      generator=torch.Generator().manual_seed(seed))  # fmt: skip
    return made.frames[0]


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A clip as read: steps to the right and the stray up or down (in shares of the side), what each frame showed."""

    steps: tuple[float, ...]
    strayed: float
    looks: tuple[tuple[str, str, str], ...]

    @property
    def moved(self) -> float:
        """The whole way from the first frame to the last."""
        return sum(self.steps)

    @property
    def steady(self) -> bool:
        """Whether no step went back by more than a pixel of 128, and the way is three quarters of what was trained."""
        return min(self.steps) > -1 / 128 and self.moved >= 0.75 * SPEED * len(self.steps)


def read_drift(frames: Sequence[Image.Image]) -> Drift:
    """Read a clip: the largest object's way, and ground, colour and shape frame by frame.

    A frame without an object raises ValueError.
    """
    seen = [read(frame) for frame in frames]
    if not all(scene.things for scene in seen):
        raise ValueError("a frame shows no object")
    first = [scene.things[0] for scene in seen]
    ways = tuple(after.x - before.x for before, after in pairwise(first))
    strayed = max(thing.y for thing in first) - min(thing.y for thing in first)
    looks = tuple((scene.background, thing.colour, thing.shape) for scene, thing in zip(seen, first, strict=True))
    return Drift(steps=ways, strayed=strayed, looks=looks)


CLIP_SEED = 880_017


def measure_clips(clips: AnimateDiffPipeline, count: int, frames: int, steps: int = 12) -> dict[str, float]:
    """Film held-out captions of one object in the centre; shares of clips and of frames, and the mean way."""
    rng = np.random.default_rng(CLIP_SEED)
    asked = [random_scene(rng, Layout.CENTRE) for _ in range(count)]
    rows: list[tuple[float, ...]] = []
    for i, scene in enumerate(asked):
        said = caption(scene, rng, language(rng))
        wanted = (scene.background, scene.things[0].colour, scene.things[0].shape)
        try:
            got = read_drift(film(clips, said, frames=frames, steps=steps, seed=i))
        except ValueError:
            rows.append((0.0,) * 6)
            continue
        right = np.mean([[a == b for a, b in zip(look, wanted, strict=True)] for look in got.looks], axis=0)
        rows.append((got.steady, got.moved, got.strayed, *map(float, right)))
    names = ("steady", "moved", "strayed", "background", "colour", "shape")
    return {name: round(float(value), 3) for name, value in zip(names, np.mean(rows, axis=0), strict=True)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the adapter, write it, and measure clips of it; with --steps 0 only measure."""
    reader = argparse.ArgumentParser(prog="python -m housemodel.motion", description=__doc__)
    reader.add_argument("--out", type=Path, default=motion_folder())
    reader.add_argument("--weights", type=Path, default=weights_folder())
    reader.add_argument("--begin", type=Path, help="an adapter to go on from")
    reader.add_argument("--steps", type=int, default=MotionPlan().steps)
    reader.add_argument("--seed", type=int, default=MotionPlan().seed)
    reader.add_argument("--n", type=int, default=8, help="clips to measure for each length")
    given = reader.parse_args(arguments)
    torch.set_num_threads(1)
    pipe = load_pipeline(given.weights)
    if given.steps:
        begin = MotionAdapter.from_pretrained(given.begin) if given.begin else None
        course = MotionCourse(pipe, MotionPlan(steps=given.steps, seed=given.seed), begin)
        train_motion(course, Progress("motion", given.steps, 10), lambda made: write_adapter(made, given.out))
    clips = clip_pipeline(pipe, MotionAdapter.from_pretrained(given.out))
    for frames in (8, LONGEST):
        say(f"{frames} frames: {measure_clips(clips, given.n, frames)}")


def write_adapter(adapter: MotionAdapter, folder: Path) -> None:
    """Write it in fp16, as `MotionAdapter.from_pretrained` reads it."""
    adapter.half().save_pretrained(folder, safe_serialization=True)


if __name__ == "__main__":
    main()
