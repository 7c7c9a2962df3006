"""The theorems of docs/fairness.md, held against the real planner in worlds drawn at random and built to hurt."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.fairness import Rules
from jobs.job import UserId
from tests.fairness.bounds import SLACK, Swaps, Verdict, watchers
from tests.fairness.world import Chances, SimUser, SimWorker, World
from tests.fairness.worlds import judged

WORLDS = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
SEEDS = st.integers(0, 2**31)


def assert_kept(found: Verdict) -> None:
    assert found.jobs > 0
    assert found.drift <= 1 + SLACK, "theorem 1: two who always wait drift apart by less than the bound"
    assert found.comings <= 1 + SLACK, "theorem 1': whoever comes and goes gains nothing by it"
    assert found.starving <= 1 + SLACK, "theorem 2: what others get while somebody waits is bounded"
    assert found.hook <= 1 + SLACK, "every lease is within its window of the least account"
    assert found.band <= 1 + SLACK, "band lemma"
    assert found.misread == 0, "lemma 0: the planner's least account is the least account"
    assert not found.idle, "no worker idles while somebody waits for it"


@WORLDS
@given(SEEDS)
def test_the_promises_hold_in_random_worlds(seed):
    assert_kept(judged(seed * 2, jobs=120))


@WORLDS
@given(SEEDS)
def test_the_promises_hold_in_worlds_built_to_hurt(seed):
    assert_kept(judged(seed * 2 + 1, jobs=120))


@pytest.mark.parametrize("seed", [1866])
def test_the_promises_hold_in_every_world_that_once_broke_one(seed):
    """1866: a weight that rose while dear jobs ran lowered the account to the new ceiling, and their refunds were a gift on top."""
    assert_kept(judged(seed))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 200, 25))
def test_the_promises_hold_in_two_hundred_known_worlds(first):
    for seed in range(first, first + 25):
        assert_kept(judged(seed))


@settings(max_examples=8, deadline=None)
@given(SEEDS, st.sampled_from((12.0, 36.0)), st.integers(1, 3))
def test_a_model_leaves_only_after_its_leader_was_charged_the_handicap(seed, handicap, rows):
    """Theorem 3 on one worker with one lane, exact costs, no refunds and no forced swaps."""
    swaps = Swaps()
    rules = Rules(
        swap=handicap,
        window=handicap,
        rider_window=handicap,
        lanes=(("normal", 0.0),),
        cost_max=8.0,
        cost_error=0.0,
        old_after=1e12,
        active_max=4,  # so that a leader and two more of theirs in one pass do not reach it
    )
    users = [
        SimUser(name=UserId(f"u{n}"), backlog=3, models=("abc"[n % 3],), costs=(1.0, 2.0, 8.0), weight=(1.0, 2.0)[n % 2]) for n in range(7)
    ]
    worker = SimWorker(name="w", models=("a", "b", "c"), rows=rows, share=0.4)
    World(seed=seed, rules=rules, workers=[worker], users=users, watchers=(swaps,), chances=Chances()).run(600)
    assert swaps.seen >= 1
    assert swaps.least >= 1 - 1e-9


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(SEEDS)
def test_differences_inside_a_pool_survive_a_change_of_the_fleet(seed):
    """Workers come and go; the theorems hold in every interval between two changes, over the accounts carried across."""
    rules = Rules(swap=24.0, window=36.0, rider_window=36.0, cost_max=8.0, cost_error=0.0)
    fleet = [SimWorker(name=f"w{n}", models=models, rows=2) for n, models in enumerate((("a", "b"), ("a",), ("b", "c")))]
    users = [SimUser(name=UserId(f"u{n}"), backlog=3, models=("ab", "b", "bc", "a")[n % 4], costs=(1.0, 8.0)) for n in range(8)]
    world = World(seed=seed, rules=rules, workers=fleet, users=users, watchers=watchers())
    world.at(100, lambda: world.refit([*fleet, SimWorker(name="w3", models=("a", "b", "c"), rows=4)]))
    world.at(200, lambda: world.refit([SimWorker(name="w3", models=("a", "b"), rows=4), *fleet]))
    world.at(300, lambda: world.refit(fleet))
    world.run(400)
    drift, comings, starving, hook = world.watchers
    assert max(drift.ratio, comings.ratio, starving.ratio, hook.ratio) <= 1 and not hook.misread
