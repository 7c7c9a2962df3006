"""The desk: submit, cancel, status, recent. What every door calls, and the only way into the ledger."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from jobs.errors import InvalidRequest, JobNotFound
from jobs.estimate import Estimator, Eta
from jobs.events import JobCancelled, JobCancelRequested, JobProgressed, JobQueued
from jobs.feed import Feed
from jobs.intake import Intake
from jobs.job import ACTIVE_MAX, InputPicture, Job, JobId, JobState, Place, UserId
from jobs.offer import ModelOffer
from jobs.planner import QueueSnapshot, people_before, turns
from jobs.ports import Fleet, JobStore, NewJob
from jobs.request import Order, Request


@dataclass(frozen=True, kw_only=True)
class Why:
    """Why a job waits: a key of the catalogue (``why.<code>``) and its figures."""

    code: Literal["fair", "own", "busy", "next", "offline", "no_model"]
    details: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """A job and what can be said of its future. ``eta`` is None where nobody knows."""

    job: Job
    progress: JobProgressed | None = None
    position: int | None = None
    """Place in the queue from 1; None unless it waits."""
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
    ) -> Job:
        """Enqueue, durably: the job is in the ledger when this returns. The same key returns the same job.

        Raises InvalidRequest, WaitingLimitReached, IdempotencyConflict, StoreUnavailable.
        """
        job, _ = await self.submit_or_find(
            request, user_id=user_id, door=door, idempotency_key=idempotency_key, place=place
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
    ) -> tuple[Job, bool]:
        """As :meth:`submit`, and whether the job is new: a repeated key found it otherwise."""
        new = NewJob(
            id=self._new_id(),
            user_id=user_id,
            door=door,
            order=self._fit(request),
            idempotency_key=idempotency_key,
            place=place,
        )
        job, created = await self._store.submit(new, waiting_limit=self._waiting_limit)
        if created:
            self._feed.publish(JobQueued(job=job))
        return job, created

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
        return self.outlook(job, await self._store.snapshot())

    def course(self, job: Job) -> JobStatus:
        """What is known of a job that does not wait, without asking the ledger."""
        return JobStatus(job=job, progress=self._feed.progress_of(job.id), eta=self._running_eta(job))

    async def recent(self, user_id: UserId, *, limit: int = 12) -> list[Job]:
        """This person's newest jobs first."""
        return await self._store.recent(user_id, limit=limit)

    async def snapshot(self) -> QueueSnapshot:
        """The queue now, to judge several jobs with :meth:`outlook` from one read."""
        return await self._store.snapshot()

    def outlook(self, job: Job, snapshot: QueueSnapshot) -> JobStatus:
        """Place, time and cause of a waiting job, from a snapshot already read."""
        found = people_before(snapshot, job.id)
        if found is None:  # leased between the two reads, or held back by its back-off: no place to name
            return JobStatus(job=job)
        position, people = found
        return JobStatus(
            job=job,
            position=position,
            eta=self._waiting_eta(job, position),
            why=self._why(job, snapshot, people),
        )

    def _why(self, job: Job, snapshot: QueueSnapshot, people: int) -> Why:
        online = self._fleet.online()
        if not online:
            return Why(code="offline")
        if not any(offer.name == job.order.model for report in online for offer in report.models):
            return Why(code="no_model", details={"model": job.order.model})
        mine_before = sum(
            other.user_id == job.user_id for other in turns(snapshot)[: (people_before(snapshot, job.id) or (1, 0))[0] - 1]
        )
        if snapshot.active.get(job.user_id, 0) + mine_before >= ACTIVE_MAX:
            return Why(code="own")
        if people:
            return Why(code="fair", details={"n": people})
        if all(report.room < 1 for report in online):
            return Why(code="busy", details={"n": len(online)})
        return Why(code="next")

    def _waiting_eta(self, job: Job, position: int) -> Eta | None:
        """Work ahead spread over the places there are: rough, and honest about it by its range."""
        one = self._estimator.predict(job.order)
        places = sum(max(report.max_batch, 1) for report in self._fleet.online())
        if one is None or not places:
            return None
        passes_before = (position - 1) // places
        return Eta(low=one.low * (passes_before + 1), high=one.high * (passes_before + 2))

    def _running_eta(self, job: Job) -> Eta | None:
        progress = self._feed.progress_of(job.id)
        if progress is None or progress.eta is None or job.state.is_terminal:
            return None
        return Eta(low=progress.eta * 0.8, high=progress.eta * 1.25)
