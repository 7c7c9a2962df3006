"""A discrete-event house: people who ask, workers that need time, and between them the real line and the real planner.

Nothing of the planner is modelled. What is modelled is the outside: how long passes take, who asks when, what fails. Everything comes
from one seed. A pass takes (1-share)·longest + share·sum of its jobs, so never longer than one after another.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf

from jobs.abilities import Abilities, Ability
from jobs.batch import BatchKey
from jobs.fairness import Account, Rules
from jobs.job import JobId, UserId
from jobs.line import Line, WaitingJob
from jobs.planner import Plan, WorkerView, commit, make_plan

LOSSES_MAX = 5
"""Failed tries after which a job is given up."""


def key_of(model: str, size: int = 64) -> BatchKey:
    return BatchKey(kind="text_to_image", model=model, width=size, height=size)


@dataclass(kw_only=True)
class SimWorker:
    name: str
    models: tuple[str, ...]
    speed: float = 1.0
    rows: int = 4
    step_level: bool = False
    share: float = 0.5
    swap: float = 12.0
    handicap: float | None = None
    loaded: str | None = None
    running: dict[JobId, "SimJob"] = field(default_factory=dict)
    starts_at: float = 0.0
    updated: float = 0.0
    version: int = 0
    swaps: int = 0
    served: float = 0.0
    busy: float = 0.0

    def rates(self) -> dict[JobId, float]:
        """Solo seconds of each job per second, with the company it has."""
        if self.step_level:
            pace = self.speed / ((1 - self.share) + self.share * len(self.running))
            return dict.fromkeys(self.running, pace)
        costs = {job.id: job.true_cost for job in self.running.values()}
        total = (1 - self.share) * max(costs.values()) + self.share * sum(costs.values())
        return {name: cost * self.speed / total for name, cost in costs.items()}

    def view(self, queue: Line) -> WorkerView:
        used = sum(job.rows for job in self.running.values())
        return WorkerView(
            name=self.name,
            models=frozenset(self.models),
            room=max(self.rows - used, 0) if self.step_level or not self.running else 0,
            running=tuple(job.key for job in self.running.values()),
            running_rows=used,
            busy_alone=any(job.alone for job in self.running.values()),
            loaded=frozenset({self.loaded} if self.loaded else ()),
            step_level=frozenset(self.models if self.step_level else ()),
            swap={} if self.handicap is None else dict.fromkeys(self.models, self.handicap),
            speed=self.speed,
        )


@dataclass(kw_only=True)
class SimJob:
    id: JobId
    user: UserId
    key: BatchKey
    true_cost: float
    predicted: float
    lane: str
    rows: int
    alone: bool
    submitted: float
    place: int
    remaining: float = 0.0
    executed: float = 0.0
    started: float | None = None
    losses: int = 0
    epoch: int = 0
    worker: SimWorker | None = None


@dataclass(kw_only=True)
class SimUser:
    """``ask`` draws (model, true cost, lane, rows); ``think`` the seconds after an answer, or between two requests."""

    name: UserId
    weight: float = 1.0
    backlog: int = 0
    """Requests always kept waiting; 0 for somebody who asks at random times."""
    every: float = inf
    """Mean seconds between two bursts."""
    burst: int = 1
    models: tuple[str, ...] = ("a",)
    costs: tuple[float, ...] = (1.0,)
    lanes: tuple[str, ...] = ("normal",)
    rows: tuple[int, ...] = (1,)
    starts: float = 0.0
    stops: float = inf
    poison: float = 0.0
    """Share of jobs that crash by their own doing."""
    unlucky: float = 0.0
    """Share of jobs whose worker fails."""


class Watcher:
    """Hears of everything that happens, in order."""

    def waits(self, world: "World", job: SimJob) -> None: ...
    def leaves(self, world: "World", job: SimJob) -> None: ...
    def leased(self, world: "World", plan: Plan) -> None: ...
    def planning(self, world: "World", views: tuple[WorkerView, ...]) -> None: ...
    def planned(self, world: "World") -> None: ...
    def ended(self, world: "World", job: SimJob, kept: float, *, done: bool) -> None: ...
    def reweighed(self, world: "World", user: UserId) -> None: ...
    def realigned(self, world: "World") -> None: ...


@dataclass(kw_only=True)
class Chances:
    """What goes wrong, as shares of passes or jobs; ``error`` is e, one-sided where ``bias`` says so."""

    fault: float = 0.0
    cancel: float = 0.0
    error: float = 0.0
    bias: int = 0
    restart_every: float = inf
    reweigh_every: float = inf


Planner = Callable[..., Plan]


class World:
    def __init__(
        self,
        *,
        seed: int,
        rules: Rules,
        workers: list[SimWorker],
        users: list[SimUser],
        chances: Chances | None = None,
        watchers: tuple[Watcher, ...] = (),
        planner: Planner = make_plan,
        jobs_max: int = 10**9,
        sizes: tuple[int, ...] = (64,),
    ) -> None:
        self.random = random.Random(seed)
        self.rules, self.chances, self.watchers, self.planner = rules, chances or Chances(), watchers, planner
        self.workers = {worker.name: worker for worker in workers}
        self.users = {user.name: user for user in users}
        self.jobs_max, self.sizes = jobs_max, sizes
        self.now, self.submitted = 0.0, 0
        self.queued: dict[JobId, SimJob] = {}
        self.active: dict[JobId, SimJob] = {}
        self.done: list[tuple[SimJob, float]] = []
        self.waiting_of: dict[UserId, int] = dict.fromkeys(self.users, 0)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = 0
        self.line = Line(rules)
        self.line.realign(self.abilities())
        for user in users:
            self.at(user.starts, lambda user=user: self._arrive(user))
        self._every(self.chances.restart_every, self.restart)
        self._every(self.chances.reweigh_every, self._reweigh_somebody)

    def abilities(self) -> Abilities:
        return Abilities(workers=tuple(Ability(worker=w.name, models=frozenset(w.models), speed=w.speed) for w in self.workers.values()))

    def at(self, when: float, what: Callable[[], None]) -> None:
        self._ticket += 1
        heappush(self._events, (when, self._ticket, what))

    def _every(self, mean: float, what: Callable[[], None]) -> None:
        if mean < inf:

            def again() -> None:
                what()
                self.at(self.now + self.random.expovariate(1 / mean), again)

            self.at(self.random.expovariate(1 / mean), again)

    def run(self, until: float) -> "World":
        while self._events and self._events[0][0] <= until:
            when, _, what = heappop(self._events)
            self.now = when
            self.line.wake(when)
            what()
            if not self._events or self._events[0][0] > when:
                self._plan()
            if self.submitted >= self.jobs_max and not self.queued and not self.active:
                break
        self.now = until
        return self

    # -- people -----------------------------------------------------------------------------------------------------------

    def _arrive(self, user: SimUser) -> None:
        if self.now > user.stops:
            return
        self._keep_backlog(user)
        if user.every < inf:
            for _ in range(user.burst):
                self._submit(user)
            self.at(self.now + self.random.expovariate(1 / user.every), lambda: self._arrive(user))

    def _keep_backlog(self, user: SimUser) -> None:
        while self.waiting_of[user.name] < user.backlog and self.now <= user.stops and self.submitted < self.jobs_max:
            self._submit(user)

    def _submit(self, user: SimUser) -> None:
        if self.submitted >= self.jobs_max:
            return
        self.submitted += 1
        draw = self.random
        true = draw.choice(user.costs)
        job = SimJob(
            id=JobId(f"j{self.submitted}"),
            user=user.name,
            key=key_of(draw.choice(user.models), draw.choice(self.sizes)),
            true_cost=true,
            predicted=self._predict(true),
            lane=draw.choice(user.lanes),
            rows=draw.choice(user.rows),
            alone=False,
            submitted=self.now,
            place=self.submitted,
        )
        self._wait(job)
        if draw.random() < self.chances.cancel / 2:
            self.at(self.now + draw.expovariate(1 / 20), lambda: self.withdraw(job))

    def _predict(self, true: float) -> float:
        """p ≤ (1+e)c and c − p ≤ e·c."""
        e = self.chances.error
        low, high = max(1 - e, 0.05) if self.chances.bias <= 0 else 1.0, 1 + e if self.chances.bias >= 0 else 1.0
        return true * self.random.uniform(low, high) if e else true

    def _wait(self, job: SimJob) -> None:
        self.queued[job.id] = job
        self.waiting_of[job.user] += 1
        for watcher in self.watchers:
            watcher.waits(self, job)
        self.line.waits(self.facts(job))

    def facts(self, job: SimJob) -> WaitingJob:
        return WaitingJob(
            id=job.id,
            user_id=job.user,
            key=job.key,
            place=job.place,
            cost=job.predicted,
            rows=job.rows,
            lane=job.lane,
            weight=self.users[job.user].weight,
            queued_at=job.submitted,
            alone=job.alone,
        )

    def withdraw(self, job: SimJob) -> None:
        """Cancelled: at once while it waits, with its executed part charged while it runs."""
        if job.id in self.queued:
            self._unqueue(job)
            for watcher in self.watchers:
                watcher.leaves(self, job)
            self.line.leaves(job.id)
            self._keep_backlog(self.users[job.user])
        elif job.id in self.active and job.worker is not None:
            self._progress(job.worker)
            self._stop(job, job.worker, kept=min(job.executed / job.predicted, 1 + self.rules.cost_error), done=False)

    def _unqueue(self, job: SimJob) -> None:
        del self.queued[job.id]
        self.waiting_of[job.user] -= 1

    def reweigh(self, user: SimUser, weight: float) -> None:
        user.weight = weight
        for watcher in self.watchers:
            watcher.reweighed(self, user.name)
        for job in list(self.queued.values()):
            if job.user == user.name:
                self.line.waits(self.facts(job))

    def _reweigh_somebody(self) -> None:
        self.reweigh(self.random.choice(list(self.users.values())), self.random.choice((0.5, 1.0, 2.0, 4.0)))

    # -- workers ----------------------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        """Ask until nobody asks for more: a lease makes room for somebody's next request."""
        asked = -1
        while asked != self.submitted:
            asked = self.submitted
            views = tuple(worker.view(self.line) for worker in self.workers.values())
            self._plan_once(tuple(view for view in views if view.room > 0))
        for watcher in self.watchers:
            watcher.planned(self)

    def _plan_once(self, able: tuple[WorkerView, ...]) -> None:
        if not able or not self.queued:
            return
        for watcher in self.watchers:
            watcher.planning(self, able)
        plan = self.planner(self.line, *able)
        if plan.leases:
            for watcher in self.watchers:
                watcher.leased(self, plan)
            commit(self.line, plan)
            self._start(plan)

    def _start(self, plan: Plan) -> None:
        for name in dict.fromkeys(lease.worker for lease in plan.leases):
            worker = self.workers[name]
            self._progress(worker)
            jobs = [self.queued[lease.job.id] for lease in plan.leases if lease.worker == name]
            if not worker.running:
                cold = worker.loaded != jobs[0].key.model
                worker.swaps += cold
                worker.loaded = jobs[0].key.model
                worker.starts_at = worker.updated = self.now + (worker.swap if cold else 0.0)
            for job in jobs:
                self._unqueue(job)
                self.active[job.id] = worker.running[job.id] = job
                job.worker, job.executed, job.remaining, job.started = worker, 0.0, job.true_cost, self.now
                job.epoch += 1
                self._fate(job)
            self._schedule(worker)
            for user in dict.fromkeys(job.user for job in jobs):
                self._keep_backlog(self.users[user])

    def _fate(self, job: SimJob) -> None:
        user, draw, epoch = self.users[job.user], self.random, job.epoch
        if draw.random() < user.poison or (draw.random() < user.unlucky):
            when = self.now + draw.random() * job.true_cost
            blame = draw.random() < user.poison
            self.at(when, lambda: self._crash(job, epoch, blame=blame))
        if draw.random() < self.chances.fault / 2:
            self.at(self.now + draw.random() * 2 * job.true_cost, lambda: self._lose(job, epoch))
        if draw.random() < self.chances.cancel / 2:
            self.at(self.now + draw.random() * job.true_cost, lambda: self.withdraw(job) if job.epoch == epoch else None)

    def _crash(self, job: SimJob, epoch: int, *, blame: bool) -> None:
        """A job ends badly and comes again; its own blame keeps the executed part charged."""
        if job.worker is not None and job.epoch == epoch:
            self._progress(job.worker)
            kept = min(job.executed / job.predicted, 1 + self.rules.cost_error) if blame or job.losses else 0.0
            job.losses += 1
            self._stop(job, job.worker, kept=kept, done=False)
            self._again(job)

    def _again(self, job: SimJob) -> None:
        if job.losses < LOSSES_MAX:
            self._wait(job)

    def _lose(self, cause: SimJob, epoch: int) -> None:
        """The worker fails: every job of its pass comes again, refunded the first time."""
        worker = cause.worker
        if worker is None or cause.epoch != epoch:
            return
        self._progress(worker)
        for job in list(worker.running.values()):
            kept = 0.0 if job.losses == 0 else min(job.executed / job.predicted, 1 + self.rules.cost_error)
            job.losses += 1
            self._stop(job, worker, kept=kept, done=False)
            self._again(job)

    def _progress(self, worker: SimWorker) -> None:
        """Bring what runs there up to now."""
        begun = max(worker.updated, worker.starts_at)
        if worker.running and self.now > begun:
            for name, rate in worker.rates().items():
                job = worker.running[name]
                step = min((self.now - begun) * rate, job.remaining)
                job.executed += step
                job.remaining -= step
                worker.served += step
            worker.busy += self.now - begun
        worker.updated = max(self.now, worker.starts_at) if worker.running else self.now

    def _schedule(self, worker: SimWorker) -> None:
        worker.version += 1
        if worker.running:
            version, rates = worker.version, worker.rates()
            first = min(worker.running[name].remaining / rate for name, rate in rates.items())
            self.at(max(worker.updated, worker.starts_at, self.now) + first, lambda: self._due(worker, version))

    def _due(self, worker: SimWorker, version: int) -> None:
        if version != worker.version:
            return
        self._progress(worker)
        for job in [job for job in worker.running.values() if job.remaining <= 1e-9 * max(job.true_cost, 1)]:
            self._stop(job, worker, kept=job.true_cost / job.predicted, done=True)
            self.done.append((job, self.now))
        self._schedule(worker)

    def _stop(self, job: SimJob, worker: SimWorker, *, kept: float, done: bool) -> None:
        del worker.running[job.id], self.active[job.id]
        for watcher in self.watchers:
            watcher.ended(self, job, kept, done=done)
        job.worker = None
        self.settle(job, kept)
        if not done:
            self._schedule(worker)
        self._keep_backlog(self.users[job.user])

    def settle(self, job: SimJob, kept: float) -> None:
        self.line.ends(job.id, kept)

    def restart(self) -> None:
        """The host dies between two claims and reads everything back; settlements of before are in the log, as here in the books."""
        old = self.line
        self.line = Line(self.rules)
        self.line.load(
            waiting=list(old.waiting.values()),
            active=list(old.active.values()),
            accounts=[Account(user_id=user, pool=pool, v=old.books.stored(user, pool) or 0.0) for user, pool in self.everybody(old)],
            pools=list(old.books.pools.values()),
            forced_at=old.forced_at,
            abilities=self.abilities(),
            now=self.now,
        )

    def everybody(self, line: Line) -> list[tuple[UserId, str]]:
        return [(u, p) for u in self.users for p in line.books.pools if line.books.stored(u, p) is not None]

    def refit(self, workers: list[SimWorker]) -> None:
        """Workers come, go or change their models; those that stay keep what they run."""
        self.workers = {worker.name: worker for worker in workers}
        self.line.realign(self.abilities())
        for watcher in self.watchers:
            watcher.realigned(self)
