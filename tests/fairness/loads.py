"""The loads on which planners are compared: who asks for what, of which machines."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from jobs.fairness import Rules
from jobs.job import UserId
from jobs.planner import make_plan
from tests.fairness.bounds import Drift
from tests.fairness.world import Planner, SimUser, SimWorker, World


@dataclass(frozen=True, kw_only=True)
class Load:
    """``busy`` people always want more, one of them with a long list; ``light`` ones ask now and then. Seconds."""

    title: str
    gpus: int
    models: int
    rows: int
    step_level: bool
    share: float
    swap: float
    costs: tuple[float, ...]
    busy: int
    light: int
    every: float
    cost_max: float = 32.0


LOADS: dict[str, Load] = {
    "1gpu": Load(
        title="1 GPU, 3 models, 512 px, B 4, S 12", gpus=1, models=3, rows=4, step_level=False, share=0.15, swap=12, costs=(2.0, 3.0, 5.0),
        busy=9, light=6, every=180,
    ),
    "1gpu_large": Load(
        title="1 GPU, 2 models, 1024 px, B 1, S 20", gpus=1, models=2, rows=1, step_level=False, share=1.0, swap=20,
        costs=(8.0, 12.0, 20.0), busy=6, light=4, every=400,
    ),
    "4gpu": Load(
        title="4 GPUs, 6 models, step level, B 8, S 20", gpus=4, models=6, rows=8, step_level=True, share=0.2, swap=20,
        costs=(4.0, 8.0, 16.0), busy=30, light=10, every=90,
    ),
    "4gpu_clips": Load(
        title="4 GPUs, 3 models, clips of 10–300 s, B 1, S 30", gpus=4, models=3, rows=1, step_level=False, share=1.0, swap=30,
        costs=(10.0, 60.0, 300.0), busy=12, light=5, every=900, cost_max=320,
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Score:
    """``work`` is solo seconds a second and GPU; Jain and min/max are over the busy people's service; ``slow`` over the light ones."""

    work: float
    swaps_per_hour: float
    jain: float
    min_over_max: float
    slow_p50: float
    slow_p95: float
    never: int
    drift: float


def people(load: Load, seed: int) -> list[SimUser]:
    draw, models = random.Random(f"load {seed}"), "abcdefgh"[: load.models]
    busy = [
        SimUser(
            name=UserId(f"busy{n:02d}"),
            backlog=30 if n == 0 else 3,
            models=tuple(draw.sample(models, 1 if n % 3 else 2)),
            # Half of them ask for small things only: rules that count turns are unfair to those.
            costs=load.costs[:1] if n % 2 else load.costs,
        )
        for n in range(load.busy)
    ]
    light = [
        SimUser(name=UserId(f"light{n:02d}"), every=load.every, models=(draw.choice(models),), costs=load.costs[:2], starts=draw.uniform(0, 60))
        for n in range(load.light)
    ]
    return [*busy, *light]


def house(load: Load) -> list[SimWorker]:
    models = tuple("abcdefgh"[: load.models])
    return [
        SimWorker(name=f"gpu{n}", models=models, rows=load.rows, step_level=load.step_level, share=load.share, swap=load.swap)
        for n in range(load.gpus)
    ]


def rules_for(load: Load, times: float = 3.0, riders: float | None = None) -> Rules:
    window = times * load.swap
    return Rules(
        swap=window, window=window, rider_window=1.5 * window if riders is None else riders, lanes=(("normal", 0.0),),
        cost_max=load.cost_max, cost_error=0.0, old_after=600.0 if load.cost_max < 100 else 1_800.0, forced_every=10 * load.swap,
    )  # fmt: skip


def run(load: Load, *, seed: int, seconds: float, planner: Callable[[], Planner] | None = None, times: float = 3.0, riders: float | None = None) -> Score:
    drift = Drift()
    world = World(
        seed=seed,
        rules=rules_for(load, times, riders),
        workers=house(load),
        users=people(load, seed),
        watchers=(drift,),
        planner=planner() if planner else make_plan,
    )
    world.run(seconds)
    return score(world, seconds, drift.ratio if planner is None and riders != inf else 0.0)


def score(world: World, seconds: float, drift: float) -> Score:
    served = dict.fromkeys((name for name in world.users if name.startswith("busy")), 0.0)
    slow: list[float] = []
    for job, at in world.done:
        if job.user in served:
            served[job.user] += job.true_cost
        else:
            slow.append((at - job.submitted) / job.true_cost)
    slow.sort()
    figures = list(served.values())
    return Score(
        work=sum(worker.served for worker in world.workers.values()) / seconds / len(world.workers),
        swaps_per_hour=sum(worker.swaps for worker in world.workers.values()) / seconds * 3600 / len(world.workers),
        jain=sum(figures) ** 2 / (len(figures) * sum(figure**2 for figure in figures)),
        min_over_max=min(figures) / max(figures),
        slow_p50=slow[len(slow) // 2] if slow else inf,
        slow_p95=slow[int(len(slow) * 0.95)] if slow else inf,
        never=sum(figure == 0 for figure in figures),
        drift=drift,
    )
