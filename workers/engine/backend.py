"""torch and diffusers behind the engine's port."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from workers.engine.catalog import ModelSource
from workers.engine.device import Device, is_out_of_memory
from workers.engine.families import registry
from workers.engine.families.base import Family, RowLoras
from workers.engine.loras.library import LoraSource
from workers.engine.memory.plan import MemoryChoice, choose, rows_that_fit
from workers.engine.memory.table import Table, read
from workers.engine.memory.weights import parts_bytes, stamp_of
from workers.engine.ports import DeviceFacts
from workers.engine.run import RunSpec

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

#: What a model of a family can wear that is called after another.
_WEARS = {"animatediff": "sd15"}


class TorchBackend:
    """torch and diffusers on the device at hand."""

    def __init__(
        self,
        *,
        device: str = "auto",
        threads: int | None = None,
        find_lora: Callable[[str], LoraSource | None] | None = None,
        memory_limit: int | None = None,
        measured: Path | None = None,
    ) -> None:
        """`memory_limit`: plan as if the device had so many bytes. `measured`: where `memory.table` keeps its figures."""
        import torch

        self._memory_limit = memory_limit
        self._measured = measured
        self._table: Table | None = None
        self._stamps: dict[str, str] = {}
        self._threads = threads
        self._find_lora = find_lora
        if threads is not None:
            torch.set_num_threads(threads)
        _quieten()
        self._device = Device(device)

    def device(self) -> DeviceFacts:
        """See `ports.Backend`."""
        return self._device.facts()

    def enter_thread(self) -> None:
        """See `ports.Backend`. With OpenMP the number of threads belongs to the thread that sets it."""
        import torch

        if self._threads is not None:
            torch.set_num_threads(self._threads)

    def load(self, source: ModelSource) -> Family:
        """See `ports.Backend`."""
        self.enter_thread()
        from workers.engine.families import loading
        from workers.engine.memory.placing import place

        choice = self.choice(source)
        if choice.offload != "none":
            _log.info("The model %s does not fit whole: %s come when they are needed", source.name, choice.offload)
        dtype = self._device.dtype_for(registry.BY_NAME[source.family].half)
        family = loading.load(
            source,
            device=self._device.torch_device,
            dtype=dtype,
            place=lambda parts, device: place(parts, device, choice),
        )
        family.vae_sparing = choice.vae_sparing
        self._stamps[source.name] = stamp_of(source)
        if self._find_lora is not None:
            # A model that makes stills and clips is two denoisers over the same encoders.
            for member in getattr(family, "members", (family,)):
                member.loras = self._loras(source, member, self._find_lora, dtype)
        return family

    def _loras(self, source: ModelSource, family: Family, find: Callable[[str], LoraSource | None], dtype: torch.dtype) -> RowLoras:
        from workers.engine.loras.rows import LoraRows

        rows = LoraRows(
            family=_WEARS.get(source.family, source.family),
            modules=family.modules(),
            device=self._device.torch_device,
            dtype=dtype,
            find=find,
        )
        # It takes only the sets that it handed out itself, which the port cannot say.
        return cast("RowLoras", rows)

    def choice(self, source: ModelSource) -> MemoryChoice:
        """Where the model's parts will live, by what they weigh and the device has."""
        facts, each = self._device.facts(), 4 if self._device.kind == "cpu" else 2
        total = self._memory_limit if self._memory_limit or self._device.kind == "cpu" else facts.memory_total
        return choose(parts_bytes(source, bytes_per_number=each), denoiser=registry.BY_NAME[source.family].denoiser, memory_total=total)

    def has_room(self, source: ModelSource) -> bool:
        """See `ports.Backend`."""
        free = self._device.free_for_passes()
        return free is None or self.choice(source).needed_bytes <= free

    def rows_that_fit(self, spec: RunSpec) -> int | None:
        """See `ports.Backend`."""
        free = self._device.free_for_passes()
        if free is None:
            return None
        stamp = self._stamps.get(spec.model, "")
        curve = self.table.curve(spec.model, stamp, width=spec.width, height=spec.height, frames=spec.frames or 0)
        return None if curve is None else rows_that_fit(curve.peaks, free=free)

    @property
    def table(self) -> Table:
        """What was measured on this device before; read once."""
        if self._table is None:
            label = self._device.facts().label
            self._table = Table(device=label) if self._measured is None else read(self._measured, device=label)
        return self._table

    def wait(self) -> None:
        """Until the device has done all that was begun."""
        self._device.wait()

    def forget_peak(self) -> None:
        """Begin a new measurement of the peak."""
        self._device.forget_peak()

    def peak_bytes(self) -> int | None:
        """The most memory in use since `forget_peak`; None where the device does not tell."""
        return self._device.peak_bytes()

    def is_out_of_memory(self, error: BaseException) -> bool:
        """See `ports.Backend`."""
        return is_out_of_memory(error)

    def release_memory(self) -> None:
        """See `ports.Backend`."""
        self._device.release_memory()


def _quieten() -> None:
    """Progress bars and advice of the libraries have no reader in a service; their errors still raise."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
