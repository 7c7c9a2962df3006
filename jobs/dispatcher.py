"""The loop between ledger and workers: plan, lease, run, renew, expire. Over ports only.

A lease is committed before its worker hears of the job, so a crash between the two costs only the lease's time.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import inf, sqrt

from jobs.batch import BatchKey
from jobs.carrier import Carrier, Policy, Tally, UnderWay, fact_of
from jobs.errors import StoreUnavailable
from jobs.estimate import Estimator
from jobs.events import JobLeased
from jobs.job import Job, JobId
from jobs.line import Line
from jobs.planner import Linger, Plan, WorkerView, make_plan
from jobs.ports import Clock, EventSink, JobStore, Worker
from jobs.run import RunKey, WorkerReport

_log = logging.getLogger(__name__)


class Dispatcher:
    """Gives waiting jobs to workers and keeps their leases. One per host process."""

    def __init__(
        self,
        *,
        store: JobStore,
        carrier: Carrier,
        sink: EventSink,
        clock: Clock,
        policy: Policy,
        estimator: Estimator | None = None,
    ) -> None:
        self._store = store
        self._carrier = carrier
        self._sink = sink
        self._clock = clock
        self._policy = policy
        self._estimator = estimator
        self._under_way: dict[RunKey, UnderWay] = {}
        self._peaks: dict[str, int] = {}

    def rows_on(self, worker: str) -> int:
        """Rows of passes that our runs take there."""
        return sum(run.job.order.rows for run in self._runs_of(worker))

    def view(self, name: str, report: WorkerReport, *, room: int) -> WorkerView:
        """The worker of that name in leases, as planning sees it; ``room`` in rows."""
        return self._view(name, report, room)

    def running_on(self, worker: str) -> int:
        """How many runs of ours this worker has."""
        return len(self._runs_of(worker))

    async def fill(self, worker: Worker, report: WorkerReport, tally: Tally, group: asyncio.TaskGroup, *, room: int) -> int:
        """Claim up to ``room`` jobs for this worker and carry them in ``group``. Returns how many were claimed."""
        view = self._view(worker.name, report, room)
        jobs, linger = await self._claim(view)
        if linger:  # once: whoever came meanwhile rides along, and if nobody came the leader has waited 50 ms at most
            await self._clock.sleep(linger)
            jobs, _ = await self._claim(replace(view, idle_for=inf))
        for job in jobs:
            self._sink.publish(JobLeased(job=job))
            self._start(worker, job, tally, group, together=len(jobs), cold=job.order.model not in report.loaded)
        return len(jobs)

    async def _claim(self, view: WorkerView) -> tuple[list[Job], float]:
        """What is leased now, and seconds after which to ask again because company is likely."""
        plans: list[Plan] = []

        def decide(line: Line) -> Plan:
            plans.append(make_plan(line, view))
            return plans[-1]

        jobs = await self._store.claim(view.name, decide, lease_seconds=self._policy.lease)
        return jobs, plans[-1].linger if plans and not jobs else 0.0

    async def take_up(self, worker: Worker, tally: Tally, group: asyncio.TaskGroup) -> int:
        """Attach to the runs this worker holds from before our restart, or from a host that is gone, instead of making them again."""
        known = [run.key for run in self._runs_of(worker.name)]
        jobs = await self._store.adopt(worker.name, lease_seconds=self._policy.lease, but=known)
        for job in jobs:
            self._start(worker, job, tally, group, together=1, resume=True)
        return len(jobs)

    async def cancel(self, job_id: JobId) -> None:
        """Tell the worker at once that this job's owner wants it stopped; nothing when it does not run here."""
        for run in [run for run in self._under_way.values() if run.job.id == job_id]:
            await self._carrier.pass_on_cancel(run)

    async def keep_leases(self) -> None:
        """Renew for ever, so that a lease lives exactly as long as this process follows its run."""
        while True:
            await self._clock.sleep(self._policy.renew_every)
            await self.renew()

    async def renew(self) -> None:
        """One round: stop runs whose lease is lost, pass on wishes to cancel. A database that is away is waited for."""
        runs = dict(self._under_way)
        if not runs:
            return
        try:
            held, cancelled = await self._store.renew(list(runs), lease_seconds=self._policy.lease)
        except StoreUnavailable as error:
            _log.warning("leases not renewed: %s", error)
            return
        for key, run in runs.items():
            if key not in held and key in self._under_way:  # else it ended between the two reads
                run.abandon()
            elif key in cancelled:
                await self._carrier.pass_on_cancel(run)

    async def expire(self) -> None:
        """The janitor, for ever: lapsed leases back to the queue, overdue jobs closed."""
        while True:
            try:
                for job, reason in await self._store.expire(lost_max=self._policy.lost_max):
                    self._sink.publish(fact_of(job, reason))
            except StoreUnavailable as error:
                _log.warning("the janitor waits: %s", error)
            await self._clock.sleep(self._policy.expire_every)

    def _runs_of(self, worker: str) -> list[UnderWay]:
        return [run for run in self._under_way.values() if run.worker.name == worker and not run.over]

    def _start(
        self,
        worker: Worker,
        job: Job,
        tally: Tally,
        group: asyncio.TaskGroup,
        *,
        together: int,
        cold: bool = False,
        resume: bool = False,
    ) -> None:
        there = partial(self._peaks.get, worker.name, 0)
        run = UnderWay(worker=worker, job=job, together=together, cold=cold, rows_there=there)
        self._under_way[run.key] = run
        self._peaks[worker.name] = max(self._peaks.get(worker.name, 0), self.rows_on(worker.name))
        run.task = group.create_task(self._carry(run, tally, resume=resume), name=f"run {run.key}")

    async def _carry(self, run: UnderWay, tally: Tally, *, resume: bool) -> None:
        try:
            await self._carrier.carry(run, tally, resume=resume)
        finally:
            self._under_way.pop(run.key, None)
            if not self._runs_of(run.worker.name):
                self._peaks.pop(run.worker.name, None)

    def _view(self, name: str, report: WorkerReport, room: int) -> WorkerView:
        runs, known = self._runs_of(name), self._estimator
        step_level = frozenset(offer.name for offer in report.models if offer.batch_by == "step")
        swaps = {} if known is None else {offer.name: known.swap(name, offer.name) for offer in report.models}
        return WorkerView(
            name=name,
            models=frozenset(offer.name for offer in report.models),
            room=room,
            running=tuple(BatchKey.of(run.job.order, strict=run.job.order.model not in step_level) for run in runs),
            running_rows=sum(run.job.order.rows for run in runs),
            busy_alone=any(run.job.alone for run in runs),
            loaded=report.loaded,
            step_level=step_level,
            best_rows=_best_rows(report, known, name),
            swap={model: _SWAPS * seconds for model, seconds in swaps.items() if seconds is not None},
            speed=1.0 if known is None else known.speed(name),
            free_in=None if known is None else _free_in(runs, known, name),
            idle_for=inf if runs else 0.0,
            linger={} if known is None else _lingers(report, known, name),
        )


def _free_in(runs: Sequence[UnderWay], known: Estimator, name: str) -> float | None:
    """Seconds until the first of them ends, by its steps so far; None where nobody can tell."""
    rows, left = sum(run.job.order.rows for run in runs), []
    for run in runs:
        eta = known.predict(run.job.order, worker=name, rows=rows)
        if eta is not None:
            left.append(sqrt(eta.low * eta.high) * (1 - run.executed))
    return min(left, default=None)


_SWAPS = 3.0
"""The handicap of a model that must be loaded, in times that it takes: docs/fairness.md says why three."""


def _lingers(report: WorkerReport, known: Estimator, name: str) -> dict[str, Linger]:
    """By model, how long waiting for company may take and what it saves, where it was measured to pay."""
    found = {offer.name: known.company(name, offer.name) for offer in report.models}
    return {model: Linger(most=pays[0], saved=pays[1]) for model, pays in found.items() if pays is not None}


def _best_rows(report: WorkerReport, known: Estimator | None, name: str) -> dict[str, int]:
    """By model the largest pass it gains from: what it says of itself, and what was measured here."""
    best: dict[str, int] = {}
    for offer in report.models:
        said = [offer.best_batch, None if known is None else known.best_rows(name, offer.name)]
        rows = [count for count in said if count is not None]
        if rows:
            best[offer.name] = min(rows)
    return best
