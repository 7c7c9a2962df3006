"""What a waiting job is told: one cause of a closed list, people and passes before it, a range or nothing."""

import math
import random
from typing import get_args

import pytest

from jobs.abilities import Abilities
from jobs.desk import QueueSnapshot, SharedForecast
from jobs.estimate import Calibration, Estimator
from jobs.fairness import Account, Pool, Rules
from jobs.forecast import Cause, Forecast
from jobs.job import JobId, UserId
from jobs.request import Order
from tests.unit.test_line import BOTH, job, key, line, take, view

WITH_LORA = '[20,5.0,null,null,null,null,[["sketch",1.0]]]'
RUNS_A = {"running": (key(),), "running_rows": 1, "room": 3}


def estimator(*models: str) -> Estimator:
    known = Estimator()
    for model in models or ("a", "b"):
        known.observe("w1", Order(prompt="x", model=model, width=64, height=64, steps=20, guidance=5, seed=1), 10.0)
    return known


def why(queue, job_id: str, *views):
    found = Forecast(queue, views, estimator()).of(JobId(job_id))
    return None if found is None else (found.why.code, found.why.details)


def resting(queue):
    queue.resting = frozenset({"w1"})
    return queue


def at(accounts: dict[str, float], *jobs, rules: Rules | None = None):
    """A line in which people stand where they are said to."""
    queue = line(rules=rules)
    queue.load(
        waiting=jobs,
        accounts=[Account(user_id=UserId(user), pool="a", v=v) for user, v in accounts.items()],
        pools=[Pool(id="a", clock=min(accounts.values()), needs=frozenset({"a", "b"}), workers=frozenset({"w1"}))],
        abilities=Abilities(workers=(BOTH,)),
    )
    return queue


CASES = {
    "backoff": lambda: why(line(job("a", 0, not_before=30.0)), "a0", view()),
    "offline": lambda: why(line(job("a", 0)), "a0"),
    "resting": lambda: why(resting(line(job("a", 0))), "a0", view()),
    "no_lora": lambda: why(line(job("a", 0, key=key(detail=WITH_LORA))), "a0", view()),
    "no_worker": lambda: why(line(job("a", 0, "c")), "a0", view()),
    "next": lambda: why(line(job("a", 0)), "a0", view()),
    "waiting_pass": lambda: why(line(job("a", 0, "b")), "a0", view(**RUNS_A, free_in=4.2)),
    "riding": lambda: why(line(job("a", 0), job("b", 1)), "b1", view()),
    "cold": lambda: why(at({"a": 0, "b": 0}, job("a", 0, "a"), job("b", 1, "b")), "b1", view()),
    "ahead": lambda: why(at({"a": 0, "b": 55}, job("a", 0, "a"), job("b", 1, "b")), "b1", view(loaded=frozenset("ab"))),
    "own": lambda: why(line(job("a", 0), job("a", 1, "b")), "a1", view(loaded=frozenset("ab"))),
    "forced": lambda: why(at({"a": 0, "b": 0}, job("a", 0, "a"), job("b", 1, "b"), rules=Rules(old_after=0.0)), "b1", view()),
    "lane": lambda: why(at({"a": 0, "b": 0}, job("a", 0, "a"), job("b", 1, "b", lane="bulk")), "b1", view(loaded=frozenset("ab"))),
}


def test_a_worker_that_rests_is_nobodys_next():
    queue = line(job("a", 0))
    queue.resting = frozenset({"w1"})

    assert why(queue, "a0", view())[0] == "resting"
    assert why(queue, "a0")[0] == "offline"
    assert why(queue, "a0", view("w2"))[0] == "no_worker"  # who could make it is not there at all
    assert Forecast(queue, [view()], estimator()).of(JobId("a0")).eta is None


@pytest.mark.parametrize("cause", CASES)
def test_each_cause_is_told_where_it_holds(cause):
    found = CASES[cause]()
    assert found is not None and found[0] == cause


def test_the_cap_is_told_to_somebody_with_two_on_the_way():
    queue = line(job("a", 0), job("a", 1), job("a", 2))
    assert why(queue, "a2", view())[0] == "cap"
    take(queue, view())
    assert why(queue, "a2", view(**RUNS_A)) == ("cap", {"n": 2})


def test_no_cause_is_missing_here():
    assert {*CASES, "cap"} == set(get_args(Cause))


def test_figures_are_those_of_the_accounts():
    assert CASES["ahead"]() == ("ahead", {"n": 1, "seconds": 55})
    assert CASES["cold"]() == ("cold", {"model": "b", "seconds": 36})
    assert CASES["waiting_pass"]() == ("waiting_pass", {"seconds": 5})


class Store:
    """Only what a snapshot asks of it."""

    def __init__(self, queue) -> None:
        self.queue = queue

    def peek(self, question):
        return question(self.queue)


def look(queue, shared: SharedForecast) -> QueueSnapshot:
    return QueueSnapshot(Store(queue), [view(loaded=frozenset("ab"))], estimator(), shared)  # type: ignore[arg-type]


def test_a_long_line_is_read_once_a_second_for_whoever_asks():
    queue, shared = line(*(job(f"person{n:03d}", n, "a") for n in range(150))), SharedForecast(estimator())
    queue.wake(100.0)
    assert look(queue, shared).place(JobId("person149149")) == 150
    for n in range(100):
        queue.leaves(JobId(f"person{n:03d}{n}"))
    queue.waits(job("late", 200, "a"))
    queue.waits(job("later", 201, "a"))
    more = [job(f"more{n:03d}", 300 + n, "a") for n in range(60)]
    for one in more:
        queue.waits(one)

    queue.wake(100.9)
    assert look(queue, shared).place(JobId("person149149")) == 150
    assert look(queue, shared).place(JobId("late200")) == 151  # whoever came meanwhile is placed too
    queue.wake(101.0)
    assert look(queue, shared).place(JobId("person149149")) == 50


def test_a_snapshot_says_of_the_line_what_it_is_at_the_question():
    queue = line(job("a", 0, "a"))
    snapshot = look(queue, SharedForecast(estimator()))
    assert snapshot.place(JobId("a0")) == 1
    take(queue, view(loaded=frozenset("ab")))
    queue.ends(JobId("a0"), 1.0)
    queue.waits(job("a", 1, "b"))
    outlook = snapshot.outlook(JobId("a1"))
    assert outlook is not None
    assert (outlook.why.code, outlook.people) == ("next", 0)


def test_a_missing_lora_is_named():
    assert CASES["no_lora"]() == ("no_lora", {"lora": "sketch"})


def test_position_counts_people_not_rows():
    queue = line(*(job("many", n, "b") for n in range(10)), job("one", 20, "b"), *(job("other", n, "b") for n in range(30, 33)))
    take(queue, view(room=1))  # many0 leads; now the other two stand lower
    assert Forecast(queue, [view()], estimator()).of(JobId("many9")).people == 2
    assert Forecast(queue, [view()], estimator()).of(JobId("one20")).people == 0


def test_what_nobody_measured_has_no_time():
    queue = line(job("a", 0), job("b", 1, "b"))
    forecast = Forecast(queue, [view()], estimator("a"))
    assert forecast.of(JobId("a0")).eta is not None
    assert forecast.of(JobId("b1")).eta is None
    assert forecast.of(JobId("nobody")) is None


def test_more_before_means_later():
    queue = line(*(job(user, n) for n, user in enumerate("abcdefgh")), *(job("z", n, cost=5.0) for n in range(100, 110)))
    forecast = Forecast(queue, [view()], estimator())
    times = [forecast.of(JobId(f"z{n}")).forecast for n in range(100, 110)]
    assert times == sorted(times)
    assert times[-1] > times[0]


def test_the_work_before_a_job_is_what_a_sum_over_people_says():
    draw = random.Random(3)
    queue = line(rules=Rules(lanes=(("normal", 0.0),)))
    place = 0
    for user in "abcdefghij":
        for _ in range(draw.randint(1, 4)):
            place += 1
            queue.waits(job(user, place, cost=draw.choice((1.0, 4.0, 9.0)), weight=1.0))
    for _ in range(6):
        take(queue, view(room=2))
        for active in list(queue.active):
            queue.ends(active, draw.choice((0.5, 1.0, 1.5)))
    forecast = Forecast(queue, [view()], estimator())
    curve = forecast._curve([view()])
    for point in (0.0, 3.0, 7.5, 12.0, 40.0):
        plain = sum(
            min(cost, max(0.0, point - queue.books.v(user, "a"))) for user in queue.people for cost in queue.queued_in(user).values()
        )
        assert curve.work_before(point) == pytest.approx(plain)


def test_of_ranges_given_four_in_five_hold_whatever_the_noise():
    draw, calibration = random.Random(1), Calibration()
    inside = total = 0
    for n in range(3_000):
        forecast = draw.choice((5.0, 30.0, 200.0))
        took = forecast * (draw.lognormvariate(0.3, 0.8) if forecast > 10 else draw.uniform(0.5, 4.0))
        if n > 300:
            eta = calibration.range(forecast)
            inside, total = inside + (eta.low <= took <= eta.high), total + 1
        calibration.observe(forecast, took)
    assert 0.75 <= inside / total <= 0.85


def test_calibration_survives_its_own_json_and_strange_rows():
    calibration = Calibration()
    for n in range(40):
        calibration.observe(20.0, 20.0 + n)
    again = Calibration()
    again.load({**calibration.dump(), "strange": [1.0], "7": "no list"})
    assert again.range(20.0).high == pytest.approx(calibration.range(20.0).high, rel=1e-3)


def test_a_jobs_first_forecast_is_judged_when_it_is_done():
    queue, known = line(job("a", 0)), estimator("a")
    first = Forecast(queue, [view()], known).of(JobId("a0")).forecast
    queue.wake(5.0)
    Forecast(queue, [view()], known).of(JobId("a0"))
    known.calibration.came("a0", 30.0)
    known.calibration.came("a0", 99.0)
    known.calibration.came("never told", 99.0)
    (off,) = (value for values in known.calibration.off.values() for value in values)
    assert math.exp(off) == pytest.approx(30.0 / first)


def test_a_forecast_that_cannot_be_is_not_learned_from():
    calibration = Calibration()
    calibration.observe(0.0, 5.0)
    calibration.observe(5.0, -1.0)
    assert not calibration.off
    assert math.isfinite(calibration.range(5.0).high)
