"""A guess of the picture from its latents by one small matrix: nine multiplications a pixel instead of a decoder."""

from __future__ import annotations

from typing import Any

import torch

#: Latents of Stable Diffusion 1.x to RGB in -1..1; the published linear fit that all its programs use.
_SD15 = (
    (0.3512, 0.2297, 0.3227),
    (0.3250, 0.4974, 0.2350),
    (-0.2829, 0.1762, 0.2721),
    (-0.2120, -0.2616, -0.7177),
)


class LatentPreview:
    """A linear map of one decoder's latents to colours."""

    def __init__(self, factors: torch.Tensor) -> None:
        #: (C + 1, 3): a row a channel, and the constant.
        self._factors = factors

    @classmethod
    def of(cls, vae: Any, *, channels: int) -> LatentPreview:
        """The published fit for four channels, else one measured on this decoder."""
        if channels == 4:
            return cls(torch.tensor([*_SD15, (0.0, 0.0, 0.0)]))
        return cls(_measured(vae, channels))

    def pixels(self, latents: torch.Tensor) -> Any:
        """An (h, w, 3) uint8 array, one pixel a latent cell, from (1, C, h, w) latents."""
        cells = latents[0].permute(1, 2, 0).to("cpu", torch.float32)  # (h, w, C)
        colours = cells @ self._factors[:-1] + self._factors[-1]
        return ((colours.nan_to_num() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


@torch.inference_mode()
def _measured(vae: Any, channels: int, *, side: int = 16, pictures: int = 2) -> torch.Tensor:
    """Fit colours to latents on noise that this decoder decoded; hundreds of cells settle C + 1 numbers a colour."""
    generator = torch.Generator("cpu").manual_seed(0)
    latents = torch.randn((pictures, channels, side, side), generator=generator) * 0.6
    image = vae.decode((latents / vae.config.scaling_factor).to(vae.device, vae.dtype), return_dict=False)[0]
    colours = torch.nn.functional.adaptive_avg_pool2d(image.to("cpu", torch.float32), side)
    cells = latents.permute(0, 2, 3, 1).reshape(-1, channels)
    known = torch.cat([cells, torch.ones(len(cells), 1)], dim=1)
    return torch.linalg.lstsq(known, colours.permute(0, 2, 3, 1).reshape(-1, 3)).solution
