"""AnimateDiff: a Stable Diffusion 1.x UNet with motion modules, whose rows are clips of (C, F, h, w).

Clips of one size and length share passes; the motion modules attend over the frames of one clip only.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from workers.engine.families.autoencoder import finished
from workers.engine.families.clip_text import ClipText
from workers.engine.families.state import Condition, Denoising
from workers.engine.families.unet import PassRow, UnetFamily
from workers.engine.run import RunSpec

FRAMES = 16
"""What the published motion modules were trained for; the length of a clip where a request names none."""


class AnimateDiff(UnetFamily):
    """A loaded model of the family. Equal to AnimateDiffPipeline in fp32."""

    _from_noise = ("animate",)

    def __init__(self, *, parts: Mapping[str, Any], pixels_per_cell: int, device: torch.device) -> None:
        # The motion UNet takes no mask for its texts, so all must be of one window.
        self._text = ClipText(parts["tokenizer"], parts["text_encoder"], device, windows=1)
        super().__init__(parts=parts, pixels_per_cell=pixels_per_cell, device=device)

    def pass_key(self, spec: RunSpec) -> Hashable:
        """One size and one length; all else may differ."""
        return spec.width, spec.height, spec.frames or FRAMES

    def _read_texts(self, texts: Sequence[str]) -> list[Condition]:
        return self._text.encode(texts)

    def _shape(self, spec: RunSpec) -> tuple[int, ...]:
        one, channels, height, width = super()._shape(spec)
        return one, channels, spec.frames or FRAMES, height, width

    def _forward(self, rows: Sequence[PassRow]) -> torch.Tensor:
        latents = torch.cat([row.latents for row in rows]).to(self._unet.dtype)  # (B, C, F, h, w)
        # The UNet folds the frames into its batch, clip by clip; each frame reads its clip's text.
        context = torch.cat([row.condition.states for row in rows]).repeat_interleave(latents.shape[2], dim=0)
        return self._unet(latents, self._times(rows), encoder_hidden_states=context, return_dict=False)[0]

    @torch.inference_mode()
    def decode(self, states: Sequence[Denoising], *, sparing: bool = False) -> list[Any]:
        """See `base.Family`: clips of (F, H, W, 3)."""
        sparing = sparing or self.vae_sparing

        def decode(kept: list[torch.Tensor]) -> list[torch.Tensor]:
            return [self._autoencoder.decode(clip[0].transpose(0, 1), sparing=sparing) for clip in kept]

        return finished([state.latents for state in states], decode)

    def glimpse(self, state: Denoising) -> torch.Tensor:
        """The middle frame."""
        latents = super().glimpse(state)
        return latents[:, :, latents.shape[2] // 2]
