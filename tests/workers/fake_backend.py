"""A backend without torch that can be held at any step, run out of memory and break.

A run's picture is made of its own seed, prompt and steps, so that a neighbour's picture would be seen.
"""

import threading
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workers.engine.catalog import ModelSource
from workers.engine.errors import ModelUnreadable, RunFailure
from workers.engine.model_card import ModelCard
from workers.engine.ports import DeviceFacts
from workers.engine.run import RunSpec
from workers.engine.shape import ModelShape


@dataclass
class FakeState:
    """A run that adds its seed to itself at every step."""

    spec: RunSpec
    steps_done: int = 0
    sum: int = 0
    notes: tuple[str, ...] = ()

    @property
    def total_steps(self) -> int:
        return self.spec.steps

    @property
    def is_done(self) -> bool:
        return self.steps_done >= self.spec.steps


def pixels_of(spec: RunSpec) -> Any:
    """The picture that a spec must become, whatever its company."""
    value = spec.seed * spec.steps + sum(spec.prompt.encode())
    return np.full((spec.height, spec.width, 3), value % 256, dtype=np.uint8)


@dataclass
class FakeFamily:
    """A model whose passes are counted. ``held`` stops it before each pass; ``permit`` lets that many go."""

    name: str
    backend: "FakeBackend"
    passes: list[list[str]] = field(default_factory=list)
    spared: int = 0
    loras: None = None
    vae_sparing: bool = False
    alone: str | None = None

    def modules(self) -> dict[str, Any]:
        return {}

    def pass_key(self, spec: RunSpec) -> Hashable:
        return spec.width, spec.height

    def prepare(self, specs: Sequence[RunSpec]) -> list[FakeState]:
        if any(spec.prompt == "unreadable" for spec in specs):
            raise ValueError("this prompt breaks the tokenizer")
        return [FakeState(spec=spec) for spec in specs]

    def denoise(self, states: Sequence[FakeState], *, sparing: bool = False) -> list[int]:
        self.backend.wait_for_permit()
        if len(states) > self.backend.fits:
            raise MemoryError("fake")
        if any(state.spec.prompt == "poison" for state in states):
            raise ZeroDivisionError("poison")
        if any(state.spec.prompt == "deadly" for state in states):
            raise KeyboardInterrupt
        self.spared += sparing
        self.passes.append([state.spec.prompt for state in states])
        return [state.spec.seed for state in states]

    def step(self, state: FakeState, prediction: int) -> None:
        state.sum += prediction
        state.steps_done += 1

    def decode(self, states: Sequence[FakeState], *, sparing: bool = False) -> list[Any]:
        if any(state.spec.prompt == "large" for state in states) and not sparing:
            raise MemoryError("fake")
        return [self._decode(state) for state in states]

    @staticmethod
    def _decode(state: FakeState) -> Any:
        if state.spec.prompt == "not finite":
            return RunFailure("not_finite", "fake", blame="job")
        value = state.sum + sum(state.spec.prompt.encode())
        return np.full((state.spec.height, state.spec.width, 3), value % 256, dtype=np.uint8)

    def glimpse(self, state: FakeState) -> str:
        return state.spec.prompt

    def preview(self, glimpse: str) -> Any:
        if glimpse == "no preview":
            raise MemoryError("fake")
        return np.zeros((8, 8, 3), dtype=np.uint8)


class FakeBackend:
    """See the module. ``fits`` is how many runs fit one pass."""

    def __init__(self, *, fits: int = 64, held: bool = False, broken: Iterable[str] = ()) -> None:
        self.fits = fits
        self.held = held
        self.broken = set(broken)
        self.families: dict[str, FakeFamily] = {}
        self.loads: list[str] = []
        self.released = 0
        self.full: set[str] = set()
        """Models that do not fit beside others."""
        self.measured: int | None = None
        """Rows that a pass may have by the plan."""
        self._permits = threading.Semaphore(0)

    def permit(self, passes: int) -> None:
        """Let so many passes go."""
        for _ in range(passes):
            self._permits.release()

    def let_go(self) -> None:
        """Hold no pass any more."""
        self.held = False
        self._permits.release()

    def wait_for_permit(self) -> None:
        if self.held:
            assert self._permits.acquire(timeout=20), "the test forgot to permit a pass"

    def device(self) -> DeviceFacts:
        return DeviceFacts(kind="cpu", name="fake", precision="float32", memory_total=100, memory_free=50)

    def enter_thread(self) -> None:
        pass

    def load(self, source: ModelSource) -> FakeFamily:
        if source.name in self.broken:
            raise ModelUnreadable(f"The model {source.name} is broken.")
        self.loads.append(source.name)
        family = FakeFamily(name=source.name, backend=self)
        self.families[source.name] = family
        return family

    def has_room(self, source: ModelSource) -> bool:
        return source.name not in self.full

    def rows_that_fit(self, spec: RunSpec) -> int | None:
        return self.measured

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError)

    def release_memory(self) -> None:
        self.released += 1


def source(name: str) -> ModelSource:
    """A model that exists in name only: pictures of 16 in steps of 8."""
    shape = ModelShape(
        default_width=16, default_height=16, pixels_per_cell=8, size_multiple=8, side_min=8, side_max=32,
        max_pixels=1024, latent_channels=4, scheduler="ddim",
    )  # fmt: skip
    folder = Path("/nonexistent")
    return ModelSource(name=name, family="sd15", path=folder, config_folder=folder, single_file=False, shape=shape, card=ModelCard())


def sources(*names: str) -> Mapping[str, ModelSource]:
    """Models by name."""
    return {name: source(name) for name in names}
