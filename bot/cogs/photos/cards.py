"""The cards, as components: what a job's message says in each state. Pure: no request is made here.

Own limits, far under Discord's 40 parts and 4,000 characters: 20 parts and 1,200 characters a card.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import discord
from discord import ui

from bot.cogs.parts import GREY, LAMP, MAIN, RED, Address, Card, button, panel, row
from bot.cogs.photos.facts import loras_of, size_of, steps_of
from bot.cogs.photos.text import shown
from jobs.desk import JobStatus
from jobs.errors import DarkroomError
from jobs.job import Job, JobId, JobState
from jobs.words import duration, explain, say

CAUSE_MAX = 200


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a card shows of a job beside its order."""

    status: JobStatus
    ready_at: datetime | None = None
    """The promised moment, kept still by the keeper until the estimate really moves."""
    ready_by: datetime | None = None
    """Where the estimate is wide: the later end of it, and ``ready_at`` is the earlier one."""
    late: bool = False
    note: str | None = None
    """A sentence that takes the place of the cause, such as "gpu1 went away…"."""
    preview: str | None = None
    """File name of an attached preview."""
    line: str | None = None
    """What the persona says of it; None says the house's own sentence."""
    company: int = 0
    """Other requests in the same pass, as far as this host knows."""


_ON_THE_WAY = ("cap", "forced", "next", "riding", "waiting_pass", "cold", "lane", "own", "ahead")
"""Causes that pass by themselves: a GPU is there."""


def card(outlook: Outlook, *, marker: int) -> Card:
    """The card of a job in whatever state it is. ``marker`` (31 bits) finds the message again after a lost answer."""
    job = outlook.status.job
    locale = _locale(job)
    match job.state:
        case JobState.QUEUED | JobState.LEASED:
            parts = _waiting(outlook, locale)
        case JobState.RUNNING:
            parts = _running(outlook, locale)
        case JobState.DONE:
            return Card(ui.TextDisplay(_done_line(job, locale), id=marker))
        case JobState.CANCELLED:
            parts = [ui.TextDisplay(_cancelled_text(outlook.status, locale)), row(_verb(job, "again", "verb.again", locale))]
        case JobState.FAILED | JobState.EXPIRED | JobState.QUARANTINED:
            parts = _failed(outlook, locale)
    return panel(*parts, colour=_accent(job.state), marker=marker)


def _verb(job: Job, verb: str, word: str, locale: str | None, *, style: discord.ButtonStyle | None = None) -> ui.Button[Any]:
    address = Address(area="job", subject=job.id, verb=verb)
    return button(address, word, locale, style=style) if style else button(address, word, locale)


def cancel_address(job_id: JobId) -> Address:
    """The id of a card's Cancel."""
    return Address(area="job", subject=job_id, verb="cancel")


def _failed(outlook: Outlook, locale: str | None) -> list[ui.Item[Any]]:
    job = outlook.status.job
    retry = _verb(job, "retry", "verb.retry", locale, style=MAIN)
    return [
        ui.TextDisplay(_failed_text(outlook, locale)),
        ui.TextDisplay(say("fail.kept", locale)),
        row(retry, _verb(job, "details", "act.details", locale)),
    ]


def _locale(job: Job) -> str | None:
    return job.place.locale if job.place else None


def _accent(state: JobState) -> int:
    if state is JobState.RUNNING:
        return LAMP
    return RED if state in (JobState.FAILED, JobState.EXPIRED, JobState.QUARANTINED) else GREY


def _waiting(outlook: Outlook, locale: str | None) -> list[ui.Item[Any]]:
    job = outlook.status.job
    order = job.order
    about = " · ".join([shown(order.model, limit=100), *loras_of(order, locale), size_of(order), steps_of(order, locale)])
    lines = [_ready_line(outlook, locale), outlook.note or _cause(outlook.status, locale)]
    middle = "\n".join(line for line in lines if line)
    title = f"{_title(outlook, locale)}\n{_place_line(outlook.status, locale)}"
    parts: list[ui.Item[Any]] = [ui.TextDisplay(title)]
    if middle:
        parts.append(ui.TextDisplay(middle))
    parts.append(ui.TextDisplay(f"-# {shown(order.prompt)}\n-# {about}"))
    return parts + _cancel_row(job, locale)


def _running(outlook: Outlook, locale: str | None) -> list[ui.Item[Any]]:
    job = outlook.status.job
    order = job.order
    gpu = shown(_gpu(outlook.status), limit=60)
    about = " · ".join([shown(order.model, limit=100), *loras_of(order, locale), size_of(order), gpu])
    parts: list[ui.Item[Any]] = [ui.TextDisplay(f"{_title(outlook, locale)}\n{_step_line(outlook, locale)}")]
    if outlook.preview:
        parts.append(ui.MediaGallery(_preview_item(outlook, locale)))
    ready = _ready_line(outlook, locale)
    if ready:
        parts.append(ui.TextDisplay(ready))
    parts.append(ui.TextDisplay(f"-# {shown(order.prompt)}\n-# {about}"))
    return parts + _cancel_row(job, locale)


def _title(outlook: Outlook, locale: str | None) -> str:
    return f"**{outlook.line or say('card.title', locale)}**"


def _cancel_row(job: Job, locale: str | None) -> list[ui.Item[Any]]:
    # Once it was asked for, another press could only say so again.
    if job.cancel_requested:
        return []
    return [row(button(cancel_address(job.id), "verb.cancel", locale))]


def _place_line(status: JobStatus, locale: str | None) -> str:
    if status.job.cancel_requested:
        return say("cancel.asked", locale)
    if status.job.state is JobState.LEASED:
        return say("state.leased", locale)
    if status.position is None:
        return say("queue.unknown", locale)
    return say("queue.position", locale, n=f"**{status.position}**")


def _step_line(outlook: Outlook, locale: str | None) -> str:
    job, progress = outlook.status.job, outlook.status.progress
    if job.cancel_requested:
        return say("cancel.asked", locale)
    if progress is None:
        return say("state.running", locale)
    if progress.step >= progress.total_steps:
        return say("run.finishing", locale)
    line = say("run.step", locale, n=f"**{progress.step}**", total=progress.total_steps)
    if outlook.company:
        line += f", {say('run.shared', locale, n=outlook.company)}"
    # Without a preview the meter of glyphs shows how far it is; beside one it would only be spelled out by readers.
    return line if outlook.preview else f"{line}  {_meter(progress.step, progress.total_steps)}"


def _meter(step: int, total: int) -> str:
    full = round(10 * step / max(total, 1))
    return "▰" * full + "▱" * (10 - full)


def _preview_item(outlook: Outlook, locale: str | None) -> discord.MediaGalleryItem:
    progress = outlook.status.progress
    n, total = (progress.step, progress.total_steps) if progress else (0, 0)
    return discord.MediaGalleryItem(f"attachment://{outlook.preview}", description=say("alt.preview", locale, n=n, total=total))


def _ready_line(outlook: Outlook, locale: str | None) -> str:
    if outlook.status.job.cancel_requested:
        return ""
    if outlook.late:
        return say("eta.late", locale)
    if outlook.ready_at is not None:
        when = f"<t:{int(outlook.ready_at.timestamp())}:R>"
        if outlook.ready_by is not None:
            return say("card.ready_range", locale, when=when, latest=f"<t:{int(outlook.ready_by.timestamp())}:R>")
        return say("card.ready", locale, when=when)
    why = outlook.status.why
    if why is not None and why.code in _ON_THE_WAY:  # a GPU is there, and nothing was measured yet
        return say("eta.unknown", locale)
    return ""


def _cause(status: JobStatus, locale: str | None) -> str:
    if status.why is None:
        return ""
    return say(f"why.{status.why.code}", locale, **status.why.details)[:CAUSE_MAX]


def _gpu(status: JobStatus) -> str:
    if status.progress is not None:
        return status.progress.worker
    return status.job.lease.worker if status.job.lease else "GPU"


def _done_line(job: Job, locale: str | None) -> str:
    return f"-# ✓ {say('done.below', locale, t=duration(_took(job), locale))}"


def _took(job: Job) -> float:
    if job.finished_at is None:
        return 0.0
    return max(0.0, (job.finished_at - job.created_at).total_seconds())


def _cancelled_text(status: JobStatus, locale: str | None) -> str:
    progress = status.progress
    if progress is not None:
        return f"**{say('cancel.running', locale, n=progress.step, total=progress.total_steps)}**"
    return f"**{say('photo.stopped' if status.job.started_at else 'cancel.queued', locale)}**"


def _failed_text(outlook: Outlook, locale: str | None) -> str:
    job = outlook.status.job
    title = f"**{outlook.line or say('fail.title', locale)}**"
    if job.failure is None:
        return title
    cause = explain(DarkroomError(job.failure.code, **job.failure.details), locale)
    return f"{title}\n{shown(cause, limit=CAUSE_MAX)}"
