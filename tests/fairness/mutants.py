"""Planners that are wrong on purpose, each in one way: the promises must be seen broken with every one of them.

A mutant changes one method of the real classes while it is entered; nothing else differs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from jobs import planner
from jobs.fairness import Books, Pool, Rules
from jobs.line import Line


@contextmanager
def changed(owner: Any, name: str, new: Any) -> Iterator[None]:
    old = getattr(owner, name)
    setattr(owner, name, new)
    try:
        yield
    finally:
        setattr(owner, name, old)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """``rules`` changes what the planner believes; the bounds are those of the rules the world was made with."""

    owner: Any = None
    name: str = ""
    new: Callable[..., Any] | None = None
    rules: Callable[[Rules], Rules] | None = None
    more: "tuple[Mutant, ...]" = ()

    @contextmanager
    def entered(self) -> Iterator[None]:
        if self.owner is None:
            yield
            return
        with changed(self.owner, self.name, self.new):
            if self.more:
                with self.more[0].entered():
                    yield
            else:
                yield


_lease, _settle, _enter, _fill, _follow = Books.lease, Books.settle, Books.enter, planner._Draft._fill, planner._Draft._follow


def _charge_at_finish(self: Books, user: Any, pool: str, weight: float, cost: float) -> dict[str, float]:
    return {pool: cost / weight}


def _settle_all(self: Books, user: Any, weight: float, charged: dict[str, float], kept: float, *, own: str | None) -> None:
    for pool, seconds in charged.items():
        self._add(user, pool, seconds * kept)


def _no_lift(self: Books, user: Any, pool: str, weight: float) -> None:
    if self.stored(user, pool) is None:
        self._set(user, pool, 0.0)


def _lift_to_the_largest(self: Books, user: Any, pool: str, weight: float) -> None:
    known = [v for (_, name), v in self._v.items() if name == pool]
    self._set(user, pool, max([self.v(user, pool), *known]))


def _count_the_capped(self: Any, worker: Any, fronts: Any) -> float:
    """L over everybody who has something queued, at the cap or not."""
    line, books = self._line, self.books
    pools = line.pools_of(worker.name)
    low = min(books.v(user, pool) for user, person in line.people.items() if person.shelves for pool in pools)
    for pool in pools:
        books.follow(pool, min(low, min(head.v for head in fronts)))
    return low


def _riders_free(self: Any, head: Any, worker: Any, reason: Any, low: float) -> None:
    if reason in (planner.Reason.RIDER, planner.Reason.JOINER):
        head = replace(head, job=replace(head.job, cost=1e-9))
    _draft_lease(self, head, worker, reason, low)


_draft_lease = planner._Draft._lease


def _riders_without_window(self: Any, worker: Any, key: Any, low: float, room: int, reason: Any) -> None:
    _fill(self, worker, key, float("inf"), room, reason)


def _window_from_the_leader(self: Any, worker: Any, key: Any, low: float, room: int, reason: Any) -> None:
    _fill(self, worker, key, self.leases[-1].v if self.leases else low, room, reason)


def _affinity_without_window(self: Any) -> float:
    return self.swap * 1e6 + self.lane


def _lane_beyond(self: Any) -> float:
    return min(self.window, self.swap) + self.lane * 20


def _oldest_first(self: Any, worker: Any, fronts: Any) -> Any:
    """Age by submission, as often as it likes: the oldest request of those over the age goes first."""
    now, rules = self._line.now, self._rules
    old = [head for head in fronts if now - head.job.queued_at >= min(rules.old_after, 30.0)]
    found = min(old, key=lambda head: head.job.place, default=None)
    return None if found is None else replace(found, v=-1e18)


def _one_unit(self: Books, user: Any, pool: str, weight: float, cost: float) -> dict[str, float]:
    return _lease(self, user, pool, weight, 1.0)


def _multiplied(self: Books, user: Any, pool: str, weight: float, cost: float) -> dict[str, float]:
    return _lease(self, user, pool, 1 / weight, cost)


def _no_correction(self: Books, user: Any, weight: float, charged: dict[str, float], kept: float, *, own: str | None) -> None:
    return None


def _refunded_twice(self: Books, user: Any, weight: float, charged: dict[str, float], kept: float, *, own: str | None) -> None:
    for _ in range(2 if kept < 1 else 1):
        _settle(self, user, weight, charged, kept, own=own)


_load = Line.load


def _clock_lost(self: Line, *, pools: Any = (), **given: Any) -> None:
    _load(self, pools=[Pool(id=p.id, clock=0.0, shift=p.shift, needs=p.needs, workers=p.workers) for p in pools], **given)


def _stale(self: Any, head: Any, worker: Any, reason: Any, low: float) -> None:
    """What this plan has charged is not seen by its next choice; at the end all of it is written."""
    before = dict(self.books._v)
    _draft_lease(self, head, worker, reason, low)
    self.owed = {**getattr(self, "owed", {})}
    for key, v in self.books._v.items():
        self.owed[key] = self.owed.get(key, 0.0) + v - before.get(key, self._line.books.stored(*key) or 0.0)
    self.books._v = before


_close = planner._Draft.close


def _pay(self: Any) -> None:
    for (user, pool), seconds in getattr(self, "owed", {}).items():
        self.books._add(user, pool, seconds)
    _close(self)


def _no_cross_charge(self: Books, user: Any, pool: str, weight: float, cost: float) -> dict[str, float]:
    self._add(user, pool, cost / weight)
    return {pool: cost / weight}


MUTANTS: dict[str, Mutant] = {
    "charge at finish": Mutant(
        owner=Books, name="lease", new=_charge_at_finish, more=(Mutant(owner=Books, name="settle", new=_settle_all),)
    ),
    "no lift on return": Mutant(owner=Books, name="enter", new=_no_lift),
    "lift to the largest account": Mutant(owner=Books, name="enter", new=_lift_to_the_largest),
    "people at the cap counted in L": Mutant(owner=planner._Draft, name="_follow", new=_count_the_capped),
    "riders free": Mutant(owner=planner._Draft, name="_lease", new=_riders_free),
    "riders without window": Mutant(owner=planner._Draft, name="_fill", new=_riders_without_window),
    "affinity without window": Mutant(owner=planner._Head, name="handicap", new=property(_affinity_without_window)),
    "lane handicap beyond the window": Mutant(owner=planner._Head, name="handicap", new=property(_lane_beyond)),
    "age by submission, unbudgeted": Mutant(owner=planner._Draft, name="_aged", new=_oldest_first),
    "one unit a job": Mutant(owner=Books, name="lease", new=_one_unit),
    "weight multiplied": Mutant(owner=Books, name="lease", new=_multiplied),
    "no correction at the end": Mutant(owner=Books, name="settle", new=_no_correction),
    "refunded twice": Mutant(owner=Books, name="settle", new=_refunded_twice),
    "clock lost at restart": Mutant(owner=Line, name="load", new=_clock_lost),
    "plan from stale accounts": Mutant(
        owner=planner._Draft, name="_lease", new=_stale, more=(Mutant(owner=planner._Draft, name="close", new=_pay),)
    ),
    "riders' window from the leader": Mutant(owner=planner._Draft, name="_fill", new=_window_from_the_leader),
}

NO_CROSS_CHARGE = Mutant(owner=Books, name="lease", new=_no_cross_charge)
