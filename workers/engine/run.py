"""One request inside the engine: what is to be made, where it stands, and what is told of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from workers.engine.errors import RunFailure


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What is to be made. Sizes in pixels, already checked against the model's offer."""

    model: str
    prompt: str
    negative: str = ""
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    #: A name of `schedulers.NAMES`; None is the model's own.
    scheduler: str | None = None
    previews: bool = False


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A step was done."""

    step: int
    total_steps: int
    #: Seconds to the picture, by this run's own last steps; None while unknown.
    eta_seconds: float | None
    #: Other runs in the last forward pass.
    in_company_of: int


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A small WebP of the picture as it is guessed now."""

    webp: bytes


@dataclass(frozen=True, kw_only=True)
class Developing:
    """All steps are done; the picture is being decoded and written."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """The picture. `png` has no metadata: nothing of any prompt."""

    png: bytes
    width: int
    height: int
    #: The largest number of other runs that shared one forward pass with this one.
    shared_with: int
    #: Forward passes this run had a part in.
    passes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Broken:
    """The run ended without a picture."""

    failure: RunFailure


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """The run was cancelled and no longer computes."""


Report = Progress | Preview | Developing | Made | Broken | Stopped
#: Called on the engine's threads; must return at once and never raise. One of `Made`, `Broken` and `Stopped` comes,
#: once; nothing after it means anything (a `Preview` may straggle).
Tell = Callable[[Report], None]


@dataclass(kw_only=True, eq=False)
class Run:
    """One request under way. Only the engine thread touches it, except `cancel`, which anybody may set."""

    key: str
    spec: RunSpec
    tell: Tell
    #: On the engine's clock: when it gives up by itself, and when it came.
    give_up_at: float | None = None
    arrived_at: float = 0.0
    cancel: threading.Event = field(default_factory=threading.Event)
    #: The family's own: latents, generator, scheduler copy, embeddings. None while the run waits.
    state: Any = None
    passes: int = 0
    #: Other runs in the last forward pass, and in the fullest.
    company: int = 0
    shared_with: int = 0
    #: Seconds between this run's steps, smoothed; what else the engine does meanwhile is in it.
    step_seconds: float | None = None
    stepped_at: float | None = None
    previewed_at: float | None = None

    def shared_a_pass(self, others: int) -> None:
        """Note one forward pass in the company of `others`."""
        self.passes += 1
        self.company = others
        self.shared_with = max(self.shared_with, others)

    def stepped(self, now: float) -> None:
        """Note the end of a step, for the time that is left."""
        if self.stepped_at is not None:
            latest = now - self.stepped_at
            self.step_seconds = latest if self.step_seconds is None else 0.6 * self.step_seconds + 0.4 * latest
        self.stepped_at = now
