"""Prompts for the CLIP text encoders of the Stable Diffusion families.

A prompt that fits is encoded exactly as the stock pipeline does. A longer one is read in several windows, each with its
own begin and end, and their states are laid end to end; what is beyond the last window is cut and said so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from workers.engine.families.state import Condition

#: Windows of the encoder (77 tokens each for CLIP) that a prompt may fill.
WINDOWS_MAX = 3
#: Encoded prompts kept, mostly for the empty one. 77 x 768 half floats are 118 KB.
_KEPT = 64


class Remembered:
    """The last texts' conditions, so that the empty negative of everybody is encoded once."""

    def __init__(self, encode: Callable[[Sequence[str]], list[Condition]]) -> None:
        self._encode = encode
        self._kept: OrderedDict[tuple[Hashable, str], Condition] = OrderedDict()

    @torch.inference_mode()
    def encode(
        self,
        texts: Sequence[str],
        *,
        dress: Hashable = None,
        within: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> dict[str, Condition]:
        """The condition of each text, all that are new in one forward of the encoder, whatever their lengths.

        `dress` names the LoRAs that `within` puts on the encoder.
        """
        wanted = dict.fromkeys(texts)
        fresh = [text for text in wanted if (dress, text) not in self._kept]
        if fresh:
            with within():
                found = self._encode(fresh)
            self._kept.update(((dress, text), condition) for text, condition in zip(fresh, found, strict=True))
        conditions = {text: self._kept[dress, text] for text in wanted}
        for text in wanted:
            self._kept.move_to_end((dress, text))
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return conditions


class ClipText:
    """A tokenizer and a text encoder. `layer` says whose states are read: SDXL takes the last but one."""

    def __init__(
        self,
        tokenizer: Any,
        encoder: Any,
        device: torch.device,
        *,
        layer: Literal["last", "penultimate"] = "last",
        windows: int = WINDOWS_MAX,
    ) -> None:
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._device = device
        self._layer = layer
        self._windows_max = windows
        positions = int(encoder.config.max_position_embeddings)
        self._window = min(int(tokenizer.model_max_length), positions)

    def encode(self, texts: Sequence[str]) -> list[Condition]:
        """Conditions with states (1, windows x length, D); the summary is the first window's, None without one."""
        split = [self._windows(text) for text in texts]
        ids = torch.tensor([window for windows, _ in split for window in windows], device=self._device)
        states, pooled = self._read(ids)
        return list(self._joined(split, states, pooled))

    def _read(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """States (windows of all texts, length, D), and their summaries (windows, P)."""
        if self._layer == "last":
            out = self._encoder(ids)
            return out.last_hidden_state, getattr(out, "pooler_output", None)
        out = self._encoder(ids, output_hidden_states=True)
        # A projected summary comes first where the encoder makes one; the plain encoder has none of use.
        return out.hidden_states[-2], out[0] if out[0].ndim == 2 else None

    @staticmethod
    def _joined(split: list[tuple[list[list[int]], bool]], states: torch.Tensor, pooled: torch.Tensor | None) -> Iterator[Condition]:
        at = 0
        for windows, cut in split:
            own = states[at : at + len(windows)]
            summary = None if pooled is None else pooled[at : at + 1]
            yield Condition(states=own.reshape(1, -1, own.shape[-1]), pooled=summary, cut=cut)
            at += len(windows)

    def _windows(self, text: str) -> tuple[list[list[int]], bool]:
        """The token ids of each window, and whether something was cut."""
        room, most = self._window - 2, self._windows_max
        ids = self._tokenizer(text, add_special_tokens=False, truncation=True, max_length=most * room + 1).input_ids
        if len(ids) <= room or most == 1:
            return [self._stock(text)], len(ids) > room
        starts = range(0, min(len(ids), most * room), room)
        return [self._framed(ids[start : start + room]) for start in starts], len(ids) > most * room

    def _stock(self, text: str) -> list[int]:
        return self._tokenizer(text, padding="max_length", max_length=self._window, truncation=True).input_ids

    def _framed(self, ids: list[int]) -> list[int]:
        begin, end, pad = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id, self._tokenizer.pad_token_id
        framed = [begin, *ids, end]
        return framed + [pad] * (self._window - len(framed))
