"""torch and diffusers behind the engine's port."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from workers.engine.catalog import ModelSource
from workers.engine.device import Device, is_out_of_memory
from workers.engine.families.base import Family, RowLoras
from workers.engine.loras.library import LoraSource
from workers.engine.ports import DeviceFacts

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
    ) -> None:
        import torch

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

        family = loading.load(source, device=self._device.torch_device, dtype=self._device.dtype)
        if self._find_lora is not None:
            from workers.engine.loras.rows import LoraRows

            rows = LoraRows(
                family=_WEARS.get(source.family, source.family),
                modules=family.modules(),
                device=self._device.torch_device,
                dtype=self._device.dtype,
                find=self._find_lora,
            )
            # It takes only the sets that it handed out itself, which the port cannot say.
            family.loras = cast("RowLoras", rows)
        return family

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
