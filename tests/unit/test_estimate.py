"""Estimates: learned from ends, honest about their range, kept over a restart."""

import json
import math
import random

import pytest

from jobs.estimate import COLD_START, Estimator, work
from jobs.request import Order


def order(**more) -> Order:
    return Order(**{"prompt": "x", "model": "m", "width": 512, "height": 512, "steps": 4, "guidance": 1.0, "seed": 1, **more})


def passes(estimator: Estimator, gain: dict[int, float], *, worker: str = "w", times: int = 6, noise: float = 0.0) -> None:
    draw = random.Random(1)
    for _ in range(times):
        for rows, seconds in gain.items():
            estimator.observe(worker, order(), seconds * draw.lognormvariate(0, noise), rows=rows)


def test_what_was_never_measured_has_no_time_but_a_cost():
    assert Estimator().predict(order()) is None
    assert Estimator().cost(order()) == pytest.approx(COLD_START * work(order()))
    assert Estimator().kept("w", order(), 5.0) == 1.0


def test_costs_grow_with_steps_pixels_and_pictures():
    estimator = Estimator()
    estimator.observe("w", order(), 1.0)
    assert estimator.cost(order()) == pytest.approx(1.0)
    for more in ({"steps": 8}, {"width": 1024}, {"count": 2}):
        assert estimator.cost(order(**more)) == pytest.approx(2.0)


def test_most_runs_fall_into_their_range():
    draw, estimator, inside, total = random.Random(2), Estimator(), 0, 0
    for n in range(1_500):
        seconds = 3 * draw.lognormvariate(0, 0.25)
        found = estimator.predict(order(), worker="w")
        if n > 50:
            inside, total = inside + (found.low <= seconds <= found.high), total + 1
        estimator.observe("w", order(), seconds)
    assert 0.72 <= inside / total <= 0.88


def test_the_largest_pass_is_where_rows_stop_to_gain():
    estimator = Estimator()
    passes(estimator, {1: 1.0, 2: 1.15, 3: 1.3, 4: 2.4})
    assert estimator.best_rows("w", "m") == 3
    assert estimator.best_rows("w", "other") is None
    large = Estimator()
    passes(large, {1: 1.0, 2: 1.95})
    assert large.best_rows("w", "m") == 1


def test_a_worker_that_only_gained_so_far_may_try_one_row_more():
    estimator = Estimator()
    passes(estimator, {1: 1.0, 2: 1.15, 3: 1.3})
    assert estimator.best_rows("w", "m") == 4


def test_company_is_waited_for_only_where_it_was_measured_to_pay():
    pays, not_worth = Estimator(), Estimator()
    passes(pays, {1: 1.0, 2: 1.2})
    passes(not_worth, {1: 1.0, 2: 1.9})
    assert pays.company("w", "m")[0] <= 0.05
    assert not_worth.company("w", "m") is None
    assert Estimator().company("w", "m") is None


def test_a_faster_worker_is_seen_as_faster():
    estimator = Estimator()
    for _ in range(10):
        estimator.observe("slow", order(), 4.0)
        estimator.observe("fast", order(), 1.0)
    assert estimator.speed("fast") > 1.5 > 0.8 > estimator.speed("slow")
    assert estimator.speed("unknown") == 1.0


def test_a_run_longer_than_expected_keeps_more_of_its_charge():
    estimator = Estimator()
    passes(estimator, {1: 2.0})
    assert estimator.kept("w", order(), 3.0, rows=1) == pytest.approx(1.5)


def test_swaps_are_learned_by_worker():
    estimator = Estimator()
    assert estimator.swap("w", "m") is None
    estimator.observe_swap("w", "m", 20.0)
    assert estimator.swap("w", "m") == pytest.approx(20.0)
    assert estimator.swap("w", "another") == pytest.approx(20.0)


def test_everything_learned_outlives_a_restart():
    estimator, again = Estimator(), Estimator()
    passes(estimator, {1: 1.0, 2: 1.2}, noise=0.2)
    estimator.observe_swap("w", "m", 20.0)
    estimator.calibration.observe(10.0, 12.0)
    again.load(json.loads(json.dumps(estimator.dump())))
    assert again.dump() == estimator.dump()
    assert again.cost(order()) == estimator.cost(order())


def test_rows_of_another_version_are_left_out():
    estimator = Estimator()
    estimator.load({"rates": [["w", "m"], "nonsense"], "swaps": None, "unknown": 1})
    assert estimator.predict(order()) is None


BEYOND_BELIEF = [math.inf, -math.inf, math.nan, 1.7e308, 1e300, -1e300, 0.0, 1e-300, 5e-324]


def figures(estimator: Estimator) -> list[float]:
    eta = estimator.predict(order(), worker="w")
    told = [estimator.cost(order()), estimator.pace("w"), estimator.stretch("w"), estimator.speed("w"), estimator.kept("w", order(), 1.0)]
    return [*told, estimator.swap("w", "m") or 0.0, *((eta.low, eta.high) if eta else ())]


@pytest.mark.parametrize("seconds", BEYOND_BELIEF)
def test_no_measurement_however_strange_makes_a_figure_that_is_not_one(seconds):
    estimator = Estimator()
    for _ in range(20):
        estimator.observe("w", order(), seconds)
        estimator.observe_swap("w", "m", seconds)
        estimator.calibration.observe(seconds, seconds)
        estimator.observe("w", order(), 1.0)
    assert math.isfinite(estimator.kept("w", order(), seconds))
    assert all(math.isfinite(figure) for figure in figures(estimator))
    json.dumps(estimator.dump(), allow_nan=False)
    assert 1e-3 <= estimator.cost(order()) <= 1e6


@pytest.mark.parametrize("rate", [[-487.1, 135728.6, 3], [464.6, 1.0, 3], [math.nan, 1.0, 3], [0.0, math.inf, 3], [0.0, -1.0, 3], [0.0, 1.0, 0], ["x", 1.0, 3]])
def test_what_was_learned_and_stored_before_there_were_limits_is_left_out(rate):
    estimator = Estimator()
    estimator.load({
        "rates": [["w", "m", 0, 0, *rate], ["", "m", 0, 0, *rate]], "swaps": [["w", "m", *rate]], "paces": [["w", "pace", *rate]],
        "calibration": {"1": [math.inf, "x", 0.5]},
    })  # fmt: skip
    assert estimator.dump() == {"rates": [], "swaps": [], "paces": [], "calibration": {"1": [0.5]}}
