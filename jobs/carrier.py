"""One job in one worker's hands, from its lease to its end. Over ports only.

A result is stored as bytes first, then in the ledger, then acknowledged to the worker, so a crash anywhere leaves at least
one side knowing the picture. A slot is freed only when the worker said that it stopped, or when the lease ran out: a
person's two places are places on a GPU.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf, sqrt
from typing import Protocol, TypeVar

from jobs.batch import BatchKey
from jobs.discretion import fit_for_log
from jobs.errors import (
    BadPicture,
    LeaseLost,
    RunForgotten,
    StoreUnavailable,
    WorkerBusy,
    WorkerFault,
    WorkerUnreachable,
)
from jobs.estimate import Estimator
from jobs.events import (
    JobCancelled,
    JobEvent,
    JobFailed,
    JobProgressed,
    JobQueued,
    JobRequeued,
    JobStarted,
    JobSucceeded,
)
from jobs.job import Failure, Job, JobState, Making
from jobs.judging import Classifier, refused
from jobs.ports import Clock, EventSink, Inspector, JobStore, PictureStore, RowLimit, Worker
from jobs.retries import RetryBudget
from jobs.run import (
    FaultKind,
    Run,
    RunAccepted,
    RunCancelled,
    RunEvent,
    RunFailed,
    RunFinished,
    RunKey,
    RunProgressed,
)
from jobs.stopwatch import Stopwatch

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_LOOK = 3.0
"""Seconds for a worker to say whether it is still there."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The host's patience with workers and with its own ledger. Seconds, unless said otherwise."""

    lease: float = 30
    renew_every: float = 10
    expire_every: float = 5
    first_step: float = 300
    """From the request to the first step: a model of many gigabytes may be loading."""
    between_steps: float = 90
    run_least: float = 1800
    run_most: float = 3 * 3600
    """How long a run may go on, whatever it tells: ten times what it should take from its first step on, but no less than the one and
    no more than the other."""
    stopping: float = 300
    """From the wish to stop it to its end."""
    attempts_max: int = 3
    """Tries, after which the job fails."""
    lost_max: int = 5
    """Lapsed leases, after which the job fails."""
    backoff: float = 2
    backoff_max: float = 120
    store_patience: float = 120
    """How long a finished picture is held while the ledger cannot be written."""


class Tally(Protocol):
    """Hears how runs on one worker went: its circuit breaker."""

    def delivered(self) -> None:
        """A run ended as it should."""
        ...

    def faulted(self) -> None:
        """A run ended by a fault of the worker."""
        ...


@dataclass(kw_only=True)
class UnderWay:
    """A job that a worker has, as this process knows it."""

    worker: Worker
    job: Job
    together: int = 1
    """How many jobs its claim leased."""
    cold: bool = False
    """Its model was not loaded there when it was leased, and no step of it was heard of yet."""
    key: RunKey = field(init=False)
    task: asyncio.Task[None] | None = None
    started: float | None = None
    """Monotonic seconds at the worker's acceptance."""
    cancel_sent: bool = False
    give_up_at: float = inf
    """Monotonic seconds: beyond it nobody follows it, though it may still tell of steps."""
    watch: Stopwatch = field(default_factory=Stopwatch)
    step: int = 0
    """The last step that was heard of."""
    rows_there: Callable[[], int] = lambda: 0
    """The most rows that its worker had at once, of ours, since it was last idle."""
    lease_lost: bool = False
    ending: bool = False
    """Its last write is on the way: a lease that is gone now may be gone because of that write."""
    over: bool = False
    """The ledger knows its end: it takes no place on its worker any more, though the worker may still have to hear of it."""

    def __post_init__(self) -> None:
        self.key = Run.of(self.job).key

    @property
    def executed(self) -> float:
        """The part of its work that was done, as far as it told."""
        return min(1.0, self.step / max(self.job.order.steps, 1))

    def abandon(self) -> None:
        """The lease lapsed: nothing we would still write counts, so stop following and tell the worker to stop."""
        if self.task is not None and not self.ending:
            self.lease_lost = True
            self.task.cancel()


class Carrier:
    """Follows runs to their ends and writes what became of them."""

    def __init__(
        self,
        *,
        store: JobStore,
        pictures: PictureStore,
        inspector: Inspector,
        sink: EventSink,
        estimator: Estimator,
        clock: Clock,
        policy: Policy,
        jitter: Callable[[], float] = random.random,
        elsewhere: Callable[[str, str], bool] = lambda model, worker: False,
        classifier: Classifier | None = None,
    ) -> None:
        self._store = store
        self._pictures = pictures
        self._inspector = inspector
        self._sink = sink
        self._estimator = estimator
        self._clock = clock
        self._policy = policy
        self._jitter = jitter
        self._elsewhere = elsewhere
        self._classifier = classifier
        self._budget = RetryBudget(now=clock.monotonic)

    async def carry(self, run: UnderWay, tally: Tally, *, resume: bool) -> None:
        """Follow the run to its end. Raises nothing but cancellation."""
        try:
            await self._carry(run, tally, resume=resume)
        except Exception:  # noqa: BLE001  loop boundary: not even its giving back may end everybody's dispatcher
            _log.exception("run %s: left until its lease lapses", run.key)

    async def _carry(self, run: UnderWay, tally: Tally, *, resume: bool) -> None:
        try:
            await self._follow(run, tally, resume=resume)
        except LeaseLost:
            _log.info("run %s: the lease went to somebody else", run.key)
            await self._leave(run)
        except asyncio.CancelledError:
            if not run.lease_lost:
                raise
            _log.info("run %s: its lease lapsed, so it is left", run.key)
            await self._leave(run)
        except WorkerBusy as fault:
            await self._give_back(run, fault, counted=False)
        except RunForgotten as fault:
            # It had it, as we heard, and has forgotten it: it died and came back at once, which is a death like any other. What it
            # forgot before we followed it (we were away for long) is nobody's fault.
            heard_of = run.started is not None
            await self._give_back(run, fault, counted=heard_of, died=heard_of)
        except WorkerFault as fault:
            tally.faulted()
            died = await self._vanished(run, fault)
            await self._stop_quietly(run)
            # Never accepted means untouched: no try is burnt on a worker that was not there.
            await self._give_back(run, fault, counted=run.started is not None, died=died)
        except StoreUnavailable as error:
            _log.error("run %s: the ledger stayed away (%s); the worker keeps its result", run.key, error)
        except Exception:  # noqa: BLE001  loop boundary: one job's surprise must not end everybody's dispatcher
            _log.exception("run %s: unexpected", run.key)
            await self._give_back(run, WorkerUnreachable("worker_unreachable"), counted=True)

    async def pass_on_cancel(self, run: UnderWay) -> None:
        """Tell the worker, once, that the job's owner wants it stopped."""
        if run.cancel_sent:
            return
        run.cancel_sent = True
        run.give_up_at = min(run.give_up_at, self._clock.monotonic() + self._policy.stopping)
        try:
            await run.worker.cancel(run.key)
        except WorkerFault as fault:
            run.cancel_sent = False  # the next renewal asks again
            _log.warning("run %s: cancel not delivered: %s", run.key, _said(run, fault))

    async def _follow(self, run: UnderWay, tally: Tally, *, resume: bool) -> None:
        patience = self._policy.first_step
        now = self._clock.monotonic()
        run.give_up_at = min(run.give_up_at, now + self._policy.run_most)
        run.watch.ordered = None if resume else now
        # Closed here and now: left to the garbage collector, its connection would be torn down at some later moment.
        async with aclosing(run.worker.run(Run.of(run.job, together=run.together), resume=resume)) as events:
            while True:
                event = await _next_event(events, patience, left=run.give_up_at - self._clock.monotonic())
                if isinstance(event, RunProgressed):
                    patience = self._policy.between_steps
                if await self._heard(run, event, tally):
                    return

    async def _heard(self, run: UnderWay, event: RunEvent, tally: Tally) -> bool:
        """Act on one event; whether it was the last."""
        match event:
            case RunAccepted():
                self._check_order(run, event)
                await self._accepted(run)
                return False
            case RunProgressed():
                self._progressed(run, event)
                return False
            case RunFinished():
                run.ending = True
                seconds = run.watch.believed(event.seconds, self._clock.monotonic())
                await self._finished(run, replace(event, seconds=seconds))
                tally.delivered()
            case RunCancelled():
                run.ending = True
                await self._stopped(run)
                tally.delivered()
            case RunFailed():
                run.ending = True
                await self._failed(run, event, tally)
        return True

    def _check_order(self, run: UnderWay, event: RunAccepted) -> None:
        """A key alone does not make a run ours: after a restart its worker may mix runs up, and a picture has one owner."""
        if event.params_hash not in (None, run.job.order.params_hash):
            raise WorkerUnreachable("worker_unreachable", reason="it runs another order under this key")

    async def _accepted(self, run: UnderWay) -> None:
        job = await self._patiently(partial(self._store.accept, run.key))
        if run.started is None:
            run.started = self._clock.monotonic()
            self._sink.publish(JobStarted(job=job))
        if job.cancel_requested:
            await self.pass_on_cancel(run)

    def _progressed(self, run: UnderWay, event: RunProgressed) -> None:
        total = run.job.order.steps
        step = run.step = min(max(0, event.step), total)  # a worker that lies about its progress is clamped
        now = self._clock.monotonic()
        elapsed = now - (now if run.started is None else run.started)
        if step:
            self._stepped(run, now)
        if run.cold and step:
            run.cold = False
            self._learn_swap(run, elapsed)
        self._sink.publish(
            JobProgressed(
                job_id=run.job.id,
                step=step,
                total_steps=total,
                elapsed=elapsed,
                eta=elapsed / step * (total - step) if step else None,
                worker=run.worker.name,
                preview=None if self._classifier else event.preview,  # nobody judges half a picture
            )
        )

    def _stepped(self, run: UnderWay, now: float) -> None:
        """From its first step on, which may be an hour after its order where others are served before, it has a time of its own."""
        if run.watch.first_step is None:
            eta = self._estimator.predict(run.job.order, worker=run.worker.name)
            most = self._policy.run_most if eta is None else min(max(10 * eta.high, self._policy.run_least), self._policy.run_most)
            run.give_up_at = min(run.give_up_at, now + most)
        run.watch.heard_of_a_step(now)

    def _learn_swap(self, run: UnderWay, elapsed: float) -> None:
        """What passed before the first step that was heard of, less the steps themselves, was the loading of the model."""
        eta = self._estimator.predict(run.job.order, worker=run.worker.name)
        if eta is not None:  # else nobody can tell loading from drawing
            drawing = sqrt(eta.low * eta.high) * run.executed
            self._estimator.observe_swap(run.worker.name, run.job.order.model, elapsed - drawing)

    async def _finished(self, run: UnderWay, event: RunFinished) -> None:
        if [made.index for made in event.pictures] != list(range(run.job.order.count)):
            raise BadPicture("bad_picture", reason=f"{len(event.pictures)} pictures for {run.job.order.count}")
        clean = [await self._inspector.inspect(made, run.job.order) for made in event.pictures]
        failure = await refused(self._classifier, clean)
        if failure is not None:  # before anything of it is stored
            await self._keep_back(run, failure)
            return
        for data, _ in clean:
            await self._pictures.put(data)
        kept = [picture for _, picture in clean]
        making = Making(worker=run.worker.name, seconds=event.seconds, shared_with=event.shared_with, notes=event.notes)
        rows = run.job.order.rows + event.shared_with
        compared = self._estimator.kept(run.worker.name, run.job.order, event.seconds, rows=rows)
        executed = min(max(compared, 0.5), 2.0)  # a worker that lies about its time moves an account by no more than this
        job = await self._patiently(partial(self._store.finish, run.key, kept, making, executed=executed))
        self._estimator.observe(run.worker.name, run.job.order, event.seconds, rows=rows)
        if job.finished_at is not None:
            self._estimator.calibration.came(job.id, job.finished_at.timestamp())
        self._budget.earn()
        self._tell(run, JobSucceeded(job=job))
        await self._acknowledge(run)

    async def _keep_back(self, run: UnderWay, failure: Failure) -> None:
        """It was made and is not shown: it costs its person nothing, and its worker did what it was told."""
        _log.warning("run %s on %s: its pictures are kept back: %s", run.key, run.worker.name, failure.code)
        job = await self._patiently(partial(self._store.fail, run.key, failure, executed=0.0))
        self._tell(run, JobFailed(job=job))
        await self._acknowledge(run)

    async def _stopped(self, run: UnderWay) -> None:
        """It stopped by our wish; or by the worker's own doing, in which case the job is as good as new."""
        await self._acknowledge(run)
        if not run.cancel_sent:
            await self._again(run, Failure(code="worker_unreachable"), counted=False)
            return
        job = await self._patiently(partial(self._store.cancelled, run.key, executed=run.executed))
        self._tell(run, fact_of(job, None))

    async def _failed(self, run: UnderWay, event: RunFailed, tally: Tally) -> None:
        said = fit_for_log(f"{event.code} {event.detail[:200]}", run.job.order)
        _log.warning("run %s on %s failed: %s", run.key, run.worker.name, said)
        await self._acknowledge(run)
        if event.kind is FaultKind.JOB:
            failure = Failure(code="run_refused", details={"detail": f"{event.detail} {event.words}".strip()[:200]})
            job = await self._patiently(partial(self._store.fail, run.key, failure, executed=run.executed))
            self._tell(run, JobFailed(job=job))
            tally.delivered()
            return
        if event.kind is FaultKind.OUT_OF_MEMORY:
            await self._too_large(run)
            return
        tally.faulted()
        await self._again(run, Failure(code="worker_unreachable"), counted=True)

    async def _too_large(self, run: UnderWay) -> None:
        """T8. With company the pass was too large, which is nobody's fault; alone this worker is too small for it."""
        order, rows = run.job.order, run.rows_there()
        if rows > order.rows:
            limit = RowLimit(worker=run.worker.name, key=BatchKey.of(order), rows=max(1, rows // 2))
            await self._again(run, Failure(code="out_of_memory"), counted=False, limit=limit)
            return
        if self._elsewhere(order.model, run.worker.name):
            await self._again(run, Failure(code="out_of_memory"), counted=True, shun=True)
            return
        failing = partial(self._store.fail, run.key, Failure(code="out_of_memory"), executed=run.executed)
        self._tell(run, JobFailed(job=await self._patiently(failing)))

    async def _vanished(self, run: UnderWay, fault: WorkerFault) -> bool:
        """Whether the worker died while it ran this: it answers no more, or does not know the run. A broken line is no death."""
        if run.started is None or not isinstance(fault, WorkerUnreachable) or fault.details.get("reason") in _STUCK:
            return False
        try:
            async with asyncio.timeout(_LOOK):
                return run.key not in (await run.worker.report()).running
        except (WorkerFault, TimeoutError):
            return True

    async def _give_back(self, run: UnderWay, fault: WorkerFault, *, counted: bool, died: bool = False) -> None:
        """The job waits for another try."""
        _log.warning("run %s on %s: %s", run.key, run.worker.name, _said(run, fault))
        code = "bad_picture" if isinstance(fault, BadPicture) else "worker_unreachable"
        try:
            await self._again(run, Failure(code=code), counted=counted, died=died)
        except (LeaseLost, StoreUnavailable) as error:
            _log.warning("run %s: not given back (%s); its lease will lapse", run.key, error)

    async def _again(
        self, run: UnderWay, reason: Failure, *, counted: bool, died: bool = False, shun: bool = False, limit: RowLimit | None = None
    ) -> None:
        longest = min(self._policy.backoff * 2**run.job.attempt, self._policy.backoff_max)
        delay = longest * self._jitter() if self._budget.spend() else self._policy.backoff_max * (0.5 + self._jitter() / 2)
        retry = partial(
            self._store.retry,
            run.key,
            reason,
            delay_seconds=delay,
            attempts_max=self._policy.attempts_max if counted else None,
            executed=run.executed,
            died=died,
            shun=shun,
            limit=limit,
        )
        job = await self._patiently(retry)
        if job.state is JobState.QUARANTINED:
            _log.error("job %s is set aside: workers died of it while it ran alone. `darkroom requeue %s` tries it again", job.id, job.id)
        self._tell(run, fact_of(job, reason))

    def _tell(self, run: UnderWay, fact: JobEvent) -> None:
        """The ledger has its end. Whoever this wakes plans at once, so its place is free from here on and not only when all is said."""
        run.over = True
        self._sink.publish(fact)

    async def _acknowledge(self, run: UnderWay) -> None:
        try:
            await run.worker.acknowledge(run.key)
        except WorkerFault as fault:
            _log.info("run %s: not acknowledged (%s); the worker forgets it in time", run.key, _said(run, fault))

    async def _leave(self, run: UnderWay) -> None:
        """Stop a run that is ours no more; but one that another host took over goes on under the same key, and is left to it."""
        with contextlib.suppress(StoreUnavailable):
            job = await self._store.get(run.job.id)
            if job is not None and job.lease is not None and job.lease.epoch == run.key.epoch:
                return
        await self._stop_quietly(run)

    async def _stop_quietly(self, run: UnderWay) -> None:
        try:
            await run.worker.cancel(run.key)
        except WorkerFault as fault:
            _log.info("run %s: the worker could not be told to stop: %s", run.key, _said(run, fault))
        await self._acknowledge(run)

    async def _patiently(self, write: Callable[[], Awaitable[_T]]) -> _T:
        """Write to the ledger, waiting out a database that is away; safe because every write is fenced."""
        give_up = self._clock.monotonic() + self._policy.store_patience
        pause = 0.25
        while True:
            try:
                return await write()
            except StoreUnavailable:
                if self._clock.monotonic() + pause > give_up:
                    raise
            await self._clock.sleep(pause * (0.5 + self._jitter() / 2))
            pause = min(pause * 2, 10)


def _said(run: UnderWay, fault: WorkerFault) -> str:
    return fit_for_log(str(fault), run.job.order)


_STUCK = ("no progress", "no end")


async def _next_event(events: AsyncGenerator[RunEvent, None], patience: float, *, left: float) -> RunEvent:
    """Within ``patience`` seconds, and those that are ``left`` for all of it. Raises WorkerUnreachable."""
    if left <= 0:  # asked first: a stream that always has an event ready would never meet the timeout
        raise WorkerUnreachable("worker_unreachable", reason="no end")
    try:
        async with asyncio.timeout(min(patience, left)):
            return await anext(events)
    except TimeoutError:
        raise WorkerUnreachable("worker_unreachable", reason=_STUCK[patience > left]) from None
    except StopAsyncIteration:
        raise WorkerUnreachable("worker_unreachable", reason="the stream ended early") from None


def fact_of(job: Job, reason: Failure | None) -> JobEvent:
    """The event that tells what state a job is in now."""
    match job.state:
        case JobState.QUEUED:
            return JobQueued(job=job) if reason is None else JobRequeued(job=job, reason=reason)
        case JobState.CANCELLED:
            return JobCancelled(job=job)
        case JobState.DONE:
            return JobSucceeded(job=job)
        case JobState.LEASED | JobState.RUNNING:
            return JobStarted(job=job)
        case JobState.FAILED | JobState.EXPIRED | JobState.QUARANTINED:
            return JobFailed(job=job)
