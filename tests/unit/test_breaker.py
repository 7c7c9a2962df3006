"""The circuit breaker: three faults in a row keep a worker out, one good run lets it back."""

import pytest

from workers.breaker import Breaker, Circuit


class Time:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def breaker(time):
    return Breaker(now=time, jitter=lambda: 0.5)


def test_two_faults_are_forgiven(breaker):
    breaker.faulted()
    breaker.faulted()
    assert breaker.circuit is Circuit.CLOSED
    assert breaker.room(4, 0) == 4


def test_a_good_run_between_faults_starts_the_count_anew(breaker):
    for _ in range(5):
        breaker.faulted()
        breaker.faulted()
        breaker.delivered()
    assert breaker.circuit is Circuit.CLOSED


def test_three_in_a_row_open_it_and_time_half_opens_it(breaker, time):
    for _ in range(3):
        breaker.faulted()
    assert breaker.circuit is Circuit.OPEN
    assert breaker.room(4, 0) == 0
    time.now += 15.1
    assert breaker.circuit is Circuit.HALF_OPEN
    assert breaker.room(4, 0) == 1
    assert breaker.room(4, 1) == 0


def test_a_failed_canary_doubles_the_pause_and_a_good_one_closes_it(breaker, time):
    for _ in range(3):
        breaker.faulted()
    time.now += 15.1
    breaker.faulted()
    time.now += 15.1
    assert breaker.circuit is Circuit.OPEN
    time.now += 15
    assert breaker.circuit is Circuit.HALF_OPEN
    breaker.delivered()
    assert breaker.circuit is Circuit.CLOSED
    assert breaker.seconds_left == 0


def test_more_than_half_bad_of_the_last_twenty_opens_it(breaker):
    opened = []
    for _ in range(7):
        for report in (breaker.faulted, breaker.faulted, breaker.delivered):
            report()
            opened.append(breaker.circuit is Circuit.OPEN)
    assert not any(opened[:19])  # too few runs to judge by their share
    assert opened[19]
