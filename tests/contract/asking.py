"""Short words for the contract tests: ask, claim, make."""

from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any

from jobs.job import Job, JobId, Making, Picture, Place, UserId
from jobs.planner import QueueSnapshot, WorkerView, plan
from jobs.ports import JobStore, NewJob
from jobs.request import Order
from jobs.run import Run, RunKey

ANA, BEN, EVA = UserId("discord:1"), UserId("discord:2"), UserId("web:eva")
MAKING = Making(worker="gpu", seconds=1.5, shared_with=2)
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


def take_all(snapshot: QueueSnapshot) -> Sequence[JobId]:
    """A planner that knows no limit but the two slots."""
    left: dict[str, int] = {}
    taken: list[JobId] = []
    for job in snapshot.waiting:
        have = left.setdefault(job.user_id, snapshot.active.get(job.user_id, 0))
        if have < 2:
            left[job.user_id] += 1
            taken.append(job.id)
    return taken


def by_turns(room: int, model: str = "house"):
    """The real planner, for a worker with this much room."""
    return partial(plan, worker=WorkerView(name="gpu", models=frozenset({model}), room=room))


async def claim(store: JobStore, worker: str = "gpu", *, lease_seconds: float = 30) -> list[Job]:
    return await store.claim(worker, take_all, lease_seconds=lease_seconds)


async def leased(
    store: JobStore, user_id: UserId = ANA, *, lease_seconds: float = 30, **changes: Any
) -> tuple[Job, RunKey]:
    """A fresh job in a worker's hands, alone."""
    asked = await ask(store, user_id, **changes)
    (job,) = await store.claim("gpu", lambda _: [asked.id], lease_seconds=lease_seconds)
    return job, Run.of(job).key
