"""The one shape of all model families: prepare, denoise, step, decode.

What a family must keep so that a picture made in company equals the picture made alone: everything that changes while
a row is made is in its own state (latents, generator, scheduler copy, embeddings); `denoise` changes nothing, so it can
be repeated in smaller parts; noise is drawn from the state's own generator, never for a batch.

Three threads call: `prepare` the one that prepares, `denoise`, `step` and `glimpse` the engine's, `decode` and `preview`
the one that develops. So the denoiser, the text encoders and the decoder never wait for each other.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from workers.engine.run import LoraUse, RunSpec


class LoraSet(Protocol):
    """Some LoRAs with their weights, loaded. Held by the rows that wear it; equal sets are one object."""

    @property
    def text_key(self) -> Hashable | None:
        """What tells its text encoder apart from others'; None where it leaves the text encoders as they are."""
        ...


class RowLoras(Protocol):
    """Dresses the rows of a pass in LoRA sets of their own. Rows without one stay exactly as they are."""

    def resolve(self, uses: tuple[LoraUse, ...]) -> LoraSet | None:
        """The set, loaded on demand. Raises RunFailure. Called while passes go on."""
        ...

    def rows(self, sets: Sequence[LoraSet | None]) -> AbstractContextManager[object]:
        """Around one forward pass of the denoiser: what each of its rows wears."""
        ...

    def text(self, one: LoraSet | None) -> AbstractContextManager[object]:
        """Around the text encoders."""
        ...


class State(Protocol):
    """One row's own, opaque to the engine but for what it counts."""

    @property
    def total_steps(self) -> int:
        """Steps as they were ordered."""
        ...

    @property
    def steps_done(self) -> int:
        """Steps done, 0 to total_steps; schedules that evaluate twice a step, or begin late, are scaled to it."""
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
    """A loaded model."""

    #: Who dresses rows in LoRAs; None where the worker has none for this model. Set once, after loading.
    loras: RowLoras | None
    #: Whether the decoder must always save memory (the memory plan says so).
    vae_sparing: bool
    #: Why its rows may not share passes; None where the parity guard found no reason. Set once, after loading.
    alone: str | None

    def modules(self) -> Mapping[str, Any]:
        """Its torch modules by their names in the pipeline."""
        ...

    def pass_key(self, spec: RunSpec) -> Hashable:
        """Rows of this model with equal keys share a forward pass."""
        ...

    def prepare(self, specs: Sequence[RunSpec]) -> list[Any]:
        """Encode the texts (all together) and draw each row's noise (each from its own generator).

        Raises RunFailure for an input picture that cannot be read or a LoRA that cannot be had.
        """
        ...

    def denoise(self, states: Sequence[Any], *, sparing: bool = False) -> list[Any]:
        """One forward pass for all; each one's guided prediction. Changes no state.

        `sparing` trades time for memory: rows go through one by one.
        """
        ...

    def step(self, state: Any, prediction: Any) -> None:
        """Take one row one step on."""
        ...

    def decode(self, states: Sequence[Any], *, sparing: bool = False) -> list[Any]:
        """Each row's picture (H, W, 3) or clip (F, H, W, 3) as uint8; the states have one pass key.

        A RunFailure stands for a row whose numbers are not finite.
        """
        ...

    def glimpse(self, state: Any) -> Any:
        """What `preview` needs of the state now; it stays as it is while the state goes on."""
        ...

    def preview(self, glimpse: Any) -> Any:
        """A guess of the picture as a small (h, w, 3) uint8 array."""
        ...
