"""An idle worker waits for company once, and only where the plan says so."""

import asyncio
from collections.abc import Sequence

from jobs.dispatcher import Dispatcher
from jobs.estimate import Estimator
from jobs.line import Line
from jobs.offer import ModelOffer
from jobs.planner import Plan, commit
from jobs.request import Order
from jobs.run import WorkerReport
from tests.unit.test_line import job, line


class FakeStore:
    """Claims over one line; what it leased is in ``leased``."""

    def __init__(self, queue: Line) -> None:
        self.queue = queue
        self.claims = 0
        self.leased: list[str] = []

    async def claim(self, worker: str, decide, *, lease_seconds: float) -> Sequence[object]:
        self.claims += 1
        plan: Plan = decide(self.queue)
        commit(self.queue, plan)
        self.leased += [lease.job.id for lease in plan.leases]
        return []


class FakeClock:
    """Somebody asks while the dispatcher sleeps."""

    def __init__(self, queue: Line) -> None:
        self.queue = queue
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.queue.waits(job("mate", 200))


class Named:
    name = "w1"


def report() -> WorkerReport:
    offer = ModelOffer(
        name="a", family="f", default_width=64, default_height=64, size_multiple=8, side_min=64, side_max=64, max_pixels=4096,
        default_steps=20, default_guidance=5,
    )  # fmt: skip
    return WorkerReport(name="w1", instance="1", device="d", models=(offer,), loaded=frozenset("a"), max_batch=4, room=4)


def lab(together: float) -> tuple[FakeStore, FakeClock, Dispatcher]:
    """A house where requests come often and a pass of two takes ``together`` times as long as one alone."""
    queue, estimator = line(), Estimator()
    for n in range(60):
        queue.waits(job(f"early{n}", n))
        queue.leaves(f"early{n}{n}")
    queue.waits(job("lone", 100))
    order = Order(prompt="x", model="a", width=64, height=64, steps=20, guidance=5, seed=1)
    for _ in range(5):
        estimator.observe("w1", order, 40.0, rows=1)
        estimator.observe("w1", order, 40.0 * together, rows=2)
    store, clock = FakeStore(queue), FakeClock(queue)
    made = Dispatcher(store=store, carrier=None, sink=None, clock=clock, policy=POLICY, estimator=estimator)
    return store, clock, made


class POLICY:
    lease = 30.0


async def fill(dispatcher: Dispatcher) -> None:
    async with asyncio.TaskGroup() as group:
        await dispatcher.fill(Named(), report(), None, group, room=4)


async def test_a_lone_leader_waits_once_for_company_that_pays():
    store, clock, dispatcher = lab(together=1.2)
    await fill(dispatcher)
    assert clock.slept == [0.05]
    assert store.leased == ["lone100", "mate200"]
    assert store.claims == 2


async def test_where_company_does_not_pay_nobody_waits():
    store, clock, dispatcher = lab(together=1.9)
    await fill(dispatcher)
    assert clock.slept == []
    assert store.leased == ["lone100"]
