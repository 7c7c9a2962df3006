"""Z-Image: a transformer that takes a list of pictures, so that rows of unlike sizes share a pass.

Each row's picture and caption are padded to multiples of 32 tokens by the model itself (its padding is learned and part
of the picture) and then, masked, to the longest row of the pass.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from workers.engine.families import dressing
from workers.engine.families.flow import TIMES, FlowFamily
from workers.engine.families.state import Condition, Denoising
from workers.engine.run import RunSpec


class ZImage(FlowFamily):
    """A loaded model of the family. Equal to ZImagePipeline in fp32."""

    def __init__(self, *, parts: Mapping[str, Any], pixels_per_cell: int, device: torch.device) -> None:
        self._tokenizer, self._text = parts["tokenizer"], parts["text_encoder"]
        super().__init__(parts=parts, pixels_per_cell=pixels_per_cell, device=device)
        # A caption's tokens, padded to whole 32s, and one more must have places on the first axis of its positions.
        self._tokens_max = min(self._tokens_max, (int(self._transformer.config.axes_lens[0]) - 2) // 32 * 32)

    def pass_key(self, spec: RunSpec) -> Hashable:
        """Sizes may differ, within about an octave of pixels: every row costs as much as the longest of its pass."""
        return round(math.log2(spec.width * spec.height))

    def _is_guided(self, spec: RunSpec) -> bool:
        # Unlike elsewhere, guidance counts from 0 here: the text's prediction plus so much of its difference.
        return spec.guidance > 0

    def _read_texts(self, texts: Sequence[str]) -> list[Condition]:
        framed = [self._framed(text) for text in texts]
        given = self._tokenizer(framed, padding="max_length", max_length=self._tokens_max, truncation=True, return_tensors="pt")
        mask = given.attention_mask.to(self._device).bool()
        out = self._text(input_ids=given.input_ids.to(self._device), attention_mask=mask, output_hidden_states=True)
        lengths = self._tokenizer(framed, truncation=True, max_length=self._tokens_max + 1).input_ids
        # A chat template that frames nothing leaves nothing of an empty text; the denoiser needs a token to look at.
        mask[:, 0] |= ~mask.any(dim=1)
        return [
            Condition(states=own[seen], cut=len(ids) > self._tokens_max)
            for own, seen, ids in zip(out.hidden_states[-2], mask, lengths, strict=True)
        ]

    def _framed(self, text: str) -> str:
        message = [{"role": "user", "content": text}]
        return self._tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=True)

    @torch.inference_mode()
    def denoise(self, states: Sequence[Denoising], *, sparing: bool = False) -> list[torch.Tensor]:
        """See `base.Family`. A row under guidance is two rows of the pass, negative first."""
        rows = [(state, condition) for state in states for condition in state.conditions]
        parts = [self._forward([row])[0] for row in rows] if sparing else self._forward(rows)
        out = iter(parts)
        predictions: list[torch.Tensor] = []
        for state in states:
            without = next(out) if state.negative is not None else None
            given = next(out)
            predictions.append(-(given if without is None else given + state.guidance * (given - without)))
        return predictions

    def _forward(self, rows: Sequence[tuple[Denoising, Condition]]) -> list[torch.Tensor]:
        dtype = self._transformer.dtype
        times = torch.tensor([state.time for state, _ in rows], dtype=torch.float32, device=self._device)
        with dressing.rows(self.loras, [state.loras for state, _ in rows]):
            out = self._transformer(
                [state.latents[0].to(dtype)[:, None] for state, _ in rows],
                (TIMES - times) / TIMES,
                [condition.states for _, condition in rows],
                return_dict=False,
            )[0]
        return [one.squeeze(1)[None] for one in self._passed(out, len(rows))]
