"""Live figures of fairness, speed and company, over a sliding window. Pure: fed with facts, asked for numbers.

``band_position`` is theorem 1 as an alarm: an account that waits stands between −ρ/w and Δ + C/w above its pool's clock, always. The Jain
index is taken over a window so long that the bound is a tenth of what was served in it: over a shorter one it would measure luck.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from jobs.fairness import Rules
from jobs.job import JobId, UserId
from jobs.line import Line
from jobs.planner import Plan, Reason


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What is shown. Seconds, shares between 0 and 1, and None where nothing was seen in the window."""

    window: float
    jain: float | None
    people: int
    """People over whom the Jain index was taken: those who waited for at least half of the window."""
    slowdown_p50: Mapping[str, float]
    """(finish − submission) / cost alone, by lane."""
    slowdown_p95: Mapping[str, float]
    wait_p50: float | None
    """From the submission, or the person's last lease, to the lease."""
    wait_p95: float | None
    swaps_per_hour: float
    forced_per_hour: float
    mean_batch: float | None
    """Rows of a pass when it began and as people joined it."""
    joins: int
    prediction_error: float | None
    """Mean of measured / predicted cost: 1 is right."""
    refunded_seconds: float
    """Executed and charged to nobody: the worker was to blame."""
    band_worst: float
    """The furthest any waiting account stands from its clock, where 1 is the bound: above 1 raise an alarm."""
    slow_by_person: Mapping[UserId, float]
    """Mean slowdown of those whose jobs ended in the window."""


@dataclass
class Meter:
    """Collects. Call :meth:`planned` with each stored plan, :meth:`ended` with each end, :meth:`tick` every few seconds."""

    rules: Rules
    window: float = 1_800.0
    _ends: deque[tuple[float, UserId, str, float]] = field(default_factory=deque)
    _waits: deque[tuple[float, float]] = field(default_factory=deque)
    _leaders: deque[tuple[float, bool, bool]] = field(default_factory=deque)
    _rows: deque[tuple[float, str, int]] = field(default_factory=deque)
    _charges: deque[tuple[float, UserId, float]] = field(default_factory=deque)
    _errors: deque[tuple[float, float]] = field(default_factory=deque)
    _refunds: deque[tuple[float, float]] = field(default_factory=deque)
    _present: deque[tuple[float, frozenset[UserId]]] = field(default_factory=deque)
    _model: dict[str, str] = field(default_factory=dict)
    _charged: dict[JobId, tuple[UserId, float]] = field(default_factory=dict)

    def planned(self, line: Line, plan: Plan) -> None:
        """A plan is stored. Call it before the line takes the plan over."""
        for lease in plan.leases:
            job, now = lease.job, line.now
            weight = line.person(job.user_id).weight
            self._waits.append((now, max(0.0, now - line.waited_since(job))))
            self._charges.append((now, job.user_id, lease.predicted / weight))
            self._charged[job.id] = (job.user_id, lease.predicted / weight)
            self._rows.append((now, lease.reason, job.rows))
            if lease.reason not in (Reason.RIDER, Reason.JOINER):
                swapped = self._model.get(lease.worker, job.key.model) != job.key.model
                self._leaders.append((now, swapped, lease.reason is Reason.AGED))
                self._model[lease.worker] = job.key.model

    def ended(
        self, job_id: JobId, *, now: float, kept: float, done: bool, lane: str, cost: float, since: float, executed: float = 0.0
    ) -> None:
        """A lease has ended. ``since`` is the submission, ``executed`` the solo seconds done where the charge was given back."""
        user, charge = self._charged.pop(job_id, (None, 0.0))
        if user is None:
            return
        self._charges.append((now, user, charge * (kept - 1)))
        if done:
            self._ends.append((now, user, lane, (now - since) / max(cost, 1e-9)))
            self._errors.append((now, kept))
        if kept == 0:
            self._refunds.append((now, executed))

    def tick(self, line: Line) -> None:
        """Note who waits now."""
        self._present.append((line.now, frozenset(user for user, _ in line.contending())))

    def figures(self, line: Line) -> Figures:
        """The window that ends now."""
        self._forget(line.now - self.window)
        served = self._served()
        lanes = {lane: [slow for _, _, name, slow in self._ends if name == lane] for _, _, lane, _ in self._ends}
        waits = [wait for _, wait in self._waits]
        per_hour = 3600 / self.window
        return Figures(
            window=self.window,
            jain=jain(served.values()) if len(served) > 1 else None,
            people=len(served),
            slowdown_p50={lane: _rank(values, 0.5) for lane, values in lanes.items()},
            slowdown_p95={lane: _rank(values, 0.95) for lane, values in lanes.items()},
            wait_p50=_rank(waits, 0.5) if waits else None,
            wait_p95=_rank(waits, 0.95) if waits else None,
            swaps_per_hour=sum(swapped for _, swapped, _ in self._leaders) * per_hour,
            forced_per_hour=sum(forced for _, _, forced in self._leaders) * per_hour,
            mean_batch=sum(rows for _, _, rows in self._rows) / len(self._leaders) if self._leaders else None,
            joins=sum(reason == Reason.JOINER for _, reason, _ in self._rows),
            prediction_error=sum(kept for _, kept in self._errors) / len(self._errors) if self._errors else None,
            refunded_seconds=sum(seconds for _, seconds in self._refunds),
            band_worst=band_worst(line),
            slow_by_person=self._slow_by_person(),
        )

    def _served(self) -> dict[UserId, float]:
        """Virtual seconds of those who waited for at least half of the window."""
        seen: dict[UserId, int] = {}
        for _, people in self._present:
            for user in people:
                seen[user] = seen.get(user, 0) + 1
        served = {user: 0.0 for user, times in seen.items() if 2 * times >= len(self._present)}
        for _, user, virtual in self._charges:
            if user in served:
                served[user] += virtual
        return served

    def _slow_by_person(self) -> dict[UserId, float]:
        slow: dict[UserId, list[float]] = {}
        for _, user, _, value in self._ends:
            slow.setdefault(user, []).append(value)
        return {user: sum(values) / len(values) for user, values in slow.items()}

    def _forget(self, before: float) -> None:
        for rows in (self._ends, self._waits, self._leaders, self._rows, self._charges, self._errors, self._refunds, self._present):
            while rows and rows[0][0] < before:
                rows.popleft()


def jain(figures: Iterable[float]) -> float:
    """Jain's index of fairness: 1 when all are equal, 1/n when one has everything."""
    values = [max(figure, 0.0) for figure in figures]
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def band_worst(line: Line) -> float:
    """How far the accounts that wait stand from their clocks, as a share of what the band lemma allows."""
    worst, rules = 0.0, line.rules
    for user, pool in line.contending():
        weight = line.person(user).weight
        distance = line.books.v(user, pool) - line.books.pools[pool].clock
        above, below = rules.reach + rules.overshoot / weight, rules.sag / weight
        worst = max(worst, distance / above, -distance / below if below else 0.0)
    return worst


def window_for(line: Line, pace: float) -> float:
    """Seconds over which the bound is a tenth of what is served, when the clocks move by ``pace`` virtual seconds a second."""
    least = min((person.weight for person in line.people.values()), default=1.0)
    return 10 * (line.rules.reach + line.rules.overshoot / least) / max(pace, 1e-9)


def _rank(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
