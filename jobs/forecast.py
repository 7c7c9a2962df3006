"""What can be told to somebody who waits: why, behind how many people and passes, and until when. Pure, over the line.

A forecast is made of the whole line at once and then asked about any number of jobs: each question costs a few lookups. A job's turn comes
when the accounts before it have grown to where it stands, so the work before it is the sum over people of min(what they have queued,
weight × distance to that point), read from one piecewise linear curve.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil
from typing import Literal

from jobs.estimate import Estimator, Eta
from jobs.job import JobId, UserId
from jobs.line import Line, WaitingJob
from jobs.planner import Contest, WorkerView, contest

Cause = Literal[
    "offline", "resting", "backoff", "no_worker", "no_lora", "cap", "forced", "next", "riding", "waiting_pass", "cold", "lane", "own",
    "ahead",
]  # fmt: skip

PEOPLE_MAX = 20_000
"""People looked at one by one; of a longer line every n-th stands for n."""

WORKERS_MAX = 16
"""Workers asked who would lead there, idle ones first: more would give the same answers."""


@dataclass(frozen=True, kw_only=True)
class Why:
    """Why a job waits: a cause of the closed list and the figures of its sentence (``why.<code>``)."""

    code: Cause
    details: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What can be said of a waiting job. ``forecast`` is the middle of ``eta`` in seconds; both None where nobody can know."""

    why: Why
    people: int
    """Others whose turn comes before."""
    passes: int
    """Passes of a worker before the one that takes it; 0 for the next one."""
    forecast: float | None = None
    eta: Eta | None = None


class Forecast:
    """The line as it stands, ready to be asked."""

    def __init__(self, line: Line, workers: Sequence[WorkerView], estimator: Estimator) -> None:
        self._line = line
        self._estimator = estimator
        self._workers = [view for view in workers if view.name not in line.resting]
        self._resting = [view for view in workers if view.name in line.resting]
        self._contests: dict[str, Contest | None] = {}
        self._curves: dict[frozenset[str], _Curve] = {}
        self._able_by_need: dict[str, list[WorkerView]] = {}

    def of(self, job_id: JobId) -> Outlook | None:
        """The outlook of a waiting job; None when it does not wait."""
        sleeping = self._line.held_back(job_id)
        if sleeping is not None:
            seconds = max(1, ceil((sleeping.not_before or 0.0) - self._line.now))
            return Outlook(why=Why(code="backoff", details={"seconds": seconds}), people=0, passes=0)
        job = self._line.waiting.get(job_id)
        return None if job is None else self._outlook(job)

    def _outlook(self, job: WaitingJob) -> Outlook:
        able = self._able(self._line.need(job.key, job.exclude))
        if not able:
            return Outlook(why=self._no_worker(job), people=0, passes=0)
        curve = self._curve(able)
        v = self._line.standing(job)
        earlier = self._earlier(job)
        before = sum(other.cost for other in earlier)
        point = v + before / self._line.person(job.user_id).weight + self._line.rules.lane(job.lane)
        own = _Share.of(self._line, job.user_id, curve.pools)
        work = max(0.0, curve.work_before(point) - own.before(point)) + before
        people = curve.people_before(v, job.place) - ((own.v, own.place) < (v, job.place) and own.queued > 0)
        forecast = self._seconds(job, able, work) if self._estimator.knows(job.key.model) else None
        if forecast is not None:
            self._estimator.calibration.said(job.id, self._line.now, forecast)
        return Outlook(
            why=self._why(job, able, v, people, len(earlier)),
            people=people,
            passes=ceil(work / curve.pass_work) if work else 0,
            forecast=forecast,
            eta=None if forecast is None else self._estimator.calibration.range(forecast),
        )

    # -- time -------------------------------------------------------------------------------------------------------------

    def _seconds(self, job: WaitingJob, able: Sequence[WorkerView], work: float) -> float:
        pace = sum(self._estimator.pace(view.name) for view in able)
        stretch = min(self._estimator.stretch(view.name) for view in able)
        idle = [view for view in able if not view.running]
        ends = [view.free_in for view in able if view.free_in is not None]
        rest = 0.0 if idle else min(ends, default=job.cost * stretch / 2)
        swaps = 0.0 if any(job.key.model in view.loaded for view in able) else self._swap(able[0], job)
        return rest + work / max(pace, 1e-9) + swaps + job.cost * stretch

    def _swap(self, view: WorkerView, job: WaitingJob) -> float:
        known = self._estimator.swap(view.name, job.key.model)
        return self._line.rules.swap / 3 if known is None else known

    def _earlier(self, job: WaitingJob) -> list[WaitingJob]:
        """The person's own jobs that go first: by lane, then by age."""
        lane, place = self._line.rules.lane(job.lane), job.place
        jobs = self._line.jobs_of(job.user_id)
        return [other for other in jobs if (self._line.rules.lane(other.lane), other.place) < (lane, place)]

    def _able(self, need: str) -> list[WorkerView]:
        if need not in self._able_by_need:
            self._able_by_need[need] = [view for view in self._workers if need in self._line.met_by(view.name)]
        return self._able_by_need[need]

    def _curve(self, able: Sequence[WorkerView]) -> "_Curve":
        names = frozenset(view.name for view in able)
        if names not in self._curves:
            self._curves[names] = _Curve.of(self._line, able)
        return self._curves[names]

    # -- causes -----------------------------------------------------------------------------------------------------------

    def _why(self, job: WaitingJob, able: Sequence[WorkerView], v: float, people: int, earlier: int) -> Why:
        rules, person = self._line.rules, self._line.person(job.user_id)
        if person.active + earlier >= rules.active_max:
            return Why(code="cap", details={"n": rules.active_max})
        first = sorted(able, key=lambda view: (bool(view.running), -view.speed))[:WORKERS_MAX]
        contests = [(view, found) for view in first if (found := self._contest(view)) is not None]
        for view, found in contests:
            cause = self._at_the_front(job, view, found, v)
            if cause is not None:
                return cause
        return self._behind(job, contests, v, people)

    def _at_the_front(self, job: WaitingJob, view: WorkerView, found: Contest, v: float) -> Why | None:
        """The causes of somebody whose turn it is."""
        line = self._line
        old = line.now - line.waited_since(job) >= line.rules.old_after
        if found.winner.id == job.id:
            if not view.running:
                return Why(code="next")
            return Why(code="waiting_pass", details={} if view.free_in is None else {"seconds": max(1, ceil(view.free_in))})
        leading = view.running[0] if view.running else found.winner.key
        if not job.alone and view.pass_key(job.key) == view.pass_key(leading) and v <= found.low + line.rules.rider_window:
            return Why(code="riding")
        return Why(code="forced") if old and v <= found.low else None

    def _behind(self, job: WaitingJob, contests: Iterable[tuple[WorkerView, Contest]], v: float, people: int) -> Why:
        """The causes of somebody who comes later: what keeps them from leading on the worker where they are nearest to it."""
        rules, person = self._line.rules, self._line.person(job.user_id)
        view, found = min(contests, key=lambda pair: v + self._handicap(job, pair[0]) - pair[1].score[0])
        swap = 0.0 if job.key.model in view.loaded else view.swap.get(job.key.model, rules.swap)
        gap = v + self._handicap(job, view) - found.score[0]
        if swap and v + rules.lane(job.lane) <= found.score[0]:
            return Why(code="cold", details={"model": job.key.model, "seconds": max(1, ceil(gap))})
        if rules.lane(job.lane) and v + swap <= found.score[0]:
            return Why(code="lane", details={"seconds": max(1, ceil(gap))})
        if not people and found.winner.user_id == job.user_id:
            return Why(code="own")
        return Why(code="ahead", details={"n": max(1, people), "seconds": max(1, ceil((v - found.low) * person.weight))})

    def _handicap(self, job: WaitingJob, view: WorkerView) -> float:
        rules = self._line.rules
        swap = 0.0 if job.key.model in view.loaded else view.swap.get(job.key.model, rules.swap)
        return min(rules.window, swap + rules.lane(job.lane))

    def _no_worker(self, job: WaitingJob) -> Why:
        """Nobody who may work has what it needs: somebody who rests by the operator's word, or nobody online."""
        need = self._line.need(job.key, job.exclude)
        if any(need in self._line.met_by(view.name) for view in self._resting):
            return Why(code="resting")
        if not self._workers:
            return Why(code="offline")
        have = {model for view in self._workers for model in view.models}
        if job.key.model in have and job.key.loras:
            return Why(code="no_lora", details={"lora": min(job.key.loras)})
        return Why(code="no_worker", details={"model": job.key.model})

    def _contest(self, view: WorkerView) -> Contest | None:
        if view.name not in self._contests:
            self._contests[view.name] = contest(self._line, view)
        return self._contests[view.name]


@dataclass(frozen=True, kw_only=True)
class _Share:
    """What one person has queued in some pools, in solo seconds, and where they stand."""

    v: float
    queued: float
    weight: float
    place: int
    """Of their oldest waiting job: between equal accounts the older request goes first."""

    @classmethod
    def of(cls, line: Line, user: UserId, pools: frozenset[str]) -> "_Share":
        known = line.queued_in(user)
        costs = {pool: cost for pool, cost in known.items() if pool in pools}
        v = min((line.books.v(user, pool) for pool in costs), default=0.0)
        place = min((job.place for job in line.jobs_of(user)), default=0)
        return cls(v=v, queued=sum(costs.values()), weight=line.person(user).weight, place=place)

    def before(self, point: float) -> float:
        """Of that, what is done before the least account has come up to ``point``."""
        return min(self.queued, max(0.0, self.weight * (point - self.v)))


@dataclass(frozen=True, kw_only=True)
class _Curve:
    """Work that is done before the accounts have come up to a point, over everybody who waits for these workers' pools."""

    pools: frozenset[str]
    starts: Sequence[tuple[float, int]]
    """Accounts and the place of each person's oldest job, ascending."""
    knees: Sequence[float]
    slopes: Sequence[float]
    """Of the curve from each knee on."""
    heights: Sequence[float]
    scale: int
    pass_work: float

    @classmethod
    def of(cls, line: Line, able: Sequence[WorkerView]) -> "_Curve":
        pools = frozenset(pool for view in able for pool in line.pools_of(view.name))
        scale = max(1, len(line.people) // PEOPLE_MAX)
        shares = [_Share.of(line, user, pools) for user in list(line.people)[::scale]]
        shares = [share for share in shares if share.queued > 0]
        turns = sorted([(s.v, s.weight) for s in shares] + [(s.v + s.queued / s.weight, -s.weight) for s in shares])
        knees, slopes = [at for at, _ in turns], list(accumulate(change for _, change in turns))
        steps = [slopes[i - 1] * (knees[i] - knees[i - 1]) if i else 0.0 for i in range(len(knees))]
        return cls(
            pools=pools,
            starts=sorted((share.v, share.place) for share in shares),
            knees=knees,
            slopes=slopes,
            heights=list(accumulate(steps)),
            scale=scale,
            pass_work=_pass_work(line, able),
        )

    def work_before(self, point: float) -> float:
        """Solo seconds."""
        at = bisect_right(self.knees, point) - 1
        return 0.0 if at < 0 else self.scale * (self.heights[at] + self.slopes[at] * (point - self.knees[at]))

    def people_before(self, v: float, place: int) -> int:
        """How many stand lower, or as low with an older request."""
        return self.scale * bisect_left(self.starts, (v, place))


def _pass_work(line: Line, able: Sequence[WorkerView]) -> float:
    """Solo seconds of what these workers take together at a time, by the mean of what waits."""
    jobs = [job for _, job in zip(range(1_000), line.waiting.values(), strict=False)]
    rows = sum(min([view.room + view.running_rows, *view.best_rows.values()]) for view in able)
    mean = sum(job.cost / job.rows for job in jobs) / max(len(jobs), 1)
    return max(mean * max(rows, 1), 1e-9)
