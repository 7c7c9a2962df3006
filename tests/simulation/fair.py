"""I11: what the theorems of docs/fairness.md assume, held against the real store: every claim sees the charges of the last one.

Within each claim's transaction, while nobody else can commit, the line on which this host is about to plan is laid beside a line
loaded anew from the ledger, by the store's own code but with nothing remembered. And the hook, from the ledger's side: each lease
stands within its window of the least account, found by looking at everybody.
"""

import json
import random
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import StaticPool, create_engine

from database.line_keeper import LineKeeper
from database.one_go import PlainTransaction, in_one_go
from jobs.fairness import PoolId, Rules
from jobs.job import UserId
from jobs.line import Line, WaitingJob
from jobs.planner import Plan, Reason
from tests.simulation.sqlite import SimDatabase

SLACK = 1e-6
"""Virtual seconds: sums in another order."""
ENOUGH = 6
"""Findings a world: one wrong account is wrong at every claim."""

TIGHT = Rules(swap=2.0, lanes=(("quick", 0.0), ("normal", 0.5), ("bulk", 1.0)), window=3.0, rider_window=4.5, cost_max=120.0)
"""Windows of the size of the simulation's small jobs: with the usual ones hardly anybody ever stands at an edge."""

_OPEN: dict[str, sqlite3.Connection] = {}
_ENGINE = create_engine("sqlite+pysqlite://", poolclass=StaticPool, creator=lambda: _OPEN["now"])
"""One a process, so that its statements are compiled once; its connection is the present world's."""


def draw_rules(rng: random.Random) -> Rules:
    """The usual ones in three seeds of four."""
    return TIGHT if rng.random() < 0.25 else Rules()


class Snapshot:
    """A database as far as :meth:`LineKeeper.load` asks, within a transaction that is open already."""

    is_postgresql = False

    def __init__(self, tx: PlainTransaction) -> None:
        self._tx = tx

    async def read(self, work: Any) -> Any:
        return await work(self._tx)


class FairWatch:
    """Looks at every claim of every host of a world."""

    def __init__(self, database: SimDatabase, rules: Rules) -> None:
        self._database = database
        self._rules = rules
        self._looked: dict[int, tuple[int, int]] = {}
        self._raw: sqlite3.Connection | None = None
        self.claims = self.leases = 0
        self.closest = 0.0
        """How far above the least account a lease stood, over its window."""
        self.unequal: list[str] = []
        self.beyond: list[str] = []
        self.credited: list[str] = []

    def claims_on(self, host: int, worker: str, line: Line, plan: Plan) -> None:
        """``plan`` is made and not written yet. A line that nothing has changed since the last look is not looked at again."""
        state = self._database.commits, line.revision
        if self._looked.get(host) == state and not plan.leases:
            return
        self._looked[host] = state
        fresh = self._fresh()
        self.claims += 1
        where = f"host {host} for {worker} at {self._database.loop.time():.3f}"
        if len(self.unequal) < ENOUGH:
            self.unequal += [f"{where}: {what}" for what in differences(line, fresh, slack=self._corrected_just_now())]
        if len(self.credited) < ENOUGH:
            self.credited += [f"{where}: {what}" for what in self._credits(line)]
        if len(self.beyond) < ENOUGH:
            self.beyond += [f"{where}: {what}" for what in self._hook(fresh, worker, plan)]

    def close(self) -> None:
        if self._raw is not None:
            _ENGINE.dispose(close=False)
            self._raw.close()

    def _fresh(self) -> Line:
        if self._raw is None:
            _ENGINE.dispose(close=False)  # the last world's
            self._raw = _OPEN["now"] = _reader(self._database)
        return in_one_go(_ENGINE, self._read)

    async def _read(self, tx: Any) -> Line:
        keeper = LineKeeper(self._rules)
        await keeper.load(Snapshot(tx))  # type: ignore[arg-type]
        return await keeper.catch_up(tx)

    def _corrected_just_now(self) -> float:
        """Virtual seconds by which ends that no claim has stored yet correct accounts: whether somebody enters before or after depends on
        when one looks."""
        assert self._raw is not None
        ends = self._raw.execute("SELECT kept, facts FROM job_event, claim_clock WHERE seq > CAST(applied AS INTEGER) AND kept IS NOT NULL")
        return SLACK + sum(abs(kept - 1) * sum(_charged(facts)) for kept, facts in ends)

    def _credits(self, line: Line) -> Iterator[str]:
        """Whoever waits for a turn stands at the clock or above, but for what was given back to them: absence earns nothing."""
        for user, pool in sorted(line.contending()):
            below = line.books.pools[pool].clock - line.books.v(user, pool)
            if below > SLACK and below > self._refunds(user) + SLACK:
                yield f"{user} stands {below:.3f} s below the clock of pool {pool} and was given back {self._refunds(user):.3f}"

    def _refunds(self, user: str) -> float:
        """All that the ends of their jobs gave back, and those of jobs that are gone since."""
        assert self._raw is not None
        query = "SELECT kept, facts FROM job_event AS e LEFT JOIN job ON job.id = e.job_id WHERE kept < 1 AND ifnull(job.user_id, ?) = ?"
        return sum((1 - kept) * max(_charged(facts), default=0.0) for kept, facts in self._raw.execute(query, (user, user)))

    def _hook(self, fresh: Line, worker: str, plan: Plan) -> Iterator[str]:
        if not plan.leases:
            return
        least = _least(fresh, worker)
        added: dict[tuple[UserId, PoolId], float] = defaultdict(float)
        for lease in plan.leases:
            job = fresh.waiting.get(lease.job.id)
            pool = fresh.pool_of(fresh.need(job.key, job.exclude)) if job is not None else None
            if job is None or pool is None:
                continue  # told by the comparison of the lines
            self.leases += 1
            above = fresh.books.v(job.user_id, pool) + added[job.user_id, pool] - least
            window = self._rules.rider_window if lease.reason in (Reason.RIDER, Reason.JOINER) else self._rules.window
            self.closest = max(self.closest, above / window)
            if above > window + SLACK:
                yield f"{job.id} of {job.user_id} was leased {above:.1f} s above the least account, as {lease.reason} with {window} s"
            for name, seconds in lease.charged.items():
                added[job.user_id, name] += seconds


def _reader(database: SimDatabase) -> sqlite3.Connection:
    raw = sqlite3.connect(Path(database.file), timeout=0, check_same_thread=False)
    raw.create_function("strftime", -1, database.strftime)
    raw.execute("PRAGMA query_only = ON")
    return raw


def _charged(facts: str | None) -> list[float]:
    return list((json.loads(facts or "{}").get("charged") or {}).values())


def _least(line: Line, worker: str) -> float:
    """L by looking at everybody. Whoever stands below the clock counts as at the clock: a line that saw them come out of a back-off has
    lifted them there, one that was loaded since has not."""
    pools = {name: pool for name, pool in line.books.pools.items() if worker in pool.workers}
    return min(
        (max(line.books.v(user, pool), pools[pool].clock) for user, pool in line.contending() if pool in pools), default=float("inf")
    )


# ---- two lines beside each other -------------------------------------------------------------------------------------


def differences(line: Line, fresh: Line, *, slack: float) -> Iterator[str]:
    """What the one has and the other has not. ``slack``: virtual seconds for accounts."""
    yield from _other_jobs("waits", _waiting(line), _waiting(fresh))
    yield from _other_jobs("is active", dict(line.active), dict(fresh.active))
    here, there = _by_workers(line), _by_workers(fresh)
    if here.keys() != there.keys():
        yield f"the pools are {here} here and {there} in the ledger"
        return
    for workers, pool in there.items():
        mine = line.books.pools[here[workers]].clock, fresh.books.pools[pool].clock
        if abs(mine[0] - mine[1]) > SLACK:
            yield f"the clock of pool {pool} is {mine[0]:.3f} here and {mine[1]:.3f} in the ledger"
    yield from _other_accounts(line, fresh, slack)
    if line.resting != fresh.resting or line.forced_at != fresh.forced_at:
        yield f"what rests or was forced is {line.resting} {line.forced_at} here and {fresh.resting} {fresh.forced_at} in the ledger"


def _by_workers(line: Line) -> dict[tuple[str, ...], PoolId]:
    """Pools that no claim has stored yet have names of their own on each host; their workers say which are the same."""
    return {tuple(sorted(pool.workers)): pool.id for pool in line.books.pools.values()}


def _waiting(line: Line) -> dict[str, WaitingJob]:
    """Those that are held back, too: a moment of the clock lies between the two looks."""
    return {**line.waiting, **line._sleeping}


def _other_jobs(what: str, here: dict[Any, Any], there: dict[Any, Any]) -> Iterator[str]:
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            yield f"job {name} {what}: {here.get(name)} here, {there.get(name)} in the ledger"


def _other_accounts(line: Line, fresh: Line, slack: float) -> Iterator[str]:
    """Below the clock they may differ: coming out of a back-off lifts an account to the clock on hosts that saw it."""
    here, there = _by_workers(line), _by_workers(fresh)
    users = sorted({user for user, _ in (*line.books._v, *fresh.books._v)})
    for workers, pool in there.items():
        clock = fresh.books.pools[pool].clock
        for user in users:
            mine, stored = max(line.books.v(user, here[workers]), clock), max(fresh.books.v(user, pool), clock)
            if abs(mine - stored) > slack:
                yield f"the account of {user} in pool {pool} is {mine:.3f} here and {stored:.3f} in the ledger, its clock {clock:.3f}"


# ---- the judge -------------------------------------------------------------------------------------------------------


def i11_each_claim_plans_on_what_the_ledger_says(world: Any, _: Any) -> Iterator[str]:
    yield from world.fair.unequal[:ENOUGH]


def i11_each_lease_stands_within_its_window(world: Any, _: Any) -> Iterator[str]:
    yield from world.fair.beyond[:ENOUGH]


def i11_absence_earns_nothing(world: Any, _: Any) -> Iterator[str]:
    yield from world.fair.credited[:ENOUGH]
