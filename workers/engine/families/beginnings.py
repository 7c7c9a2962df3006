"""How a row begins: from noise alone, or from a given picture, of which a part may have to stay.

The order in which the row's generator is drawn from is the stock pipelines' own (StableDiffusionImg2ImgPipeline,
StableDiffusionInpaintPipeline of diffusers 0.42), so that a seed means the same picture there and here.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from workers.engine import pictures
from workers.engine.errors import RunFailure
from workers.engine.families.autoencoder import Autoencoder, to_pixels, to_tensor
from workers.engine.families.state import Keep, Paste
from workers.engine.run import RunSpec

#: How much changes where a request does not say.
STRENGTH = {"image_to_image": 0.6, "inpaint": 1.0, "upscale": 0.3}


@dataclass(frozen=True, kw_only=True, eq=False)
class Beginning:
    """The first latents of a row, and where in the schedule it starts."""

    latents: torch.Tensor
    #: The first index of the schedule's timesteps.
    first: int = 0
    keep: Keep | None = None
    paste: Paste | None = None
    beside: torch.Tensor | None = None


def draw(generator: torch.Generator, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Noise from a CPU generator, so that a seed means the same picture on every device."""
    return torch.randn(shape, generator=generator, dtype=torch.float32).to(device)


def takes_generator(scheduler: Any) -> bool:
    """Whether its steps draw noise."""
    return "generator" in inspect.signature(scheduler.step).parameters


def given_picture(spec: RunSpec) -> torch.Tensor:
    """The picture to start from, brought to the size of the result: (1, 3, H, W) in -1..1. Raises RunFailure."""
    if spec.image is None:
        raise RunFailure("bad_order", f"A run of the kind {spec.kind} needs a picture to start from.", blame="job")
    # Lanczos for enlarging is the whole of the first stage of `upscale`; the denoiser refines it.
    return to_tensor(np.asarray(pictures.read_input(spec.image).resize((spec.width, spec.height), Image.Resampling.LANCZOS)))


def given_mask(spec: RunSpec, *, cells: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """What may be painted, 1 or 0: (1, 1, H, W) in pixels and (1, 1, h, w) in latent cells. Raises RunFailure."""
    if spec.mask is None:
        raise RunFailure("bad_order", "A run of the kind inpaint needs a mask.", blame="job")
    image = pictures.read_input(spec.mask).convert("L").resize((spec.width, spec.height), Image.Resampling.LANCZOS)
    mask = (torch.from_numpy(np.array(image)).to(torch.float32) / 255 >= 0.5).to(torch.float32)[None, None]
    return mask, torch.nn.functional.interpolate(mask, size=cells)


def strength_of(spec: RunSpec) -> float:
    """How much may change, 0 to 1."""
    return STRENGTH.get(spec.kind, 1.0) if spec.strength is None else spec.strength


def from_picture(spec: RunSpec, scheduler: Any, autoencoder: Autoencoder, generator: torch.Generator, device: torch.device) -> Beginning:
    """Begin from a given picture, noised as far as `strength` says."""
    encoded = autoencoder.encode(given_picture(spec), generator)
    noise = draw(generator, tuple(encoded.shape), device)
    first = first_step(spec, scheduler)
    return Beginning(latents=_noised(scheduler, encoded, noise, first), first=first)


def first_step(spec: RunSpec, scheduler: Any) -> int:
    """The index of the timestep at which a row of this strength begins; at least one step is left to do."""
    done = min(max(int(spec.steps * strength_of(spec)), 1), spec.steps)
    first = (spec.steps - done) * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return first


def _noised(scheduler: Any, latents: torch.Tensor, noise: torch.Tensor, at: int) -> torch.Tensor:
    if at >= len(scheduler.timesteps):
        return latents
    return noised(scheduler, latents, noise, scheduler.timesteps[at])


def noised(scheduler: Any, latents: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """Latents as they would be at a timestep of this schedule."""
    time = timestep.reshape(1)
    if hasattr(scheduler, "scale_noise"):
        return scheduler.scale_noise(latents, time, noise)
    return scheduler.add_noise(latents, noise, time)


def painted(
    spec: RunSpec,
    scheduler: Any,
    autoencoder: Autoencoder,
    generator: torch.Generator,
    device: torch.device,
    *,
    has_mask_channels: bool,
) -> Beginning:
    """Begin inpainting: by channels of its own where the model has them, else by keeping the rest after every step."""
    picture = given_picture(spec)
    cells = (spec.height // autoencoder.cell, spec.width // autoencoder.cell)
    mask, small = given_mask(spec, cells=cells)
    everything = strength_of(spec) >= 1
    encoded = None if has_mask_channels and everything else autoencoder.encode(picture, generator)
    noise = draw(generator, (1, autoencoder.channels, *cells), device)
    first = first_step(spec, scheduler)
    start = noise * scheduler.init_noise_sigma if encoded is None or everything else _noised(scheduler, encoded, noise, first)
    # Drawn even where nothing uses it: the stock pipeline's generator goes on from here.
    visible = autoencoder.encode(picture * (mask < 0.5), generator)
    small = small.to(device)
    paste = Paste(pixels=to_pixels(picture)[0], painted=mask[0, 0].numpy() >= 0.5)
    if has_mask_channels:
        return Beginning(latents=start, first=first, paste=paste, beside=torch.cat([small, visible], dim=1))
    if encoded is None:
        raise AssertionError("a model without mask channels always has its picture encoded")
    return Beginning(latents=start, first=first, paste=paste, keep=Keep(mask=small, latents=encoded, noise=noise))


def pasted(pixels: Any, paste: Paste | None) -> Any:
    """A decoded picture with the given one's own pixels where nothing was painted."""
    if paste is None or isinstance(pixels, RunFailure):
        return pixels
    return np.where(paste.painted[..., None], pixels, paste.pixels)


def kept(scheduler: Any, keep: Keep, latents: torch.Tensor, following: torch.Tensor | None) -> torch.Tensor:
    """Put back what must stay, noised for the step that follows (None: there is none)."""
    original = keep.latents if following is None else noised(scheduler, keep.latents, keep.noise, following)
    return (1 - keep.mask) * original + keep.mask * latents
