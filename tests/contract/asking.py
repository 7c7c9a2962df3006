"""Short words for the contract tests: ask, claim, make."""

from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any

from jobs.abilities import Abilities, Ability
from jobs.job import Job, JobId, Making, Picture, Place, UserId
from jobs.line import Line, WaitingJob
from jobs.planner import Plan, PlannedLease, Reason, WorkerView, make_plan
from jobs.ports import Decide, JobStore, NewJob
from jobs.request import Order
from jobs.run import Run, RunKey

ANA, BEN, EVA = UserId("discord:1"), UserId("discord:2"), UserId("web:eva")
MAKING = Making(worker="gpu", seconds=1.5, shared_with=2, notes=("prompt_cut", "negative_ignored"))
HERE = Place(guild_id="10", channel_id="20", locale="es")

_number = count(1)


def order(**changes: Any) -> Order:
    wish = {
        "prompt": "a red kite over the sea", "model": "house", "width": 128, "height": 128, "steps": 8,
        "guidance": 3.0, "seed": 7,
    }  # fmt: skip
    return Order(**{**wish, **changes})


def picture(index: int = 0) -> Picture:
    return Picture(
        index=index, sha256=f"{index:064x}", content_type="image/png", size=900, width=128, height=128, seed=2**63 - 1
    )


def wish(user_id: UserId = ANA, **changes: Any) -> NewJob:
    number = next(_number)
    base = {
        "id": JobId(f"job-{number:06}"), "user_id": user_id, "door": "http", "order": order(),
        "idempotency_key": f"key-{number}",
    }  # fmt: skip
    return NewJob(**{**base, **changes})


async def ask(store: JobStore, user_id: UserId = ANA, **changes: Any) -> Job:
    job, created = await store.submit(wish(user_id, **changes), waiting_limit=100)
    assert created
    return job


def choose(*ids: str, worker: str = "gpu") -> Decide:
    """A planner that wants just these, whatever anybody's account says."""

    def decide(line: Line) -> Plan:
        return plan_of(line, [line.waiting[JobId(job_id)] for job_id in ids if job_id in line.waiting], worker)

    return decide


def plan_of(line: Line, jobs: Sequence[WaitingJob], worker: str = "gpu") -> Plan:
    leases = [
        PlannedLease(
            job=job, worker=worker, reason=Reason.FAIR, low=0.0, v=0.0, handicap=0.0, charged={}, predicted=job.cost
        )
        for job in jobs
    ]
    return Plan(leases=tuple(leases), changes=line.books.changes())


def waiting(line: Line) -> list[WaitingJob]:
    """Oldest first."""
    return sorted(line.waiting.values(), key=lambda job: job.place)


def take_all(line: Line) -> Plan:
    """A planner that knows no limit but the two slots."""
    left: Counter[str] = Counter()
    taken: list[WaitingJob] = []
    for job in waiting(line):
        if line.person(job.user_id).active + left[job.user_id] < 2 and (job.not_before or 0) <= line.now:
            left[job.user_id] += 1
            taken.append(job)
    return plan_of(line, taken)


def by_turns(room: int, model: str = "house", worker: str = "gpu") -> Decide:
    """The real planner, for a worker with this much room."""
    view = WorkerView(
        name=worker, models=frozenset({model}), room=room, loaded=frozenset({model}), step_level=frozenset({model})
    )

    def decide(line: Line) -> Plan:
        line.realign(Abilities(workers=(Ability(worker=worker, models=frozenset({model})),)))
        return make_plan(line, view)

    return decide


async def waits(store: JobStore) -> list[WaitingJob]:
    """Who waits now, oldest first."""
    return await store.look(waiting, fresh=0)


async def claim(store: JobStore, worker: str = "gpu", *, lease_seconds: float = 30) -> list[Job]:
    return await store.claim(worker, take_all, lease_seconds=lease_seconds)


async def leased(
    store: JobStore, user_id: UserId = ANA, *, lease_seconds: float = 30, **changes: Any
) -> tuple[Job, RunKey]:
    """A fresh job in a worker's hands, alone."""
    asked = await ask(store, user_id, **changes)
    (job,) = await store.claim("gpu", choose(asked.id), lease_seconds=lease_seconds)
    return job, Run.of(job).key
