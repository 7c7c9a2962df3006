"""What a worker says of its time, beside the host's own clock."""

import math

import pytest

from jobs.stopwatch import LONGEST, Stopwatch


@pytest.fixture
def watch() -> Stopwatch:
    """A run that was ordered at 100 s and told of steps from 104 to 108 s."""
    watch = Stopwatch(ordered=100.0)
    for moment in (104.0, 106.0, 108.0):
        watch.heard_of_a_step(moment)
    return watch


@pytest.mark.parametrize(("said", "believed"), [(7.0, 7.0), (10.0, 10.0), (11.0, 10.0), (1e300, 10.0), (1.0, 4.0), (5e-324, 4.0)])
def test_a_worker_is_believed_within_what_passed_here(watch, said, believed):
    assert watch.believed(said, 110.0) == believed


@pytest.mark.parametrize("said", [math.inf, -math.inf, math.nan, 0.0, -3.0])
def test_what_is_no_time_becomes_what_passed_here(watch, said):
    assert watch.believed(said, 110.0) == 10.0


def test_a_run_taken_up_after_a_restart_began_before_this_clock():
    watch = Stopwatch()
    watch.heard_of_a_step(1000.0)
    watch.heard_of_a_step(1003.0)
    assert watch.believed(60.0, 1004.0) == 60.0
    assert watch.believed(1e300, 1004.0) == LONGEST
    assert watch.believed(math.nan, 1004.0) == 3.0


def test_an_end_at_once_took_some_time():
    assert Stopwatch(ordered=5.0).believed(0.0, 5.0) > 0
    assert Stopwatch().believed(0.0, 5.0) > 0
