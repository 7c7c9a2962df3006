"""The first planner: turns between people, two slots each, one key per pass."""

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.batch import BatchKey
from jobs.job import ACTIVE_MAX, JobId, UserId
from jobs.planner import QueueSnapshot, WaitingJob, WorkerView, people_before, plan, turns

KEYS = [BatchKey(kind="text_to_image", model=m, width=s, height=s) for m in ("house", "other") for s in (64, 128)]


def waiting(*rows: tuple[str, int]) -> tuple[WaitingJob, ...]:
    return tuple(
        WaitingJob(id=JobId(f"{person}{place}"), user_id=UserId(person), key=KEYS[key], place=place)
        for place, (person, key) in enumerate(rows)
    )


def queue(*rows: tuple[str, int], active: dict[str, int] | None = None, served: dict[str, int] | None = None) -> QueueSnapshot:
    return QueueSnapshot(
        waiting=waiting(*rows),
        active={UserId(k): v for k, v in (active or {}).items()},
        served={UserId(k): v for k, v in (served or {}).items()},
    )


def worker(room: int = 8, running: tuple[int, ...] = (), models: tuple[str, ...] = ("house", "other")) -> WorkerView:
    return WorkerView(name="w", models=frozenset(models), room=room, running=tuple(KEYS[k] for k in running))


def test_a_person_with_many_requests_does_not_go_before_a_newcomer():
    assert plan(queue(("a", 0), ("a", 0), ("b", 0)), worker(room=2)) == ("a0", "b2")


def test_whoever_was_served_longest_ago_leads():
    assert plan(queue(("a", 0), ("b", 0), served={"a": 7, "b": 3}), worker(room=1)) == ("b1",)


def test_somebody_with_an_active_job_waits_for_those_without():
    assert plan(queue(("a", 0), ("b", 0), active={"a": 1}), worker(room=1)) == ("b1",)


def test_a_third_job_never_starts():
    assert plan(queue(("a", 0), ("a", 0), ("a", 0)), worker()) == ("a0", "a1")
    assert plan(queue(("a", 0), active={"a": 2}), worker()) == ()


def test_a_second_ride_waits_while_somebody_has_had_none():
    assert plan(queue(("a", 0), ("a", 0), ("b", 1)), worker()) == ("a0",)


def test_joiners_must_have_the_running_key_and_never_overtake_another():
    assert plan(queue(("b", 0)), worker(running=(0,))) == ("b0",)
    assert plan(queue(("b", 1), ("c", 0)), worker(running=(0,))) == ()


def test_a_worker_without_the_model_gets_nothing():
    assert plan(queue(("a", 2)), worker(models=("house",))) == ()


def test_a_suspect_runs_alone():
    suspect = WaitingJob(id=JobId("s"), user_id=UserId("s"), key=KEYS[0], place=0, alone=True)
    snapshot = QueueSnapshot(waiting=(suspect, *waiting(("b", 0))[0:1]), active={}, served={UserId("b"): 1})
    assert plan(snapshot, worker()) == ("s",)
    assert plan(snapshot, worker(running=(0,))) == ()


def test_position_counts_people_not_rows():
    snapshot = queue(("a", 0), ("a", 0), ("b", 0), ("b", 0))
    assert people_before(snapshot, JobId("b2")) == (2, 1)
    assert people_before(snapshot, JobId("b3")) == (4, 1)
    assert people_before(snapshot, JobId("x")) is None


people = st.sampled_from("abcdef")
snapshots = st.builds(
    lambda rows, active, served: queue(*rows, active=active, served=served),
    st.lists(st.tuples(people, st.integers(0, 3)), max_size=25),
    st.dictionaries(people, st.integers(0, 2)),
    st.dictionaries(people, st.integers(0, 99)),
)


@settings(max_examples=300, deadline=None)
@given(snapshots, st.integers(0, 9), st.lists(st.integers(0, 3), max_size=1), st.sets(st.sampled_from(["house", "other"])))
def test_every_plan_is_legal(snapshot, room, running, models):
    view = WorkerView(name="w", models=frozenset(models), room=room, running=tuple(KEYS[k] for k in running))
    picked = plan(snapshot, view)
    by_id = {job.id: job for job in snapshot.waiting}
    jobs = [by_id[job_id] for job_id in picked]
    assert len(set(picked)) == len(picked) <= room
    assert len({job.key for job in jobs} | set(view.running)) <= 1 or not jobs
    assert all(job.key.model in models for job in jobs)
    for person in {job.user_id for job in jobs}:
        mine = [job for job in jobs if job.user_id == person]
        assert snapshot.active.get(person, 0) + len(mine) <= ACTIVE_MAX
        oldest = [job.id for job in sorted(snapshot.waiting, key=lambda j: j.place) if job.user_id == person]
        if len(mine) == 2:
            assert [job.id for job in mine] == sorted((job.id for job in mine), key=oldest.index)


@settings(max_examples=300, deadline=None)
@given(snapshots, st.integers(1, 9))
def test_nobody_is_served_twice_while_somebody_who_could_be_served_was_not(snapshot, room):
    view = worker(room=room)
    jobs = [next(j for j in snapshot.waiting if j.id == job_id) for job_id in plan(snapshot, view)]
    twice = {j.user_id for j in jobs if sum(k.user_id == j.user_id for k in jobs) > 1}
    never = {j.user_id for j in snapshot.waiting if not snapshot.active.get(j.user_id, 0)} - {j.user_id for j in jobs}
    assert not (twice and never)


@given(snapshots)
def test_work_is_never_left_when_the_worker_is_idle_and_somebody_may_be_served(snapshot):
    may = [j for j in snapshot.waiting if snapshot.active.get(j.user_id, 0) < ACTIVE_MAX]
    assert bool(plan(snapshot, worker(room=1))) == bool(may)


@given(snapshots)
def test_turns_hold_every_waiting_job_once(snapshot):
    assert sorted(job.id for job in turns(snapshot)) == sorted(job.id for job in snapshot.waiting)
