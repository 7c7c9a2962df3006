"""The messages between a host and an engine worker, and the rules both sides keep.

A worker serves one GPU (or a CPU). The host dials it. Both sides import this module, which knows pydantic and the
standard library only. Every body is JSON (UTF-8); unknown fields, NaN, Infinity and numbers written as strings are
refused.

Authorization
    ``Authorization: Bearer <token>`` on every route but ``GET /health``. A worker started without a token listens on
    loopback alone, takes requests without the header, and refuses those of web pages (403 ``forbidden``).

Run key
    ``{job_id}.{epoch}``, for example ``01J9ZK3V.3``: `RunKey`. One key names one run for ever. A run of the same job
    with a higher epoch cancels the older one here (the host has leased the job anew); a lower epoch is refused
    (``stale_epoch``).

Routes
    ====== ================================= =======================================================================
    GET    /health                           200 `Health` when runs are accepted, else 503 `Health` (starting,
                                             draining, failed). Needs no token and tells nothing else
    GET    /v1/capabilities                  200 `Capabilities`; 503 ``starting`` until torch is up
    PUT    /v1/runs/{key}                    body `RunOrder` -> 202 `RunStatus` (taken); 200 `RunStatus` (the same key
                                             and params_hash again: what became of it, nothing starts twice);
                                             409 ``conflict`` (the same key, another params_hash), ``stale_epoch``,
                                             ``input_missing`` (send what `Problem.fields` name, then once more);
                                             422 ``bad_order``, ``unknown_model``, ``unknown_lora``; 429 ``full``;
                                             503 ``draining``, ``starting``
    PUT    /v1/inputs/{sha256}               the bytes of a picture to start from (PNG, JPEG or WebP, at most
                                             `INPUT_BYTES_MAX`) -> 204 (kept, for 30 minutes after its last use);
                                             422 ``wrong_digest``, ``bad_input``; 413 ``too_large``
    GET    /v1/runs                          200 `RunList`: everything not yet acknowledged, for adoption
    GET    /v1/runs/{key}                    200 `RunStatus`; 404 ``unknown_run``
    GET    /v1/runs/{key}/events             200 NDJSON stream of `RunEvent`; 404; 429 ``too_many_streams``
    GET    /v1/runs/{key}/pictures/{index}   200 the bytes (``ETag`` is the quoted sha256); 404 ``unknown_run``,
                                             ``unknown_picture``; 409 ``not_finished``
    POST   /v1/runs/{key}/ack                204; the result is freed. Once more, or an unknown key: 204 too.
                                             409 ``not_finished`` while it lives: cancel first
    DELETE /v1/runs/{key}                    200 `RunStatus` once the run truly stopped (``cancelled``, or ``finished``
                                             or ``failed`` where that came first); 202 `RunStatus` where it did not
                                             stop within 10 s; 404. It does not acknowledge
    ====== ================================= =======================================================================
    Anything else, and every 4xx and 5xx: a `Problem`. 401 ``unauthorized``, 413 ``too_large``, 400 ``malformed``.

Event stream
    One JSON object a line, each a `RunEvent` (told apart by ``type``). At each connection the present state is told
    first: ``accepted``, then the newest ``progressed`` if there was one, or the end if it came: a reconnect loses
    nothing, and no cursor is needed. ``progressed`` may be skipped (the newest wins, a slow reader never holds up the
    engine); the end never is, and the worker closes the stream after it. ``heartbeat`` comes every 3 s of silence: 30 s
    without a line means the connection is dead. ``sequence`` rises within one run and is the same for all readers.

Ends
    ``finished`` has the pictures' digests; fetch the bytes, check them, store them, then ``ack``. ``failed`` has a
    `FailureKind`: ``job`` (the order itself cannot be done; do not retry), ``infra`` (this worker's fault; retry
    elsewhere), ``out_of_memory`` (too large for this worker even alone; retry where there is more memory).
    ``cancelled`` is the answer to a DELETE, to a newer epoch, and to nothing else. Acknowledge every end. Ends are kept
    until then, at most 30 minutes (`RESULT_TTL_SECONDS`) and `RESULTS_BYTES_MAX`, the oldest going first.

Restart
    ``instance_id`` in `Capabilities`, `Health` and `RunList` is new at each process start: another value means that all
    runs of the old one are gone and must be leased anew. A run unknown to a worker with the same instance_id was never
    taken, was acknowledged, or expired. A worker that is told to end (SIGTERM) takes no more runs, finishes those it
    has, waits a little for their pictures to be fetched, and exits.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

#: Raised by one whenever an old peer could misread a new message. A host refuses a worker of another version by name.
PROTOCOL_VERSION = 1

#: How long the end of a run is kept for a host that does not acknowledge it.
RESULT_TTL_SECONDS = 30 * 60
#: How many bytes of pictures a worker keeps for hosts that do not acknowledge them.
RESULTS_BYTES_MAX = 512 * 1024 * 1024
#: Silence on an event stream after which the worker writes a heartbeat, and after which a host gives the connection up.
HEARTBEAT_SECONDS = 3.0
STREAM_IDLE_SECONDS = 30.0
#: The largest request body a worker reads.
BODY_BYTES_MAX = 64 * 1024
#: The largest preview, before base64; previews come at most twice a second for each run.
PREVIEW_BYTES_MAX = 24 * 1024
#: The largest picture a worker sends. A host should stop reading beyond it.
PICTURE_BYTES_MAX = 64 * 1024 * 1024

PROMPT_CHARACTERS_MAX = 4_000
SIDE_MAX = 4_096
STEPS_MAX = 150
GUIDANCE_MAX = 30.0
SEED_MAX = 2**64 - 1
COUNT_MAX = 10
LORAS_MAX = 8
FRAMES_MAX = 256
#: The largest picture that a host may send to start from, how long it is kept after its last use, and how much in all.
INPUT_BYTES_MAX = 32 * 1024 * 1024
INPUT_TTL_SECONDS = 30 * 60
INPUTS_BYTES_MAX = 512 * 1024 * 1024

JobIdText = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Sha256Text = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
HashText = Annotated[str, Field(pattern=r"^[A-Za-z0-9:_-]{8,128}$")]
NameText = Annotated[str, Field(min_length=1, max_length=128)]

_KEY = re.compile(r"([A-Za-z0-9_-]{1,64})\.(0|[1-9][0-9]{0,9})", re.ASCII)


class RunKey(NamedTuple):
    """What a run is called: the job and the epoch of the lease under which it runs."""

    job_id: str
    epoch: int

    def __str__(self) -> str:
        """The form used in URLs and messages."""
        return f"{self.job_id}.{self.epoch}"

    @classmethod
    def parse(cls, text: str) -> RunKey:
        """Read ``job.epoch``. Raises ValueError with a sentence for anything else."""
        match = _KEY.fullmatch(text)
        if match is None:
            raise ValueError("A run is named job.epoch: letters, digits, _ or -, a dot, and a whole number.")
        return cls(match[1], int(match[2]))


class Message(BaseModel):
    """What all messages share: frozen, no unknown fields, no NaN, no guessing of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class RunState(StrEnum):
    """Where a run stands on this worker. The last three are ends."""

    #: Taken; waits for its model to load or for the next step of its pass.
    ACCEPTED = "accepted"
    #: Its rows are in the forward passes.
    RUNNING = "running"
    #: All steps are done; the picture is being decoded and written.
    DEVELOPING = "developing"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether nothing more happens to the run."""
        return self in (RunState.FINISHED, RunState.FAILED, RunState.CANCELLED)


class FailureKind(StrEnum):
    """Whose fault a failure is, which decides what the host does next."""

    #: The order itself cannot be done by this model; another try gives the same.
    JOB = "job"
    #: This worker's fault; another worker may do it.
    INFRA = "infra"
    #: Too large for this worker's memory even alone.
    OUT_OF_MEMORY = "out_of_memory"


class LoraUse(Message):
    """A LoRA of this worker's by name, and how strongly it is mixed in."""

    name: NameText
    weight: Annotated[float, Field(ge=0, le=2)] = 1.0


class RunOrder(Message):
    """What is to be made, one picture or several of one wish. The worker checks it against the model's `ModelOffer` before it takes it."""

    #: A worker refuses the kinds that its `ModelOffer` does not name.
    kind: Literal["text_to_image", "image_to_image", "inpaint", "edit", "upscale", "animate"] = "text_to_image"
    #: A `ModelOffer.name` of this worker.
    model: NameText
    prompt: Annotated[str, Field(max_length=PROMPT_CHARACTERS_MAX)]
    negative: Annotated[str, Field(max_length=PROMPT_CHARACTERS_MAX)] = ""
    width: Annotated[int, Field(ge=1, le=SIDE_MAX)]
    height: Annotated[int, Field(ge=1, le=SIDE_MAX)]
    steps: Annotated[int, Field(ge=1, le=STEPS_MAX)]
    #: Classifier-free guidance. At 1 or less the negative prompt has no part and the run costs half.
    guidance: Annotated[float, Field(ge=0, le=GUIDANCE_MAX)]
    seed: Annotated[int, Field(ge=0, le=SEED_MAX)]
    #: One of the offer's `schedulers`; None is the model's own.
    scheduler: NameText | None = None
    #: Pictures; the seeds are seed, seed + 1, … modulo 2^63. Each takes a row of the passes.
    count: Annotated[int, Field(ge=1, le=COUNT_MAX)] = 1
    loras: Annotated[tuple[LoraUse, ...], Field(max_length=LORAS_MAX, strict=False)] = ()
    #: SHA-256 of the picture to start from, and of the mask (white: may be painted), each sent before with
    #: ``PUT /v1/inputs/{sha256}``. The worker brings them to width x height. What ``upscale`` makes is `scale` times that.
    image: Sha256Text | None = None
    mask: Sha256Text | None = None
    #: How much of the picture may change, 0 to 1.
    strength: Annotated[float, Field(ge=0, le=1)] | None = None
    frames: Annotated[int, Field(ge=1, le=FRAMES_MAX)] | None = None
    fps: Annotated[int, Field(ge=1, le=60)] | None = None
    scale: Literal[2, 4] | None = None
    #: Whether `Progressed.preview_b64` is wanted.
    previews: bool = True
    #: Seconds from now after which the run gives up by itself (``failed``, code ``deadline``, kind ``infra``): a
    #: worker that lost its host must not compute for ever. Not part of what makes two orders the same.
    give_up_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    #: Says whether two orders under one key are the same; compared, never computed, by the worker. See `order_hash`.
    params_hash: HashText


def order_hash(order: RunOrder) -> str:
    """SHA-256 over all that changes the picture, for hosts that keep no hash of their own."""
    text = order.model_dump_json(exclude={"params_hash", "previews", "give_up_seconds"})
    return hashlib.sha256(text.encode()).hexdigest()


class Device(Message):
    """What the worker computes on. Memory in bytes; for a CPU the machine's."""

    kind: Literal["cuda", "rocm", "mps", "cpu"]
    name: str
    #: Weights and activations: ``float32``, ``float16`` or ``bfloat16``.
    precision: str
    memory_total: int | None = None
    memory_free: int | None = None


class ModelOffer(Message):
    """A model that this worker can serve, and the limits of an order for it."""

    name: NameText
    #: The kind of model, ``sd15`` for Stable Diffusion 1.x and everything of its shape.
    family: NameText
    title: str
    default_width: int
    default_height: int
    #: Width and height are multiples of it, from side_min to side_max each, and width x height is at most max_pixels.
    size_multiple: int
    side_min: int
    side_max: int
    max_pixels: int
    default_steps: int
    steps_min: int
    steps_max: int
    default_guidance: float
    guidance_min: float = 0.0
    guidance_max: float = GUIDANCE_MAX
    #: The names that `RunOrder.scheduler` may have.
    schedulers: tuple[str, ...]
    default_scheduler: str
    #: The kinds of order that it takes.
    kinds: tuple[NameText, ...] = ("text_to_image",)
    #: The most pictures of one order.
    count_max: Annotated[int, Field(ge=1, le=COUNT_MAX)] = 1
    #: The most LoRAs of one order; 0 where the model takes none.
    loras_max: Annotated[int, Field(ge=0, le=LORAS_MAX)] = 0
    default_strength: float = 0.6
    default_frames: int = 16
    frames_max: Annotated[int, Field(ge=1, le=FRAMES_MAX)] = 16
    default_fps: int = 8
    #: The factors of ``upscale``.
    scales: tuple[int, ...] = ()
    #: The largest batch that this worker was measured to gain from (``darkroom worker --calibrate``).
    best_batch: Annotated[int, Field(ge=1)] | None = None
    #: Why its pictures are made one at a time: its parity check failed. Empty where they share passes.
    alone: str = ""
    #: Whether the weights are in memory now, so that a run begins at once.
    loaded: bool = False


class LoraOffer(Message):
    """A LoRA that this worker can mix in."""

    name: NameText
    #: The `ModelOffer.family` that it fits.
    family: NameText
    title: str = ""
    #: Words that its maker says to put into the prompt.
    triggers: tuple[str, ...] = ()
    weight: Annotated[float, Field(ge=0, le=2)] = 1.0


class RefusedModel(Message):
    """A file or folder among the models that is not served, and why, in a sentence for the operator."""

    name: str
    reason: str


class Capabilities(Message):
    """What a worker is, offers and has room for, at this moment."""

    protocol_version: int
    worker_name: NameText
    #: New at each process start.
    instance_id: str
    #: The version of the program, for people.
    software: str
    device: Device
    models: tuple[ModelOffer, ...]
    refused_models: tuple[RefusedModel, ...] = ()
    loras: tuple[LoraOffer, ...] = ()
    #: The most rows that share one forward pass (a run of n pictures has n rows); with `free_places`, what a host may
    #: have under way here.
    max_batch: int
    #: How many more rows would be taken now. Runs of one model and size share their passes; a step-level worker takes a
    #: run at any time and lets it join at the next step.
    free_places: int
    #: Whether runs join a pass under way.
    joins_running: bool = True
    previews: bool
    draining: bool


class Health(Message):
    """Whether runs are accepted; all a stranger without the token may know."""

    status: Literal["ready", "starting", "draining", "failed"]
    protocol_version: int
    instance_id: str


class Picture(Message):
    """One finished picture. Its bytes are at ``/v1/runs/{key}/pictures/{index}``."""

    index: Annotated[int, Field(ge=0)]
    sha256: Sha256Text
    bytes: Annotated[int, Field(ge=1, le=PICTURE_BYTES_MAX)]
    content_type: Literal["image/png", "image/webp", "video/mp4"]
    width: int
    height: int
    seed: int


class Accepted(Message):
    """The run is known here. The first line of every stream."""

    type: Literal["accepted"] = "accepted"
    sequence: int
    key: str
    state: RunState
    total_steps: int
    params_hash: str | None = None
    """Of the order that runs under this key: who attaches to it after a restart sees whether it is theirs."""


class Progressed(Message):
    """A step was done. Droppable; the newest wins."""

    type: Literal["progressed"] = "progressed"
    sequence: int
    state: RunState
    #: Steps done, 0 to total_steps.
    step: int
    total_steps: int
    elapsed_seconds: float
    #: Seconds to the end as far as this worker can tell; None before the first steps were timed.
    eta_seconds: float | None = None
    #: How many other runs were in the last forward pass.
    in_company_of: int = 0
    #: A WebP of at most `PREVIEW_BYTES_MAX` bytes in base64; absent where there is no newer one.
    preview_b64: str | None = None


class Finished(Message):
    """The pictures are ready to be fetched."""

    type: Literal["finished"] = "finished"
    sequence: int
    pictures: tuple[Picture, ...]
    #: From the order's arrival to its last byte.
    seconds: float
    #: The largest number of other runs that shared one forward pass with this one.
    shared_with: int
    #: Forward passes of the denoiser that this run had a part in.
    passes: int
    #: What the person should know, for example ``prompt_cut``. Codes, not sentences.
    notes: tuple[str, ...] = ()


class Failed(Message):
    """The run ended without a picture."""

    type: Literal["failed"] = "failed"
    sequence: int
    #: ``deadline``, ``model_unavailable``, ``unknown_lora``, ``bad_lora``, ``bad_image``, ``not_finite``, ``out_of_memory``,
    #: ``engine_error``, ``engine_stopped``.
    code: str
    #: A sentence for the operator; names no prompt.
    detail: str
    kind: FailureKind


class Cancelled(Message):
    """The run was cancelled by its host and has stopped."""

    type: Literal["cancelled"] = "cancelled"
    sequence: int
    #: ``requested`` or ``superseded`` (a newer epoch of the same job arrived).
    reason: str


class Heartbeat(Message):
    """Nothing new, but the worker lives and this run is still its own."""

    type: Literal["heartbeat"] = "heartbeat"


End = Finished | Failed | Cancelled
RunEvent = Annotated[Accepted | Progressed | Finished | Failed | Cancelled | Heartbeat, Field(discriminator="type")]

_EVENTS: TypeAdapter[Accepted | Progressed | Finished | Failed | Cancelled | Heartbeat] = TypeAdapter(RunEvent)


def parse_event(line: bytes | str) -> Accepted | Progressed | Finished | Failed | Cancelled | Heartbeat:
    """Read one line of an event stream. Raises pydantic.ValidationError (a ValueError) for anything else."""
    return _EVENTS.validate_json(line)


class RunStatus(Message):
    """A run as it stands, without its bytes."""

    key: str
    params_hash: str
    model: str
    state: RunState
    step: int
    total_steps: int
    #: Since the order's arrival, until now or until its end.
    elapsed_seconds: float
    #: Set exactly when `state` is an end.
    end: Annotated[End, Field(discriminator="type")] | None = None


class RunList(Message):
    """Every run that is not acknowledged yet, oldest first."""

    instance_id: str
    runs: tuple[RunStatus, ...]


class ProblemField(Message):
    """One field of a refused body."""

    field: str
    detail: str


class Problem(Message):
    """Why a request was refused. `code` is for programs and stable; `detail` is one sentence that says what to do."""

    code: str
    detail: str
    fields: tuple[ProblemField, ...] = ()
