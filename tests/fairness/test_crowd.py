"""F39: two thousand people with fifty jobs each."""

from collections import Counter

from jobs.abilities import Abilities, Ability
from jobs.batch import BatchKey
from jobs.fairness import Rules
from jobs.job import JobId, UserId
from jobs.line import Line, WaitingJob
from jobs.planner import WorkerView, commit, make_plan

PEOPLE, JOBS, ROOM = 2_000, 50, 8
KEY = BatchKey(kind="text_to_image", model="house", width=128, height=128, detail="[12,3.0,null,null,null,null,[]]")


def test_two_thousand_people_with_fifty_jobs_each_are_served_in_turns():
    # Each asked for all fifty before the next person came: by arrival alone the last would wait for 1,999 people's fifty.
    waiting = [
        WaitingJob(id=JobId(f"{n:026d}"), user_id=UserId(f"web:{n // JOBS:04d}"), key=KEY, place=n, cost=2.0) for n in range(PEOPLE * JOBS)
    ]
    line = Line(Rules())
    line.load(waiting=waiting, abilities=Abilities(workers=(Ability(worker="w0", models=frozenset({"house"})),)))
    view = WorkerView(name="w0", models=frozenset({"house"}), room=ROOM, loaded=frozenset({"house"}), step_level=frozenset({"house"}))
    served: Counter[UserId] = Counter()
    for number in range(1, 3 * PEOPLE // ROOM + 1):
        plan = make_plan(line, view)
        commit(line, plan)
        assert len(plan.leases) == ROOM
        for lease in plan.leases:
            served[lease.job.user_id] += 1
            line.ends(lease.job.id, 1.0)
        if number * ROOM % PEOPLE == 0:
            assert len(served) == PEOPLE
            assert set(served.values()) == {number * ROOM // PEOPLE}
