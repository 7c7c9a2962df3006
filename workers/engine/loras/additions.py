"""The arithmetic of one layer's additions for the rows of one pass."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Protocol

import torch

from workers.engine.errors import RunFailure
from workers.engine.loras.sets import LoraSet, Pair

#: Copies of a layer's factors for each row are laid side by side up to this size; larger ones are used where they lie.
BANK_BYTES_MAX = 512 * 1024


class Addition(Protocol):
    """What one layer adds."""

    #: Memory that its copies take.
    bytes: int

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """From what the layer was given and what it made, both (rows x k, …), what it makes with LoRAs. Writes into `out`."""
        ...


def addition_of(layer: torch.nn.Module, sets: Sequence[LoraSet | None], part: str, name: str) -> Addition:
    """How `layer` must add to its rows, whose LoRAs are `sets`."""
    pairs = [None if one is None else one.parts.get(part, {}).get(name) for one in sets]
    if isinstance(layer, torch.nn.Conv2d):
        return _Convolved(layer, pairs)
    first = pairs[0]
    if first is not None and all(pair is first for pair in pairs):
        return _Same(first)
    worn = [pair for pair in pairs if pair is not None]
    if max(pair.bytes for pair in worn) * len(pairs) <= BANK_BYTES_MAX:
        return _Banked(pairs, worn)
    return _Sliced(pairs)


def _per_row(x: torch.Tensor, rows: int) -> int:
    """How many entries of the first dimension a row has. Raises RunFailure where they cannot be told apart."""
    if x.shape[0] % rows:
        detail = "A LoRA touches a layer in which this model does not keep its pictures apart."
        raise RunFailure("bad_lora", detail, blame="job")
    return x.shape[0] // rows


class _Same:
    """All rows wear the same: one thin product for all."""

    bytes = 0

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        up = self._pair.up
        thin = x.to(up.dtype).reshape(-1, x.shape[-1]) @ self._pair.down
        if out.dtype == up.dtype and out.is_contiguous():
            # A linear layer's output is fresh: nobody else holds it.
            out.view(-1, out.shape[-1]).addmm_(thin, up)
            return out
        return out + (thin @ up).reshape(out.shape).to(out.dtype)


class _Banked:
    """Each row has its own factors, laid side by side and padded with zeros to the largest rank: two batched products."""

    def __init__(self, pairs: Sequence[Pair | None], worn: Sequence[Pair]) -> None:
        rank = max(pair.down.shape[1] for pair in worn)
        like = worn[0]
        self._down = like.down.new_zeros(len(pairs), like.down.shape[0], rank)
        self._up = like.up.new_zeros(len(pairs), rank, like.up.shape[1])
        for row, pair in enumerate(pairs):
            if pair is not None:
                self._down[row, :, : pair.down.shape[1]] = pair.down
                self._up[row, : pair.up.shape[0]] = pair.up
        self.bytes = self._down.nbytes + self._up.nbytes

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        rows = self._up.shape[0]
        _per_row(x, rows)
        thin = torch.bmm(x.to(self._up.dtype).reshape(rows, -1, x.shape[-1]), self._down)
        if out.dtype == self._up.dtype and out.is_contiguous():
            out.view(rows, -1, out.shape[-1]).baddbmm_(thin, self._up)
            return out
        return out + torch.bmm(thin, self._up).reshape(out.shape).to(out.dtype)


class _Sliced:
    """Neighbours that wear the same take one thin product; nothing is copied."""

    bytes = 0

    def __init__(self, pairs: Sequence[Pair | None]) -> None:
        self._rows = len(pairs)
        self._slices = _slices(pairs)

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        k = _per_row(x, self._rows)
        for start, stop, pair in self._slices:
            own = x[start * k : stop * k].to(pair.down.dtype)
            out[start * k : stop * k] += ((own @ pair.down) @ pair.up).to(out.dtype)
        return out


class _Convolved:
    """A convolution's addition: the first factor has the layer's kernel and stride, the second is a product over channels."""

    bytes = 0

    def __init__(self, layer: torch.nn.Conv2d, pairs: Sequence[Pair | None]) -> None:
        self._how: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        self._rows = len(pairs)
        self._slices = _slices(pairs)

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        k = _per_row(x, self._rows)
        for start, stop, pair in self._slices:
            own = x[start * k : stop * k].to(pair.down.dtype)
            thin = torch.nn.functional.conv2d(own, pair.down, **self._how)
            out[start * k : stop * k] += torch.nn.functional.conv2d(thin, pair.up).to(out.dtype)
        return out


def _slices(pairs: Sequence[Pair | None]) -> list[tuple[int, int, Pair]]:
    found: list[tuple[int, int, Pair]] = []
    at = 0
    for _, same in groupby(pairs, key=id):
        run = list(same)
        if run[0] is not None:
            found.append((at, at + len(run), run[0]))
        at += len(run)
    return found
