"""Small worlds in which one rule alone decides who gets what. Solo seconds served, to be held against what is right."""

from math import inf

from jobs.fairness import Rules
from jobs.job import UserId
from tests.fairness.bounds import watchers
from tests.fairness.world import Chances, SimUser, SimWorker, World

A, B, C, D = (UserId(name) for name in "ABCD")
ONE_LANE = (("normal", 0.0),)


def rules(window: float = 36.0, **changes: object) -> Rules:
    given: dict = {"swap": window, "lanes": ONE_LANE, "window": window, "rider_window": window, "cost_max": 32.0, "cost_error": 0.0}
    return Rules(**{**given, "old_after": inf, **changes})


def served(world: World, since: float = 0.0) -> dict[UserId, float]:
    """Solo seconds of finished jobs."""
    found = dict.fromkeys(world.users, 0.0)
    for job, at in world.done:
        if at > since:
            found[job.user] += job.true_cost
    return found


def newcomer() -> World:
    """A works alone for 3,000 s, then B comes: 1,000 each of the next 2,000."""
    return World(
        seed=1,
        rules=rules(),
        workers=[SimWorker(name="w", models=("a",), rows=1, swap=0)],
        users=[SimUser(name=A, backlog=3, costs=(5.0,)), SimUser(name=B, backlog=3, costs=(5.0,), starts=3_000)],
        watchers=watchers(),
    )


def restarted() -> World:
    """The host restarts while A and B have the whole pass and C waits: 1,333 each of the next 4,000."""
    world = World(
        seed=1,
        rules=rules(),
        workers=[SimWorker(name="w", models=("a",), rows=4, swap=0, share=1.0)],
        users=[SimUser(name=name, backlog=3, costs=(5.0,)) for name in (A, B, C)],
        watchers=watchers(),
    )
    world.at(2_001.0, world.restart)
    return world


def endless_pass() -> World:
    """A and B join each other's pass for ever, C has another model: 2,000 of 6,000 for C if joining had no end."""
    return World(
        seed=1,
        rules=rules(),
        workers=[SimWorker(name="w", models=("a", "b"), rows=4, step_level=True, share=0.1, swap=12)],
        users=[
            SimUser(name=A, backlog=3, models=("a",), costs=(1.0,)),
            SimUser(name=B, backlog=3, models=("a",), costs=(10.0,)),
            SimUser(name=C, backlog=3, models=("b",), costs=(5.0,)),
        ],
        watchers=watchers(),
    )


def flood(users: int = 60) -> World:
    """Sixty people with three models: the cycle is longer than T_age, so everybody is old."""
    return World(
        seed=1,
        rules=rules(old_after=60.0),
        workers=[SimWorker(name="w", models=("a", "b", "c"), rows=1, swap=12)],
        users=[SimUser(name=UserId(f"u{n:02d}"), backlog=2, models=("abc"[n % 3],), costs=(4.0,)) for n in range(users)],
        watchers=watchers(),
    )


def unlucky(*, poison: bool) -> World:
    """A loses 60 % of the tries, by the worker's fault or by its own."""
    blamed = {"poison": 0.6} if poison else {"unlucky": 0.6}
    return World(
        seed=1,
        rules=rules(),
        workers=[SimWorker(name="w", models=("a",), rows=1, swap=0)],
        users=[SimUser(name=A, backlog=3, costs=(5.0,), **blamed), *(SimUser(name=n, backlog=3, costs=(5.0,)) for n in (B, C))],
        watchers=watchers(),
    )


def two_pools() -> World:
    """Models a and b are on GPU 1, b on GPU 2 as well. A asks for both, B and C for a: a needs GPU 1."""
    return World(
        seed=1,
        rules=rules(window=12.0),
        workers=[SimWorker(name="w1", models=("a", "b"), rows=1, swap=0), SimWorker(name="w2", models=("b",), rows=1, swap=0, speed=0.05)],
        users=[
            SimUser(name=A, backlog=8, models=("a", "b"), costs=(5.0,)),
            SimUser(name=B, backlog=3, models=("a",), costs=(5.0,)),
            SimUser(name=C, backlog=3, models=("a",), costs=(5.0,)),
        ],
        watchers=watchers(),
    )


def capped() -> World:
    """X sits at the cap on a slow GPU. If the clock waited for X, whoever comes new would start far behind everybody."""
    return World(
        seed=1,
        rules=rules(),
        workers=[
            SimWorker(name="slow", models=("a", "x"), rows=2, swap=0, speed=0.01),
            SimWorker(name="fast", models=("a", "x"), rows=1, swap=0, speed=3.0),
        ],
        users=[
            SimUser(name=UserId("X"), backlog=4, models=("x",), costs=(32.0,)),
            *(SimUser(name=n, backlog=3, models=("a",), costs=(4.0,)) for n in (A, B)),
            *(SimUser(name=UserId(f"n{n}"), backlog=3, models=("a",), costs=(4.0,), starts=500.0 + 100 * n) for n in range(4)),
        ],
        watchers=watchers(),
        chances=Chances(),
    )
