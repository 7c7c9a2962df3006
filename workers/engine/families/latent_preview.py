"""A guess of the picture from its latents by one small matrix: nine multiplications a pixel instead of a decoder."""

from __future__ import annotations

from typing import Any

import torch

from workers.engine.families.autoencoder import Autoencoder, to_pixels

#: Latents to RGB in -1..1; the linear fits that all programs of these families use.
_PUBLISHED = {
    "sd15": (
        (0.3512, 0.2297, 0.3227),
        (0.3250, 0.4974, 0.2350),
        (-0.2829, 0.1762, 0.2721),
        (-0.2120, -0.2616, -0.7177),
    ),
    "sdxl": (
        (0.3651, 0.4232, 0.4341),
        (-0.2533, -0.0042, 0.1068),
        (0.1076, 0.1111, -0.0362),
        (-0.3165, -0.2492, -0.2188),
    ),
}
#: The longer side of a preview that a tiny autoencoder decodes, in latent cells: more than is shown is wasted.
_CELLS_MAX = 32


class LatentPreview:
    """Guesses by a tiny autoencoder where the model has one, else by a linear map of its decoder's latents to colours."""

    def __init__(self, factors: torch.Tensor, *, tiny: Autoencoder | None = None) -> None:
        #: (C + 1, 3): a row a channel, and the constant.
        self._factors = factors
        self._tiny = tiny

    @classmethod
    def of(cls, autoencoder: Autoencoder, *, family: str) -> LatentPreview:
        """The published fit where the family has one, else one measured on this decoder."""
        tiny = autoencoder if autoencoder.is_tiny else None
        published = _PUBLISHED.get(family)
        if published is not None and autoencoder.channels == len(published):
            return cls(torch.tensor([*published, (0.0, 0.0, 0.0)]), tiny=tiny)
        return cls(_measured(autoencoder), tiny=tiny)

    def pixels(self, latents: torch.Tensor) -> Any:
        """An (h, w, 3) uint8 array from (1, C, h, w) latents: whole pixels, or one pixel a latent cell."""
        if self._tiny is not None and max(latents.shape[2:]) <= _CELLS_MAX:
            return to_pixels(self._tiny.decode(latents.nan_to_num(), sparing=False))[0]
        cells = latents[0].permute(1, 2, 0).to("cpu", torch.float32)  # (h, w, C)
        colours = cells @ self._factors[:-1] + self._factors[-1]
        return ((colours.nan_to_num() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


@torch.inference_mode()
def _measured(autoencoder: Autoencoder, *, side: int = 16, pictures: int = 2) -> torch.Tensor:
    """Fit colours to latents on noise that this decoder decoded; hundreds of cells settle C + 1 numbers a colour."""
    channels = autoencoder.channels
    generator = torch.Generator("cpu").manual_seed(0)
    latents = torch.randn((pictures, channels, side, side), generator=generator) * 0.6
    image = autoencoder.decode(latents, sparing=False)
    colours = torch.nn.functional.adaptive_avg_pool2d(image.to("cpu", torch.float32), side)
    cells = latents.permute(0, 2, 3, 1).reshape(-1, channels)
    known = torch.cat([cells, torch.ones(len(cells), 1)], dim=1)
    return torch.linalg.lstsq(known, colours.permute(0, 2, 3, 1).reshape(-1, 3)).solution
