"""Every wrong planner of tests/fairness/mutants.py is seen breaking a promise, in a world in which the right one keeps them all."""

from math import isfinite

import pytest

from tests.fairness.bounds import Verdict, verdict
from tests.fairness.mutants import MUTANTS
from tests.fairness.small import capped, newcomer, restarted
from tests.fairness.worlds import judged

KILLED_BY = {
    "charge at finish": 7,
    "lift to the largest account": 11,
    "riders free": 7,
    "riders without window": 7,
    "affinity without window": 5,
    "lane handicap beyond the window": 22,
    "age by submission, unbudgeted": 5,
    "one unit a job": 0,
    "weight multiplied": 0,
    "no correction at the end": 31,
    "refunded twice": 8,
    "plan from stale accounts": 11,
}
"""The seed that shows it, from the history alone."""

SMALL = {
    "no lift on return": (newcomer, 5_000),
    "people at the cap counted in L": (capped, 3_000),
    "clock lost at restart": (restarted, 4_000),
}


def broken(found: Verdict) -> bool:
    """By what was leased, when, and to whom; the accounts are not asked."""
    figures = (found.drift, found.comings, found.starving)
    assert all(isfinite(figure) for figure in figures)
    return max(figures) > 1


@pytest.mark.parametrize("name", KILLED_BY)
def test_a_mutant_is_killed(name):
    seed = KILLED_BY[name]
    assert judged(seed, jobs=200).kept
    with MUTANTS[name].entered():
        assert broken(judged(seed, jobs=200))


@pytest.mark.parametrize("name", SMALL)
def test_a_mutant_is_killed_in_a_small_world(name):
    make, until = SMALL[name]
    assert verdict(make().run(until)).kept
    with MUTANTS[name].entered():
        assert broken(verdict(make().run(until)))


def test_a_riders_window_counted_from_the_leader_is_killed_by_the_hook():
    """It stays under the theorems' bounds, as any window of at most D + R does; the window itself is what it breaks."""
    with MUTANTS["riders' window from the leader"].entered():
        assert max(judged(seed, jobs=200).hook for seed in (0, 2)) > 1


def test_each_mutant_has_its_killer():
    assert set(MUTANTS) == {*KILLED_BY, *SMALL, "riders' window from the leader"}
