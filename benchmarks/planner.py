"""How long planning for one free worker takes with a million jobs in the line, against the same with ten thousand.

Steady state: each round plans for the next of a thousand workers, takes the plan over, lets the jobs of an earlier round end and as many
new ones come. ``p99_ms`` is the plan alone, ``growth`` its ratio to the small line, measured in the same run in turns; ``round_p99_ms`` is
everything the claim does in memory. CPU time of the thread, so that neighbours on the machine do not count; wall time stands beside it.
"""

import argparse
import gc
import json
import random
import resource
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.discord import percentile
from jobs.abilities import Abilities, Ability
from jobs.batch import BatchKey
from jobs.fairness import Rules
from jobs.job import JobId, UserId
from jobs.line import Line, WaitingJob
from jobs.planner import WorkerView, commit, make_plan

MODELS = tuple(f"model-{n}" for n in range(8))
SIZES = (512, 768, 1024, 1280)
LANES = ("quick", "normal", "bulk")
WORKERS = 1_000


@dataclass
class Timings:
    """Milliseconds."""

    plan: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    all: list[float] = field(default_factory=list)
    leases: int = 0


class House:
    """A line of ``jobs`` jobs of ``people`` people, and a thousand workers."""

    def __init__(self, *, jobs: int, people: int, seed: int) -> None:
        self.draw = random.Random(seed)
        self.keys = [
            BatchKey(kind="text_to_image", model=model, width=size, height=size, detail='[20,5.0,null,null,null,null,[]]')
            for model in MODELS
            for size in SIZES
        ]
        self.people = [UserId(f"discord:{n:09d}") for n in range(people)]
        self.place = 0
        workers = tuple(Ability(worker=f"gpu-{n:04d}", models=frozenset(MODELS)) for n in range(WORKERS))
        self.line = Line(Rules())
        started = time.thread_time()
        self.line.load(waiting=[self.job(self.people[n % people]) for n in range(jobs)], abilities=Abilities(workers=workers))
        self.load_s = time.thread_time() - started
        self.running: deque[list[JobId]] = deque()
        self.views = [
            WorkerView(
                name=worker.worker,
                models=worker.models,
                room=8,
                loaded=frozenset({self.draw.choice(MODELS)}),
                step_level=frozenset(MODELS),
            )
            for worker in workers
        ]
        self.timings = Timings()

    def job(self, user: UserId) -> WaitingJob:
        """One more request."""
        self.place += 1
        return WaitingJob(
            id=JobId(f"{self.place:026d}"),
            user_id=user,
            key=self.draw.choice(self.keys),
            place=self.place,
            cost=self.draw.choice((2.0, 5.0, 12.0)),
            lane=self.draw.choice(LANES),
        )

    def round(self, number: int) -> None:
        """Plan for one worker, and let as much end as began."""
        view, now = self.views[number % WORKERS], time.thread_time
        self.line.wake(float(number))
        begun, wall = now(), time.perf_counter()
        plan = make_plan(self.line, view)
        self.timings.plan.append((now() - begun) * 1000)
        self.timings.wall.append((time.perf_counter() - wall) * 1000)
        commit(self.line, plan)
        self.timings.leases += len(plan.leases)
        self.running.append([lease.job.id for lease in plan.leases])
        if len(self.running) > 50:
            for job_id in self.running.popleft():
                user = self.line.active[job_id].user_id
                self.line.ends(job_id, self.draw.uniform(0.7, 1.3))
                self.line.waits(self.job(user))
        self.timings.all.append((now() - begun) * 1000)


def measure(*, jobs: int, rounds: int) -> dict[str, float]:
    small, big = House(jobs=10_000, people=1_000, seed=1), House(jobs=jobs, people=jobs // 10, seed=2)
    gc.collect()
    gc.freeze()  # as a host does after reading a long line: a full collection over it takes longer than a plan
    for number in range(rounds + 100):
        if number == 100:
            small.timings, big.timings = Timings(), Timings()
        small.round(number)
        big.round(number)
    tell: Callable[[list[float]], float] = lambda values: percentile([value * 1000 for value in values], 0.99) / 1000  # noqa: E731  (one use)
    p99, before = tell(big.timings.plan), tell(small.timings.plan)
    return {
        "jobs": jobs,
        "p50_ms": round(sorted(big.timings.plan)[rounds // 2], 3),
        "p99_ms": round(p99, 3),
        "small_p99_ms": round(before, 3),
        "growth": round(p99 / before, 2),
        "wall_p99_ms": round(tell(big.timings.wall), 3),
        "round_p99_ms": round(tell(big.timings.all), 3),
        "leases_a_plan": round(big.timings.leases / rounds, 2),
        "load_s": round(big.load_s, 1),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds over a line of 200,000 jobs")
    given = parser.parse_args()
    figures = measure(jobs=200_000, rounds=1_000) if given.quick else measure(jobs=1_000_000, rounds=3_000)
    print(f"planning for one free worker, {figures['jobs']:,.0f} jobs of {figures['jobs'] / 10:,.0f} people, {WORKERS:,} workers")
    for name, value in figures.items():
        print(f"  {name:14} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
