"""What a verb asks or shows before anything is made: ephemeral cards. Pure."""

from typing import Any

from discord import ui

from bot.cogs.parts import BAD, MAIN, Address, Card, button, panel, row
from bot.cogs.photos.facts import loras_of, seeds_of, size_of, weight_of
from bot.cogs.photos.result import verbs, which
from bot.cogs.photos.text import shown
from jobs.job import Job
from jobs.words import duration, say

PROMPT_MAX = 1500


def ask_which(job: Job, verb: str, locale: str | None) -> Card:
    """Which of the pictures the verb means."""
    return panel(ui.TextDisplay(say("act.which_ask", locale, verb=say(f"act.{verb}", locale).rstrip("…"))), which(job, verb, locale))


def one_picture(job: Job, n: int, locale: str | None, *, url: str | None = None) -> Card:
    """One picture of several with its own verbs."""
    picture = next(p for p in job.pictures if p.index == n - 1)
    words = f"**{say('act.picture_n', locale, n=n)}**\n-# {seeds_of(job, [picture], locale)}"
    head: ui.Item[Any] = ui.TextDisplay(words)
    if url:
        head = ui.Section(ui.TextDisplay(words), accessory=ui.Thumbnail(url))
    return panel(head, *verbs(job, locale, n=n))


def ask_vary(job: Job, n: int, locale: str | None) -> Card:
    """How far a variation may go."""
    subtle = Address(area="job", subject=job.id, verb="vary-subtle", n=n)
    strong = Address(area="job", subject=job.id, verb="vary-strong", n=n)
    buttons = row(button(subtle, "act.subtle", locale, style=MAIN), button(strong, "act.strong", locale))
    return panel(ui.TextDisplay(say("act.vary_ask", locale)), buttons)


def ask_delete(job: Job, locale: str | None) -> Card:
    """Deleting cannot be undone."""
    address = Address(area="job", subject=job.id, verb="delete-sure")
    question = say("act.delete_ask", locale, n=max(len(job.pictures), 1))
    return panel(ui.TextDisplay(question), row(button(address, "act.delete_sure", locale, style=BAD)))


def details(job: Job, locale: str | None, *, is_favourite: bool = False, mine: bool = True) -> Card:
    """Everything the ledger knows of a job: what makes the same picture again. ``mine``: with what only its owner may do."""
    order = job.order
    star = Address(area="job", subject=job.id, verb="unstar" if is_favourite else "star")
    parts: list[ui.Item[Any]] = [ui.TextDisplay(f"**{say('details.title', locale)}** `{job.id}`")]
    if order.prompt:
        parts.append(ui.TextDisplay(shown(order.prompt, limit=PROMPT_MAX)))
    if order.negative:
        parts.append(ui.TextDisplay(f"-# {say('details.negative', locale)}: {shown(order.negative, limit=500)}"))
    parts.append(ui.TextDisplay("\n".join(_lines(job, locale))))
    repeat = Address(area="job", subject=job.id, verb="again")
    if mine:
        parts.append(row(button(star, f"act.{star.verb}", locale), button(repeat, "act.again", locale)))
    return panel(*parts)


def _lines(job: Job, locale: str | None) -> list[str]:
    """Name and figure, one a line; what the job does not have is left out."""
    order, making = job.order, job.making
    figures: list[tuple[str, str | None]] = [
        ("state", say(f"state.{job.state}", locale)),
        ("kind", say(f"kind.{order.kind}", locale)),
        ("model", shown(order.model, limit=100)),
        ("loras", ", ".join(f"{shown(use.name, limit=60)} {weight_of(use)}" for use in order.loras) or None),
        ("size", size_of(order)),
        ("steps", str(order.steps)),
        ("guidance", f"{order.guidance:g}"),
        ("scheduler", order.scheduler),
        ("strength", None if order.strength is None else f"{order.strength:g}"),
        ("frames", None if order.frames is None else f"{order.frames} · {order.fps} fps"),
        ("gpu", shown(making.worker, limit=60) if making else None),
        ("time", duration(making.seconds, locale) if making else None),
        ("failure", f"`{job.failure.code}`" if job.failure else None),
        ("parent", f"`{order.parent}`" if order.parent else None),
    ]
    return [f"-# {seeds_of(job, job.pictures, locale)}"] + [
        f"-# {say(f'details.{name}', locale)}: {value}" for name, value in figures if value
    ]


def short(job: Job, locale: str | None) -> str:
    """One line of a job for lists: what it shows, its model, when."""
    when = int(job.created_at.timestamp())
    parts = [shown(job.order.model, limit=40), *loras_of(job.order, locale), f"<t:{when}:R>"]
    return f"{shown(job.order.prompt, limit=80)}\n-# {' · '.join(parts)}"
