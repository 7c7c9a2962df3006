"""What follows from a card's memory and a model's weight: where its parts live, and how its decoder works. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Offload = Literal["none", "parts", "layers"]

GIB = 1024**3
#: Left to the display, the driver and the allocator's splinters.
_RESERVED = int(0.6 * GIB)
_SHARE = 0.95
#: Below so much the decoder always works in slices and tiles: at 1024 x 1024 it takes more than the denoiser.
_SMALL_CARD = 10 * GIB
_WORKING_ROOM = int(0.85 * GIB)


@dataclass(frozen=True, kw_only=True)
class MemoryChoice:
    """Where a model's parts live."""

    #: ``none``: all on the device. ``parts``: text encoders and decoder come for each use and go again. ``layers``: the
    #: denoiser's layers, too, come one after another.
    offload: Offload
    vae_sparing: bool
    #: Of weights that stay on the device.
    resident_bytes: int

    @property
    def needed_bytes(self) -> int:
        """Free memory that loading it asks for, with room for a pass."""
        return self.resident_bytes + _WORKING_ROOM


def usable(total: int) -> int:
    """Bytes of a device's memory to count on."""
    return max(0, int(total * _SHARE) - _RESERVED)


def choose(parts: Mapping[str, int], *, denoiser: str, memory_total: int | None) -> MemoryChoice:
    """The first arrangement that fits a device of `memory_total` bytes; the sparest where none does. None: no limit known."""
    everything = sum(parts.values())
    if memory_total is None:
        return MemoryChoice(offload="none", vae_sparing=False, resident_bytes=everything)
    room = usable(memory_total)
    small = memory_total < _SMALL_CARD
    if everything + _WORKING_ROOM <= room:
        return MemoryChoice(offload="none", vae_sparing=small, resident_bytes=everything)
    others = [size for part, size in parts.items() if part != denoiser]
    visiting = max(others, default=0)
    if parts.get(denoiser, 0) + visiting + _WORKING_ROOM <= room:
        return MemoryChoice(offload="parts", vae_sparing=True, resident_bytes=parts.get(denoiser, 0) + visiting)
    return MemoryChoice(offload="layers", vae_sparing=True, resident_bytes=min(visiting, room))


def rows_that_fit(points: Mapping[int, int], *, free: int) -> int | None:
    """How many rows a pass may have within `free` bytes, by what passes of some sizes took at most; None where unmeasured.

    Straight lines between and beyond the two largest measured sizes, with a tenth to spare.
    """
    if not points:
        return None
    sizes = sorted(points)
    last = sizes[-1]
    before = sizes[-2] if len(sizes) > 1 else 0
    slope = max(1.0, (points[last] - points.get(before, 0)) / (last - before))
    if points[last] * 1.1 <= free:
        return last + int((free / 1.1 - points[last]) / slope)
    return max((size for size in sizes if points[size] * 1.1 <= free), default=0)
