"""A request on its way: its states, the legal moves between them, and the lease that fences every write."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, NewType

from jobs.request import Order

JobId = NewType("JobId", str)
UserId = NewType("UserId", str)
"""Who is served and charged: ``discord:<snowflake>`` or ``web:<name>``."""

ACTIVE_MAX = 2
"""Active (leased or running) jobs a person may have; a database constraint, not a habit."""

SOLO_DEATHS_MAX = 2
"""Different workers that may die of a job which they ran alone; then it is set aside."""


class JobState(StrEnum):
    """queued → leased → running → done; the other four are exits."""

    QUEUED = "queued"
    LEASED = "leased"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"

    @property
    def is_active(self) -> bool:
        """Whether a worker holds it, so that it occupies one of the person's two slots."""
        return self in (JobState.LEASED, JobState.RUNNING)

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended in this generation."""
        return self not in (JobState.QUEUED, JobState.LEASED, JobState.RUNNING)


LEGAL: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.LEASED, JobState.CANCELLED, JobState.EXPIRED, JobState.FAILED}),
    JobState.LEASED: frozenset({
        JobState.RUNNING, JobState.QUEUED, JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.QUARANTINED,
    }),
    JobState.RUNNING: frozenset({
        JobState.QUEUED, JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.QUARANTINED,
    }),
    JobState.DONE: frozenset({JobState.QUEUED}),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
    JobState.EXPIRED: frozenset({JobState.QUEUED}),
    JobState.QUARANTINED: frozenset({JobState.QUEUED}),
}
"""Moves within a generation; a terminal state back to queued is an admin's requeue (generation + 1)."""


def may_move(before: JobState, after: JobState) -> bool:
    """Whether a job may go from ``before`` to ``after``."""
    return after in LEGAL[before]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the answer goes: a Discord channel and its person's language. ``None`` for the HTTP door."""

    guild_id: str
    channel_id: str
    locale: str = "en"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a job ended without a picture: a catalogue key and the figures of its sentence."""

    code: str
    details: dict[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A checked, re-encoded picture in the store, addressed by its hash. Sizes in pixels and bytes."""

    index: int
    sha256: str
    content_type: str
    size: int
    width: int
    height: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class InputPicture:
    """A person's picture to start from, checked and drawn anew. Sizes in pixels."""

    sha256: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Making:
    """How a picture came to be, for the card's facts."""

    worker: str
    seconds: float
    shared_with: int = 0
    """How many other requests shared at least one forward pass with it."""
    notes: tuple[str, ...] = ()
    """Codes of what its person should know, such as ``prompt_cut``: a sentence each in the catalogue, where this version has one."""
    refunded: bool = False
    """An operator gave it back: it does not count in its person's quota."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A worker's claim on a job. Every write it makes carries ``epoch``; an old one changes nothing."""

    worker: str
    epoch: int
    until: datetime


@dataclass(frozen=True, kw_only=True)
class Job:
    """One row of the ledger, as the domain sees it. Times are UTC, from the database's clock."""

    id: JobId
    user_id: UserId
    door: Literal["discord", "http"]
    order: Order
    state: JobState
    generation: int
    attempt: int
    """Tries that were the request's or the worker's fault; lost leases count in ``lost``."""
    lost: int
    epoch: int
    version: int
    """Counts this job's status changes: who saw a newer one drops an older."""
    created_at: datetime
    not_before: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    lease: Lease | None = None
    cancel_requested: bool = False
    place: Place | None = None
    failure: Failure | None = None
    making: Making | None = None
    pictures: tuple[Picture, ...] = ()
    idempotency_key: str | None = None
    dispatch: str = ""
    """The same for all jobs that one claim leased together; empty while it is not leased."""
    alone: bool = False
    """It runs without company: a worker died, or a lease lapsed twice, while it ran."""
    predicted: float | None = None
    """Seconds alone on the reference worker, as the present lease charged it."""


def person(user_id: UserId) -> str:
    """The door's own name for the person: ``discord:42`` → ``42``."""
    return user_id.partition(":")[2]
