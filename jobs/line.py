"""The queue in memory, in the order of fairness. Fed by facts from the ledger's log; pure.

One writer: the holder of the claim's lock. Before it plans it tells the line what happened since (``waits``, ``leaves``, ``holds``,
``ends``, ``wake``), then asks :mod:`jobs.planner`, stores the plan and :meth:`Line.changes` in one transaction, and calls
:meth:`Line.commit`. A commit that fails leaves a line that nobody knows the truth of: drop it and load anew.

Accounts are changed by claims only. V moves in plans alone, so that entering and settling give the same result whether they
happen with their cause or when the next claim reads of it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush, nsmallest
from math import exp

from jobs.abilities import Abilities, pools_of
from jobs.batch import BatchKey
from jobs.fairness import Account, Books, Changes, Pool, PoolId, Rules
from jobs.heads import Cursor, Entry, Heads
from jobs.job import JobId, UserId

_NOBODY: frozenset[str] = frozenset()

_ARRIVALS_OVER = 60.0
"""Seconds over which arrivals are averaged."""
_ARRIVALS_MAX = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingJob:
    """What planning needs to know of a job. Times are seconds of the ledger's clock."""

    id: JobId
    user_id: UserId
    key: BatchKey
    """The strict one; workers that go step by step compare it without its detail."""
    place: int
    """Orders a person's own jobs: smaller is older."""
    cost: float
    """Predicted seconds alone on the reference worker, all its pictures together."""
    rows: int = 1
    """Places it takes in a pass: its pictures."""
    lane: str = "normal"
    weight: float = 1.0
    """Of its person's role, at the submission; the newest job's counts."""
    queued_at: float = 0.0
    not_before: float | None = None
    """Held back until then, after a fault."""
    alone: bool = False
    """A suspect of having killed a worker: it runs by itself."""
    exclude: frozenset[str] = _NOBODY
    """Workers that it must not go to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveJob:
    """A job in a worker's hands, with what its lease charged."""

    id: JobId
    user_id: UserId
    key: BatchKey
    worker: str
    charged: Mapping[PoolId, float] = field(default_factory=dict)
    predicted: float = 0.0
    exclude: frozenset[str] = _NOBODY


class Group:
    """People with a waiting job of one kind, in the order of their accounts.

    Those who may lead with a need and a lane, or those who may share a pass of a need and a key.
    """

    __slots__ = ("heads", "need")

    def __init__(self, need: str) -> None:
        self.need = need
        self.heads = Heads()


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Sort:
    """Jobs that planning treats alike; one object for each, compared by identity."""

    need: str
    rank: float
    """Handicap of its lane: a person's jobs go by it, then by age."""
    front: Group
    mates: tuple[Group, ...]
    """By strict key and by loose key; none for a job that runs alone."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """Where people with such a job belong."""
        return self.front, *self.mates


class Person:
    """Somebody with jobs here. ``shelves`` holds their waiting jobs by sort, each a heap of (place, id)."""

    __slots__ = ("active", "leased_at", "shelves", "weight")

    def __init__(self) -> None:
        self.active = 0
        self.weight = 1.0
        self.leased_at = 0.0
        self.shelves: dict[Sort, list[tuple[int, JobId]]] = {}


class Line:
    """Who waits, who runs, and everybody's account."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.books = Books(self.rules)
        self.now = 0.0
        self.abilities = Abilities()
        self.forced_at: dict[str, float] = {}
        """When age last overruled a preference, by worker."""
        self.limits: dict[tuple[str, BatchKey], int] = {}
        """Rows a pass of this key may have on a worker that ran out of memory with more; keys without detail."""
        self.resting: frozenset[str] = frozenset()
        """Workers to which nothing is leased, by the operator's word."""
        self.waiting: dict[JobId, WaitingJob] = {}
        self.active: dict[JobId, ActiveJob] = {}
        self.people: dict[UserId, Person] = {}
        self.revision = 0
        """Counts the changes: what was concluded from an older one may be wrong now."""
        self._arrivals: dict[BatchKey, tuple[float, float]] = {}
        """By key, strict and loose: requests a second of late, and when that was."""
        self._asleep: list[tuple[float, JobId]] = []
        self._sleeping: dict[JobId, WaitingJob] = {}
        self._sorts: dict[tuple[BatchKey, str, bool, frozenset[str]], Sort] = {}
        self._needs: dict[str, frozenset[str]] = {}
        self._pool_of: dict[str, PoolId] = {}
        self._needs_by_model: dict[str, set[str]] = {}
        self._unpooled = False
        self._fronts: dict[tuple[str, str], Group] = {}
        self._mates: dict[tuple[str, BatchKey], Group] = {}

    # -- facts ------------------------------------------------------------------------------------------------------------

    def load(
        self,
        *,
        waiting: Iterable[WaitingJob] = (),
        active: Iterable[ActiveJob] = (),
        accounts: Iterable[Account] = (),
        pools: Iterable[Pool] = (),
        forced_at: Mapping[str, float] | None = None,
        abilities: Abilities | None = None,
        now: float = 0.0,
    ) -> None:
        """Begin with what the ledger holds. No event for anybody's account, except that somebody without one gets it."""
        self.now, self.forced_at = now, dict(forced_at or {})
        self.books = Books(self.rules, pools=pools, accounts=accounts)
        for pool in self.books.pools.values():
            self._needs.update(dict.fromkeys(pool.needs, pool.workers))
            self._pool_of.update(dict.fromkeys(pool.needs, pool.id))
        self.abilities = abilities or self.abilities
        self._needs.update(self.abilities.needs())
        for job in active:
            self.holds(job)
        for job in waiting:
            if job.not_before is not None and job.not_before > now:
                self._sleep(job)
            else:
                self._shelve(job)
        self._repool()

    def replace(self, changes: Changes, *, forced_at: Mapping[str, float] | None = None) -> None:
        """Rows that another host's claims have stored since. Tell these before the log."""
        self.revision += 1
        self.forced_at.update(forced_at or {})
        self.books.adopt(changes)
        pool_of = {need: pool.id for pool in self.books.pools.values() for need in pool.needs}
        if pool_of != self._pool_of:
            self._pool_of = pool_of
            self._rebuild()
        for row in changes.accounts:
            self._offer(row.user_id)

    def realign(self, abilities: Abilities) -> None:
        """The fleet is this now. Workers that came, left or changed re-form the pools; nothing happens when none did."""
        if abilities == self.abilities:
            return
        self.revision += 1
        self.abilities, self._needs = abilities, abilities.needs()
        self._sorts, self._fronts, self._mates = {}, {}, {}
        for person in self.people.values():
            person.shelves = {}
        for job in self.waiting.values():
            heappush(self.people[job.user_id].shelves.setdefault(self.sort_of(job), []), (job.place, job.id))
        self._repool()

    def waits(self, job: WaitingJob, *, settled: bool = False) -> None:
        """A job is queued: new, given back or asked for again. The same id again replaces it.

        With ``settled`` the accounts already contain this, by another host's claim.
        """
        if self.waiting.get(job.id) == job:
            return
        self.leaves(job.id)
        if job.not_before is not None and job.not_before > self.now:
            self._sleep(job)
            return
        self._arrived(job.key)
        before = self._contended(job.user_id)
        reweighed = self._shelve(job)
        if self._unpooled:
            self._repool()
        entered = not settled and self._enter(job.user_id, set() if reweighed else before)
        self._offer(job.user_id, only=None if entered else self.sort_of(job))

    def wake(self, now: float) -> None:
        """Time went on: what was held back until now waits."""
        self.now = max(self.now, now)
        while self._asleep and self._asleep[0][0] <= self.now:
            due, job_id = heappop(self._asleep)
            job = self._sleeping.get(job_id)
            if job is not None and job.not_before == due:
                self.waits(job)

    def leaves(self, job_id: JobId) -> None:
        """A job is not queued any more. Unknown ids are ignored."""
        self._sleeping.pop(job_id, None)
        job = self.waiting.pop(job_id, None)
        if job is None:
            return
        self.revision += 1
        person, sort = self.people[job.user_id], self.sort_of(job)
        rest = sorted(entry for entry in person.shelves[sort] if entry[1] != job_id)  # sorted is a heap
        if rest:
            person.shelves[sort] = rest
        else:
            del person.shelves[sort]
        self._forget_if_gone(job.user_id)

    def holds(self, job: ActiveJob) -> None:
        """A worker has this job."""
        if job.id not in self.active:
            self.person(job.user_id).active += 1
        self.active[job.id] = job
        self.leaves(job.id)

    def ends(self, job_id: JobId, kept: float, *, settled: bool = False) -> None:
        """A worker has it no more. ``kept`` is the share of its charge that stays (:meth:`Rules.kept`); 0 is a refund.

        With ``settled`` the accounts already contain this, by another host's claim. Unknown ids are ignored.
        """
        job = self.active.pop(job_id, None)
        if job is None:
            return
        self.revision += 1
        person = self.people[job.user_id]
        before = self._contended(job.user_id)
        person.active -= 1
        if not settled:
            own = self._pool_of.get(self.need(job.key, job.exclude))
            self.books.settle(job.user_id, person.weight, job.charged, kept, own=own)
            self._enter(job.user_id, before)
        self._offer(job.user_id)
        self._forget_if_gone(job.user_id)

    def begins(self, users: Collection[UserId]) -> None:
        """These people start to wait wherever they wait now; nobody can tell any more which of them did so before."""
        for user in sorted(users):
            if user in self.people:
                self._enter(user, set())
                self._offer(user)

    # -- reading ----------------------------------------------------------------------------------------------------------

    def person(self, user: UserId) -> Person:
        """Somebody, known or not."""
        return self.people.setdefault(user, Person())

    def pool_of(self, need: str) -> PoolId | None:
        """The pool of whoever has that; None while nobody has."""
        return self._pool_of.get(need)

    def need(self, key: BatchKey, exclude: frozenset[str] = _NOBODY) -> str:
        """The name of what such a job needs."""
        return self._sort(key, "", alone=False, exclude=exclude).need

    def sort_of(self, job: WaitingJob) -> Sort:
        """The sort of a job."""
        return self._sort(job.key, job.lane, alone=job.alone, exclude=job.exclude)

    def pools_of(self, worker: str) -> list[PoolId]:
        """The pools this worker belongs to."""
        return [pool.id for pool in self.books.pools.values() if worker in pool.workers]

    def needs_of(self, worker: str, model: str) -> list[str]:
        """The needs met by this worker among those of jobs with this model."""
        return [need for need in self._needs_by_model.get(model, ()) if worker in self._needs.get(need, _NOBODY)]

    def fronts_of(self, worker: str) -> list[Group]:
        """The groups from which this worker can take a leader."""
        return [group for (need, _), group in self._fronts.items() if worker in self._needs.get(need, _NOBODY)]

    def mates_of(self, worker: str, key: BatchKey) -> list[Group]:
        """The groups that may share a pass of this key there; a loose key says less and so has more."""
        found = [self._mates.get((need, key)) for need in self.needs_of(worker, key.model)]
        return [group for group in found if group is not None]

    def first(self, user: UserId, group: Group, taken: Collection[JobId] = ()) -> WaitingJob | None:
        """Their job that goes first among those of this group, without those ``taken``: by lane, then by age."""
        person = self.people.get(user)
        if person is None:
            return None
        entries = [
            (sort.rank, *entry)
            for sort, shelf in person.shelves.items()
            if group is sort.front or group in sort.mates
            for entry in (nsmallest(len(taken) + 1, shelf) if taken else shelf[:1])
            if entry[1] not in taken
        ]
        return self.waiting[min(entries)[2]] if entries else None

    def contends(self, user: UserId, pool: PoolId) -> bool:
        """Whether they have something to be chosen in this pool, and a free place for it."""
        return pool in self._contended(user)

    def arrivals(self, key: BatchKey) -> float:
        """Requests of this key a second, of late."""
        rate, at = self._arrivals.get(key, (0.0, self.now))
        return rate * exp((at - self.now) / _ARRIVALS_OVER)

    def knows(self, job_id: JobId) -> bool:
        """Whether it waits, is held back or runs, as far as was heard."""
        return job_id in self.waiting or job_id in self._sleeping or job_id in self.active

    def held_back(self, job_id: JobId) -> WaitingJob | None:
        """A job that waits for its ``not_before``."""
        return self._sleeping.get(job_id)

    def met_by(self, worker: str) -> set[str]:
        """What this worker can be asked for."""
        return {need for need, workers in self._needs.items() if worker in workers}

    def standing(self, job: WaitingJob) -> float:
        """The account of its person where this job is waiting."""
        pool = self._pool_of.get(self.need(job.key, job.exclude))
        return 0.0 if pool is None else self.books.v(job.user_id, pool)

    def jobs_of(self, user: UserId) -> Iterator[WaitingJob]:
        """Everything they have waiting, in no order."""
        person = self.people.get(user)
        for shelf in person.shelves.values() if person is not None else ():
            for _, job_id in shelf:
                yield self.waiting[job_id]

    def queued_in(self, user: UserId) -> dict[PoolId, float]:
        """Seconds of what they have waiting, by pool."""
        found: dict[PoolId, float] = {}
        for job in self.jobs_of(user):
            pool = self._pool_of.get(self.sort_of(job).need)
            if pool is not None:
                found[pool] = found.get(pool, 0.0) + job.cost
        return found

    def contending(self) -> Iterator[tuple[UserId, PoolId]]:
        """Everybody in every pool where they wait to be chosen."""
        for user in self.people:
            for pool in self._contended(user):
                yield user, pool

    def waited_since(self, job: WaitingJob) -> float:
        """Since when its person has waited for their turn with this job at their front."""
        return max(job.queued_at, self.people[job.user_id].leased_at)

    def cursor(self, group: Group) -> Cursor | None:
        """The people of a group, lowest account first."""
        pool = self._pool_of.get(group.need)
        return None if pool is None else Cursor(group.heads, lambda user: self._standing(user, pool, group))

    # -- after a plan -----------------------------------------------------------------------------------------------------

    def commit(self, changes: Changes, leased: Iterable[ActiveJob], forced_at: Mapping[str, float]) -> None:
        """A plan is stored, with everything that was changed before it."""
        self.revision += 1
        self.books.adopt(changes)
        self.books.clean()
        self.forced_at.update(forced_at)
        for job in leased:
            self.holds(job)
            self.people[job.user_id].leased_at = self.now

    # -- inside -----------------------------------------------------------------------------------------------------------

    def _sort(self, key: BatchKey, lane: str, *, alone: bool, exclude: frozenset[str]) -> Sort:
        known = self._sorts.get((key, lane, alone, exclude))
        if known is None:
            need, workers = self.abilities.need(key, exclude)
            keys = () if alone else dict.fromkeys((key, replace(key, detail="")))
            known = Sort(
                need=need,
                rank=self.rules.lane(lane),
                front=self._fronts.setdefault((need, lane), Group(need)),
                mates=tuple(self._mates.setdefault((need, mate), Group(need)) for mate in keys),
            )
            self._sorts[key, lane, alone, exclude] = known
            self._needs_by_model.setdefault(key.model, set()).add(need)
            if workers and need not in self._needs:
                self._needs[need] = workers
                self._unpooled = True
        return known

    def _arrived(self, key: BatchKey) -> None:
        for each in {key, replace(key, detail="")}:
            self._arrivals[each] = self.arrivals(each) + 1 / _ARRIVALS_OVER, self.now
        if len(self._arrivals) > _ARRIVALS_MAX:
            self._arrivals = {each: known for each, known in self._arrivals.items() if self.now - known[1] < _ARRIVALS_OVER}

    def _sleep(self, job: WaitingJob) -> None:
        self._sleeping[job.id] = job
        heappush(self._asleep, (job.not_before or 0.0, job.id))

    def _shelve(self, job: WaitingJob) -> bool:
        """Whether the person's weight is another now."""
        self.revision += 1
        person = self.person(job.user_id)
        reweighed = person.weight != job.weight
        person.weight = job.weight
        self.waiting[job.id] = job
        heappush(person.shelves.setdefault(self.sort_of(job), []), (job.place, job.id))
        return reweighed

    def _contended(self, user: UserId) -> set[PoolId]:
        person = self.people.get(user)
        if person is None or person.active >= self.rules.active_max:
            return set()
        return {pool for sort in person.shelves if (pool := self._pool_of.get(sort.need)) is not None}

    def _enter(self, user: UserId, before: set[PoolId]) -> bool:
        """Whether they contend anywhere they did not ``before``."""
        weight, new = self.people[user].weight, self._contended(user) - before
        for pool in sorted(new):
            self.books.enter(user, pool, weight)
        return bool(new)

    def _standing(self, user: UserId, pool: PoolId, group: Group) -> float | None:
        person = self.people.get(user)
        if person is None or person.active >= self.rules.active_max:
            return None
        for sort in person.shelves:
            if group is sort.front or group in sort.mates:
                return self.books.stored(user, pool)
        return None

    def _offer(self, user: UserId, only: Sort | None = None) -> None:
        """Put them into every group in which they belong now; or, where nothing else is new, into those of one sort."""
        person = self.people.get(user)
        if person is None or person.active >= self.rules.active_max:
            return
        for sort in person.shelves if only is None else (only,):
            v = self._stored(user, sort, person.weight)
            if v is not None:
                place = person.shelves[sort][0][0]
                for group in sort.groups:
                    group.heads.offer(user, v, place)

    def _stored(self, user: UserId, sort: Sort, weight: float) -> float | None:
        """Their account where such jobs are done; somebody without one gets it now."""
        pool = self._pool_of.get(sort.need)
        if pool is None:
            return None
        if self.books.stored(user, pool) is None:
            self.books.enter(user, pool, weight)
        return self.books.stored(user, pool)

    def _rebuild(self) -> None:
        filled: dict[Group, dict[UserId, Entry]] = {group: {} for group in (*self._fronts.values(), *self._mates.values())}
        for user, person in self.people.items():
            if person.active >= self.rules.active_max:
                continue
            for sort, shelf in person.shelves.items():
                v = self._stored(user, sort, person.weight)
                if v is not None:
                    entry = Entry(v, shelf[0][0], user)
                    for group in sort.groups:
                        filled[group][user] = min(entry, filled[group].get(user, entry))
        for group, entries in filled.items():
            group.heads.fill(list(entries.values()))

    def _repool(self) -> None:
        """Form the pools anew. The same sets of workers as before are the same pools: a restart is no event."""
        self._unpooled = False
        shapes = pools_of(self._needs, {pool.workers: pool.id for pool in self.books.pools.values()})
        if {(shape.id, shape.workers) for shape in shapes} == {(pool.id, pool.workers) for pool in self.books.pools.values()}:
            self.books.relabel(shapes)
        else:
            self.books.realign(shapes)
        self._pool_of = {need: shape.id for shape in shapes for need in shape.needs}
        self._rebuild()

    def _forget_if_gone(self, user: UserId) -> None:
        person = self.people[user]
        if not person.active and not person.shelves:
            del self.people[user]

