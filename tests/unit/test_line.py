"""The line: facts in, an order of accounts out, and drafts that leave no trace."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.abilities import Abilities, Ability
from jobs.batch import BatchKey
from jobs.fairness import Account, Pool, Rules
from jobs.job import JobId, UserId
from jobs.line import Line, WaitingJob
from jobs.planner import Linger, WorkerView, commit, make_plan

BOTH = Ability(worker="w1", models=frozenset({"a", "b"}))
ONLY_A = Ability(worker="w2", models=frozenset({"a"}))
SAMPLER = "[20,5.0,null,null,null,null,[]]"


def key(model: str = "a", size: int = 64, detail: str = "") -> BatchKey:
    return BatchKey(kind="text_to_image", model=model, width=size, height=size, detail=detail)


def job(user: str, place: int, model: str = "a", **more) -> WaitingJob:
    given = {"key": key(model), "cost": 10.0, **more}
    return WaitingJob(id=JobId(f"{user}{place}"), user_id=UserId(user), place=place, **given)


def line(*jobs: WaitingJob, workers=(BOTH,), rules: Rules | None = None) -> Line:
    made = Line(rules or Rules(lanes=(("quick", 0.0), ("normal", 0.0), ("bulk", 12.0))))
    made.realign(Abilities(workers=workers))
    for waiting in jobs:
        made.waits(waiting)
    return made


def view(name: str = "w1", room: int = 4, **more) -> WorkerView:
    models = frozenset({"a", "b"}) if name == "w1" else frozenset({"a"})
    return WorkerView(**{"name": name, "models": models, "room": room, "step_level": models, "loaded": frozenset("a"), **more})


def chosen(queue: Line, *views: WorkerView) -> list[str]:
    return [lease.job.id for lease in make_plan(queue, *views).leases]


def take(queue: Line, *views: WorkerView) -> list[str]:
    plan = make_plan(queue, *views)
    commit(queue, plan)
    return [lease.job.id for lease in plan.leases]


def test_a_person_with_many_requests_does_not_go_before_a_newcomer():
    assert chosen(line(job("a", 0), job("a", 1), job("b", 2)), view(room=2)) == ["a0", "b2"]


def test_a_job_that_may_go_to_no_worker_here_holds_up_nobody_else():
    queue = line(job("a", 0, exclude=frozenset({"w1", "w2"})), job("b", 1), workers=(BOTH, ONLY_A))
    assert chosen(queue, view(room=2)) == ["b1"]


def test_a_third_job_never_starts():
    queue = line(job("a", 0), job("a", 1), job("a", 2))
    assert take(queue, view()) == ["a0", "a1"]
    assert chosen(queue, view(running=(key(),), running_rows=2, room=2)) == []
    queue.ends(JobId("a0"), 1.0)
    assert chosen(queue, view(running=(key(),), running_rows=1, room=3)) == ["a2"]


def test_a_plan_leaves_no_trace():
    queue = line(*(job(user, n * 10 + m, model) for n, user in enumerate("xyz") for m, model in enumerate("abab")))
    first = make_plan(queue, view())
    assert make_plan(queue, view()) == first
    assert queue.books.v(UserId("x"), "a") == 0


def test_a_loaded_model_goes_first_within_the_window_and_not_beyond():
    queue = line(job("cold", 0, "b"), job("warm", 1, "a"), job("warm", 2, "a", cost=200.0), rules=Rules(swap=36.0))
    plan = make_plan(queue, view(room=1))
    assert [(lease.job.id, lease.reason) for lease in plan.leases] == [("warm1", "fair")]
    commit(queue, plan)
    assert take(queue, view(room=1)) == ["warm2"]  # 10 s ahead, under the handicap of 36
    queue.ends(JobId("warm1"), 1.0)
    queue.waits(job("warm", 3, "a"))
    assert chosen(queue, view(room=1)) == ["cold0"]  # 210 s ahead


def test_a_lease_says_why():
    queue = line(job("b", 0, "b"), job("a", 1), job("a", 2), job("c", 3))
    reasons = {lease.job.id: (lease.reason, lease.handicap) for lease in make_plan(queue, view()).leases}
    assert reasons["a1"] == ("fair", 0)
    assert reasons["c3"] == ("rider", 0)
    commit(queue, make_plan(queue, view(room=1)))
    assert make_plan(queue, view(room=1)).leases[0].reason in ("fair", "warm")


def test_age_cancels_preferences_but_only_so_often():
    rules = Rules(old_after=100.0, forced_every=1_000.0)
    queue = line(job("cold", 0, "b"), *(job("warm", n, "a", cost=1.0, queued_at=150.0) for n in range(1, 6)), rules=rules)
    queue.wake(200.0)
    plan = make_plan(queue, view(room=1))
    assert [(lease.job.id, lease.reason) for lease in plan.leases] == [("cold0", "aged")]
    assert plan.forced_at == {"w1": 200.0}
    queue.forced_at["w1"] = 150.0
    assert chosen(queue, view(room=1)) == ["warm1"]


def test_a_job_of_several_pictures_takes_as_many_rows():
    queue = line(job("a", 0, rows=3), job("b", 1, rows=2), job("c", 2))
    assert chosen(queue, view(room=4)) == ["a0", "c2"]


def test_a_job_larger_than_an_idle_worker_is_not_left_waiting():
    assert chosen(line(job("a", 0, rows=10)), view(room=4)) == ["a0"]


def test_a_worker_takes_no_more_rows_than_it_gains_from_nor_than_its_memory_held():
    queue = line(*(job(user, n) for n, user in enumerate("abcdef")))
    assert len(chosen(queue, view(room=6, best_rows={"a": 3}))) == 3
    queue.limits["w1", key()] = 2
    assert len(chosen(queue, view(room=6, best_rows={"a": 3}))) == 2


def test_a_suspect_runs_alone():
    queue = line(job("a", 0, alone=True), job("b", 1))
    assert chosen(queue, view()) == ["a0"]
    assert chosen(line(job("b", 1), job("a", 2, alone=True)), view()) == ["b1"]
    assert chosen(queue, view(running=(key(),), running_rows=1, room=3, busy_alone=True)) == []


def test_request_level_passes_need_every_setting_to_agree():
    other = SAMPLER.replace("20", "30")
    jobs = (job("a", 0, key=key(detail=SAMPLER)), job("b", 1, key=key(detail=other)), job("c", 2, key=key(detail=SAMPLER)))
    assert chosen(line(*jobs), view(step_level=frozenset())) == ["a0", "c2"]
    assert chosen(line(*jobs), view()) == ["a0", "b1", "c2"]


def test_a_request_level_worker_takes_nobody_into_a_running_pass():
    assert chosen(line(job("a", 0)), view(step_level=frozenset(), running=(key(),), running_rows=1, room=3)) == []


def test_joiners_share_the_running_key_and_stand_near_the_least():
    queue = line(job("near", 0), job("far", 1), job("other", 2, "b"), rules=Rules(rider_window=20.0))
    running = view(running=(key(),), running_rows=1, room=3)
    assert chosen(queue, running) == ["near0", "far1"]
    queue.load(
        waiting=[job("near", 0), job("far", 1), job("other", 2, "b")],
        accounts=[Account(user_id=UserId(user), pool="a", v=v) for user, v in (("near", 10.0), ("far", 31.0), ("other", 10.0))],
        pools=[Pool(id="a", clock=10.0, needs=frozenset({"a", "b"}), workers=frozenset({"w1"}))],
        abilities=Abilities(workers=(BOTH,)),
    )
    assert chosen(queue, running) == ["near0"]


def test_a_job_goes_only_to_workers_that_can_do_it():
    small = Ability(worker="w2", models=frozenset({"a"}), pixels_max={"a": 64 * 64})
    lora = '[20,5.0,null,null,null,null,[["sketch",1.0]]]'
    have = Ability(worker="w1", models=frozenset({"a", "b"}), loras=frozenset({"sketch"}))
    queue = line(job("big", 0, key=key(size=128)), job("lora", 1, key=key(detail=lora)), workers=(have, small))
    assert chosen(queue, view("w2")) == []
    assert sorted(chosen(queue, view(), view())) == ["big0", "lora1"]
    queue = line(job("a", 0, exclude=frozenset({"w1"})), workers=(BOTH, ONLY_A))
    assert chosen(queue, view()) == []
    assert chosen(queue, view("w2")) == ["a0"]


def test_a_job_held_back_waits_for_its_time():
    queue = line(job("a", 0, not_before=50.0))
    assert chosen(queue, view()) == []
    queue.wake(49.0)
    assert chosen(queue, view()) == []
    queue.wake(50.0)
    assert chosen(queue, view()) == ["a0"]


def test_a_job_that_left_is_not_planned():
    queue = line(job("a", 0), job("a", 1))
    queue.leaves(JobId("a0"))
    queue.leaves(JobId("never seen"))
    assert chosen(queue, view()) == ["a1"]


def test_absence_earns_nothing():
    queue = line(*(job("busy", n) for n in range(20)), workers=(BOTH,))
    for n in range(10):
        take(queue, view(room=1))
        queue.ends(JobId(f"busy{n}"), 1.0)
    queue.waits(job("new", 100))
    assert queue.books.v(UserId("new"), "a") == pytest.approx(queue.books.pools["a"].clock)
    assert queue.books.v(UserId("new"), "a") > 0


def test_a_person_whose_work_took_half_as_long_is_given_half_back():
    queue = line(job("a", 0))
    take(queue, view())
    assert queue.books.v(UserId("a"), "a") == 10
    queue.ends(JobId("a0"), 0.5)
    assert queue.books.v(UserId("a"), "a") == 5


def test_a_heavier_role_is_charged_less():
    queue = line(job("a", 0, weight=4.0))
    take(queue, view())
    assert queue.books.v(UserId("a"), "a") == 2.5


def test_a_restart_is_no_event():
    queue = line(*(job(user, n * 10 + m, model) for n, user in enumerate("xyz") for m, model in enumerate("abab")))
    take(queue, view())
    queue.ends(next(iter(queue.active)), 0.7)
    changes = queue.books.changes()
    commit(queue, make_plan(queue))
    again = Line(queue.rules)
    again.load(
        waiting=list(queue.waiting.values()),
        active=list(queue.active.values()),
        accounts=[Account(user_id=UserId(user), pool="a", v=queue.books.stored(UserId(user), "a")) for user in "xyz"],
        pools=list(queue.books.pools.values()),
        abilities=queue.abilities,
    )
    assert make_plan(again, view()) == make_plan(queue, view())
    assert changes.accounts


def test_a_fact_that_another_host_has_settled_changes_no_account():
    queue = line(job("a", 0), job("a", 1))
    take(queue, view(room=1))
    before = queue.books.v(UserId("a"), "a")
    queue.ends(JobId("a0"), 0.0, settled=True)
    queue.waits(job("a", 5), settled=True)
    assert queue.books.v(UserId("a"), "a") == before


def test_changes_hold_everything_since_the_last_commit_and_nothing_after_it():
    queue = line(job("a", 0), job("b", 1))
    plan = make_plan(queue, view(room=1))
    assert {row.user_id for row in plan.changes.accounts} == {"a", "b"}
    commit(queue, plan)
    assert queue.books.changes().accounts == ()


def test_pools_follow_the_fleet_and_differences_inside_them_stay():
    queue = line(job("x", 0), job("y", 1, cost=4.0), job("x", 2), job("y", 3), workers=(BOTH,))
    take(queue, view(room=2))
    gap = queue.books.v(UserId("x"), "a") - queue.books.v(UserId("y"), "a")
    queue.realign(Abilities(workers=(BOTH, ONLY_A)))
    assert len(queue.books.pools) == 2
    for pool in queue.books.pools:
        assert queue.books.v(UserId("x"), pool) - queue.books.v(UserId("y"), pool) == pytest.approx(gap)
    queue.realign(Abilities(workers=(BOTH,)))
    (pool,) = queue.books.pools
    assert queue.books.v(UserId("x"), pool) - queue.books.v(UserId("y"), pool) == pytest.approx(gap)


def test_a_worker_that_comes_lifts_a_pool_that_lags():
    apart = (Ability(worker="w1", models=frozenset({"a"})), Ability(worker="w2", models=frozenset({"b"})))
    queue = line(*(job("x", n, cost=50.0) for n in range(9)), job("y", 20, "b"), workers=apart)
    w1 = view("w1", models=frozenset({"a"}), room=1)
    for n in range(4):
        take(queue, w1)
        queue.ends(JobId(f"x{n}"), 1.0)
    ahead = queue.books.pools["a"].clock
    assert ahead > queue.books.pools["b"].clock
    queue.realign(Abilities(workers=(*apart, Ability(worker="w3", models=frozenset({"a", "b"})))))
    assert queue.books.pools["b"].clock == queue.books.pools["a"].clock == ahead
    assert queue.books.v(UserId("y"), "b") == pytest.approx(ahead)


def test_a_lone_leader_waits_only_where_company_is_likely_and_pays():
    queue = line(*(job(f"u{n}", n) for n in range(40)))
    for n in range(40):
        queue.leaves(JobId(f"u{n}{n}"))
    queue.waits(job("lone", 100))
    pays = view(linger={"a": Linger(most=0.05, saved=4.0)}, idle_for=0.01)
    plan = make_plan(queue, pays)
    assert plan.linger == pytest.approx(0.04) and not plan.leases
    assert chosen(queue, view(linger={"a": Linger(most=0.05, saved=0.1)}, idle_for=0.01)) == ["lone100"]
    assert chosen(queue, view(linger={"a": Linger(most=0.05, saved=4.0)}, idle_for=0.05)) == ["lone100"]
    queue.waits(job("mate", 101))
    assert chosen(queue, pays) == ["lone100", "mate101"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_the_first_in_line_is_who_a_look_at_everybody_finds(seed):
    """Heaps that are corrected lazily, after any mixture of facts, against a plain minimum."""
    draw, place = random.Random(seed), 0
    queue = line(workers=(BOTH, ONLY_A))
    for _ in range(60):
        act = draw.random()
        if act < 0.5:
            place += 1
            queue.waits(job(draw.choice("uvwxyz"), place, draw.choice("ab"), cost=draw.choice((1.0, 7.0, 30.0))))
        elif act < 0.6 and queue.waiting:
            queue.leaves(draw.choice(list(queue.waiting)))
        elif act < 0.8 and queue.active:
            queue.ends(draw.choice(list(queue.active)), draw.choice((0.0, 0.5, 1.0, 2.0)))
        else:
            worker = draw.choice((view(room=2), view("w2", room=1)))
            pools = set(queue.pools_of(worker.name))
            least = min((queue.books.v(user, pool) for user, pool in queue.contending() if pool in pools), default=None)
            plan = make_plan(queue, worker)
            assert bool(plan.leases) == (least is not None)
            if least is not None:
                assert plan.leases[0].low == pytest.approx(least)
            commit(queue, plan)
    assert all(person.active <= 2 for person in queue.people.values())
