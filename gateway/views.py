"""The shapes that leave this door, each complete by itself: a reader who missed ten needs only the newest."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from jobs.desk import JobStatus
from jobs.errors import DarkroomError
from jobs.estimate import Eta
from jobs.events import JobProgressed
from jobs.job import Failure, Job, JobState, Making, Picture
from jobs.offer import LoraOffer, ModelOffer
from jobs.request import Order
from jobs.words import explain, notes, say


class EtaView(BaseModel):
    """Seconds from now, most likely between the two."""

    low: float
    high: float


class WhyView(BaseModel):
    """Why a job waits: a code, its figures, and the sentence."""

    code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


class ProgressView(BaseModel):
    """The newest step of a running job; ``preview`` is the address of the unfinished picture, if there is one."""

    step: int
    total_steps: int
    progress: float = Field(ge=0, le=1)
    elapsed: float
    eta: float | None
    worker: str
    preview: str | None = None


class PictureView(BaseModel):
    """A finished picture. Sizes in pixels and bytes; ``sha256`` is of the bytes behind ``url``."""

    index: int
    url: str
    width: int
    height: int
    bytes: int
    content_type: str
    sha256: str
    seed: int


class MadeView(BaseModel):
    """Where and how long: ``seconds`` on the worker; ``shared_with`` other requests in the same passes."""

    worker: str
    seconds: float
    shared_with: int


class NoteView(BaseModel):
    """What the person should know of a finished picture."""

    code: str
    message: str


class FailureView(BaseModel):
    """Why there is no picture."""

    code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


class JobView(BaseModel):
    """A job and all that can be said of it now."""

    id: str
    status: JobState
    seq: int = Field(description="Grows with each view of any job: drop a view that is older than one you have.")
    version: int = Field(description="Counts the job's status changes.")
    request: Order
    position: int | None = Field(description="Place in the queue from 1, null unless it waits.")
    eta: EtaView | None = Field(description="Null where nobody knows.")
    why: WhyView | None
    progress: ProgressView | None
    cancel_requested: bool
    worker: str | None = Field(description="Who has it now.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    pictures: list[PictureView]
    made: MadeView | None
    notes: list[NoteView] = Field(description="What one should know of the pictures, such as that the end of a long prompt was left out.")
    error: FailureView | None


class JobList(BaseModel):
    """Newest first."""

    jobs: list[JobView]


class ModelView(BaseModel):
    """A model and its limits, all inclusive; sizes in pixels."""

    name: str
    title: str
    family: str
    online: bool
    loaded_on: int = Field(description="How many workers have it in memory.")
    default_width: int
    default_height: int
    size_multiple: int
    side_min: int
    side_max: int
    max_pixels: int
    default_steps: int
    steps_min: int
    steps_max: int
    default_guidance: float
    guidance_max: float
    kinds: list[str] = Field(description="What it can be asked for.")
    count_max: int = Field(description="The most pictures of one job.")
    schedulers: list[str]
    loras_max: int = Field(description="The most LoRAs of one picture; 0 where it takes none.")
    default_strength: float
    frames_max: int
    scales: list[int]


class LoraView(BaseModel):
    """A LoRA that a worker has now; it fits the models of its ``family``."""

    name: str
    title: str
    family: str
    triggers: list[str] = Field(description="Words that its maker says to put into the prompt.")
    weight: float = Field(description="A good strength, where nothing else is said.")


class ModelList(BaseModel):
    """What can be asked for."""

    default: str
    models: list[ModelView]
    loras: list[LoraView]


class InputView(BaseModel):
    """A picture to start from, as it was checked and drawn anew; ``sha256`` is what ``image`` and ``mask`` take."""

    sha256: str
    width: int
    height: int


class WorkerView(BaseModel):
    """A worker that answers. ``busy`` of its ``places`` are taken, ``yours`` by you."""

    name: str
    device: str
    models: list[str]
    loaded: list[str]
    places: int
    busy: int
    yours: int
    notes: list[str] = Field(description="What its operator should know, such as that it lacks a file; English sentences.")


class QueueView(BaseModel):
    """Everybody's waiting jobs in planned order, as far as it concerns you: ``yours`` are places from 1."""

    waiting: int
    people: int
    yours: list[int]


class StatusView(BaseModel):
    """The lab now."""

    version: str
    person: str
    signed_in: bool = Field(description="Whether keys are in use; if not, this machine is one person.")
    queue: QueueView | None = Field(description="Null while the ledger cannot be read.")
    workers: list[WorkerView]


class HealthView(BaseModel):
    """For monitors; 503 when the ledger cannot be read."""

    status: str
    version: str
    database: bool
    workers_online: int
    queue_length: int | None


def job_view(status: JobStatus, *, seq: int, language: str) -> JobView:
    """What one person may know of their own job, in their language."""
    job = status.job
    return JobView(
        id=job.id,
        status=job.state,
        seq=seq,
        version=job.version,
        request=job.order,
        position=status.position,
        eta=_eta(status.eta),
        why=_why(status, language),
        progress=_progress(status.progress, job),
        cancel_requested=job.cancel_requested and not job.state.is_terminal,
        worker=job.lease.worker if job.lease is not None and job.state.is_active else None,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        pictures=[_picture(picture, job) for picture in job.pictures],
        made=_made(job.making),
        notes=_notes(job.making, language),
        error=_failure(job.failure, language) if job.state.is_terminal else None,
    )


def model_view(offer: ModelOffer, *, online: bool, loaded_on: int) -> ModelView:
    """An offer as it is told; what only workers need stays behind."""
    known = {name: value for name, value in offer.model_dump().items() if name in ModelView.model_fields}
    known |= {"title": offer.title or offer.name, "online": online, "loaded_on": loaded_on}
    return ModelView.model_validate(known)


def lora_view(offer: LoraOffer) -> LoraView:
    """A LoRA as it is told."""
    return LoraView.model_validate(offer.model_dump() | {"title": offer.title or offer.name})


def _eta(eta: Eta | None) -> EtaView | None:
    return None if eta is None else EtaView(low=round(eta.low, 1), high=round(eta.high, 1))


def _why(status: JobStatus, language: str) -> WhyView | None:
    why, job = status.why, status.job
    if why is None and job.state is JobState.QUEUED and (job.attempt or job.lost):
        return WhyView(code="again", message=say("page.again", language))
    if why is None:
        return None
    return WhyView(code=why.code, message=say(f"why.{why.code}", language, **why.details), details=why.details)


def _progress(progress: JobProgressed | None, job: Job) -> ProgressView | None:
    if progress is None or not job.state.is_active:
        return None
    total = max(1, progress.total_steps)
    preview = f"/api/v1/jobs/{job.id}/preview?step={progress.step}" if progress.preview else None
    return ProgressView(
        step=progress.step,
        total_steps=progress.total_steps,
        progress=round(min(1.0, max(0.0, progress.step / total)), 4),
        elapsed=round(progress.elapsed, 1),
        eta=None if progress.eta is None else round(progress.eta, 1),
        worker=progress.worker,
        preview=preview,
    )


def _picture(picture: Picture, job: Job) -> PictureView:
    return PictureView(
        index=picture.index,
        url=f"/api/v1/jobs/{job.id}/image?index={picture.index}",
        width=picture.width,
        height=picture.height,
        bytes=picture.size,
        content_type=picture.content_type,
        sha256=picture.sha256,
        seed=picture.seed,
    )


def _made(making: Making | None) -> MadeView | None:
    if making is None:
        return None
    return MadeView(worker=making.worker, seconds=round(making.seconds, 2), shared_with=making.shared_with)


def _notes(making: Making | None, language: str) -> list[NoteView]:
    codes = making.notes if making is not None else ()
    return [NoteView(code=code, message=message) for code, message in notes(codes, language)]


def _failure(failure: Failure | None, language: str) -> FailureView | None:
    if failure is None:
        return None
    message = explain(DarkroomError(failure.code, **failure.details), language)
    return FailureView(code=failure.code, message=message, details=failure.details)
