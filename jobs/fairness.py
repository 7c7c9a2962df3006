"""Accounts of service: who has had how much, in seconds of virtual time. Pure: no clock, no input or output.

A *pool* is the set of workers that can do a job; a person has one account in each pool that they used. An account's ``v`` is the
predicted seconds of work (alone, on the reference worker) charged so far, divided by the person's weight. The pool's clock V
follows the least account that is waiting, and whoever starts to wait begins no lower than V: absence earns nothing. Every
preference is a handicap between 0 and ``Rules.window`` added to ``v``, so that all waiting accounts stay in one narrow band
above V. docs/fairness.md states what follows from that, with proofs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf

from jobs.job import ACTIVE_MAX, UserId

PoolId = str
Charged = dict[PoolId, float]
"""Virtual seconds that a lease added to each of its person's accounts."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The numbers of the promise. Seconds, unless said otherwise; docs/fairness.md tells how to choose them."""

    swap: float = 36.0
    """Handicap of a model that is not loaded: about three times what a swap takes."""
    lanes: tuple[tuple[str, float], ...] = (("quick", 0.0), ("normal", 4.0), ("bulk", 12.0))
    """Handicap of each lane, at most a quarter of the window. A lane that is not named here has the largest."""
    window: float = 48.0
    """D: no preference weighs more than this."""
    rider_window: float = 72.0
    """R: how far above the least account those may stand who ride along with a leader. Half as wide again as D: fuller passes."""
    cost_max: float = 600.0
    """The dearest job there is; a prediction above it is charged as this."""
    cost_error: float = 1.0
    """e: a true cost lies within predicted/(1+e) and predicted·(1+e); ends are clipped to that."""
    old_after: float = 600.0
    """A first-in-line account that waited so long cancels the handicaps before it."""
    forced_every: float = 120.0
    """But on each worker only so often: ten swaps' worth, so that age costs a fifth of the time at most."""
    active_max: int = ACTIVE_MAX

    def __post_init__(self) -> None:
        handicaps = [seconds for _, seconds in self.lanes]
        if not 0 <= self.swap <= self.window or not all(0 <= seconds <= self.window for seconds in handicaps):
            raise ValueError("every handicap must lie between 0 and the window")
        if self.rider_window < 0 or self.cost_max <= 0 or self.cost_error < 0 or self.active_max < 1:
            raise ValueError("the rules of fairness need a positive cost_max, active_max and windows that are not negative")

    @property
    def reach(self) -> float:
        """Δ: no lease is given to an account further than this above the least one."""
        return max(self.window, self.rider_window)

    @property
    def overshoot(self) -> float:
        """C: how far beyond the windows one account can get, times its weight (the last lease and its corrections)."""
        return (1 + self.active_max * self.cost_error) * self.cost_max

    @property
    def sag(self) -> float:
        """ρ: how far below the clock a waiting account can fall, times its weight (refunds of what it still has running)."""
        return (self.active_max - 1) * (1 + self.cost_error) * self.cost_max

    def lane(self, name: str) -> float:
        """The handicap of a lane."""
        known = self._lanes
        return known[name] if name in known else max(known.values(), default=0.0)

    @cached_property
    def _lanes(self) -> dict[str, float]:
        return dict(self.lanes)

    def drift_bound(self, weight: float, other: float) -> float:
        """Theorem 1: virtual seconds by which two people who always waited can differ in what they were charged."""
        return 2 * self.reach + (self.overshoot + self.sag) * (1 / weight + 1 / other)

    def kept(self, predicted: float, measured: float) -> float:
        """The share of a charge that stays when a job predicted at ``predicted`` seconds took ``measured``; within the error e."""
        return min(max(measured / predicted, 1 / (1 + self.cost_error)), 1 + self.cost_error)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """A set of workers with one clock. ``clock`` never decreases."""

    id: PoolId
    clock: float = 0.0
    shift: float = 0.0
    """What to add to the stored ``v`` of each of its accounts: a realignment moves a whole pool by this one number."""
    needs: frozenset[str] = frozenset()
    """What must be loaded or able to run: the names that belong to this pool."""
    workers: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolShape:
    """A pool as the present fleet makes it, before anybody's account is in it."""

    id: PoolId
    needs: frozenset[str]
    workers: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A row to store. ``v`` is without the pool's shift."""

    user_id: UserId
    pool: PoolId
    v: float


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What the next commit must store: absolute values, so that storing them twice is harmless."""

    accounts: tuple[Account, ...] = ()
    pools: tuple[Pool, ...] = ()
    gone: tuple[PoolId, ...] = ()
    """Pools that are no more, or begin anew: delete them and their accounts before storing the rest."""

    def then(self, later: "Changes") -> "Changes":
        """Both, where ``later`` came after this and removes no pools."""
        accounts = {(row.user_id, row.pool): row for row in (*self.accounts, *later.accounts)}
        pools = {pool.id: pool for pool in (*self.pools, *later.pools)}
        return Changes(accounts=tuple(accounts.values()), pools=tuple(pools.values()), gone=self.gone)


@dataclass
class _Touched:
    accounts: set[tuple[UserId, PoolId]] = field(default_factory=set)
    pools: set[PoolId] = field(default_factory=set)
    gone: set[PoolId] = field(default_factory=set)


class Books:
    """All accounts and pools in memory. :meth:`draft` gives a copy to try things on, which leaves no trace here."""

    def __init__(
        self, rules: Rules, *, pools: Iterable[Pool] = (), accounts: Iterable[Account] = (), under: "Books | None" = None
    ) -> None:
        self.rules = rules
        self._under = under
        self._v: dict[tuple[UserId, PoolId], float] = {(row.user_id, row.pool): row.v for row in accounts}
        self._pools: dict[PoolId, Pool] = {pool.id: pool for pool in (pools if under is None else under.pools.values())}
        self._touched = _Touched()

    # -- reading ----------------------------------------------------------------------------------------------------------

    @property
    def pools(self) -> Mapping[PoolId, Pool]:
        """Every pool by its id."""
        return self._pools

    def stored(self, user: UserId, pool: PoolId) -> float | None:
        """The account without the pool's shift; None for somebody who was never in that pool."""
        found = self._v.get((user, pool))
        if found is None and self._under is not None:
            return self._under.stored(user, pool)
        return found

    def v(self, user: UserId, pool: PoolId) -> float:
        """The account; somebody new stands at the pool's clock."""
        found = self.stored(user, pool)
        return self._pools[pool].clock if found is None else found + self._pools[pool].shift

    def changes(self) -> Changes:
        """What was changed since the last :meth:`clean`."""
        rows = sorted(self._touched.accounts)
        return Changes(
            accounts=tuple(Account(user_id=user, pool=pool, v=self._v[user, pool]) for user, pool in rows),
            pools=tuple(self._pools[name] for name in sorted(self._touched.pools)),
            gone=tuple(sorted(self._touched.gone)),
        )

    # -- the rules --------------------------------------------------------------------------------------------------------

    def enter(self, user: UserId, pool: PoolId, weight: float) -> None:
        """Somebody starts to wait: no credit for the time away. The ceiling never binds but after a repair by hand."""
        clock = self._pools[pool].clock
        ceiling = clock + self.rules.reach + self.rules.overshoot / weight
        self._set(user, pool, min(max(self.v(user, pool), clock), ceiling))

    def lease(self, user: UserId, pool: PoolId, weight: float, cost: float) -> Charged:
        """Charge a job of ``cost`` predicted seconds now, riders too; the person's other accounts at most to the window's edge.

        Elsewhere it puts them last in line, never out of it.
        """
        charged = {pool: cost / weight}
        for other in self._pools:
            if other != pool and self.stored(user, other) is not None:
                room = self._pools[other].clock + self.rules.window - self.v(user, other)
                charged[other] = min(max(room, 0.0), cost / weight)
        for name, seconds in charged.items():
            self._add(user, name, seconds)
        return charged

    def settle(self, user: UserId, weight: float, charged: Mapping[PoolId, float], kept: float, *, own: PoolId | None) -> None:
        """A lease has ended: ``kept`` of its charge stays (1 all, 0 a refund, more than 1 it took longer than predicted).

        In virtual seconds, so that a weight changed meanwhile changes nothing. A charge on a pool that is no more is corrected in
        ``own``, the pool that serves such jobs now. No refund takes an account further below the clock than the sag. It could not
        but for a new weight: at a lower ceiling somebody entered, and what was charged before is more than they owe since.
        """
        for pool, seconds in charged.items():
            where = pool if pool in self._pools else own
            if where is not None and (where == pool or where not in charged):
                self._correct(user, where, seconds * (kept - 1), floor=self._pools[where].clock - self.rules.sag / weight)

    def follow(self, pool: PoolId, least: float) -> None:
        """Move the pool's clock up to the least waiting account."""
        known = self._pools[pool]
        if least > known.clock:
            self._put(replace(known, clock=least))

    def relabel(self, shapes: Sequence[PoolShape]) -> None:
        """The same sets of workers are asked for more, or fewer, things."""
        for shape in shapes:
            if self._pools[shape.id].needs != shape.needs:
                self._put(replace(self._pools[shape.id], needs=shape.needs))

    def realign(self, shapes: Sequence[PoolShape]) -> None:
        """The fleet has changed: make these the pools, and lift pools that share workers to one level.

        A pool is lifted as a whole, clock and accounts, so differences inside it stay. Where pools become one, a person keeps the
        highest of their accounts; where one is divided, each part starts with all accounts.
        """
        before, old = self._pools, self._v
        parents = {shape.id: [pool for pool in before.values() if pool.needs & shape.needs] for shape in shapes}
        level = _levels(shapes, parents)
        whole = {name for name, known in parents.items() if [pool.id for pool in known] == [name]}
        self._pools = {}
        for shape in shapes:
            shift = before[shape.id].shift + level[shape.id] - before[shape.id].clock if shape.id in whole else 0.0
            self._put(Pool(id=shape.id, clock=level[shape.id], shift=shift, needs=shape.needs, workers=shape.workers))
        self._v = {key: v for key, v in old.items() if key[1] in whole}
        self._touched.accounts &= self._v.keys()
        self._touched.gone = (self._touched.gone | before.keys() | {pool for _, pool in old}) - whole
        self._inherit(old, {name: known for name, known in parents.items() if name not in whole}, level)

    # -- drafts -----------------------------------------------------------------------------------------------------------

    def draft(self) -> "Books":
        """A copy that reads through to this one and keeps its changes to itself."""
        return Books(self.rules, under=self)

    def adopt(self, changes: Changes) -> None:
        """Take absolute rows over, committed by us or by another host."""
        for name in changes.gone:
            self._pools.pop(name, None)
            self._v = {key: v for key, v in self._v.items() if key[1] != name}
        self._pools.update({pool.id: pool for pool in changes.pools})
        self._v.update({(row.user_id, row.pool): row.v for row in changes.accounts})
        keys = {(row.user_id, row.pool) for row in changes.accounts}
        self._touched.accounts -= keys
        self._touched.pools -= {pool.id for pool in changes.pools}
        self._touched.gone -= set(changes.gone)

    def clean(self) -> None:
        """Everything changed so far is stored."""
        self._touched = _Touched()

    # -- inside -----------------------------------------------------------------------------------------------------------

    def _set(self, user: UserId, pool: PoolId, v: float) -> None:
        stored = v - self._pools[pool].shift
        if self.stored(user, pool) != stored:
            self._v[user, pool] = stored
            self._touched.accounts.add((user, pool))

    def _add(self, user: UserId, pool: PoolId, seconds: float) -> None:
        if seconds:
            self._set(user, pool, self.v(user, pool) + seconds)

    def _correct(self, user: UserId, pool: PoolId, seconds: float, *, floor: float) -> None:
        v = self.v(user, pool)
        self._set(user, pool, max(v + seconds, min(v, floor)))

    def _put(self, pool: Pool) -> None:
        self._pools[pool.id] = pool
        self._touched.pools.add(pool.id)

    def _inherit(
        self, old: Mapping[tuple[UserId, PoolId], float], parents: Mapping[PoolId, Sequence[Pool]], level: Mapping[PoolId, float]
    ) -> None:
        children: dict[PoolId, list[tuple[PoolId, float]]] = {}
        for child, known in parents.items():
            for pool in known:
                children.setdefault(pool.id, []).append((child, pool.shift + level[child] - pool.clock))
        for (user, pool), v in old.items():
            for child, shift in children.get(pool, ()):
                self._v[user, child] = max(v + shift, self._v.get((user, child), -inf))
                self._touched.accounts.add((user, child))


def _levels(shapes: Sequence[PoolShape], parents: Mapping[PoolId, Sequence[Pool]]) -> dict[PoolId, float]:
    """For each pool the greatest clock among all pools linked with it by shared workers; 0 where none is known."""
    level: dict[PoolId, float] = {}
    for linked in linked_sets(shapes, lambda shape: shape.workers):
        top = max((pool.clock for shape in linked for pool in parents[shape.id]), default=0.0)
        level.update({shape.id: top for shape in linked})
    return level


def linked_sets(shapes: Sequence[PoolShape], members: Callable[[PoolShape], frozenset[str]]) -> list[list[PoolShape]]:
    """The shapes in groups that are connected by common members."""
    groups: list[tuple[set[str], list[PoolShape]]] = []
    for shape in shapes:
        seen, together = set(members(shape)), [shape]
        apart: list[tuple[set[str], list[PoolShape]]] = []
        for known, inside in groups:
            if known & seen:
                seen, together = seen | known, inside + together
            else:
                apart.append((known, inside))
        groups = [*apart, (seen, together)]
    return [together for _, together in groups]
