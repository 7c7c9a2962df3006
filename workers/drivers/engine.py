"""The driver for our own worker (``darkroom worker``), over the protocol of :mod:`workers.protocol`.

Every answer is hostile until parsed: size-capped while it is read, never redirected, and an answer that is not ours
(HTML from a tunnel, a 5xx, broken JSON) is the worker's fault, not the request's.
"""

import asyncio
import base64
import binascii
import hashlib
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError
from yarl import URL

from jobs import offer as jobs_offer
from jobs.errors import BadPicture, RunForgotten, WorkerBusy, WorkerUnreachable
from jobs.request import Order
from jobs.run import (
    FaultKind,
    MadePicture,
    Run,
    RunAccepted,
    RunCancelled,
    RunEvent,
    RunFailed,
    RunFinished,
    RunKey,
    RunProgressed,
    WorkerReport,
)
from workers import protocol

_log = logging.getLogger(__name__)
_M = TypeVar("_M", bound=BaseModel)

_ANSWER_MAX = 1024 * 1024
_LINE_MAX = 256 * 1024
_COMPANY_MAX = 255
_NOTES_MAX = 8
_NOTE = re.compile(r"[a-z][a-z_]{0,39}")
"""A code of a note: what is not one goes no further, since notes are kept with the job."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long the driver waits, in seconds."""

    connect: float = 5
    answer: float = 15
    cancel: float = 20
    send: float = 120
    """For a picture to start from."""
    give_up: float = 3 * 3600
    """After which a worker ends a run by itself: one that lost its host must not compute for ever."""
    silence: float = protocol.STREAM_IDLE_SECONDS
    reconnects: int = 4
    """How often a broken stream is taken up again before the run counts as lost."""
    pause: float = 0.5


class EngineWorker:
    """One ``darkroom worker`` behind one URL."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        session: aiohttp.ClientSession,
        token: str | None = None,
        patience: Patience | None = None,
        inputs: Callable[[str], Awaitable[bytes]] | None = None,
    ) -> None:
        """``inputs`` gives the bytes of a picture by its SHA-256, for workers that lack what an order starts from."""
        self._name = name
        self._inputs = inputs
        self._url = URL(url)
        self._session = session
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._patience = patience or Patience()
        self._left_out: tuple[str, ...] = ()
        """Of the last report; told of when it changes."""

    @property
    def name(self) -> str:
        """Stable over restarts of the host."""
        return self._name

    async def report(self) -> WorkerReport:
        """Ask for capabilities and live runs. Raises WorkerUnreachable, WorkerBusy while it starts."""
        told = _parse(protocol.Capabilities, await self._ask("GET", "v1/capabilities"))
        if told.protocol_version != protocol.PROTOCOL_VERSION:
            raise WorkerUnreachable("worker_unreachable", reason=f"it speaks protocol {told.protocol_version}")
        runs = _parse(protocol.RunList, await self._ask("GET", "v1/runs"))
        models, strange = _sound(jobs_offer.ModelOffer, told.models)
        loras, strange_loras = _sound(jobs_offer.LoraOffer, told.loras)
        self._tell_left_out((*strange, *strange_loras))
        return WorkerReport(
            name=self._name,
            instance=told.instance_id,
            device=told.device.name,
            models=models,
            loras=loras,
            loaded=frozenset(model.name for model in told.models if model.loaded),
            max_batch=max(1, told.max_batch),
            room=max(0, told.free_places),
            draining=told.draining,
            running=tuple(_key(run.key) for run in runs.runs if not run.state.is_end),
        )

    def _tell_left_out(self, strange: tuple[str, ...]) -> None:
        """One line whenever it changes what of its offers cannot be taken; the rest of the worker is none the worse for it."""
        if strange and strange != self._left_out:
            _log.warning("worker %s: %d of its offers are left out, the first: %s", self._name, len(strange), strange[0])
        self._left_out = strange

    async def run(self, run: Run, *, resume: bool = False) -> AsyncGenerator[RunEvent, None]:
        """Start (or, with ``resume``, only attach to) a run and follow it to its end."""
        refusal = None if resume else await self._put(run)
        if refusal is not None:
            yield RunFailed(key=run.key, kind=FaultKind.JOB, code="bad_order", detail=refusal)
            return
        failures = furthest = 0
        while True:
            try:
                async with aclosing(self._events(run.key)) as events:
                    async for event in events:
                        if isinstance(event, RunProgressed) and event.step > furthest:  # what was told before is no sign of health
                            failures, furthest = 0, event.step
                        is_last = not isinstance(event, RunAccepted | RunProgressed)
                        yield await self._fetched(run.key, event) if isinstance(event, protocol.Finished) else event
                        if is_last:
                            return
                broken = WorkerUnreachable("worker_unreachable", reason="the stream ended without an end")
            except WorkerUnreachable as error:
                broken = error
            failures += 1
            if failures > self._patience.reconnects:
                raise broken
            await asyncio.sleep(self._patience.pause * failures)

    async def cancel(self, key: RunKey) -> None:
        """Ask it to stop. An unknown run is as good as stopped."""
        async with self._call("DELETE", f"v1/runs/{key}", seconds=self._patience.cancel) as response:
            if response.status != 404:
                await _body(response)

    async def acknowledge(self, key: RunKey) -> None:
        """Let the worker forget the run."""
        async with self._call("POST", f"v1/runs/{key}/ack") as response:
            if response.status not in (204, 404, 409):
                await _body(response)

    async def _put(self, run: Run) -> str | None:
        """Order the run, idempotently. A sentence when the worker says that this order cannot be done."""
        body = _order(run.order, give_up_seconds=self._patience.give_up).model_dump(mode="json", exclude_defaults=True)
        problem = await self._ordered(run.key, body)
        if problem is not None and problem.code == "input_missing":
            for sha256 in (run.order.image, run.order.mask):
                if sha256 is not None and (refusal := await self._send_input(sha256)) is not None:
                    return refusal
            problem = await self._ordered(run.key, body)
        if problem is None:
            return None
        if problem.code in _ELSEWHERE:
            raise WorkerBusy("worker_busy", reason=problem.detail)
        return problem.detail[:200]

    async def _ordered(self, key: RunKey, body: dict[str, Any]) -> protocol.Problem | None:
        """Put the order. A problem where the order is at fault, or what it starts from is not there."""
        async with self._call("PUT", f"v1/runs/{key}", json=body) as response:
            if response.status == 422:
                return await _problem_of(response)
            if response.status == 409:
                problem = await _problem_of(response)
                if problem.code == "input_missing":
                    return problem
                raise WorkerUnreachable("worker_unreachable", reason=f"HTTP 409: {problem.detail}"[:200])
            await _body(response)
            return None

    async def _send_input(self, sha256: str) -> str | None:
        """Send the picture that an order starts from. A sentence where it cannot be had, or the worker will not have it."""
        if self._inputs is None:
            return "The picture to start from is not at hand."
        try:
            data = await self._inputs(sha256)
        except FileNotFoundError:
            return "The picture to start from is not there any more."
        async with self._call("PUT", f"v1/inputs/{sha256}", data=data, seconds=self._patience.send) as response:
            if response.status in (413, 422):
                problem = await _problem_of(response)
                return problem.detail[:200]
            await _body(response)
            return None

    async def _events(self, key: RunKey) -> AsyncGenerator[Any, None]:
        """The run's events as the domain's, the finish still as the protocol's. Raises WorkerUnreachable when it breaks."""
        idle = aiohttp.ClientTimeout(total=None, sock_connect=self._patience.connect, sock_read=self._patience.silence)
        async with self._call("GET", f"v1/runs/{key}/events", limits=idle) as response:
            if response.status == 404:
                raise RunForgotten("worker_unreachable", reason="the worker forgot the run")
            if response.status != 200:
                await _body(response)
            while line := await response.content.readline():
                if len(line) > _LINE_MAX:
                    raise WorkerUnreachable("worker_unreachable", reason="a line without end")
                event = _event(key, line)
                if event is not None:
                    yield event

    async def _fetched(self, key: RunKey, end: protocol.Finished) -> RunFinished:
        pictures = [await self._picture(key, picture) for picture in end.pictures[:16]]
        company = min(max(0, end.shared_with), _COMPANY_MAX)  # what is learned of passes is kept by their rows: a liar must not fill it
        notes = tuple(dict.fromkeys(code for code in end.notes if _NOTE.fullmatch(code)))[:_NOTES_MAX]
        return RunFinished(key=key, pictures=tuple(pictures), seconds=max(0.0, end.seconds), shared_with=company, notes=notes)

    async def _picture(self, key: RunKey, told: protocol.Picture) -> MadePicture:
        async with self._call("GET", f"v1/runs/{key}/pictures/{told.index}", seconds=120) as response:
            data = await _body(response, most=protocol.PICTURE_BYTES_MAX)
        if hashlib.sha256(data).hexdigest() != told.sha256:
            raise BadPicture("bad_picture", reason="the bytes do not match their digest")
        return MadePicture(index=told.index, seed=told.seed, data=data)

    async def _ask(self, method: str, path: str) -> bytes:
        async with self._call(method, path) as response:
            return await _body(response)

    @asynccontextmanager
    async def _call(
        self,
        method: str,
        path: str,
        *,
        seconds: float | None = None,
        json: Any = None,
        data: bytes | None = None,
        limits: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One HTTP exchange; whatever breaks on the way is the worker being unreachable."""
        limits = limits or aiohttp.ClientTimeout(total=seconds or self._patience.answer, sock_connect=self._patience.connect)
        try:
            async with self._session.request(
                method, self._url / path, json=json, data=data, headers=self._headers, timeout=limits, allow_redirects=False
            ) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise WorkerUnreachable("worker_unreachable", reason=f"{type(error).__name__}: {error}"[:200]) from error


def _parse(kind: type[_M], body: bytes) -> _M:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        # Of what it is nothing is repeated, since an answer may hold what was sent; only that it is a web page, as tunnels give.
        page = ", a web page" if body.lstrip()[:1] == b"<" else ""
        reason = f"not a {kind.__name__}: {len(body)} bytes with {error.error_count()} faults{page}"
        raise WorkerUnreachable("worker_unreachable", reason=reason) from None


#: Refusals of one worker that another may not share: what it offered is gone from it.
_ELSEWHERE = ("unknown_model", "unknown_lora")


def _order(order: Order, *, give_up_seconds: float) -> protocol.RunOrder:
    return protocol.RunOrder(
        kind=order.kind,
        model=order.model,
        prompt=order.prompt,
        negative=order.negative,
        width=order.width,
        height=order.height,
        steps=order.steps,
        guidance=order.guidance,
        seed=order.seed,
        scheduler=order.scheduler,
        count=order.count,
        loras=tuple(protocol.LoraUse(name=use.name, weight=use.weight) for use in order.loras),
        image=order.image,
        mask=order.mask,
        strength=order.strength,
        frames=order.frames,
        fps=order.fps,
        scale=order.scale,
        give_up_seconds=give_up_seconds,
        params_hash=order.params_hash,
    )


def _sound(kind: type[_M], told: Iterable[protocol.ModelOffer | protocol.LoraOffer]) -> tuple[tuple[_M, ...], tuple[str, ...]]:
    """(the offers that keep our limits, which may be narrower than the protocol's; of each other one its name and what is wrong)."""
    sound: list[_M] = []
    strange: list[str] = []
    for offer in told:
        try:
            sound.append(kind.model_validate(offer.model_dump()))
        except ValidationError as error:
            strange.append(f"{offer.name[:60]!r}: its {error.errors()[0]['loc']}")
    return tuple(sound), tuple(strange)


def _key(text: str) -> RunKey:
    try:
        return RunKey.parse(text)
    except ValueError as error:
        raise WorkerUnreachable("worker_unreachable", reason=str(error)) from error


async def _body(response: aiohttp.ClientResponse, *, most: int = _ANSWER_MAX) -> bytes:
    """The body of a good answer, read with a cap; anything else becomes the fault that it tells of."""
    if response.status in (429, 503):
        raise WorkerBusy("worker_busy", reason=await _problem(response))
    if response.status == 404:
        raise RunForgotten("worker_unreachable", reason="the worker does not know it")
    if response.status not in (200, 202, 204):
        raise WorkerUnreachable("worker_unreachable", reason=f"HTTP {response.status}: {await _problem(response)}")
    return await _read(response, most)


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    if (response.content_length or 0) > most:
        raise WorkerUnreachable("worker_unreachable", reason="an answer too large")
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(65_536):
        size += len(part)
        if size > most:
            raise WorkerUnreachable("worker_unreachable", reason="an answer too large")
        parts.append(part)
    return b"".join(parts)


async def _problem(response: aiohttp.ClientResponse) -> str:
    try:
        return (await _problem_of(response)).detail[:200]
    except WorkerUnreachable as error:
        return str(error.details.get("reason", error))


async def _problem_of(response: aiohttp.ClientResponse) -> protocol.Problem:
    return _parse(protocol.Problem, await _read(response, 65_536))


def _event(key: RunKey, line: bytes) -> Any:
    """One line of the stream; None for heartbeats and for what is not worth telling."""
    try:
        told = protocol.parse_event(line)
    except ValidationError as error:
        reason = f"not an event: {len(line)} bytes with {error.error_count()} faults"
        raise WorkerUnreachable("worker_unreachable", reason=reason) from None
    match told:
        case protocol.Accepted():
            return RunAccepted(key=key, params_hash=told.params_hash)
        case protocol.Progressed():
            return RunProgressed(key=key, step=told.step, total_steps=told.total_steps, preview=_preview(told.preview_b64))
        case protocol.Finished():
            return told
        case protocol.Cancelled():
            return RunCancelled(key=key)
        case protocol.Failed():
            return RunFailed(key=key, kind=FaultKind(told.kind.value), code=told.code[:80], detail=told.detail[:500])
        case protocol.Heartbeat():
            return None


def _preview(text: str | None) -> bytes | None:
    if text is None or len(text) > protocol.PREVIEW_BYTES_MAX * 4 // 3 + 4:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
