"""Stable Diffusion XL: two text encoders, whose states lie side by side, and the picture's size as a condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from workers.engine.families.clip_text import ClipText
from workers.engine.families.state import Condition
from workers.engine.families.unet import PassRow, UnetFamily
from workers.engine.run import RunSpec


class StableDiffusionXL(UnetFamily):
    """A loaded model of the family. Equal to StableDiffusionXLPipeline without crops."""

    _look = "sdxl"

    def __init__(self, *, parts: Mapping[str, Any], pixels_per_cell: int, device: torch.device, zeros_for_no_negative: bool = True) -> None:
        self._texts = (
            ClipText(parts["tokenizer"], parts["text_encoder"], device, layer="penultimate"),
            ClipText(parts["tokenizer_2"], parts["text_encoder_2"], device, layer="penultimate"),
        )
        #: ``force_zeros_for_empty_prompt`` of model_index.json: no negative prompt is zeros, not the empty text.
        self._zeros = zeros_for_no_negative
        super().__init__(parts=parts, pixels_per_cell=pixels_per_cell, device=device)

    def _read_texts(self, texts: Sequence[str]) -> list[Condition]:
        small, large = (text.encode(texts) for text in self._texts)
        return [_joined(one, other) for one, other in zip(small, large, strict=True)]

    def _negative(self, spec: RunSpec, texts: Mapping[str, Condition]) -> Condition | None:
        negative = super()._negative(spec, texts)
        if negative is None or spec.negative or not self._zeros or negative.pooled is None:
            return negative
        return Condition(states=torch.zeros_like(negative.states), pooled=torch.zeros_like(negative.pooled))

    def _more(self, rows: Sequence[PassRow]) -> dict[str, torch.Tensor]:
        # Original size, top left corner of the crop, wanted size; as the stock pipeline fills them in.
        sizes = [(row.state.height, row.state.width, 0, 0, row.state.height, row.state.width) for row in rows]
        pooled = torch.cat([row.condition.pooled for row in rows if row.condition.pooled is not None])
        return {"text_embeds": pooled, "time_ids": torch.tensor(sizes, device=self._device, dtype=pooled.dtype)}


def _joined(small: Condition, large: Condition) -> Condition:
    states = torch.cat([small.states, large.states], dim=-1)
    return Condition(states=states, pooled=large.pooled, cut=small.cut or large.cut)
