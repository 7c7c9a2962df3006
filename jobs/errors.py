"""Everything that can go wrong with a request, as one tree.

DarkroomError                     carries a ``code`` (a key of the catalogue) and the ``details`` its sentence needs
├── RequestRefused                the person can mend it: nothing was enqueued
│   ├── InvalidRequest            a field is out of its flow's limits
│   ├── WaitingLimitReached       too many of this person's jobs wait already
│   └── IdempotencyConflict       the same key came with another body
├── JobNotFound                   no such job, or not this person's (the two look the same from outside)
├── LeaseLost                     a write came with an old epoch, or after the job had ended
├── StoreUnavailable              the database is gone, full, locked or too slow: try again later
└── WorkerFault                   a worker did not deliver
    ├── WorkerUnreachable         connect, timeout, reset, 5xx, or an answer that is not ours: blames the worker
    ├── WorkerBusy                it has no place for one more right now: blames nobody
    ├── BadPicture                bytes that are not the picture that was ordered: blames the worker
    └── RunForgotten              it was asked to go on with a run that it does not know (it was restarted)

No sentence for people lives here: doors look the ``code`` up in :mod:`jobs.words` in the person's language.
"""

from typing import Any


class DarkroomError(Exception):
    """An error with a catalogue key and the figures its sentence needs."""

    def __init__(self, code: str, **details: Any) -> None:
        self.code = code
        self.details = details
        super().__init__(f"{code} {details}" if details else code)


class RequestRefused(DarkroomError):
    """The request was not taken; the person can mend it. Nothing was enqueued."""


class InvalidRequest(RequestRefused):
    """A field is missing, malformed or out of its flow's limits; ``details['field']`` names it."""


class WaitingLimitReached(RequestRefused):
    """The person already has as many waiting jobs as allowed; ``details['limit']`` says how many."""


class IdempotencyConflict(RequestRefused):
    """The idempotency key was used before with another request."""


class JobNotFound(DarkroomError):
    """No such job, or it belongs to somebody else."""

    def __init__(self, job_id: str) -> None:
        super().__init__("job_not_found", job=job_id)


class LeaseLost(DarkroomError):
    """The write's epoch is not the job's any more; whoever tried must stop and tell the worker to."""

    def __init__(self, job_id: str, epoch: int) -> None:
        super().__init__("lease_lost", job=job_id, epoch=epoch)


class StoreUnavailable(DarkroomError):
    """The database cannot take the write now. Nothing is known to be lost; try again."""

    def __init__(self, reason: str) -> None:
        super().__init__("store_unavailable", reason=reason)


class WorkerFault(DarkroomError):
    """A worker did not deliver what was ordered."""


class WorkerUnreachable(WorkerFault):
    """No usable answer: refused, reset, timed out, 5xx, HTML from a tunnel, a broken protocol."""


class WorkerBusy(WorkerFault):
    """The worker takes no more runs right now (full, draining or starting)."""


class BadPicture(WorkerFault):
    """The bytes are not the picture that was ordered (truncated, other size, other format, a bomb)."""


class RunForgotten(WorkerFault):
    """The worker does not know the run any more: it was restarted since."""
