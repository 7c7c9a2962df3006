"""Worlds drawn from a seed: random ones, and some that are built to hurt."""

import random

from jobs.fairness import Rules
from jobs.job import UserId
from jobs.planner import make_plan
from tests.fairness.bounds import Verdict, verdict, watchers
from tests.fairness.world import Chances, Planner, SimUser, SimWorker, World

COST_MAX = 32.0
MODELS = "abcdefgh"


def rules_of(draw: random.Random, error: float) -> Rules:
    window = draw.choice((0.0, 12.0, 36.0, 120.0))
    lanes = (("quick", 0.0), ("normal", window / 8), ("bulk", window / 4)) if draw.random() < 0.5 else (("normal", 0.0),)
    return Rules(
        swap=window * draw.choice((0.75, 1.0)),
        lanes=lanes,
        window=window,
        rider_window=window * draw.choice((0.5, 1.0, 1.0)),
        cost_max=COST_MAX,
        cost_error=error,
        old_after=draw.choice((30.0, 300.0, 1e9)),
        forced_every=120.0,
        active_max=draw.choice((2, 2, 2, 4)),
    )


def workers_of(draw: random.Random) -> list[SimWorker]:
    count, models = draw.choice((1, 1, 2, 3, 4, 8)), draw.randint(1, 8)
    pooled = count > 1 and models > 1 and draw.random() < 0.3
    step_level, rows, share = draw.random() < 0.5, draw.randint(1, 8), draw.choice((0.1, 0.4, 0.8, 1.0))
    swap = draw.choice((5.0, 12.0, 30.0))
    return [
        SimWorker(
            name=f"w{n}",
            models=tuple(MODELS[:models] if not pooled or n % 2 else MODELS[: max(1, models // 2)]),
            speed=draw.choice((0.3, 1.0, 1.0, 3.0)),
            rows=rows,
            step_level=step_level,
            share=share,
            swap=swap,
        )
        for n in range(count)
    ]


def users_of(draw: random.Random, models: tuple[str, ...]) -> list[SimUser]:
    users: list[SimUser] = []
    for n in range(draw.randint(4, 14)):
        kind = draw.choice(("busy", "busy", "bulk", "on_off", "poisson"))
        users.append(
            SimUser(
                name=UserId(f"u{n:02d}"),
                weight=draw.choice((0.5, 1.0, 1.0, 2.0, 5.0)),
                backlog={"busy": 3, "bulk": 20}.get(kind, 0),
                every={"on_off": 150.0, "poisson": 20.0}.get(kind, float("inf")),
                burst=8 if kind == "on_off" else 1,
                models=tuple(draw.sample(models, draw.randint(1, min(3, len(models))))),
                costs=draw.choice(((1.0,), (COST_MAX,), (0.2, 1.0, 4.0, COST_MAX), (1.0, 10.0))),
                lanes=draw.choice((("normal",), ("quick",), ("bulk", "quick", "normal"))),
                rows=draw.choice(((1,), (1,), (1, 2, 4))),
                starts=draw.choice((0.0, 0.0, 100.0)),
                poison=draw.choice((0.0, 0.0, 0.0, 0.2)),
                unlucky=draw.choice((0.0, 0.0, 0.0, 0.2)),
            )
        )
    return users


def random_world(seed: int, *, jobs: int = 250, planner: Planner = make_plan, world: type[World] = World) -> World:
    draw = random.Random(f"world {seed}")
    error = draw.choice((0.0, 0.2, 0.5))
    workers = workers_of(draw)
    models = tuple(sorted({model for worker in workers for model in worker.models}))
    chances = Chances(
        fault=draw.choice((0.0, 0.0, 0.1, 0.3)),
        cancel=draw.choice((0.0, 0.0, 0.2, 0.5)),
        error=error,
        bias=draw.choice((-1, 0, 1)),
        restart_every=draw.choice((float("inf"), 100.0)),
        reweigh_every=draw.choice((float("inf"), float("inf"), 50.0)),
    )
    return world(
        seed=seed,
        rules=rules_of(draw, error),
        workers=workers,
        users=users_of(draw, models),
        chances=chances,
        watchers=watchers(),
        planner=planner,
        jobs_max=jobs,
        sizes=draw.choice(((64,), (64, 96))),
    )


def adversarial_world(seed: int, *, jobs: int = 250, planner: Planner = make_plan, world: type[World] = World) -> World:
    """The dearest and the cheapest jobs side by side, one popular key that never runs dry, one-way errors, bursts at one moment."""
    draw = random.Random(f"hurt {seed}")
    error = draw.choice((0.0, 0.5, 0.5))
    window = draw.choice((12.0, 36.0, 60.0))
    popular = [
        SimUser(name=UserId(f"p{n}"), backlog=6, models=("a",), costs=draw.choice(((1.0,), (COST_MAX,), (1.0, COST_MAX))))
        for n in range(draw.randint(2, 6))
    ]
    lonely = [
        SimUser(name=UserId(f"l{n}"), backlog=3, models=("b",), costs=draw.choice(((1.0,), (COST_MAX,))), weight=draw.choice((0.5, 1.0, 5.0)))
        for n in range(draw.randint(1, 3))
    ]
    bursts = [
        SimUser(name=UserId(f"b{n}"), every=200.0, burst=20, starts=draw.choice((0.0, 60.0)), models=("a", "b", "c"), costs=(0.2, COST_MAX))
        for n in range(draw.randint(0, 3))
    ]
    lanes = (("quick", 0.0), ("normal", 0.0), ("bulk", window / 4))
    for user in (*popular, *lonely, *bursts):
        user.lanes = draw.choice((("normal",), ("quick", "bulk")))
    workers = [
        SimWorker(
            name=f"w{n}",
            models=("a", "b", "c"),
            rows=draw.choice((4, 8)),
            step_level=draw.random() < 0.7,
            share=draw.choice((0.1, 0.3)),
            swap=draw.choice((12.0, 30.0)),
            speed=draw.choice((1.0, 3.0)),
        )
        for n in range(draw.choice((1, 1, 2, 4)))
    ]
    return world(
        seed=seed,
        rules=Rules(
            swap=window * 0.75, lanes=lanes, window=window, rider_window=window, cost_max=COST_MAX, cost_error=error, old_after=120.0
        ),
        workers=workers,
        users=[*popular, *lonely, *bursts],
        chances=Chances(error=error, bias=draw.choice((-1, 0, 1)), fault=draw.choice((0.0, 0.3)), cancel=draw.choice((0.0, 0.3))),
        watchers=watchers(),
        planner=planner,
        jobs_max=jobs,
    )


def judged(seed: int, *, jobs: int = 250, planner: Planner = make_plan, world: type[World] = World) -> Verdict:
    """Odd seeds are adversarial."""
    make = adversarial_world if seed % 2 else random_world
    return verdict(make(seed, jobs=jobs, planner=planner, world=world).run(4_000))
