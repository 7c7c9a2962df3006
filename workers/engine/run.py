"""One request inside the engine: what is to be made, where it stands, and what is told of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from workers.engine.errors import RunFailure

RunKind: TypeAlias = Literal["text_to_image", "image_to_image", "inpaint", "edit", "upscale", "animate"]
#: Seeds of the second and later pictures of a run stay below it, as the protocol says.
_SEEDS = 2**63


@dataclass(frozen=True, kw_only=True)
class LoraUse:
    """A LoRA by name and how strongly it is mixed in, 0 to 2."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What is to be made. Sizes in pixels of the result, already checked against the model's offer."""

    model: str
    kind: RunKind = "text_to_image"
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
    #: Pictures of this one wish; each is a row of the passes with a seed of its own.
    count: int = 1
    loras: tuple[LoraUse, ...] = ()
    #: Files as they came, not yet read: the picture to start from, and what of it may be painted (white).
    image: bytes | None = field(default=None, repr=False)
    mask: bytes | None = field(default=None, repr=False)
    #: How much of the picture may change, 0 to 1; None is the family's own measure.
    strength: float | None = None
    #: Of a clip.
    frames: int | None = None
    fps: int | None = None
    #: How much larger than the given picture the result is.
    scale: int | None = None

    def row(self, index: int) -> RunSpec:
        """The spec of one of its pictures: count 1 and a seed of its own."""
        if self.count == 1:
            return self
        return replace(self, count=1, seed=self.seed if index == 0 else (self.seed + index) % _SEEDS)


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
class MadePicture:
    """One picture or clip as a file without metadata: nothing of any prompt."""

    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Made:
    """The pictures of a run, in the order of their seeds."""

    pictures: tuple[MadePicture, ...]
    #: The largest number of other runs that shared one forward pass with this one.
    shared_with: int
    #: Forward passes this run had a part in.
    passes: int
    notes: tuple[str, ...] = ()

    @property
    def png(self) -> bytes:
        """The first picture's file."""
        return self.pictures[0].data

    @property
    def width(self) -> int:
        """The first picture's."""
        return self.pictures[0].width

    @property
    def height(self) -> int:
        """The first picture's."""
        return self.pictures[0].height


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
class Row:
    """One picture of a run: what takes a place in the passes."""

    run: Run
    #: With the row's own seed.
    spec: RunSpec
    #: The family's own: latents, generator, scheduler copy, embeddings. None until it is prepared, and when it is done.
    state: Any = None
    steps_done: int = 0
    picture: MadePicture | None = None


@dataclass(kw_only=True, eq=False)
class Run:
    """One request under way. Only the engine thread touches it, except `cancel`, which anybody may set, and `finish`."""

    key: str
    spec: RunSpec
    tell: Tell
    #: On the engine's clock: when it gives up by itself, and when it came.
    give_up_at: float | None = None
    arrived_at: float = 0.0
    cancel: threading.Event = field(default_factory=threading.Event)
    rows: list[Row] = field(default_factory=list)
    passes: int = 0
    #: Other runs in the last forward pass, and in the fullest.
    company: int = 0
    shared_with: int = 0
    #: Seconds between this run's steps, smoothed; what else the engine does meanwhile is in it.
    step_seconds: float | None = None
    stepped_at: float | None = None
    previewed_at: float | None = None
    #: The newest that a preview can be made of; None while none waits to be made.
    glimpse: Any = None
    notes: tuple[str, ...] = ()
    _ended: bool = False
    _ending: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.rows = [Row(run=self, spec=self.spec.row(index)) for index in range(self.spec.count)]

    @property
    def has_ended(self) -> bool:
        """Whether its end was told."""
        return self._ended

    def finish(self, report: Made | Broken | Stopped) -> None:
        """Tell its end, unless one was told: developing and leaving happen on two threads."""
        with self._ending:
            if self._ended:
                return
            self._ended = True
        self.tell(report)

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

    @property
    def progress(self) -> Progress:
        """Where it stands: as far as its slowest row."""
        done, total = min(row.steps_done for row in self.rows), self.spec.steps
        eta = None if self.step_seconds is None else self.step_seconds * (total - done)
        return Progress(step=done, total_steps=total, eta_seconds=eta, in_company_of=self.company)
