"""What the cards of this process remember between two edits, so that poster and keeper show the same thing.

All of it may be lost: after a restart the first edit makes it anew from the ledger.
"""

import asyncio
import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bot.cogs.photos.cards import Outlook
from bot.cogs.voices.persona import Occasion
from bot.cogs.voices.speaker import Speaker
from jobs.batch import BatchKey
from jobs.desk import Desk, JobStatus, QueueSnapshot
from jobs.estimate import Eta
from jobs.events import JobProgressed
from jobs.feed import Feed
from jobs.job import Job, JobId, JobState
from jobs.ports import Clock, DeliveryKind, JobStore

PREVIEW_MAX = 64 * 1024
"""Bytes. A preview comes unchecked from a worker and is shown as it is."""

_MAGIC = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpg"))

WIDE = 1.6
"""How many times its low end the high end of an estimate may be before both are told."""

SHIFT_SECONDS, SHIFT_SHARE = 10.0, 0.2
"""How far an estimate must move, in both measures, before the promised moment moves."""


def marker_of(job_id: JobId, generation: int, kind: DeliveryKind, part: int = 0) -> int:
    """A number for the ``id`` of a message's first component: history returns it, unlike the nonce. 1 to 2³¹ - 1."""
    digest = hashlib.sha256(f"{job_id}|{generation}|{kind}|{part}".encode()).digest()
    return int.from_bytes(digest[:4]) % (2**31 - 1) + 1


def preview_type(data: bytes) -> str | None:
    """The file ending of a preview that may be shown: by its first bytes and its size. Else None."""
    if len(data) > PREVIEW_MAX:
        return None
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((ending for magic, ending in _MAGIC if data.startswith(magic)), None)


@dataclass(kw_only=True)
class Memo:
    """One card's memory."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held around every edit: an older edit must not land after the last one."""
    ready_at: datetime | None = None
    ready_by: datetime | None = None
    progress: JobProgressed | None = None
    """Kept beyond the end, for "you stopped it at step 12"."""
    note: str | None = None
    lines: dict[str, str | None] = field(default_factory=dict)
    """What the persona says on each occasion, once asked for."""
    shown: object = None
    """The fingerprint of what the message says now."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a card should say now, and the preview that goes with it."""

    outlook: Outlook
    preview: bytes | None
    fingerprint: object

    @property
    def job(self) -> Job:
        """The job as the ledger has it."""
        return self.outlook.status.job


class CardMemory:
    """Memos by job, and the one place that turns a job into what its card says."""

    def __init__(self, *, desk: Desk, store: JobStore, feed: Feed, clock: Clock, speaker: Speaker | None = None) -> None:
        self._desk = desk
        self._store = store
        self._feed = feed
        self._clock = clock
        self._speaker = speaker
        self._making: dict[JobId, tuple[str, BatchKey]] = {}
        self._memos: dict[JobId, Memo] = {}

    def memo(self, job_id: JobId) -> Memo:
        """This job's memo, made on first use."""
        return self._memos.setdefault(job_id, Memo())

    def forget(self, job_id: JobId) -> None:
        """Its card has said its last."""
        self._memos.pop(job_id, None)

    def prune(self, alive: Collection[JobId]) -> None:
        """Forget all but these (and whatever is being edited): cards that another process closed."""
        for job_id in [known for known, memo in self._memos.items() if known not in alive and not memo.lock.locked()]:
            del self._memos[job_id]

    async def look(self, job_id: JobId, snapshot: QueueSnapshot | None = None) -> Sight | None:
        """What the card should say, from a fresh read of the ledger. None when there is no such job.

        ``snapshot`` saves the reading of the queue when several waiting jobs are looked at in one go.
        """
        job = await self._store.get(job_id)
        if job is None:
            return None
        if job.state is JobState.QUEUED:
            status = self._desk.outlook(job, snapshot or await self._desk.snapshot())
        else:
            status = await self._desk.status(job_id, user_id=None)
        await self._speak(job)
        return self.sight(job, status)

    async def _speak(self, job: Job) -> None:
        occasion = _occasion(job.state)
        memo = self.memo(job.id)
        if self._speaker is not None and occasion not in memo.lines:
            memo.lines[occasion] = await self._speaker.line(job, occasion)

    async def ending_line(self, job: Job) -> str | None:
        """What the persona says with the pictures."""
        return await self._speaker.line(job, "done") if self._speaker is not None else None

    async def wants_dm(self, job: Job) -> bool:
        """Whether its person chose to be told by direct message."""
        return await self._speaker.wants_dm(job) if self._speaker is not None else False

    def note_making(self, job: Job) -> None:
        """Which jobs are being made where, so that a card can say how many share its pass."""
        if job.state is JobState.RUNNING and job.lease is not None:
            self._making[job.id] = (job.lease.worker, BatchKey.of(job.order))
        else:
            self._making.pop(job.id, None)

    def _company(self, job: Job) -> int:
        mine = self._making.get(job.id)
        return sum(other == mine for other in self._making.values()) - 1 if mine is not None else 0

    def sight(self, job: Job, status: JobStatus) -> Sight:
        """What the card should say for a status already known. Makes the promise of its time."""
        memo = self.memo(job.id)
        memo.progress = status.progress or self._feed.progress_of(status.job.id) or memo.progress
        ended = status.job.state.is_terminal
        if ended and status.progress is None and memo.progress is not None:
            status = JobStatus(job=status.job, progress=memo.progress)
        late = False if ended else self._promise(memo, status)
        preview, name = _preview(memo.progress, status.job)
        outlook = Outlook(
            status=status,
            ready_at=memo.ready_at,
            ready_by=memo.ready_by,
            late=late,
            note=memo.note,
            preview=name,
            line=memo.lines.get(_occasion(job.state)),
            company=self._company(job),
        )
        return Sight(outlook=outlook, preview=preview, fingerprint=fingerprint(outlook))

    def _promise(self, memo: Memo, status: JobStatus) -> bool:
        """Keep the promised moment still until the estimate really moved. True when the moment has passed."""
        now = self._clock.now()
        if status.eta is None:
            if status.job.state is JobState.QUEUED:
                memo.ready_at = memo.ready_by = None
        else:
            early, late = _moments(status.eta, now)
            if memo.ready_at is None or _moved(memo.ready_at, early, now) or (memo.ready_by is None) != (late is None):
                memo.ready_at, memo.ready_by = early, late
        last = memo.ready_by or memo.ready_at
        return last is not None and now > last + timedelta(seconds=2)


def _moments(eta: Eta, now: datetime) -> tuple[datetime, datetime | None]:
    """One moment where the estimate is narrow, its two ends where it is wide: an honest range is no single second."""
    if eta.high > WIDE * max(eta.low, 1.0) and eta.high - eta.low > SHIFT_SECONDS:
        return now + timedelta(seconds=eta.low), now + timedelta(seconds=eta.high)
    return now + timedelta(seconds=(eta.low + eta.high) / 2), None


def _occasion(state: JobState) -> Occasion:
    return "failed" if state in (JobState.FAILED, JobState.EXPIRED, JobState.QUARANTINED) else "waiting"


def _moved(promised: datetime, target: datetime, now: datetime) -> bool:
    shift = abs((target - promised).total_seconds())
    left = max((promised - now).total_seconds(), 0.0)
    return shift > SHIFT_SECONDS and shift > SHIFT_SHARE * left


def _preview(progress: JobProgressed | None, job: Job) -> tuple[bytes | None, str | None]:
    if job.state is not JobState.RUNNING or progress is None or not progress.preview:
        return None, None
    ending = preview_type(progress.preview)
    if ending is None:
        return None, None
    return progress.preview, f"preview-{progress.step}.{ending}"


def fingerprint(outlook: Outlook) -> object:
    """What must differ for an edit to be worth a request: never each step, never each second."""
    status = outlook.status
    job, progress = status.job, status.progress
    quarter = progress.step * 4 // max(progress.total_steps, 1) if progress and job.state is JobState.RUNNING else None
    why = (status.why.code, tuple(status.why.details.items())) if status.why else None
    return (
        job.state, job.cancel_requested, status.position, why, quarter, outlook.preview, outlook.ready_at, outlook.ready_by, outlook.late,
        outlook.note, outlook.company,
    )  # fmt: skip
