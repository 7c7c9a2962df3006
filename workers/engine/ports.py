"""The port through which the loop reaches torch: `backend.TorchBackend`, or what tests of the loop bring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from workers.engine.catalog import ModelSource
from workers.engine.families.base import Family
from workers.engine.run import RunSpec

DeviceKind = Literal["cuda", "rocm", "mps", "cpu"]


@dataclass(frozen=True, kw_only=True)
class DeviceFacts:
    """The device as ``/v1/capabilities`` names it. Memory in bytes, None where nothing tells."""

    kind: DeviceKind
    name: str
    precision: str
    memory_total: int | None
    memory_free: int | None

    @property
    def label(self) -> str:
        """What measurements are filed under: another card or precision has figures of its own."""
        return f"{self.kind} {self.name} {self.precision}"


class Backend(Protocol):
    """What the loop needs of a device."""

    def device(self) -> DeviceFacts:
        """What it is, with its memory now."""
        ...

    def enter_thread(self) -> None:
        """Called first on each thread that computes."""
        ...

    def load(self, source: ModelSource) -> Family:
        """Load a model. Raises ModelUnreadable. Called on the loader's thread."""
        ...

    def has_room(self, source: ModelSource) -> bool:
        """Whether a model fits beside what is loaded now, as far as that can be told beforehand."""
        ...

    def rows_that_fit(self, spec: RunSpec) -> int | None:
        """How many rows like this one a pass may have, by what was measured; None where nothing was."""
        ...

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error means that memory ran out."""
        ...

    def release_memory(self) -> None:
        """Give unused memory back, before another try."""
        ...
