"""Prompts for the CLIP text encoders of the Stable Diffusion families.

A prompt that fits is encoded exactly as the stock pipeline does. A longer one is read in several windows, each with its
own begin and end, and their states are laid end to end; what is beyond the last window is cut and said so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

#: Windows of the encoder (77 tokens each for CLIP) that a prompt may fill.
WINDOWS_MAX = 3
#: Encoded prompts kept, mostly for the empty one. 77 x 768 half floats are 118 KB.
_KEPT = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """A prompt as the denoiser reads it."""

    #: (1, L, D), L a multiple of the window.
    states: torch.Tensor
    cut: bool


class ClipText:
    """A tokenizer and a text encoder, with the last prompts remembered."""

    def __init__(self, tokenizer: Any, encoder: Any, device: torch.device) -> None:
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._device = device
        positions = int(encoder.config.max_position_embeddings)
        self._window = min(int(tokenizer.model_max_length), positions)
        self._kept: OrderedDict[str, Encoded] = OrderedDict()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode texts in one forward of the encoder, whatever their lengths."""
        wanted = {text: self._kept.get(text) for text in texts}
        fresh = [text for text, known in wanted.items() if known is None]
        wanted.update(zip(fresh, self._encode_fresh(fresh), strict=True))
        for text in texts:
            self._kept[text] = wanted[text]  # pyright: ignore[reportArgumentType]  # all are filled by now
            self._kept.move_to_end(text)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return [wanted[text] for text in texts]  # pyright: ignore[reportReturnType]  # as above

    def _encode_fresh(self, texts: Sequence[str]) -> list[Encoded]:
        if not texts:
            return []
        split = [self._windows(text) for text in texts]
        ids = torch.tensor([window for windows, _ in split for window in windows], device=self._device)
        states = self._encoder(ids)[0]  # (windows of all texts, window, D)
        encoded: list[Encoded] = []
        at = 0
        for windows, cut in split:
            own = states[at : at + len(windows)]
            encoded.append(Encoded(states=own.reshape(1, -1, own.shape[-1]), cut=cut))
            at += len(windows)
        return encoded

    def _windows(self, text: str) -> tuple[list[list[int]], bool]:
        """The token ids of each window, and whether something was cut."""
        room = self._window - 2
        ids = self._tokenizer(text, add_special_tokens=False, truncation=True, max_length=WINDOWS_MAX * room + 1).input_ids
        if len(ids) <= room:
            return [self._stock(text)], False
        cut = len(ids) > WINDOWS_MAX * room
        starts = range(0, min(len(ids), WINDOWS_MAX * room), room)
        return [self._framed(ids[start : start + room]) for start in starts], cut

    def _stock(self, text: str) -> list[int]:
        return self._tokenizer(text, padding="max_length", max_length=self._window, truncation=True).input_ids

    def _framed(self, ids: list[int]) -> list[int]:
        begin, end, pad = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id, self._tokenizer.pad_token_id
        framed = [begin, *ids, end]
        return framed + [pad] * (self._window - len(framed))
