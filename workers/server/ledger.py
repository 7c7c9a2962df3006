"""The runs of this worker, from their arrival until their host has acknowledged the end. Lives on the event loop alone.

Whoever watches a run waits for it to change and reads its newest state: nothing is queued for a slow reader, progress
is skipped, an end is not.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from workers.engine.run import Broken, Developing, Made, MadePicture, Preview, Progress, Report, Run, Stopped
from workers.protocol import (
    RESULT_TTL_SECONDS,
    RESULTS_BYTES_MAX,
    Accepted,
    Cancelled,
    End,
    Failed,
    FailureKind,
    Finished,
    Picture,
    Progressed,
    RunKey,
    RunOrder,
    RunState,
    RunStatus,
)


@dataclass(kw_only=True, eq=False)
class Entry:
    """One run as its host sees it."""

    key: RunKey
    order: RunOrder
    clock: Callable[[], float]
    arrived_at: float
    run: Run | None = None
    state: RunState = RunState.ACCEPTED
    sequence: int = 1
    progress: Progress | None = None
    preview: tuple[int, bytes] | None = None
    end: End | None = None
    ended_at: float | None = None
    pictures: tuple[bytes, ...] = ()
    #: Why a cancellation was asked for; the first reason stands.
    cancel_reason: str | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def change(self) -> None:
        """Tell everyone who waits."""
        self.sequence += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def beyond(self, sequence: int) -> None:
        """Wait until it has changed since `sequence` was read; at once where it has already."""
        while self.sequence == sequence:
            await self._changed.wait()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens."""
        return self.end is not None

    @property
    def elapsed(self) -> float:
        """Seconds since it came, until now or its end."""
        until = self.clock() if self.ended_at is None else self.ended_at
        return max(0.0, until - self.arrived_at)

    def status(self) -> RunStatus:
        """All about it but the bytes."""
        return RunStatus(
            key=str(self.key),
            params_hash=self.order.params_hash,
            model=self.order.model,
            state=self.state,
            step=self.progress.step if self.progress else 0,
            total_steps=self.order.steps,
            elapsed_seconds=self.elapsed,
            end=self.end,
        )

    def accepted(self) -> Accepted:
        """The first line of a stream."""
        return Accepted(
            sequence=self.sequence,
            key=str(self.key),
            state=self.state,
            total_steps=self.order.steps,
            params_hash=self.order.params_hash,
        )

    def progressed(self, *, preview_after: int) -> Progressed | None:
        """The newest progress, with a preview where there is one newer than `preview_after`."""
        if self.progress is None:
            return None
        fresh = self.preview is not None and self.preview[0] > preview_after
        return Progressed(
            sequence=self.sequence,
            state=self.state,
            step=self.progress.step,
            total_steps=self.progress.total_steps,
            elapsed_seconds=self.elapsed,
            eta_seconds=self.progress.eta_seconds,
            in_company_of=self.progress.in_company_of,
            preview_b64=base64.b64encode(self.preview[1]).decode() if fresh and self.preview else None,
        )


class Ledger:
    """All entries by key. Ends are kept until acknowledged, for a while, and within a number of bytes."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        ttl_seconds: float = RESULT_TTL_SECONDS,
        bytes_max: int = RESULTS_BYTES_MAX,
    ) -> None:
        self._clock = clock
        self._ttl = ttl_seconds
        self._bytes_max = bytes_max
        self._entries: dict[RunKey, Entry] = {}
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[Entry]:
        self._forget_stale()
        return iter(list(self._entries.values()))

    def get(self, key: RunKey) -> Entry | None:
        """The entry of a key, or None where it is unknown, acknowledged or expired."""
        self._forget_stale()
        return self._entries.get(key)

    def of_job(self, job_id: str) -> list[Entry]:
        """The runs of one job, whatever their epoch."""
        return [entry for entry in self if entry.key.job_id == job_id]

    @property
    def under_way(self) -> list[Entry]:
        """Runs that have not ended."""
        return [entry for entry in self._entries.values() if not entry.has_ended]

    @property
    def rows(self) -> int:
        """Places in the passes that the runs under way take."""
        return sum(entry.order.count for entry in self.under_way)

    def add(self, key: RunKey, order: RunOrder) -> Entry:
        """Begin an entry; the key must be new."""
        entry = Entry(key=key, order=order, clock=self._clock, arrived_at=self._clock())
        self._entries[key] = entry
        return entry

    def drop(self, key: RunKey) -> None:
        """Forget an entry."""
        self._entries.pop(key, None)
        self._change()

    async def changed(self) -> None:
        """Wait until a run ends or is forgotten."""
        await self._changed.wait()

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def apply(self, entry: Entry, report: Report) -> None:
        """Write down what the engine told. What comes after an end has no meaning."""
        if entry.has_ended:
            return
        match report:
            case Progress():
                entry.progress = report
                entry.state = RunState.RUNNING
            case Preview():
                entry.preview = (entry.sequence + 1, report.webp)
            case Developing():
                entry.state = RunState.DEVELOPING
            case Made() | Broken() | Stopped():
                self._end(entry, report)
        entry.change()

    def _end(self, entry: Entry, report: Made | Broken | Stopped) -> None:
        entry.ended_at = self._clock()
        # The engine's side of the run (its listener, its spec) is not needed any more.
        entry.run, entry.preview = None, None
        match report:
            case Made():
                entry.pictures = tuple(picture.data for picture in report.pictures)
                entry.state = RunState.FINISHED
                entry.end = _finished(entry, report)
                self._keep_within_bytes()
            case Broken():
                entry.state = RunState.FAILED
                failure = report.failure
                kind = FailureKind(failure.blame)
                entry.end = Failed(sequence=entry.sequence + 1, code=failure.code, detail=failure.detail, kind=kind)
            case Stopped():
                entry.state = RunState.CANCELLED
                entry.end = Cancelled(sequence=entry.sequence + 1, reason=entry.cancel_reason or "requested")
        self._change()

    def _forget_stale(self) -> None:
        horizon = self._clock() - self._ttl
        for key in [key for key, entry in self._entries.items() if entry.ended_at is not None and entry.ended_at < horizon]:
            del self._entries[key]

    def _keep_within_bytes(self) -> None:
        """Let the oldest finished go first; the newest stays, however large."""
        finished = [entry for entry in self._entries.values() if entry.pictures]
        finished.sort(key=lambda entry: entry.ended_at or 0.0)
        held = sum(len(data) for entry in finished for data in entry.pictures)
        for entry in finished[:-1]:
            if held <= self._bytes_max:
                return
            held -= sum(len(data) for data in entry.pictures)
            self.drop(entry.key)


def _finished(entry: Entry, made: Made) -> Finished:
    return Finished(
        sequence=entry.sequence + 1,
        pictures=tuple(_picture(index, picture) for index, picture in enumerate(made.pictures)),
        seconds=entry.elapsed,
        shared_with=made.shared_with,
        passes=made.passes,
        notes=made.notes,
    )


def _picture(index: int, made: MadePicture) -> Picture:
    return Picture.model_validate(
        {
            "index": index,
            "sha256": hashlib.sha256(made.data).hexdigest(),
            "bytes": len(made.data),
            "content_type": made.media_type,
            "width": made.width,
            "height": made.height,
            "seed": made.seed,
        }
    )
