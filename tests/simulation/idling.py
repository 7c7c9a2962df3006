"""I12 and the two-host half of I14: no worker stays idle beside what it could do, and what was leased beyond its places goes back.

Looked at once in a virtual second, between two moments of the loop, from the committed rows: nothing here changes what happens.
"""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.job import ACTIVE_MAX
from tests.simulation.gpu import SimWorker
from tests.simulation.host import POLICY, POLL, SimHost
from workers.breaker import Circuit

if TYPE_CHECKING:
    from tests.simulation.world import World

LOOK_EVERY = 1.0
CALLED = 2.0
"""Seconds that a claim may take after its host was woken: a report and a transaction, and a few of the neighbours' before it."""
STATEMENTS = 100
"""The same in trips to the database, which some scenarios make slow."""
SETTLED = 15.0 + POLL + 5.0
"""After the last fault: a request into a broken line ends (15 s), the worker is asked again, it has come back (5 s)."""
LAPSED = POLICY.lease + POLICY.expire_every
"""After the last fault: what dead hosts held is back in the queue."""

_ROWS = """SELECT id, user_id, state, model, worker, shunned, epoch, cancel_requested, not_before FROM job
    WHERE state IN ('queued', 'leased', 'running') ORDER BY seq"""


@dataclass(frozen=True)
class Beside:
    """A worker that has nothing to do, and a job that it could do. Another lease of the job begins a new pair."""

    worker: str
    job: str
    epoch: int
    again: bool
    """It was held back before, so no event tells when it may go."""


class IdleWatch:
    """Keeps since when which idle worker stands beside which job."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._since: dict[Beside, float] = {}
        self._told: set[Beside] = set()
        self._next = 0.0
        self._raw: sqlite3.Connection | None = None
        self.longest = 0.0
        self.found: list[str] = []

    def look(self) -> None:
        """Called after each advance of time."""
        now = self._world.loop.time()
        if now < self._next:
            return
        self._next = now + LOOK_EVERY
        pairs = set(self._pairs(now)) if self._is_judged(now) else set()
        self._since = {pair: self._since.get(pair, now) for pair in pairs}
        for pair, since in self._since.items():
            self.longest = max(self.longest, now - since)
            if now - since > self.bound(pair) and pair not in self._told:
                self._told.add(pair)
                self.found.append(f"{pair.worker} was idle beside job {pair.job} from {since:.1f} to {now:.1f}")

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()

    def bound(self, pair: Beside) -> float:
        """Whoever made it possible is the host that is woken; else the others' polls must find it.

        A worker's places are asked for once in a poll, and a host woken just before that waits for another one.
        """
        called = CALLED + STATEMENTS * self._world.database.latency + LOOK_EVERY
        if not self._world.is_calm:
            return 2 * POLL + called
        return called if self._world.plan.seats == 1 and not pair.again else POLL + called

    def _is_judged(self, now: float) -> bool:
        peace = self._world.peace_at
        return self._world.is_calm or (peace is not None and now >= peace + SETTLED)

    def _pairs(self, now: float) -> Iterator[Beside]:
        rows = self._rows()
        active = Counter(row["user_id"] for row in rows if row["state"] != "queued")
        held = {row["worker"] for row in rows if row["state"] != "queued"}
        for worker in self._world.workers:
            if worker.name in held or worker.running() or not self._is_reachable(worker, now):
                continue
            for row in rows:
                if row["state"] == "queued" and active[row["user_id"]] < ACTIVE_MAX and self._could(worker, row, now):
                    yield Beside(worker.name, row["id"], row["epoch"], row["not_before"] is not None)

    def _rows(self) -> list[dict[str, Any]]:
        if self._raw is None:
            self._raw = sqlite3.connect(self._world.database.file)
            self._raw.row_factory = sqlite3.Row
        return [dict(row) for row in self._raw.execute(_ROWS)]

    def _could(self, worker: SimWorker, row: dict[str, Any], now: float) -> bool:
        if row["model"] not in worker.models or row["cancel_requested"] or worker.name in json.loads(row["shunned"] or "[]"):
            return False
        return row["not_before"] is None or self._world.seconds(row["not_before"]) <= now

    def _is_reachable(self, worker: SimWorker, now: float) -> bool:
        """By a host that is there, has had the time to hear of it, and does not keep it out."""
        return worker.is_up() and any(self._serves(host, worker, now) for host in self._world.alive())

    def _serves(self, host: SimHost, worker: SimWorker, now: float) -> bool:
        settled = 3.0 + STATEMENTS * self._world.database.latency
        if host.number in self._world.loop.stopped or host.stop.is_set() or now < host.booted_at + settled:
            return False
        member = next(member for member in host.pool.members if member.worker.name == worker.name)
        if member.breaker.circuit is Circuit.HALF_OPEN:
            return host.dispatcher.running_on(worker.name) == 0
        return member.breaker.circuit is Circuit.CLOSED


# ---- the judge -------------------------------------------------------------------------------------------------------


def i12_no_worker_idles_beside_what_it_could_do(world: "World", _: Any) -> Iterator[str]:
    yield from world.idle.found


def i14_a_host_leases_what_it_sees_places_for(world: "World", records: Any) -> Iterator[str]:
    """At each claim: what it holds there, by its own claims and by taking over, and what it just leased."""
    begun = {(event["job_id"], event["epoch"]): event["seq"] for event in records.events if event["to_state"] == "leased"}
    ended: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for event in records.events:
        if event["to_state"] not in ("leased", "running"):
            ended[event["job_id"]].append((event["seq"], event["epoch"]))
    places = {worker.name: worker.max_batch for worker in world.workers}
    held: dict[tuple[int, str], set[tuple[str, int]]] = defaultdict(set)
    for take in world.takes:
        for (host, _), theirs in held.items():
            if host != take.host:
                theirs.difference_update(take.jobs)  # taken over: whoever held it before has nothing to do with it any more
        mine = held[take.host, take.worker]
        starts = [begun[key] for key in take.jobs if key in begun]
        if take.claimed and starts:
            mine -= {key for key in mine if _end(ended, begun, key) < min(starts)}
        mine |= {key for key in take.jobs if key in begun}
        if take.claimed and starts and len(mine) > places[take.worker]:
            yield f"host {take.host} leased {len(mine)} jobs on {take.worker}, which has {places[take.worker]} places, at {take.at:.1f}"


def _end(ended: dict[str, list[tuple[int, int]]], begun: dict[tuple[str, int], int], key: tuple[str, int]) -> float:
    """The line of the log at which this lease ended."""
    return min((seq for seq, _ in ended[key[0]] if seq > begun[key]), default=float("inf"))


def i14_what_is_leased_beyond_the_places_goes_back(world: "World", records: Any) -> Iterator[str]:
    """Where nothing goes wrong, and after the last fault once old leases have lapsed: as fast as a refusal travels."""
    places = {worker.name: worker.max_batch for worker in world.workers}
    bound = CALLED + STATEMENTS * world.database.latency
    start = 0.0 if world.is_calm else (world.peace_at or 0.0) + LAPSED + SETTLED
    held: dict[str, set[str]] = defaultdict(set)
    since: dict[str, float] = {}
    for event in [*records.events, {"job_id": None, "at": None, "to_state": "", "actor": ""}]:
        at = world.loop.time() if event["at"] is None else world.seconds(event["at"])
        for worker, begun in list(since.items()):
            if at - max(begun, start) > bound:
                yield f"{worker} had more leases than its {places[worker]} places from {begun:.1f} to {at:.1f}"
                del since[worker]
        for jobs in held.values():
            if event["to_state"] not in ("leased", "running"):
                jobs.discard(event["job_id"])
        if event["to_state"] == "leased" and event["actor"] in places:
            held[event["actor"]].add(event["job_id"])
        over = {worker for worker, jobs in held.items() if len(jobs) > places[worker]}
        since = {worker: since.get(worker, at) for worker in over}
