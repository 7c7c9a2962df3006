"""Worlds small enough to say beforehand who should get what."""

import pytest

from jobs.fairness import Account, Books, Pool, Rules
from tests.fairness.bounds import verdict
from tests.fairness.mutants import MUTANTS, NO_CROSS_CHARGE
from tests.fairness.small import A, B, C, endless_pass, flood, newcomer, served, two_pools, unlucky


def test_a_newcomer_and_an_old_hand_share_alike():
    assert served(newcomer().run(5_000), since=3_000) == pytest.approx({A: 1_000, B: 1_000}, abs=40)


def test_a_pass_that_others_join_for_ever_ends_all_the_same():
    found = served(endless_pass().run(4_000))
    assert max(found.values()) < 1.1 * min(found.values())


def test_age_does_not_make_a_crowd_swap_at_every_lease():
    def work(world):
        return sum(worker.served for worker in world.workers.values()) / world.now

    right = work(flood().run(1_500))
    with MUTANTS["age by submission, unbudgeted"].entered():
        wrong = work(flood().run(1_500))
    assert right > 0.85 > 0.5 > wrong


def test_somebody_whose_worker_fails_is_refunded_once_a_job_and_a_job_that_crashes_by_itself_is_not():
    lucky, poisoned = served(unlucky(poison=False).run(4_000)), served(unlucky(poison=True).run(4_000))
    assert lucky[A] > poisoned[A]
    assert poisoned[B] == pytest.approx(poisoned[C], rel=0.05)
    assert poisoned[B] > 1_250 > poisoned[A]


def test_two_pools_are_not_two_shares():
    found = served(two_pools().run(4_000))
    assert found[A] == pytest.approx(found[B], rel=0.05)
    with NO_CROSS_CHARGE.entered():
        wrong = served(two_pools().run(4_000))
    assert wrong[A] > 1.5 * wrong[B]


def test_a_refund_is_of_what_was_charged_whatever_the_weight_is_now():
    """60 s at weight 10 are 6 virtual seconds; refunded at weight 1 they would be 60."""
    books = Books(Rules(), pools=[Pool(id="p")], accounts=[Account(user_id=A, pool="p", v=100.0)])
    charged = books.lease(A, "p", 10.0, 60.0)
    assert books.v(A, "p") == pytest.approx(106.0)
    books.enter(A, "p", 1.0)
    books.settle(A, 1.0, charged, 0.0, own="p")
    assert books.v(A, "p") == pytest.approx(100.0)


def test_a_refund_after_a_new_weight_is_no_gift():
    """Two jobs charged at half a share, a role that counts eight times as much, and both are given back: what the ceiling forgave stays forgiven."""
    rules = Rules(cost_max=32.0, cost_error=0.0, window=0.0, rider_window=0.0, swap=0.0, lanes=(("normal", 0.0),))
    books = Books(rules, pools=[Pool(id="p")])
    charges = [books.lease(A, "p", 0.5, 32.0) for _ in range(2)]
    books.enter(A, "p", 4.0)
    assert books.v(A, "p") == pytest.approx(8.0)  # the ceiling of the new weight; it was 128
    for charged in charges:
        books.settle(A, 4.0, charged, 0.0, own="p")
    assert books.v(A, "p") == pytest.approx(-rules.sag / 4.0)


def test_the_real_planner_keeps_its_promises_in_every_small_world():
    for make, until in ((newcomer, 4_000), (endless_pass, 1_000), (flood, 500), (two_pools, 1_000)):
        found = verdict(make().run(until))
        assert found.kept, make.__name__

