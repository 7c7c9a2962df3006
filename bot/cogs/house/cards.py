"""What the house says of itself: queue, GPUs, help. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from discord import ui

from bot.cogs.parts import Card, panel
from bot.cogs.photos.text import shown
from jobs.desk import JobStatus
from jobs.estimate import Eta
from jobs.job import JobState
from jobs.run import WorkerReport
from jobs.words import duration, say

MINE_SHOWN, WORKERS_SHOWN, NOTES_SHOWN, NOTE_MAX = 8, 12, 2, 120
WORDS_MAX = 3_500
"""Characters about workers: a message of components takes 4,000 in all."""


def queue_card(mine: Sequence[JobStatus], waiting: int, locale: str | None) -> Card:
    """How many wait, and where one's own are."""
    total = say("house.waiting", locale, n=waiting) if waiting else say("queue.empty", locale)
    parts: list[ui.Item[Any]] = [ui.TextDisplay(f"**{say('house.queue', locale)}**\n{total}")]
    if mine:
        parts.append(ui.TextDisplay("\n".join(_mine(status, locale) for status in mine[:MINE_SHOWN])))
    else:
        parts.append(ui.TextDisplay(say("house.none_yours", locale)))
    return panel(*parts)


def _mine(status: JobStatus, locale: str | None) -> str:
    job, progress = status.job, status.progress
    state = say(f"state.{job.state}", locale)
    if job.state is JobState.QUEUED and status.position is not None:
        state = say("queue.position", locale, n=status.position)
    elif progress is not None:
        state = say("run.step", locale, n=progress.step, total=progress.total_steps)
    ready = f" · {eta_words(status.eta, locale)}" if status.eta else ""
    return f"{shown(job.order.prompt, limit=60) or say(f'kind.{job.order.kind}', locale)}\n-# {state}{ready}"


def eta_words(eta: Eta, locale: str | None) -> str:
    """``Ready in about 40 s``, or a range where the estimate is wide."""
    if eta.high > 1.6 * max(eta.low, 1.0):
        return say("eta.range", locale, a=duration(eta.low, locale), b=duration(eta.high, locale))
    mean = (eta.low + eta.high) / 2
    return say("house.ready", locale, t=roughly(mean, locale))


def roughly(seconds: float, locale: str | None) -> str:
    """``a few seconds``, ``about 40 s``."""
    return duration(seconds, locale) if seconds < 10 else say("house.about", locale, t=duration(seconds, locale))


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How long one photo with the usual model takes; None where nobody measured."""

    model: str
    eta: Eta | None


def status_card(
    workers: Sequence[WorkerReport], waiting: int, speed: Speed, locale: str | None, *, resting: Collection[str] = ()
) -> Card:
    """Each GPU with its models, its places, what is measured of it and what it says of itself. ``resting``: told to by the operator."""
    if not workers:
        return panel(ui.TextDisplay(f"**{say('house.status', locale)}**\n{say('why.offline', locale)}"))
    free = sum(worker.room > 0 and not worker.draining and worker.name not in resting for worker in workers)
    head = say("house.free", locale, n=free, total=len(workers))
    if speed.eta is not None:
        time = roughly((speed.eta.low + speed.eta.high) / 2, locale)
        head += f" {say('house.speed', locale, time=time, model=shown(speed.model, limit=60))}"
    total = say("house.waiting", locale, n=waiting) if waiting else say("queue.empty", locale)
    parts: list[ui.Item[Any]] = [ui.TextDisplay(f"**{say('house.status', locale)}**\n{head}\n{total}")]
    told = [_worker(worker, locale, rests=worker.name in resting) for worker in workers[:WORKERS_SHOWN]]
    while sum(map(len, told)) > WORDS_MAX:
        told.pop()
    if len(told) < len(workers):
        told.append(f"-# {say('house.more', locale, n=len(workers) - len(told))}")
    return panel(*parts, *map(ui.TextDisplay, told))


def _worker(worker: WorkerReport, locale: str | None, *, rests: bool) -> str:
    busy = max(0, worker.max_batch - worker.room)
    key = "house.resting" if rests else "house.draining" if worker.draining else "house.places"
    state = say(key, locale, n=busy, total=worker.max_batch)
    loaded = ", ".join(shown(name, limit=40) for name in sorted(worker.loaded)[:4]) or say("house.nothing_loaded", locale)
    more = say("house.models", locale, n=len(worker.models))
    facts = " · ".join([state, say("house.loaded", locale, models=loaded), more])
    notes = [say("house.note", locale, note=shown(note, limit=NOTE_MAX)) for note in worker.notes[:NOTES_SHOWN]]
    lines = [facts, *notes]
    return f"**{shown(worker.name, limit=60)}** {shown(worker.device, limit=60)}\n" + "\n".join(f"-# {line}" for line in lines)


COMMANDS = (
    "imagine",
    "edit",
    "vary",
    "upscale",
    "animate",
    "history",
    "show",
    "rerun",
    "queue",
    "status",
    "quota",
    "session",
    "settings",
    "privacy",
)


def help_card(locale: str | None, *, names: Sequence[str]) -> Card:
    """What one can do here: the commands that there are, and what the buttons and the message menu do."""
    lines = [f"**/{say(f'command.{name}', locale)}** {say(_about(name), locale)}" for name in COMMANDS if name in names]
    return panel(
        ui.TextDisplay(f"**{say('house.help', locale)}**\n{say('house.help_first', locale)}"),
        ui.TextDisplay("\n".join(lines)),
        ui.TextDisplay(f"-# {say('house.help_more', locale)}"),
    )


def _about(name: str) -> str:
    return f"command.{name}_what" if name in ("edit", "vary", "upscale", "animate") else f"command.{name}_about"
