"""Stable Diffusion 1.x and everything of its shape: a UNet over latents, one CLIP text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from workers.engine.families.clip_text import ClipText
from workers.engine.families.state import Condition, Denoising
from workers.engine.families.unet import UnetFamily

__all__ = ["Denoising", "StableDiffusion15"]


class StableDiffusion15(UnetFamily):
    """A loaded model of the family."""

    def __init__(self, *, parts: Mapping[str, Any], pixels_per_cell: int, device: torch.device) -> None:
        self._text = ClipText(parts["tokenizer"], parts["text_encoder"], device)
        super().__init__(parts=parts, pixels_per_cell=pixels_per_cell, device=device)

    def _read_texts(self, texts: Sequence[str]) -> list[Condition]:
        return self._text.encode(texts)
