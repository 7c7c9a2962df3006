"""What happened to a job. Facts are published after their commit and carry the job's version; progress may be dropped."""

from dataclasses import dataclass

from jobs.job import Failure, Job, JobId


@dataclass(frozen=True, kw_only=True)
class JobFact:
    """A status change that is already committed."""

    job: Job


class JobQueued(JobFact):
    """It was accepted, or came back to the queue as an admin asked."""


class JobLeased(JobFact):
    """A worker was chosen for it."""


class JobStarted(JobFact):
    """The worker has accepted it."""


@dataclass(frozen=True, kw_only=True)
class JobRequeued(JobFact):
    """A try ended without its picture, or its worker went away; it waits again."""

    reason: Failure


class JobCancelRequested(JobFact):
    """Its owner wants it stopped; the worker has not said yet that it did."""


class JobSucceeded(JobFact):
    """Its pictures are in the store."""


class JobFailed(JobFact):
    """It ended without a picture (failed, expired or quarantined)."""


class JobCancelled(JobFact):
    """It was stopped, and no picture will come."""


@dataclass(frozen=True, kw_only=True)
class JobProgressed:
    """A step was made. Newest wins; never stored."""

    job_id: JobId
    step: int
    total_steps: int
    elapsed: float
    """Seconds since the worker accepted it."""
    eta: float | None
    """Seconds still to go, None while unknown."""
    worker: str
    preview: bytes | None = None


JobEvent = JobFact | JobProgressed
