"""make_plan(): which waiting jobs a worker gets next. Pure: no input or output, no clock.

Fair, then warm, then full, over the line in memory: the least account leads, any preference is a handicap inside one window, and whoever
stands near the least may ride along. docs/fairness.md states what that promises.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import exp, inf

from jobs.batch import BatchKey
from jobs.fairness import Changes, PoolId
from jobs.heads import Cursor
from jobs.job import JobId, UserId
from jobs.line import ActiveJob, Group, Line, WaitingJob


@dataclass(frozen=True, kw_only=True)
class Linger:
    """Seconds that an idle worker may wait for company, and seconds of its time that company saves."""

    most: float
    saved: float


@dataclass(frozen=True, kw_only=True)
class WorkerView:
    """What planning needs to know of a worker."""

    name: str
    models: frozenset[str]
    room: int
    """How many more jobs it takes now."""
    running: tuple[BatchKey, ...] = ()
    """The keys of what it runs: joiners must fit, since one model is in memory at a time."""
    busy_alone: bool = False
    """A job runs there that must not have company."""
    running_rows: int = 0
    """Rows of the passes it runs now."""
    loaded: frozenset[str] = frozenset()
    """Models that need no swap."""
    step_level: frozenset[str] = frozenset()
    """Models whose passes take rows in between two steps; the others batch whole requests, whose every setting must agree."""
    best_rows: Mapping[str, int] = field(default_factory=dict)
    """By model, the largest pass that it was measured to gain from."""
    swap: Mapping[str, float] = field(default_factory=dict)
    """By model, the handicap of having to load it, in seconds; others have the rules' own."""
    speed: float = 1.0
    free_in: float | None = None
    """Seconds until its pass ends, where somebody can tell."""
    idle_for: float = inf
    """Seconds since its last pass ended."""
    linger: Mapping[str, Linger] = field(default_factory=dict)
    """By model, how long a lone leader may wait for company; nothing where company was not measured to pay."""

    def pass_key(self, key: BatchKey) -> BatchKey:
        """What must agree to share a pass with such a job here."""
        return replace(key, detail="") if key.model in self.step_level else key

    def rows_max(self, key: BatchKey, limits: Mapping[tuple[str, BatchKey], int]) -> int:
        """Rows of the largest pass with such a job."""
        known = (self.best_rows.get(key.model), limits.get((self.name, replace(key, detail=""))))
        return min([self.room + self.running_rows, *(rows for rows in known if rows is not None)])


class Reason(StrEnum):
    """Why this job was chosen."""

    FAIR = "fair"
    """It has the least account."""
    WARM = "warm"
    """Its model is loaded, and it stands within the window."""
    LANE = "lane"
    """Its lane goes first, and it stands within the window."""
    AGED = "aged"
    """It waited so long that no preference held it back any more."""
    RIDER = "rider"
    """It shares the leader's pass."""
    JOINER = "joiner"
    """It shares a pass that runs already."""


@dataclass(frozen=True, kw_only=True)
class PlannedLease:
    """A choice and its grounds, so that it can be replayed. ``low`` is the least account that waits for the worker."""

    job: WaitingJob
    worker: str
    reason: Reason
    low: float
    v: float
    handicap: float
    charged: Mapping[PoolId, float]
    predicted: float

    @property
    def active(self) -> ActiveJob:
        """The job as the line holds it once this is stored."""
        return ActiveJob(
            id=self.job.id,
            user_id=self.job.user_id,
            key=self.job.key,
            worker=self.worker,
            charged=self.charged,
            predicted=self.predicted,
            exclude=self.job.exclude,
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Leases in the order in which they were chosen, and every row that must be stored with them."""

    leases: tuple[PlannedLease, ...] = ()
    changes: Changes = field(default_factory=Changes)
    forced_at: Mapping[str, float] = field(default_factory=dict)
    linger: float = 0.0
    """Plan again in so many seconds: a worker idles on purpose, as company is likely and worth more than the wait."""


def make_plan(line: Line, *workers: WorkerView) -> Plan:
    """What these workers should take now, the fastest first.

    Changes nothing: :func:`commit` does, once the plan is stored. Leases of one plan are charged one by one.
    """
    draft = _Draft(line)
    for worker in sorted(workers, key=lambda worker: -worker.speed):
        if worker.running:
            draft.join(worker)
        elif worker.room > 0:
            draft.lead(worker)
    draft.close()
    return Plan(
        leases=tuple(draft.leases),
        changes=line.books.changes().then(draft.books.changes()),
        forced_at=draft.forced_at,
        linger=draft.linger,
    )


def commit(line: Line, plan: Plan) -> None:
    """The plan is stored: the line takes it over."""
    line.commit(plan.changes, [lease.active for lease in plan.leases], plan.forced_at)


def contest(line: Line, worker: WorkerView) -> "Contest | None":
    """Who would lead on this worker if it were idle now. None where nobody waits for it."""
    draft = _Draft(line)
    fronts = draft.fronts(worker)
    draft.close()
    if not fronts:
        return None
    winner = min(fronts, key=lambda head: head.score)
    return Contest(low=min(head.v for head in fronts), winner=winner.job, score=winner.score)


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The least account that waits for a worker, and the job that would lead there with its (account + handicap, place)."""

    low: float
    winner: WaitingJob
    score: tuple[float, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Head:
    """Somebody's first job for a worker, where they stand, and what that worker would rather not."""

    job: WaitingJob
    need: str
    v: float
    swap: float = 0.0
    lane: float = 0.0
    window: float = 0.0

    @property
    def handicap(self) -> float:
        return min(self.window, self.swap + self.lane)

    @property
    def score(self) -> tuple[float, int]:
        """Ties go to the older request."""
        return self.v + self.handicap, self.job.place


class _Draft:
    """One planning: the books on trial, and what was taken so far."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._rules = line.rules
        self.books = line.books.draft()
        self.leases: list[PlannedLease] = []
        self.forced_at: dict[str, float] = {}
        self.linger = 0.0
        self._taken: dict[UserId, set[JobId]] = {}
        self._cursors: dict[Group, Cursor | None] = {}

    def close(self) -> None:
        """Put back what was read."""
        for cursor in self._cursors.values():
            if cursor is not None:
                cursor.close()

    def lead(self, worker: WorkerView) -> None:
        """An idle worker: a leader, and whoever may share its pass."""
        fronts = self.fronts(worker)
        if not fronts:
            return
        low = self._follow(worker, fronts)
        leader = min(fronts, key=lambda head: head.score)
        reason = _reason(leader, fronts)
        aged = self._aged(worker, fronts)
        if aged is not None and aged is not leader and aged.v < leader.score[0]:
            leader, reason = aged, Reason.AGED
            self.forced_at[worker.name] = self._line.now
        elif (rest := self._worth_waiting(worker, leader)) > 0:
            self.linger = min(self.linger or rest, rest)
            return
        self._lease(leader, worker, reason, low)
        if not leader.job.alone:
            room = worker.rows_max(leader.job.key, self._line.limits) - leader.job.rows
            self._fill(worker, leader.job.key, low, room, Reason.RIDER)

    def join(self, worker: WorkerView) -> None:
        """A running pass that takes rows in between two steps: whoever may share it."""
        key = worker.running[0]
        if worker.busy_alone or worker.room < 1 or key.model not in worker.step_level:
            return
        fronts = self.fronts(worker)
        if fronts:
            room = min(worker.room, worker.rows_max(key, self._line.limits) - worker.running_rows)
            self._fill(worker, key, self._follow(worker, fronts), room, Reason.JOINER)

    def fronts(self, worker: WorkerView) -> list[_Head]:
        """The least account of each need and lane that this worker could serve."""
        found = [self._least(group, worker=worker) for group in self._line.fronts_of(worker.name)]
        return [head for head in found if head is not None]

    def _follow(self, worker: WorkerView, fronts: Sequence[_Head]) -> float:
        """L, the least account that waits for this worker; the clocks of its pools come up to it."""
        low = min(head.v for head in fronts)
        for pool in self._line.pools_of(worker.name):
            self.books.follow(pool, low)
        return low

    def _aged(self, worker: WorkerView, fronts: Sequence[_Head]) -> _Head | None:
        """The least account among those at the front who waited too long; only so often on each worker."""
        now, rules = self._line.now, self._rules
        last = self.forced_at.get(worker.name, self._line.forced_at.get(worker.name))
        if last is not None and now - last < rules.forced_every:
            return None
        old = [head for head in fronts if now - self._line.waited_since(head.job) >= rules.old_after]
        return min(old, key=lambda head: (head.v, head.job.place), default=None)

    def _worth_waiting(self, worker: WorkerView, leader: _Head) -> float:
        """Seconds that this worker should wait for company.

        Only where a lone leader has room, and what company saves, times the chance that it comes, is more than the wait.
        """
        key, terms = leader.job.key, worker.linger.get(leader.job.key.model)
        if terms is None or leader.job.alone or worker.idle_for >= terms.most:
            return 0.0
        shared = worker.pass_key(key)
        likely = 1 - exp(-self._line.arrivals(shared) * terms.most)
        if likely * terms.saved <= terms.most or worker.rows_max(key, self._line.limits) <= leader.job.rows:
            return 0.0
        self._taken[leader.job.user_id] = {*self._gone(leader.job.user_id), leader.job.id}
        company = any(self._least(group) is not None for group in self._line.mates_of(worker.name, shared))
        self._taken[leader.job.user_id].discard(leader.job.id)
        return 0.0 if company else terms.most - worker.idle_for

    def _fill(self, worker: WorkerView, key: BatchKey, low: float, room: int, reason: Reason) -> None:
        """Least accounts first, none further than the riders' window above the least that waits for the worker."""
        groups = self._line.mates_of(worker.name, worker.pass_key(key))
        misfits: set[UserId] = set()
        while room > 0:
            heads = [head for group in groups if (head := self._least(group, misfits)) is not None]
            rider = min(heads, key=lambda head: (head.v, head.job.place), default=None)
            if rider is None or rider.v > low + self._rules.rider_window or len(misfits) > _MISFITS_MAX:
                return
            if rider.job.rows > room:
                misfits.add(rider.job.user_id)
                continue
            self._lease(rider, worker, reason, low)
            room -= rider.job.rows

    def _least(self, group: Group, passed: Collection[UserId] = (), worker: WorkerView | None = None) -> _Head | None:
        """The lowest account of a group as this draft has it: whoever was leased to already has another one here."""
        if group not in self._cursors:
            self._cursors[group] = self._line.cursor(group)
        cursor, users = self._cursors[group], [user for user in self._taken if user not in passed and self._has_slot(user)]
        while cursor is not None and (entry := cursor.peek()) is not None:
            if entry.user_id not in self._taken and entry.user_id not in passed:
                users.append(entry.user_id)
                break
            cursor.skip()
        heads = [head for user in users if (head := self._head(user, group, worker)) is not None]
        if len(heads) < 2:
            return heads[0] if heads else None
        return min(heads, key=lambda head: (head.v, head.job.place), default=None)

    def _head(self, user: UserId, group: Group, worker: WorkerView | None) -> _Head | None:
        """Their first job in that group; with its handicaps on ``worker`` where it is to lead there."""
        pool, job = self._line.pool_of(group.need), self._line.first(user, group, self._gone(user))
        if pool is None or job is None:
            return None
        v, model, rules = self.books.v(user, pool), job.key.model, self._rules
        if worker is None:
            return _Head(job=job, need=group.need, v=v)
        swap = 0.0 if model in worker.loaded else worker.swap.get(model, rules.swap)
        return _Head(job=job, need=group.need, v=v, swap=swap, lane=rules.lane(job.lane), window=rules.window)

    def _gone(self, user: UserId) -> Collection[JobId]:
        return self._taken.get(user, _NOTHING)

    def _has_slot(self, user: UserId) -> bool:
        return self._line.person(user).active + len(self._gone(user)) < self._rules.active_max

    def _lease(self, head: _Head, worker: WorkerView, reason: Reason, low: float) -> None:
        job, pool = head.job, self._line.pool_of(head.need)
        assert pool is not None
        cost = min(job.cost, self._rules.cost_max)
        charged = self.books.lease(job.user_id, pool, self._line.person(job.user_id).weight, cost)
        self._taken.setdefault(job.user_id, set()).add(job.id)
        self.leases.append(
            PlannedLease(
                job=job,
                worker=worker.name,
                reason=reason,
                low=low,
                v=head.v,
                handicap=head.handicap,
                charged=charged,
                predicted=cost,
            )
        )


_NOTHING: frozenset[JobId] = frozenset()

_MISFITS_MAX = 8
"""People passed over in one pass because their pictures do not fit its room any more."""


def _reason(leader: _Head, fronts: Sequence[_Head]) -> Reason:
    least = min(fronts, key=lambda head: (head.v, head.handicap, head.job.place))
    if leader.v <= least.v:
        return Reason.FAIR
    return Reason.WARM if leader.swap < least.swap else Reason.LANE
