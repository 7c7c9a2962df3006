"""The one shape of all model families: prepare, denoise, step, decode.

What a family must keep so that a picture made in company equals the picture made alone: everything that changes while
a run is made is in its own state (latents, generator, scheduler copy, embeddings); `denoise` changes nothing, so it can
be repeated in smaller parts; noise is drawn from the state's own generator, never for a batch.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from workers.engine.run import RunSpec


class State(Protocol):
    """One run's own, opaque to the engine but for what it counts."""

    @property
    def total_steps(self) -> int:
        """Steps as they were ordered."""
        ...

    @property
    def steps_done(self) -> int:
        """Steps done, 0 to total_steps; schedules that evaluate twice a step are scaled to it."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether nothing is left but to decode."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person should know, as codes."""
        ...


class Family(Protocol):
    """A loaded model. Called on the engine thread alone."""

    def pass_key(self, spec: RunSpec) -> Hashable:
        """Runs of this model with equal keys share a forward pass."""
        ...

    def prepare(self, specs: Sequence[RunSpec]) -> list[Any]:
        """Encode the texts (all together) and draw each run's noise (each from its own generator)."""
        ...

    def denoise(self, states: Sequence[Any], *, sparing: bool = False) -> list[Any]:
        """One forward pass for all; each one's guided prediction. Changes no state.

        `sparing` trades time for memory: rows go through one by one.
        """
        ...

    def step(self, state: Any, prediction: Any) -> None:
        """Take one run one step on."""
        ...

    def decode(self, state: Any, *, sparing: bool = False) -> Any:
        """The picture as an (H, W, 3) uint8 array. Raises RunFailure where the numbers are not finite."""
        ...

    def preview(self, state: Any) -> Any:
        """A guess of the picture as a small (h, w, 3) uint8 array, cheap enough to make between steps."""
        ...
