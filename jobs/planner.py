"""plan(): which waiting jobs a worker gets next. Pure: no input or output, no clock.

Round robin between people: whoever was served longest ago leads, and a batch is filled with jobs of the leader's batch
key. Nobody rides along a second time while somebody who may be served now has not had a first turn in this round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from jobs.batch import BatchKey
from jobs.job import ACTIVE_MAX, JobId, UserId


@dataclass(frozen=True, kw_only=True)
class WaitingJob:
    """What planning needs to know of a job; ``place`` orders a person's own jobs (smaller is older)."""

    id: JobId
    user_id: UserId
    key: BatchKey
    place: int
    alone: bool = False
    """A suspect of having killed a worker: it runs by itself."""


@dataclass(frozen=True, kw_only=True)
class QueueSnapshot:
    """The queue at one moment, read in the transaction that claims from it."""

    waiting: tuple[WaitingJob, ...]
    active: Mapping[UserId, int]
    """Leased or running jobs a person; people without any may be missing."""
    served: Mapping[UserId, int]
    """When a person was last served, as a number that grows with each claim; missing means never."""


@dataclass(frozen=True, kw_only=True)
class WorkerView:
    """What planning needs to know of a worker."""

    name: str
    models: frozenset[str]
    room: int
    """How many more jobs it takes now."""
    running: tuple[BatchKey, ...] = ()
    """The keys of what it runs: joiners must fit, since one model is in memory at a time."""
    busy_alone: bool = False
    """A job runs there that must not have company."""


def turns(snapshot: QueueSnapshot) -> list[WaitingJob]:
    """Every waiting job in the order of turns: one of each person, least recently served first, then their second, and so on."""
    by_person = sorted(snapshot.waiting, key=lambda job: (job.user_id, job.place))
    rounds: list[tuple[int, int, int, WaitingJob]] = []
    for user_id, jobs in groupby(by_person, key=lambda job: job.user_id):
        taken = snapshot.active.get(user_id, 0)
        for index, job in enumerate(jobs):
            rounds.append((taken + index, snapshot.served.get(user_id, -1), job.place, job))
    return [job for *_, job in sorted(rounds, key=lambda row: row[:3])]


def plan(snapshot: QueueSnapshot, worker: WorkerView) -> tuple[JobId, ...]:
    """The jobs ``worker`` should take now, at most ``worker.room``; empty when nothing fits it.

    All share one batch key with each other and with what already runs there. A person never exceeds
    ACTIVE_MAX active jobs, counting those they already have.
    """
    if worker.room < 1 or worker.busy_alone:
        return ()
    return _fill(_servable(snapshot, worker), worker)


def _servable(snapshot: QueueSnapshot, worker: WorkerView) -> list[WaitingJob]:
    """The turns this worker could serve, each person's cut where their two slots are full."""
    left = {job.user_id: ACTIVE_MAX - snapshot.active.get(job.user_id, 0) for job in snapshot.waiting}
    servable: list[WaitingJob] = []
    for job in turns(snapshot):
        if left[job.user_id] > 0 and job.key.model in worker.models:
            left[job.user_id] -= 1
            servable.append(job)
    return servable


def _fill(servable: Sequence[WaitingJob], worker: WorkerView) -> tuple[JobId, ...]:
    key = worker.running[0] if worker.running else None
    picked: list[WaitingJob] = []
    people: set[UserId] = set()
    passed_over = False
    for job in servable:
        if len(picked) == worker.room:
            break
        again = job.user_id in people
        if (again and passed_over) or not _fits(job, key, has_company=bool(picked or worker.running)):
            # A joiner of the running pass may not overtake for ever: with another key leading, the pass drains.
            if not picked and key is not None:
                return ()
            passed_over = True
            continue
        key = job.key
        picked.append(job)
        people.add(job.user_id)
        if job.alone:
            break
    return tuple(job.id for job in picked)


def _fits(job: WaitingJob, key: BatchKey | None, *, has_company: bool) -> bool:
    if job.alone and has_company:
        return False
    return key is None or job.key == key


def people_before(snapshot: QueueSnapshot, job_id: JobId) -> tuple[int, int] | None:
    """(place in the queue from 1, people whose turn comes before), or None when the job does not wait."""
    before: set[UserId] = set()
    for place, job in enumerate(turns(snapshot), start=1):
        if job.id == job_id:
            return place, len(before - {job.user_id})
        before.add(job.user_id)
    return None
