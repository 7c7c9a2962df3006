"""Flux: schnell, dev (whose guidance is an input of the model) and Kontext (which looks at a picture to edit).

All texts are of one length: T5 reads 512 places, used or not, as the model was trained; rows differ in all else but size.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from workers.engine import pictures
from workers.engine.errors import RunFailure
from workers.engine.families import dressing
from workers.engine.families.autoencoder import to_tensor
from workers.engine.families.clip_text import ClipText
from workers.engine.families.flow import TIMES, FlowFamily
from workers.engine.families.state import Condition, Denoising
from workers.engine.run import RunSpec

#: The sizes that Kontext was trained to look at, width and height (``PREFERRED_KONTEXT_RESOLUTIONS`` of diffusers).
_KONTEXT_SIDES = (672, 688, 720, 752, 800, 832, 880, 944, 1024, 1104, 1184, 1248, 1328, 1392, 1456, 1504, 1568)
_KONTEXT_SIZES = tuple(zip(_KONTEXT_SIDES, reversed(_KONTEXT_SIDES), strict=True))
_KONTEXT_PIXELS = 1024 * 1024


class Flux(FlowFamily):
    """A loaded model of the family. Equal to FluxPipeline and FluxKontextPipeline in fp32."""

    _from_noise = ("text_to_image", "edit")

    def __init__(self, *, parts: Mapping[str, Any], pixels_per_cell: int, device: torch.device) -> None:
        self._clip = ClipText(parts["tokenizer"], parts["text_encoder"], device, windows=1)
        self._t5_tokenizer, self._t5 = parts["tokenizer_2"], parts["text_encoder_2"]
        super().__init__(parts=parts, pixels_per_cell=pixels_per_cell, device=device)
        self._takes_guidance = bool(self._transformer.config.guidance_embeds)

    def pass_key(self, spec: RunSpec) -> Hashable:
        """One size, and one size of what is looked at: the places of all tokens are shared by the rows of a pass."""
        return spec.width, spec.height, self._looked_at(spec)

    def _is_guided(self, spec: RunSpec) -> bool:
        return False

    def _read_texts(self, texts: Sequence[str]) -> list[Condition]:
        summaries = self._clip.encode(texts)
        given = self._t5_tokenizer(list(texts), padding="max_length", max_length=self._tokens_max, truncation=True, return_tensors="pt")
        states = self._t5(given.input_ids.to(self._device))[0]
        longest = self._t5_tokenizer(list(texts), truncation=True, max_length=self._tokens_max + 1).input_ids
        return [
            Condition(states=own[None], pooled=summary.pooled, cut=len(ids) > self._tokens_max)
            for own, summary, ids in zip(states, summaries, longest, strict=True)
        ]

    def _looked_at(self, spec: RunSpec) -> tuple[int, int] | None:
        """The size in pixels at which an edit's picture is looked at."""
        if spec.kind != "edit":
            return None
        if spec.image is None:
            raise RunFailure("bad_order", "An edit needs a picture to start from.", blame="job")
        return _look_size(pictures.size_of(spec.image), spec.width * spec.height, 2 * self._autoencoder.cell)

    def _beside(self, spec: RunSpec) -> torch.Tensor | None:
        size = self._looked_at(spec)
        if size is None or spec.image is None:
            return None
        picture = pictures.read_input(spec.image).resize(size, Image.Resampling.LANCZOS)
        return self._autoencoder.encode(to_tensor(np.asarray(picture)), None)

    @torch.inference_mode()
    def denoise(self, states: Sequence[Denoising], *, sparing: bool = False) -> list[torch.Tensor]:
        """See `base.Family`."""
        if sparing:
            return [self._forward([state])[0] for state in states]
        return self._forward(states)

    def _forward(self, states: Sequence[Denoising]) -> list[torch.Tensor]:
        dtype = self._transformer.dtype
        latents = torch.cat([pack(state.latents) for state in states])
        tokens = latents.shape[1]
        looked = [state.beside for state in states if state.beside is not None]
        beside_cells = tuple(looked[0].shape[2:]) if looked else None
        if looked:
            latents = torch.cat([latents, torch.cat([pack(one) for one in looked])], dim=1)
        text = torch.cat([state.prompt.states for state in states])
        with dressing.rows(self.loras, [state.loras for state in states]):
            out = self._transformer(
                hidden_states=latents.to(dtype),
                timestep=self._times(states),
                guidance=self._guidance(states),
                pooled_projections=torch.cat([state.prompt.pooled for state in states if state.prompt.pooled is not None]),
                encoder_hidden_states=text,
                txt_ids=torch.zeros(text.shape[1], 3, device=self._device, dtype=dtype),
                img_ids=places(tuple(states[0].latents.shape[2:]), beside_cells).to(self._device, dtype),
                return_dict=False,
            )[0]
        cells = tuple(states[0].latents.shape[2:])
        return self._passed([unpack(one[:, :tokens], cells) for one in out.split(1)], len(states))

    def _times(self, states: Sequence[Denoising]) -> torch.Tensor:
        return torch.tensor([state.time for state in states], dtype=torch.float32, device=self._device) / TIMES

    def _guidance(self, states: Sequence[Denoising]) -> torch.Tensor | None:
        if not self._takes_guidance:
            return None
        return torch.tensor([state.guidance for state in states], device=self._device, dtype=torch.float32)


def pack(latents: torch.Tensor) -> torch.Tensor:
    """(1, C, h, w) as tokens of 2x2 cells, (1, h/2 * w/2, 4C)."""
    one, channels, height, width = latents.shape
    cut = latents.view(one, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(one, (height // 2) * (width // 2), channels * 4)


def unpack(tokens: torch.Tensor, cells: tuple[int, ...]) -> torch.Tensor:
    """Tokens of 2x2 cells as (1, C, h, w)."""
    height, width = cells
    one, _, numbers = tokens.shape
    cut = tokens.view(one, height // 2, width // 2, numbers // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return cut.reshape(one, numbers // 4, height, width)


@lru_cache(maxsize=32)
def places(cells: tuple[int, int], beside: tuple[int, int] | None) -> torch.Tensor:
    """Where each token is, (L, 3): which picture, row, column."""
    return torch.cat([_grid(cells, 0), _grid(beside, 1)]) if beside else _grid(cells, 0)


def _grid(cells: tuple[int, int], picture: int) -> torch.Tensor:
    height, width = cells[0] // 2, cells[1] // 2
    grid = torch.zeros(height, width, 3)
    grid[..., 0] = picture
    grid[..., 1] = torch.arange(height)[:, None]
    grid[..., 2] = torch.arange(width)[None, :]
    return grid.reshape(height * width, 3)


def _look_size(size: tuple[int, int], pixels: int, multiple: int) -> tuple[int, int]:
    """For full-size pictures the trained size nearest in shape; for smaller results as many pixels as the result has."""
    ratio = size[0] / size[1]
    if pixels >= _KONTEXT_PIXELS // 2:
        width, height = min(_KONTEXT_SIZES, key=lambda known: abs(ratio - known[0] / known[1]))
    else:
        width, height = round((pixels * ratio) ** 0.5), round((pixels / ratio) ** 0.5)
    return max(multiple, width // multiple * multiple), max(multiple, height // multiple * multiple)
