"""What the domain asks of the outside. Each port has an adapter and a contract-tested fake, or two adapters."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol, TypeVar

from jobs.batch import BatchKey
from jobs.events import JobEvent
from jobs.job import Failure, InputPicture, Job, JobId, Making, Picture, Place, UserId
from jobs.line import Line
from jobs.offer import LoraOffer, ModelOffer
from jobs.planner import Plan, WorkerView
from jobs.request import Order
from jobs.run import MadePicture, Run, RunEvent, RunKey, WorkerReport

T = TypeVar("T")

Decide = Callable[[Line], Plan]
"""The planner, as the store calls it inside the claiming transaction: pure and quick."""


class Clock(Protocol):
    """Time, so that tests can make it."""

    def now(self) -> datetime:
        """UTC, aware. For people and logs; durations and leases never come from it."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What :meth:`JobStore.submit` writes. ``id`` and ``order.seed`` are drawn by the desk."""

    id: JobId
    user_id: UserId
    door: Literal["discord", "http"]
    order: Order
    idempotency_key: str
    place: Place | None = None
    live_seconds: float = 24 * 3600
    """How long it may wait before it expires."""
    lane: str | None = None
    weight: float = 1.0
    """The person's share by role."""
    cost: float | None = None
    """Predicted seconds alone on the reference worker."""


@dataclass(frozen=True, kw_only=True)
class RowLimit:
    """A pass of ``key`` on ``worker`` must not have more than ``rows`` rows: it ran out of memory with more."""

    worker: str
    key: BatchKey
    rows: int


class JobStore(Protocol):
    """The ledger. Every method is one transaction; all raise StoreUnavailable when the database cannot take it.

    Methods that take a RunKey write only where the job is active *and* has that epoch; else they raise LeaseLost.
    A call repeated after its first answer was lost (same epoch, the job already as the call left it) returns that job.
    Deliveries (outbox rows) are written in the same transaction for jobs that have a place:
    submit → card; finish → picture and close; fail, expiry → failure and close; cancelled → close.
    """

    async def submit(self, new: NewJob, *, waiting_limit: int) -> tuple[Job, bool]:
        """T1. Insert, or find the job of this idempotency key (then False, and nothing is written).

        Raises WaitingLimitReached("waiting_limit", waiting=, limit=), InvalidRequest("missing_input") when the order starts from
        a picture that is neither an input of this person nor a picture made for them, IdempotencyConflict when the key's order
        differs (seed aside when the request left it open: the comparison is by ``user_id`` and all fields of the order but the seed).
        """
        ...

    async def get(self, job_id: JobId) -> Job | None:
        """The job with its pictures, or None."""
        ...

    async def recent(self, user_id: UserId, *, limit: int) -> list[Job]:
        """This person's jobs, newest first."""
        ...

    async def unfinished(self) -> list[Job]:
        """Every job that has not ended, oldest first."""
        ...

    async def claim(self, worker: str, decide: Decide, *, lease_seconds: float) -> list[Job]:
        """T2. In one transaction: bring the line up to date, let ``decide`` choose, lease what it chose to ``worker``.

        Gives each job a free slot, epoch + 1 and the claim's ``dispatch``, charges its person, and stores every account that
        changed since the last claim. A worker that the operator lets rest gets nothing.
        """
        ...

    async def look(self, question: Callable[[Line], T], *, fresh: float = 1.0) -> T:
        """What ``question`` (pure and quick) makes of the line as it was ``fresh`` seconds ago at most: places, causes, times."""
        ...

    def peek(self, question: Callable[[Line], T]) -> T:
        """The same of the line as it is, without asking the ledger. Raises StoreUnavailable where it was never read."""
        ...

    async def accept(self, key: RunKey) -> Job:
        """T3. leased → running (already running: unchanged)."""
        ...

    async def renew(self, keys: Sequence[RunKey], *, lease_seconds: float) -> tuple[set[RunKey], set[RunKey]]:
        """T4. (still held, of these: those whose cancel was asked). Keys missing from the first set are lost."""
        ...

    async def finish(self, key: RunKey, pictures: Sequence[Picture], making: Making, *, executed: float = 1.0) -> Job:
        """T6. → done with results and deliveries. A cancel that came too late loses: the picture exists.

        ``executed`` (here and below) is the part of the charged cost that was used, 0 to 2: what its account keeps.
        """
        ...

    async def retry(
        self,
        key: RunKey,
        reason: Failure,
        *,
        delay_seconds: float,
        attempts_max: int | None,
        executed: float = 1.0,
        died: bool = False,
        shun: bool = False,
        limit: RowLimit | None = None,
    ) -> Job:
        """T7, T8, T11. → queued after ``delay_seconds``; attempt + 1 when ``attempts_max`` is given, and failed when reached.

        With ``attempts_max=None`` nothing is counted (the fault was nobody's, such as a batch too large). A job whose
        cancel was asked becomes cancelled instead. ``died``: the worker vanished while it ran this; a job in company is a
        suspect then and runs alone, one that saw two workers die while alone is quarantined. ``shun``: this worker is too
        small for it. ``limit`` is remembered in the same transaction. A job's first loss is not charged.
        """
        ...

    async def fail(self, key: RunKey, failure: Failure, *, executed: float = 1.0) -> Job:
        """T10. → failed, for good in this generation."""
        ...

    async def request_cancel(self, job_id: JobId, user_id: UserId) -> Job:
        """T12 (queued → cancelled) or T13's first half (flag on an active job; ended jobs are left as they are).

        Raises JobNotFound also when the job is somebody else's.
        """
        ...

    async def cancel_waiting(self, user_id: UserId | None) -> list[Job]:
        """T12 for every waiting job of one person, or (None) of everybody; those being made go on. The cancelled ones."""
        ...

    async def cancelled(self, key: RunKey, *, executed: float = 1.0) -> Job:
        """T13. The worker says it stopped: → cancelled, slot freed."""
        ...

    async def expire(self, *, lost_max: int) -> list[tuple[Job, Failure | None]]:
        """T9 and T14, idempotent: lapsed leases go back to the queue, jobs past their deadline become expired.

        A lapse adds 1 to ``lost``; at ``lost_max`` the job fails, and one whose cancel was asked is cancelled. Returns what
        changed with the reason.
        """
        ...

    async def adopt(self, worker: str, *, lease_seconds: float, but: Collection[RunKey] = ()) -> list[Job]:
        """T15. Take over the runs that ``worker`` has from this host's former self or from a host that is gone, and lease them anew.

        Not those in ``but``, which this host follows already. Their former host's writes change nothing from then on.
        """
        ...

    async def held_by(self, worker: str) -> list[Job]:
        """Active jobs leased to this worker, by whatever host."""
        ...


class DeliveryKind(StrEnum):
    """What is posted: the waiting card, the picture, a failure line; ``close`` edits the card to its last state."""

    CARD = "card"
    PICTURE = "picture"
    FAILURE = "failure"
    CLOSE = "close"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A row of the outbox in a poster's hands. ``id`` also names the file and the nonce: one for good."""

    id: str
    """20 characters [a-z2-7], from SHA-256 of (job, generation, kind, part): the nonce, and the file's stem."""
    job_id: JobId
    generation: int
    kind: DeliveryKind
    part: int
    epoch: int
    attempts: int
    """Takes so far, this one included."""
    place: Place
    first_try_at: datetime | None
    """When a POST was first tried, from the database's clock; set means: read the channel back before posting."""
    message_id: str | None = None


class Outbox(Protocol):
    """Deliveries waiting to be posted, each leased to one poster at a time (O1–O4)."""

    async def take(self, *, limit: int, lease_seconds: float) -> list[Delivery]:
        """O1. Due rows, oldest first, per channel in order (a later row of a job waits for its earlier ones).

        ``first_try_at`` in the returned rows is that of an EARLIER take; this take stamps it for the next.
        """
        ...

    async def sent(self, delivery: Delivery, message_id: str) -> None:
        """O2. Posted. Raises LeaseLost when somebody else took the row over."""
        ...

    async def later(self, delivery: Delivery, *, delay_seconds: float, reason: str) -> None:
        """O3. Try again after ``delay_seconds``."""
        ...

    async def dead(self, delivery: Delivery, reason: str) -> None:
        """O4. Cannot be posted (channel gone, forbidden). The picture stays in the store."""
        ...

    async def message_of(self, job_id: JobId, generation: int, kind: DeliveryKind) -> str | None:
        """The message id of a sent delivery (part 0), or None."""
        ...

    async def pending(self) -> int:
        """How many rows wait or are being posted."""
        ...


class PictureStore(Protocol):
    """Picture files, addressed by the SHA-256 of their bytes."""

    async def put(self, data: bytes) -> str:
        """T5. Durable once it returns (written aside, synced, renamed). The hash in hex."""
        ...

    async def read(self, sha256: str) -> bytes:
        """The bytes. Raises FileNotFoundError when retention removed them."""
        ...


class Inputs(Protocol):
    """Whose pictures may be started from. Naming a digest is not owning it."""

    async def keep(self, user_id: UserId, picture: InputPicture) -> None:
        """This person gave this picture; its bytes are in the PictureStore. Raises StoreUnavailable."""
        ...

    async def may_use(self, user_id: UserId, sha256: str) -> bool:
        """Whether it is an input of theirs, or a picture that was made for them. Raises StoreUnavailable."""
        ...


class Inspector(Protocol):
    """Checks and re-encodes what a worker sent."""

    async def inspect(self, made: MadePicture, order: Order) -> tuple[bytes, Picture]:
        """Clean bytes and their description (its sha256 is of those bytes). Raises BadPicture."""
        ...

    async def take_in(self, data: bytes) -> tuple[bytes, InputPicture]:
        """A person's file as clean PNG bytes to start from. Raises InvalidRequest("invalid_picture")."""
        ...


class Worker(Protocol):
    """A driver: what is behind one GPU URL. Unusable answers raise WorkerUnreachable."""

    @property
    def name(self) -> str:
        """Unique in the pool, stable over restarts of the host: leases carry it."""
        ...

    async def report(self) -> WorkerReport:
        """Health and abilities, asked every few seconds."""
        ...

    def run(self, run: Run, *, resume: bool = False) -> AsyncGenerator[RunEvent, None]:
        """Start the run (or, with ``resume``, only attach to it) and follow it to its last event.

        The first event is RunAccepted; the last one RunFinished, RunFailed or RunCancelled. Starting the same key
        twice is harmless. Raises WorkerBusy when it has no place, RunForgotten when ``resume`` names a run it does not know.
        """
        ...

    async def cancel(self, key: RunKey) -> None:
        """Ask it to stop; the run's stream then ends with RunCancelled (or RunFinished when too late)."""
        ...

    async def acknowledge(self, key: RunKey) -> None:
        """The result is safe here: the worker may forget the run. Failures are harmless."""
        ...


class Fleet(Protocol):
    """The workers as a whole, as the pool last heard from them."""

    def online(self) -> Sequence[WorkerReport]:
        """Workers that answer now."""
        ...

    def views(self) -> Sequence[WorkerView]:
        """Those workers as planning sees them."""
        ...

    def offers(self) -> Mapping[str, ModelOffer]:
        """Every model that is online, or was since the start, or ships with darkroom, by name."""
        ...

    def loras(self) -> Mapping[str, LoraOffer]:
        """Every LoRA of the workers that answer now, by name."""
        ...

    @property
    def default_model(self) -> str:
        """The model of a request that names none."""
        ...


class EventSink(Protocol):
    """Where committed facts and progress go."""

    def publish(self, event: JobEvent) -> None:
        """Never blocks, never raises, never awaits."""
        ...
