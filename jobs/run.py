"""A job in a worker's hands: what the host orders, what the worker reports back."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from jobs.job import Job, JobId
from jobs.offer import LoraOffer, ModelOffer
from jobs.request import Order


@dataclass(frozen=True, kw_only=True)
class RunKey:
    """Names one attempt for good: the worker starts it once, however often it is asked."""

    job_id: JobId
    epoch: int

    def __str__(self) -> str:
        return f"{self.job_id}.{self.epoch}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``job.epoch``; raises ValueError on anything else."""
        job_id, dot, epoch = text.rpartition(".")
        if not dot or not job_id or not epoch.isascii() or not epoch.isdecimal():
            raise ValueError(f"not a run key: {text[:80]!r}")
        return cls(job_id=JobId(job_id), epoch=int(epoch))


@dataclass(frozen=True, kw_only=True)
class Run:
    """An order under its key."""

    key: RunKey
    order: Order
    dispatch: str = ""
    """The same for all runs that one claim leased together: what a worker that takes whole requests puts into one pass."""
    together: int = 1
    """How many runs that claim leased."""

    @classmethod
    def of(cls, job: Job, *, together: int = 1) -> Self:
        """The run of a leased job's current epoch."""
        return cls(key=RunKey(job_id=job.id, epoch=job.epoch), order=job.order, dispatch=job.dispatch, together=together)


class FaultKind(StrEnum):
    """Whom a fault blames: the worker, the request, or the size of the batch."""

    INFRA = "infra"
    JOB = "job"
    OUT_OF_MEMORY = "out_of_memory"


@dataclass(frozen=True, kw_only=True)
class RunAccepted:
    """The worker has it; the job may become running."""

    key: RunKey
    params_hash: str | None = None
    """Of the order that it runs under this key, where the worker tells."""


@dataclass(frozen=True, kw_only=True)
class RunProgressed:
    """A step was made. May be dropped: the newest wins."""

    key: RunKey
    step: int
    total_steps: int
    preview: bytes | None = None
    """A small WebP or PNG of the unfinished picture; unchecked bytes, never stored."""


@dataclass(frozen=True, kw_only=True)
class MadePicture:
    """Bytes from a worker, not yet checked: hostile until they are."""

    index: int
    seed: int
    data: bytes


@dataclass(frozen=True, kw_only=True)
class RunFinished:
    """All pictures of the run; ``seconds`` of wall clock on the worker."""

    key: RunKey
    pictures: tuple[MadePicture, ...]
    seconds: float
    shared_with: int
    notes: tuple[str, ...] = ()
    """What the person should know, for example ``prompt_cut``: codes, not sentences."""


@dataclass(frozen=True, kw_only=True)
class RunFailed:
    """No picture, and whose fault it was."""

    key: RunKey
    kind: FaultKind
    code: str
    detail: str = ""
    """For the operator: names no prompt."""
    words: str = ""
    """What the worker says of it in words of its own, which may quote a prompt: for its person alone, never for a log."""


@dataclass(frozen=True, kw_only=True)
class RunCancelled:
    """The worker says it stopped: the slot may be freed."""

    key: RunKey


RunEvent = RunAccepted | RunProgressed | RunFinished | RunFailed | RunCancelled


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """What a worker says of itself. ``room`` is how many more rows it takes now: a run of n pictures takes n."""

    name: str
    instance: str
    """New at each start of the worker process: another instance has forgotten every run."""
    device: str
    models: tuple[ModelOffer, ...]
    loaded: frozenset[str]
    max_batch: int
    room: int
    loras: tuple[LoraOffer, ...] = ()
    draining: bool = False
    running: tuple[RunKey, ...] = ()
    notes: tuple[str, ...] = ()
    """What its operator should know, a sentence each: it works, but not as well as it could."""
