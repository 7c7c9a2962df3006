"""The desk: submit, cancel, status, recent. What every door calls, and the only way into the ledger."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.errors import InvalidRequest, JobNotFound, StoreUnavailable, WaitingLimitReached
from jobs.estimate import Estimator, Eta
from jobs.events import JobCancelled, JobCancelRequested, JobProgressed, JobQueued
from jobs.feed import Feed
from jobs.forecast import Forecast, Outlook, Why
from jobs.intake import Intake
from jobs.job import InputPicture, Job, JobId, JobState, Place, UserId
from jobs.line import Line
from jobs.offer import ModelOffer
from jobs.planner import WorkerView
from jobs.ports import Fleet, JobStore, NewJob
from jobs.request import Order, Request


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a person's role gives them."""

    weight: float = 1.0
    """Their share of the GPUs, against others' 1."""
    waiting_limit: int | None = None
    """Jobs that may wait; None: the house's own limit."""


ANYBODY = Standing()


_PLACELESS = ("backoff", "offline", "resting", "no_worker", "no_lora")
"""Causes under which nobody can say who is before whom: there is no worker whose line it would be."""


_MANY_PEOPLE = 100
"""With so many waiting, one turn more or less is no news, and reading them all anew for each question would be dear."""

_FORECAST_SERVES = 1.0
"""Seconds for which one reading of so long a line serves whoever asks."""


class SharedForecast:
    """The newest forecast that was made of a long line, shared by all snapshots."""

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator
        self._kept: tuple[Line, float, Forecast] | None = None

    def of(self, line: Line, workers: Sequence[WorkerView]) -> Forecast:
        """At most a second old, by the line's own time."""
        if self._kept is not None and self._kept[0] is line and line.now - self._kept[1] < _FORECAST_SERVES:
            return self._kept[2]
        forecast = Forecast(line, workers, self._estimator)
        self._kept = line, line.now, forecast
        return forecast


class QueueSnapshot:
    """The queue as it stands, ready to be asked about any number of jobs.

    A line of few people is judged as it is at each question; of a long one a reading serves everybody for a second.
    """

    def __init__(self, store: JobStore, workers: Sequence[WorkerView], estimator: Estimator, shared: SharedForecast) -> None:
        self._store = store
        self._workers = workers
        self._estimator = estimator
        self._shared = shared
        self._forecast: tuple[Line, int, Forecast] | None = None
        self.waiting, self.people = store.peek(_counts)

    def place(self, job_id: JobId) -> int | None:
        """People whose turn comes before, plus one; None when it does not wait, or nobody can say."""
        found = self.outlook(job_id)
        return None if found is None or found.why.code in _PLACELESS else found.people + 1

    def outlook(self, job_id: JobId) -> Outlook | None:
        """What can be said of a waiting job; None when it does not wait."""
        return self._store.peek(lambda line: self._of(line).of(job_id))

    def _of(self, line: Line) -> Forecast:
        if len(line.people) >= _MANY_PEOPLE:
            return self._shared.of(line, self._workers)
        if self._forecast is not None and self._forecast[0] is line and self._forecast[1] == line.revision:
            return self._forecast[2]
        forecast = Forecast(line, self._workers, self._estimator)
        self._forecast = line, line.revision, forecast
        return forecast


def _counts(line: Line) -> tuple[int, int]:
    """(jobs that wait, people whose jobs they are)."""
    return len(line.waiting), sum(bool(person.shelves) for person in line.people.values())


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """A job and what can be said of its future. ``eta`` is None where nobody knows."""

    job: Job
    progress: JobProgressed | None = None
    position: int | None = None
    """People whose turn comes before, plus one; None unless it waits."""
    passes: int | None = None
    """Passes of a worker before the one that takes it."""
    eta: Eta | None = None
    why: Why | None = None


class Desk:
    """The use cases, over ports only."""

    def __init__(
        self,
        *,
        store: JobStore,
        fleet: Fleet,
        feed: Feed,
        estimator: Estimator,
        new_id: Callable[[], JobId],
        draw_seed: Callable[[], int],
        waiting_limit: int = 20,
        intake: Intake | None = None,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._feed = feed
        self._estimator = estimator
        self._shared = SharedForecast(estimator)
        self._new_id = new_id
        self._draw_seed = draw_seed
        self._waiting_limit = waiting_limit
        self._intake = intake

    async def submit(
        self,
        request: Request,
        *,
        user_id: UserId,
        door: Literal["discord", "http"],
        idempotency_key: str,
        place: Place | None = None,
        standing: Standing = ANYBODY,
    ) -> Job:
        """Enqueue, durably: the job is in the ledger when this returns. The same key returns the same job.

        Raises InvalidRequest, WaitingLimitReached, IdempotencyConflict, StoreUnavailable.
        """
        job, _ = await self.submit_or_find(
            request, user_id=user_id, door=door, idempotency_key=idempotency_key, place=place, standing=standing
        )
        return job

    async def submit_or_find(
        self,
        request: Request,
        *,
        user_id: UserId,
        door: Literal["discord", "http"],
        idempotency_key: str,
        place: Place | None = None,
        standing: Standing = ANYBODY,
    ) -> tuple[Job, bool]:
        """As :meth:`submit`, and whether the job is new: a repeated key found it otherwise."""
        order = self._fit(request)
        cost = self._estimator.cost(order)
        new = NewJob(
            id=self._new_id(),
            user_id=user_id,
            door=door,
            order=order,
            idempotency_key=idempotency_key,
            place=place,
            lane=lane_of(order, cost),
            weight=standing.weight,
            cost=cost,
        )
        limit = self._waiting_limit if standing.waiting_limit is None else standing.waiting_limit
        try:
            job, created = await self._store.submit(new, waiting_limit=limit)
        except WaitingLimitReached as refused:
            raise await self._with_place(refused, user_id) from None
        if created:
            self._feed.publish(JobQueued(job=job))
        return job, created

    async def _with_place(self, refused: WaitingLimitReached, user_id: UserId) -> WaitingLimitReached:
        """The same refusal, with the place that one more would have had: behind all of this person's own."""
        try:
            snapshot = await self.snapshot()
        except StoreUnavailable:
            return refused
        jobs = self._store.peek(lambda line: [job.id for job in line.jobs_of(user_id)])
        known = [place for job_id in jobs if (place := snapshot.place(job_id)) is not None]
        if not known:
            return refused
        return WaitingLimitReached("waiting_limit_at", **refused.details, position=max(known))

    def _fit(self, request: Request) -> Order:
        offers = self._fleet.offers()
        name = request.model or self._fleet.default_model
        if name not in offers:
            raise InvalidRequest("unknown_model", field="model", model=name, models=sorted(offers))
        offer = offers[name]
        order = offer.fit(request, seed=self._draw_seed())
        self._check_loras(order, offer)
        return order

    def _check_loras(self, order: Order, offer: ModelOffer) -> None:
        known = self._fleet.loras() if order.loras else {}
        for use in order.loras:
            lora = known.get(use.name)
            if lora is None:
                raise InvalidRequest("unknown_lora", field="loras", lora=use.name, loras=sorted(known))
            if lora.family != offer.family:
                raise InvalidRequest("wrong_lora", field="loras", lora=use.name, family=lora.family, model=offer.name)

    async def take_picture(self, data: bytes, *, user_id: UserId) -> InputPicture:
        """A person's file, checked, drawn anew and kept: its digest may then be named as ``image`` or ``mask``.

        Raises InvalidRequest("invalid_picture"), StoreUnavailable.
        """
        if self._intake is None:
            raise InvalidRequest("missing_input", field="image")  # a house that takes no pictures
        return await self._intake.take(data, user_id=user_id)

    def check(self, request: Request) -> None:
        """Whether some model here takes ``request``, before anything is prepared for it. Raises InvalidRequest."""
        self._fit(request)

    def expect(self, request: Request) -> Eta | None:
        """How long ``request`` would take once a worker has it; None where nobody measured. Raises InvalidRequest."""
        return self._estimator.predict(self._fit(request))

    async def clear_waiting(self) -> int:
        """Cancel every waiting job of everybody, as an admin asked; those being made go on. How many it were."""
        jobs = await self._store.cancel_waiting(None)
        for job in jobs:
            self._feed.publish(JobCancelled(job=job))
        return len(jobs)

    async def cancel(self, job_id: JobId, *, user_id: UserId) -> Job:
        """Stop this person's job: at once while it waits, as soon as the worker says so while it runs.

        An ended job is returned as it is. Raises JobNotFound (also for somebody else's).
        """
        job = await self._store.request_cancel(job_id, user_id)
        if job.state is JobState.CANCELLED:
            self._feed.publish(JobCancelled(job=job))
        elif job.cancel_requested and not job.state.is_terminal:
            self._feed.publish(JobCancelRequested(job=job))
        return job

    async def status(self, job_id: JobId, *, user_id: UserId | None) -> JobStatus:
        """The job with place, time and cause. ``user_id`` None asks as the house. Raises JobNotFound."""
        job = await self._store.get(job_id)
        if job is None or user_id not in (None, job.user_id):
            raise JobNotFound(job_id)
        if job.state is not JobState.QUEUED:
            return self.course(job)
        return await self.standing(job, await self.snapshot())

    async def standing(self, job: Job, snapshot: QueueSnapshot) -> JobStatus:
        """As :meth:`outlook`, of a job that may be younger than the snapshot. Raises StoreUnavailable."""
        if not self._store.peek(lambda line: line.knows(job.id)):
            await self._store.look(_counts, fresh=0)
        return self.outlook(job, snapshot)

    def course(self, job: Job) -> JobStatus:
        """What is known of a job that does not wait, without asking the ledger."""
        return JobStatus(job=job, progress=self._feed.progress_of(job.id), eta=self._running_eta(job))

    async def recent(self, user_id: UserId, *, limit: int = 12) -> list[Job]:
        """This person's newest jobs first."""
        return await self._store.recent(user_id, limit=limit)

    async def snapshot(self) -> QueueSnapshot:
        """The queue now, to judge several jobs with :meth:`outlook`. Raises StoreUnavailable."""
        await self._store.look(_counts)
        return QueueSnapshot(self._store, self._fleet.views(), self._estimator, self._shared)

    def outlook(self, job: Job, snapshot: QueueSnapshot) -> JobStatus:
        """Place, time and cause of a waiting job, from a snapshot already taken."""
        found = snapshot.outlook(job.id)
        if found is None:  # leased between the two reads: no place to name
            return JobStatus(job=job)
        why = found.why if self._fleet.online() else Why(code="offline")
        placeless = why.code in _PLACELESS
        return JobStatus(
            job=job,
            position=None if placeless else found.people + 1,
            passes=None if placeless else found.passes,
            eta=found.eta,
            why=why,
        )

    def _running_eta(self, job: Job) -> Eta | None:
        progress = self._feed.progress_of(job.id)
        if progress is None or progress.eta is None or job.state.is_terminal:
            return None
        return Eta(low=progress.eta * 0.8, high=progress.eta * 1.25)


_QUICK = 8.0
"""Seconds alone on the reference worker, up to which a job goes in the quick lane."""

_MANY = 5
"""Pictures of one job from which on it goes in the bulk lane, as clips do."""


def lane_of(order: Order, cost: float) -> str:
    """A handicap within the window: when a job runs, never how much its person gets."""
    if order.kind == "animate" or order.rows >= _MANY:
        return "bulk"
    return "quick" if cost <= _QUICK else "normal"
