"""torch and diffusers behind the engine's port."""

from __future__ import annotations

from workers.engine.catalog import ModelSource
from workers.engine.device import Device, is_out_of_memory
from workers.engine.errors import ModelUnreadable
from workers.engine.families.base import Family
from workers.engine.ports import DeviceFacts


class TorchBackend:
    """torch and diffusers on the device at hand."""

    def __init__(self, *, device: str = "auto", threads: int | None = None) -> None:
        import torch

        self._threads = threads
        if threads is not None:
            torch.set_num_threads(threads)
        _quieten()
        self._device = Device(device)

    def device(self) -> DeviceFacts:
        """See `ports.Backend`."""
        return self._device.facts()

    def load(self, source: ModelSource) -> Family:
        """See `ports.Backend`."""
        import torch

        if self._threads is not None:
            # With OpenMP the number belongs to the thread that sets it, and this is the loader's.
            torch.set_num_threads(self._threads)
        from workers.engine.families import sd15_loading

        loaders = {"sd15": sd15_loading.load}
        if source.family not in loaders:
            raise ModelUnreadable(f"The model {source.name} is of the family {source.family}, which is not served.")
        return loaders[source.family](source, device=self._device.torch_device, dtype=self._device.dtype)

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
