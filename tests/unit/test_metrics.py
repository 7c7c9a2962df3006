"""Live figures, from facts alone."""

import pytest

from jobs.job import JobId
from jobs.metrics import Meter, band_worst, jain, window_for
from jobs.planner import commit, make_plan
from tests.unit.test_line import job, line, view


def serve(queue, meter: Meter, *, kept: float = 1.0) -> None:
    plan = make_plan(queue, view(room=1))
    meter.planned(queue, plan)
    commit(queue, plan)
    for lease in plan.leases:
        queue.wake(queue.now + 10)
        queue.ends(lease.job.id, kept)
        meter.ended(lease.job.id, now=queue.now, kept=kept, done=kept > 0, lane="normal", cost=10.0, since=0.0, executed=4.0)


def test_jains_index_is_one_when_all_have_the_same_and_one_nth_when_one_has_all():
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert jain([9.0, 0.0, 0.0]) == pytest.approx(1 / 3)


def test_two_who_always_wait_are_served_alike():
    queue = line(*(job(user, n * 20 + m) for n, user in enumerate("xy") for m in range(10)))
    meter = Meter(queue.rules)
    for _ in range(10):
        meter.tick(queue)
        serve(queue, meter)
    figures = meter.figures(queue)
    assert figures.people == 2
    assert figures.jain == pytest.approx(1.0)
    assert figures.mean_batch == 1.0
    assert figures.slowdown_p50["normal"] > 1
    assert figures.wait_p95 >= figures.wait_p50 >= 0
    assert figures.prediction_error == 1.0
    assert set(figures.slow_by_person) == {"x", "y"}
    assert 0 <= figures.band_worst <= 1


def test_swaps_and_refunds_are_counted():
    queue = line(job("x", 0, "a"), job("y", 1, "b"))
    meter = Meter(queue.rules, window=3_600)
    serve(queue, meter, kept=0.0)
    serve(queue, meter)
    figures = meter.figures(queue)
    assert figures.swaps_per_hour == 1
    assert figures.refunded_seconds == 4.0


def test_what_is_older_than_the_window_is_forgotten():
    queue = line(job("x", 0))
    meter = Meter(queue.rules, window=60)
    serve(queue, meter)
    queue.wake(1_000)
    figures = meter.figures(queue)
    assert figures.mean_batch is None and figures.wait_p50 is None and not figures.slow_by_person
    assert figures.jain is None


def test_an_end_of_a_job_from_before_the_start_is_not_counted():
    queue = line()
    meter = Meter(queue.rules)
    meter.ended(JobId("unknown"), now=1.0, kept=1.0, done=True, lane="normal", cost=1.0, since=0.0)
    assert meter.figures(queue).slow_by_person == {}


def test_an_account_out_of_its_band_raises_the_alarm():
    queue = line(job("x", 0))
    assert band_worst(queue) <= 1
    pool = next(iter(queue.books.pools))
    queue.books._v[job("x", 0).user_id, pool] = 1e6
    assert band_worst(queue) > 1


def test_the_window_is_long_enough_for_the_bound_to_be_small():
    queue = line(job("x", 0, weight=1.0))
    assert window_for(queue, 0.5) == pytest.approx(10 * (queue.rules.reach + queue.rules.overshoot) / 0.5)
