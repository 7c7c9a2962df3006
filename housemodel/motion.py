"""A motion adapter for AnimateDiffPipeline on the house model: shapes drift to the right, over 8 to 16 frames.

`python -m housemodel.motion --out FOLDER` trains it with the denoiser frozen; `measure_drift` reads clips back.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AnimateDiffPipeline, MotionAdapter, StableDiffusionPipeline, UNetMotionModel
from PIL import Image

from housemodel import weights_folder
from housemodel.checker import read
from housemodel.dataset import haar, language
from housemodel.layout import Layout, Scene
from housemodel.parts import build_scheduler, load_pipeline
from housemodel.scenes import caption, draw, random_scene
from housemodel.train import Progress, say
from housemodel.train_denoiser import draw_times
from housemodel.train_text import tokenize

FRAMES, LONGEST = 8, 16
DRIFT = 0.30
"""How far a shape moves in a clip, in shares of the side: from DRIFT / 2 left of its place to as much right of it."""
STEPS, BATCH, RATE = 900, 6, 1.5e-3


def build_adapter() -> MotionAdapter:
    """Temporal attention at every level of the denoiser, about a million parameters."""
    return MotionAdapter(
        block_out_channels=(80, 128), motion_layers_per_block=1, motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=4, motion_norm_num_groups=16, motion_max_seq_length=LONGEST,
        use_motion_mid_block=True,
    )  # fmt: skip


def drifting(scene: Scene, frames: int) -> list[Scene]:
    """The frames of a clip: every object slides to the right at one speed."""
    shifts = np.linspace(-DRIFT / 2, DRIFT / 2, frames)
    return [
        replace(scene, things=tuple(replace(thing, x=thing.x + float(shift)) for thing in scene.things))
        for shift in shifts
    ]


def clip_latents(scene: Scene, frames: int = FRAMES) -> torch.Tensor:
    """Latents (12, frames, 8, 8) of a drifting scene."""
    pictures = np.stack([np.asarray(draw(frame, 64)) for frame in drifting(scene, frames)]).astype(np.float32)
    coarse = pictures.reshape(frames, 16, 4, 16, 4, 3).mean(axis=(2, 4)) / 127.5 - 1
    return torch.from_numpy(haar(coarse)).transpose(0, 1)


def train_motion(
    pipe: StableDiffusionPipeline, *, steps: int, seed: int, report: Callable[[int, float], None]
) -> MotionAdapter:
    """Train an adapter on one-object clips with everything else frozen."""
    torch.manual_seed(seed)
    model = UNetMotionModel.from_unet2d(pipe.unet, build_adapter())
    model.freeze_unet2d_params()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    alphas = build_scheduler().alphas_cumprod
    for step in range(1, steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, step / 50) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
        loss = _clip_loss(pipe, model, alphas, rng, generator)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        report(step, float(loss.detach()))
    adapter = build_adapter()
    # the motion modules carry the same names in both models
    own = adapter.state_dict()
    adapter.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if name in own})
    return adapter


def _clip_loss(
    pipe: StableDiffusionPipeline, model: UNetMotionModel, alphas: torch.Tensor, rng: np.random.Generator,
    generator: torch.Generator,
) -> torch.Tensor:  # fmt: skip
    scenes = [random_scene(rng, Layout.CENTRE) for _ in range(BATCH)]
    said = ["" if float(rng.random()) < 0.1 else caption(scene, rng, language(rng)) for scene in scenes]
    clean = torch.stack([clip_latents(scene) for scene in scenes])
    times = draw_times(BATCH, alphas, generator)
    signal, rest = (part[times].sqrt()[:, None, None, None, None] for part in (alphas, 1 - alphas))
    noise = torch.randn(clean.shape, generator=generator)
    with torch.no_grad():
        states = pipe.text_encoder(tokenize(pipe.tokenizer, said)).last_hidden_state
    guess = model(signal * clean + rest * noise, times, states.repeat_interleave(FRAMES, dim=0)).sample
    moving = (clean - clean[:, :, :, :1, :1]).abs().sum(dim=1, keepdim=True) > 0.3
    return ((1 + 3 * moving) * (guess - (signal * noise - rest * clean)) ** 2).mean()


def clip_pipeline(pipe: StableDiffusionPipeline, adapter: MotionAdapter) -> AnimateDiffPipeline:
    """An AnimateDiffPipeline from the parts of the house model."""
    clips = AnimateDiffPipeline(vae=pipe.vae, text_encoder=pipe.text_encoder, tokenizer=pipe.tokenizer, unet=pipe.unet,
                                motion_adapter=adapter, scheduler=build_scheduler())  # fmt: skip
    clips.set_progress_bar_config(disable=True)
    return clips


def measure_drift(frames: Sequence[Image.Image]) -> tuple[float, float, bool]:
    """The largest object's way to the right, how far it strayed up or down, and whether colour and shape stayed.

    Both ways in shares of the side. Frames without an object raise ValueError.
    """
    seen = [read(frame).things for frame in frames]
    if not all(seen):
        raise ValueError("a frame shows no object")
    first = [things[0] for things in seen]
    strayed = max(thing.y for thing in first) - min(thing.y for thing in first)
    return first[-1].x - first[0].x, strayed, len({(thing.colour, thing.shape) for thing in first}) == 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the adapter, write it, and measure a few clips."""
    reader = argparse.ArgumentParser(prog="python -m housemodel.motion", description=__doc__)
    reader.add_argument("--out", type=Path, default=Path("house-motion"))
    reader.add_argument("--weights", type=Path, default=weights_folder())
    reader.add_argument("--steps", type=int, default=STEPS)
    reader.add_argument("--seed", type=int, default=31)
    given = reader.parse_args(arguments)
    torch.set_num_threads(1)
    pipe = load_pipeline(given.weights)
    adapter = train_motion(pipe, steps=given.steps, seed=given.seed, report=Progress("motion", given.steps, 10))
    adapter.half().save_pretrained(given.out, safe_serialization=True)
    clips = clip_pipeline(pipe, adapter.float())
    for said in ("a red star in the center on a cyan background", "un corazón blanco en el centro sobre fondo azul"):
        made: Any = clips(said, num_frames=FRAMES, num_inference_steps=12, guidance_scale=3.0, height=128, width=128,
                          generator=torch.Generator().manual_seed(1))  # fmt: skip
        say(f"{said}: moved right, strayed, stayed itself: {measure_drift(made.frames[0])}")


if __name__ == "__main__":
    main()
