"""Pixels to latents and back, over any of diffusers' image autoencoders."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch

from workers.engine.errors import RunFailure

#: Pixels decoded at once; more saves no time on any device seen, and a decoder's memory is larger than the denoiser's.
_PIXELS_AT_ONCE = 4 * 1024 * 1024


class Autoencoder:
    """An autoencoder on a device. For any thread: one lock, as changing precision or tiling changes the module itself."""

    def __init__(self, vae: Any, *, cell: int, device: torch.device) -> None:
        self.module = vae
        self.cell = cell
        self._device = device
        self._lock = threading.Lock()
        self._scale = float(vae.config.scaling_factor)
        self._shift = float(getattr(vae.config, "shift_factor", None) or 0.0)
        self._dtype = vae.dtype
        self._is_tiny = type(vae).__name__ == "AutoencoderTiny"
        # Published so for SDXL's: its own numbers overflow in fp16.
        self._upcast = bool(getattr(vae.config, "force_upcast", False)) and self._dtype == torch.float16 and not self._is_tiny

    @property
    def channels(self) -> int:
        """Of the latents."""
        return int(self.module.config.latent_channels)

    @property
    def is_tiny(self) -> bool:
        """Whether decoding is cheap enough for previews."""
        return self._is_tiny

    @torch.inference_mode()
    def encode(self, image: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Latents (1, C, h, w) in fp32 of a picture (1, 3, H, W) in -1..1.

        With a generator a sample is drawn as the stock pipelines do, without one the likeliest is taken.
        """
        with self._lock:
            out = self._in(torch.float32 if self._upcast else self._dtype, self.module.encode, image)
        if hasattr(out, "latents"):
            latents = out.latents
        else:
            latents = out.latent_dist.mode() if generator is None else out.latent_dist.sample(generator)
        return (latents.to(torch.float32) - self._shift) * self._scale

    @torch.inference_mode()
    def decode(self, latents: torch.Tensor, *, sparing: bool) -> torch.Tensor:
        """Pixels (N, 3, H, W) in fp32 of latents (N, C, h, w)."""
        at_once = 1 if sparing else max(1, _PIXELS_AT_ONCE // (latents.shape[2] * latents.shape[3] * self.cell**2))
        with self._lock:
            # AutoencoderTiny tiles by the number of its colours instead of its levels, and needs little memory anyway.
            self.module.use_tiling = sparing and not self._is_tiny
            return torch.cat([self._decode(part) for part in latents.split(at_once)])

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        scaled = latents / self._scale + self._shift
        if self._upcast:
            return self._in(torch.float32, self.module.decode, scaled).sample
        image = self.module.decode(scaled.to(self._dtype), return_dict=False)[0].to(torch.float32)
        if self._dtype == torch.float32 or bool(torch.isfinite(image).all()):
            return image
        # Known of several fine-tuned decoders: half precision overflows where full does not.
        return self._in(torch.float32, self.module.decode, scaled).sample

    def _in(self, dtype: torch.dtype, work: Any, numbers: torch.Tensor) -> Any:
        if dtype == self._dtype:
            return work(numbers.to(self._device, dtype))
        try:
            self.module.to(dtype)
            return work(numbers.to(self._device, dtype))
        finally:
            self.module.to(self._dtype)


def to_tensor(pixels: Any) -> torch.Tensor:
    """A picture (H, W, 3) uint8 as (1, 3, H, W) in -1..1."""
    return (torch.tensor(pixels).to(torch.float32) / 127.5 - 1).permute(2, 0, 1)[None]


def to_pixels(image: torch.Tensor) -> Any:
    """(N, 3, H, W) in -1..1 as (N, H, W, 3) uint8."""
    shown = (image / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    return (shown * 255).round().to(torch.uint8).cpu().numpy()


def finished(latents: Sequence[torch.Tensor], decode: Callable[[list[torch.Tensor]], Sequence[torch.Tensor]]) -> list[Any]:
    """Each row's pixels, or its RunFailure where its numbers are not finite; `decode` sees only those that are.

    Of (1, 3, H, W) a picture (H, W, 3) is made, of (F, 3, H, W) a clip (F, H, W, 3).
    """
    sound = [bool(torch.isfinite(one).all()) for one in latents]
    kept = [one for one, is_sound in zip(latents, sound, strict=True) if is_sound]
    images = iter(decode(kept) if kept else ())
    return [_shown(next(images)) if is_sound else _not_finite("The steps") for is_sound in sound]


def _shown(image: torch.Tensor) -> Any:
    if not bool(torch.isfinite(image).all()):
        return _not_finite("The decoder")
    pixels = to_pixels(image)
    return pixels[0] if len(pixels) == 1 else pixels


def _not_finite(who: str) -> RunFailure:
    what = f"{who} ran into numbers that are not finite; other steps or guidance may do."
    return RunFailure("not_finite", what, blame="job")
