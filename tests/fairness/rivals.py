"""What others do, over the same line: first come first served, turns, InvokeAI's published rule, and loaded models first.

All but InvokeAI's fill passes and take joiners in their own order; none has a window. They charge nothing.
"""

from collections.abc import Callable
from dataclasses import replace

from jobs.batch import BatchKey
from jobs.job import UserId
from jobs.line import Line, WaitingJob
from jobs.planner import Plan, PlannedLease, Reason, WorkerView

Order = Callable[[WaitingJob, WorkerView], tuple]


class Rival:
    """Serves waiting jobs by ``order``, at most two a person at once."""

    def __init__(self, *, batches: bool = True) -> None:
        self.batches = batches
        self._turn = 0
        self._served: dict[UserId, int] = {}

    def order(self, job: WaitingJob, worker: WorkerView) -> tuple:
        raise NotImplementedError

    def __call__(self, line: Line, *workers: WorkerView) -> Plan:
        leases: list[PlannedLease] = []
        active = {user: person.active for user, person in line.people.items()}
        waiting = dict(line.waiting)
        for worker in sorted(workers, key=lambda worker: -worker.speed):
            if worker.running:
                if worker.running[0].model in worker.step_level and self.batches:
                    self._fill(line, worker, worker.running[0], worker.room, active, waiting, leases)
            else:
                self._fill(line, worker, None, worker.room if self.batches else 1, active, waiting, leases)
        return Plan(leases=tuple(leases))

    def _fill(self, line, worker, key: BatchKey | None, room, active, waiting, leases) -> None:
        while room > 0:
            fits = [
                job
                for job in waiting.values()
                if active[job.user_id] < line.rules.active_max
                and job.key.model in worker.models
                and (key is None or worker.pass_key(job.key) == worker.pass_key(key))
            ]
            if not fits:
                return
            chosen = min(fits, key=lambda job: self.order(job, worker))
            key = chosen.key
            worker = replace(worker, loaded=frozenset({key.model}))
            leases.append(
                PlannedLease(
                    job=chosen, worker=worker.name, reason=Reason.FAIR, low=0, v=0, handicap=0, charged={}, predicted=chosen.cost
                )
            )
            active[chosen.user_id] += 1
            self._turn += 1
            self._served[chosen.user_id] = self._turn
            del waiting[chosen.id]
            room -= chosen.rows


class FirstCome(Rival):
    def order(self, job: WaitingJob, worker: WorkerView) -> tuple:
        return (job.place,)


class RoundRobin(Rival):
    def order(self, job: WaitingJob, worker: WorkerView) -> tuple:
        return self._served.get(job.user_id, 0), job.place


class Invoke(Rival):
    """Least recently served person; a loaded model is preferred only among that person's own jobs; one job at a time."""

    def __init__(self) -> None:
        super().__init__(batches=False)

    def order(self, job: WaitingJob, worker: WorkerView) -> tuple:
        return self._served.get(job.user_id, 0), job.key.model not in worker.loaded, job.place


class Affinity(Rival):
    def order(self, job: WaitingJob, worker: WorkerView) -> tuple:
        return job.key.model not in worker.loaded, job.place


RIVALS: dict[str, Callable[[], Rival]] = {
    "FIFO": FirstCome,
    "round robin": RoundRobin,
    "InvokeAI": Invoke,
    "affinity only": Affinity,
}
