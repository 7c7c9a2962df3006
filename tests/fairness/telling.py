"""Whether what people are told comes true: forecasts made at the submission, judged at the end, in a simulated house."""

import math
from collections import Counter
from dataclasses import dataclass, field

from jobs.estimate import Estimator
from jobs.fairness import Rules
from jobs.forecast import Forecast
from jobs.job import JobId, UserId
from jobs.request import Order
from tests.fairness.world import SimJob, SimUser, SimWorker, Watcher, World


def order_of(job: SimJob) -> Order:
    """An order of as much work as the job; the model's rate makes seconds of it."""
    side = job.key.width
    steps = max(1, round(job.true_cost * 1e6 / (side * side) / 100))
    return Order(prompt="x", model=job.key.model, width=side, height=side, steps=steps, guidance=1.0, seed=1)


@dataclass
class Told:
    at: float
    forecast: float
    low: float
    high: float


@dataclass
class Telling(Watcher):
    """Keeps an estimator that learns from ends only, asks the forecast at every submission, and counts."""

    estimator: Estimator = field(default_factory=Estimator)
    told: dict[JobId, Told] = field(default_factory=dict)
    inside: int = 0
    below: int = 0
    above: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    offs: list[float] = field(default_factory=list)
    after: int = 300
    ended_so_far: int = 0

    def planned(self, world: World) -> None:
        fresh = [job for job in world.queued.values() if job.id not in self.told and job.submitted == world.now]
        if not fresh:
            return
        forecast = Forecast(world.line, [worker.view(world.line) for worker in world.workers.values()], self.estimator)
        for job in fresh:
            outlook = forecast.of(job.id)
            if outlook is None:
                continue
            self.causes[outlook.why.code] += 1
            if outlook.forecast is not None and outlook.eta is not None:
                self.told[job.id] = Told(world.now, outlook.forecast, outlook.eta.low, outlook.eta.high)

    def ended(self, world: World, job: SimJob, kept: float, *, done: bool) -> None:
        if not done or job.worker is None or job.started is None:
            return
        rows = max(1, len(job.worker.running) + 1)
        took = world.now - max(job.started, job.worker.starts_at)
        self.estimator.observe(job.worker.name, order_of(job), max(took, 1e-6), rows=rows)
        said = self.told.pop(job.id, None)
        if said is None:
            return
        self.ended_so_far += 1
        actual = world.now - said.at
        if self.ended_so_far > self.after:
            self.inside += said.low <= actual <= said.high
            self.below += actual < said.low
            self.above += actual > said.high
            self.offs.append(math.log(actual / said.forecast))
        self.estimator.calibration.observe(said.forecast, actual)

    @property
    def share_inside(self) -> float:
        return self.inside / max(1, self.inside + self.below + self.above)


def telling_world(seed: int, *, workers: int = 1, users: int = 8, step_level: bool = False) -> tuple[World, Telling]:
    telling = Telling()
    house = [
        SimWorker(name=f"w{n}", models=("a", "b", "c"), rows=4, step_level=step_level, share=0.15, speed=1.0 + 0.3 * n) for n in range(workers)
    ]
    kinds = [
        SimUser(
            name=UserId(f"u{n:02d}"),
            backlog=3 if n < users // 3 else 0,
            every=60.0 * users / workers / 4 if n >= users // 3 else float("inf"),
            burst=1 + n % 3,
            models=("a", "b", "c")[n % 3 :][:2] or ("a",),
            costs=(2.0, 4.0, 8.0),
            starts=float(n),
        )
        for n in range(users)
    ]
    rules = Rules(swap=36.0, lanes=(("normal", 0.0),), window=36.0, rider_window=36.0, cost_max=32.0, cost_error=0.5)
    return World(seed=seed, rules=rules, workers=house, users=kinds, watchers=(telling,)), telling

