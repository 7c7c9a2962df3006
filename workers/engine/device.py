"""Which device this machine computes on, and how much memory it has."""

from __future__ import annotations

import gc
import os
import platform
from pathlib import Path

import torch

from workers.engine.errors import EngineError
from workers.engine.ports import DeviceFacts, DeviceKind


class Device:
    """The chosen device, and what differs between kinds of devices."""

    def __init__(self, wanted: str = "auto") -> None:
        self.kind: DeviceKind = _kind(wanted)
        # ROCm's torch answers to the name cuda.
        self.torch_device = torch.device("cuda" if self.kind == "rocm" else self.kind)
        # On a CPU half precision is slower and less exact; on GPUs it is what the models were published for.
        self.dtype = torch.float32 if self.kind == "cpu" else torch.float16

    def facts(self) -> DeviceFacts:
        """What it is now."""
        total, free = self._memory()
        precision = str(self.dtype).removeprefix("torch.")
        return DeviceFacts(kind=self.kind, name=self._name(), precision=precision, memory_total=total, memory_free=free)

    def release_memory(self) -> None:
        """Give unused memory back, before another try."""
        gc.collect()
        if self.kind in ("cuda", "rocm"):
            torch.cuda.empty_cache()
        elif self.kind == "mps":
            torch.mps.empty_cache()

    def dtype_for(self, half: str) -> torch.dtype:
        """What a model computes in here, whose makers published it in the precision `half`."""
        return self.dtype if self.kind == "cpu" else getattr(torch, half)

    def wait(self) -> None:
        """Until all that was begun is done: GPUs compute while the program goes on."""
        if self.kind in ("cuda", "rocm"):
            torch.cuda.synchronize()
        elif self.kind == "mps":
            torch.mps.synchronize()

    def forget_peak(self) -> None:
        """Begin a new measurement of the peak."""
        if self.kind in ("cuda", "rocm"):
            torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int | None:
        """The most memory in use since `forget_peak`; None where the device does not tell."""
        return torch.cuda.max_memory_allocated() if self.kind in ("cuda", "rocm") else None

    def free_for_passes(self) -> int | None:
        """Bytes that torch could still get: free ones, and those it holds for later. None where the device does not tell."""
        if self.kind not in ("cuda", "rocm"):
            return None
        free, _ = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()

    def _name(self) -> str:
        if self.kind in ("cuda", "rocm"):
            return torch.cuda.get_device_name()
        return _processor()

    def _memory(self) -> tuple[int | None, int | None]:
        if self.kind in ("cuda", "rocm"):
            free, total = torch.cuda.mem_get_info()
            return total, free
        if self.kind == "mps":
            total = torch.mps.recommended_max_memory()
            return total, max(0, total - torch.mps.driver_allocated_memory())
        return _pages("SC_PHYS_PAGES"), _pages("SC_AVPHYS_PAGES")


def _kind(wanted: str) -> DeviceKind:
    """The kind asked for, or the best there is. Raises EngineError for one that is not there."""
    have: list[DeviceKind] = ["cpu"]
    if torch.backends.mps.is_available():
        have.insert(0, "mps")
    if torch.cuda.is_available():
        have.insert(0, "rocm" if torch.version.hip else "cuda")
    if wanted == "auto":
        return have[0]
    for kind in have:
        if kind == wanted:
            return kind
    raise EngineError(f"There is no device {wanted!r} that this torch can use here; there is: {', '.join(have)}.")


def _processor() -> str:
    """The CPU's name for people. Only Linux tells in a file; elsewhere the architecture must do."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine() or "CPU"


def _pages(name: str) -> int | None:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        # Not every system counts its pages (macOS has no SC_AVPHYS_PAGES, Windows no sysconf).
        return None


_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out. CPU and MPS say so only in words."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)
