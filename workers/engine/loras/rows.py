"""LoRAs of each row of a forward pass, over unmodified models: a layer's output gets its rows' additions.

Exact: a row's addition is made of its own LoRAs alone, and rows without LoRAs get zeros or nothing at all. A layer that
sees k entries for each row (frames, windows of positions) shows them row by row in its first dimension, as all models of
`families` do where this is used.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

import torch

from workers.engine.errors import LoraUnusable, RunFailure
from workers.engine.loras import weights
from workers.engine.loras.additions import Addition, addition_of
from workers.engine.loras.library import LoraSource
from workers.engine.loras.sets import LoraSet, baked
from workers.engine.run import LoraUse

#: Compositions of a pass whose joined numbers are kept, as passes of several sizes take turns; fewer where they are large.
_PASSES_KEPT = 8
_PASSES_BYTES_MAX = 256 * 1024**2
_PARTS = frozenset({"unet", "transformer", "text_encoder", "text_encoder_2"})
#: Layers in which a family lays the tokens of all pictures end to end, so that no row can be told from its neighbour.
_SHARED: Mapping[str, tuple[str, ...]] = {"z_image": ("all_x_embedder.", "cap_embedder.")}


class _Part:
    """One module's layers with their hooks, and what is added at this moment."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._hooked: set[str] = set()
        self._open: Mapping[str, Addition] | None = None
        self._kept: OrderedDict[tuple[LoraSet | None, ...], Mapping[str, Addition]] = OrderedDict()

    @contextmanager
    def added(self, sets: tuple[LoraSet | None, ...], part: str) -> Iterator[None]:
        additions = self._additions(sets, part)
        self._open = additions or None
        try:
            yield
        finally:
            self._open = None

    def _additions(self, sets: tuple[LoraSet | None, ...], part: str) -> Mapping[str, Addition]:
        known = self._kept.get(sets)
        if known is None:
            layers = sorted({layer for one in set(sets) if one is not None for layer in one.parts.get(part, {})})
            known = {layer: addition_of(self._module.get_submodule(layer), sets, part, layer) for layer in layers}
            self._hook(layers)
            self._kept[sets] = known
            while len(self._kept) > 1 and (len(self._kept) > _PASSES_KEPT or self._bytes > _PASSES_BYTES_MAX):
                self._kept.popitem(last=False)
        self._kept.move_to_end(sets)
        return known

    @property
    def _bytes(self) -> int:
        return sum(addition.bytes for additions in self._kept.values() for addition in additions.values())

    def _hook(self, layers: Sequence[str]) -> None:
        for name in layers:
            if name not in self._hooked:
                self._hooked.add(name)
                self._module.get_submodule(name).register_forward_hook(self._hook_of(name))

    def _hook_of(self, name: str) -> Callable[..., Any]:
        def hook(_: torch.nn.Module, given: tuple[Any, ...], out: torch.Tensor) -> torch.Tensor | None:
            if self._open is None:
                return None
            addition = self._open.get(name)
            return None if addition is None else addition(given[0], out)

        return hook


class LoraRows:
    """The LoRAs of one loaded model. `resolve` and `text` belong to the preparing thread, `rows` to the engine's."""

    def __init__(
        self,
        *,
        family: str,
        modules: Mapping[str, torch.nn.Module],
        device: torch.device,
        dtype: torch.dtype,
        find: Callable[[str], LoraSource | None],
        bytes_max: int = 1024**3,
    ) -> None:
        self._family = family
        self._modules = {part: module for part, module in modules.items() if part in _PARTS}
        self._device = device
        self._dtype = dtype
        self._find = find
        self._bytes_max = bytes_max
        self._parts = {part: _Part(module) for part, module in self._modules.items()}
        self._denoiser = "unet" if "unet" in self._parts else "transformer"
        #: The least recently used go first; a set that a run still wears lives on until the run has ended.
        self._recent: OrderedDict[Any, LoraSet] = OrderedDict()
        self._alive: WeakValueDictionary[Any, LoraSet] = WeakValueDictionary()
        self._lock = threading.Lock()

    @property
    def kept(self) -> int:
        """How many sets are in memory for whoever comes next."""
        return len(self._recent)

    def resolve(self, uses: Sequence[LoraUse]) -> LoraSet | None:
        """What a run wears, loaded where it is not in memory. None for nothing.

        Raises RunFailure for a LoRA that is unknown, broken or made for another model.
        """
        worn = sorted((use for use in uses if use.weight), key=lambda use: use.name)
        if not worn:
            return None
        sources = [(self._source(use.name), use.weight) for use in worn]
        key = tuple((source, weight) for source, weight in sources)
        with self._lock:
            found = self._alive.get(key)
            if found is None:
                self._make_room(0)
                found = self._load(sources)
                self._alive[key] = found
            self._recent[key] = found
            self._recent.move_to_end(key)
            self._make_room(1)
        return found

    @contextmanager
    def rows(self, sets: Sequence[LoraSet | None]) -> Iterator[None]:
        """Around one forward of the denoiser: one entry a row, in the rows' order."""
        with self._parts[self._denoiser].added(tuple(sets), self._denoiser):
            yield

    @contextmanager
    def text(self, one: LoraSet | None) -> Iterator[None]:
        """Around one forward of each text encoder: all its rows wear the same."""
        if one is None or one.text_key is None:
            yield
            return
        with self._text_part("text_encoder", one), self._text_part("text_encoder_2", one):
            yield

    @contextmanager
    def _text_part(self, part: str, one: LoraSet) -> Iterator[None]:
        if part not in one.parts:
            yield
            return
        with self._parts[part].added((one,), part):
            yield

    def _source(self, name: str) -> LoraSource:
        source = self._find(name)
        if source is None:
            raise RunFailure("unknown_lora", f"There is no LoRA {name!r} on this worker.", blame="infra")
        if source.family != self._family:
            detail = f"The LoRA {name!r} is for {source.family} models, this one is {self._family}."
            raise RunFailure("bad_lora", detail, blame="job")
        return source

    def _load(self, sources: Sequence[tuple[LoraSource, float]]) -> LoraSet:
        loaded = []
        for source, weight in sources:
            try:
                lora = weights.load(source, self._modules)
                self._refuse_shared(lora)
                loaded.append((lora, weight))
            except LoraUnusable as error:
                raise RunFailure("bad_lora", f"The LoRA {source.name!r} cannot be used: {error}.", blame="job") from error
        return baked(loaded, device=self._device, dtype=self._dtype)

    def _refuse_shared(self, lora: weights.LoraWeights) -> None:
        starts = _SHARED.get(self._family, ())
        found = next((layer for layer in lora.parts.get(self._denoiser, {}) if layer.startswith(starts)), None) if starts else None
        if found is not None:
            raise LoraUnusable(f"it changes the layer {found}, in which models of this family do not keep their pictures apart")

    def _make_room(self, least: int) -> None:
        while len(self._recent) > least and sum(one.bytes for one in self._recent.values()) > self._bytes_max:
            self._recent.popitem(last=False)
