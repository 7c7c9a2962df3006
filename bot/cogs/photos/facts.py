"""A job's figures as people read them: the small print of every card. Pure."""

from collections.abc import Sequence

from bot.cogs.photos.text import shown
from jobs.job import Job, Making, Picture
from jobs.request import LoraUse, Order
from jobs.words import notes, say

LORAS_SHOWN = 4


def size_of(order: Order) -> str:
    """``1216×832``."""
    return f"{order.width}×{order.height}"


def steps_of(order: Order, locale: str | None) -> str:
    """``20 steps``, and how many photos where there are several."""
    steps = say("photo.steps", locale, n=order.steps)
    return steps if order.count == 1 else f"{steps} · {say('photo.count', locale, n=order.count)}"


def loras_of(order: Order, locale: str | None) -> list[str]:
    """``film-grain 0.8``, four of them, "and 2 more"."""
    named = [f"{shown(use.name, limit=40)} {weight_of(use)}" for use in order.loras[:LORAS_SHOWN]]
    more = len(order.loras) - LORAS_SHOWN
    return [*named, say("photo.more", locale, n=more)] if more > 0 else named


def weight_of(use: LoraUse) -> str:
    """``0.8``, ``1``: two decimals at most."""
    return f"{use.weight:.2f}".rstrip("0").rstrip(".")


def seeds_of(job: Job, pictures: Sequence[Picture], locale: str | None) -> str:
    """``seed 7``, or ``seeds 7, 8, 9`` where there are several."""
    seeds = [picture.seed for picture in pictures] or [job.order.seed]
    if len(seeds) == 1:
        return say("photo.seed", locale, seed=seeds[0])
    return say("photo.seeds", locale, seeds=", ".join(map(str, seeds)))


def facts(job: Job, locale: str | None, *, origin: str | None = None) -> str:
    """Small print: seeds, model, LoRAs; size, steps, seconds, company; a line for each note. ``origin`` links the parent's message."""
    order, making = job.order, job.making or Making(worker="", seconds=0.0)
    pictures = max(len(job.pictures), 1)
    first = [seeds_of(job, job.pictures, locale), shown(order.model, limit=100), *loras_of(order, locale)]
    second = [size_of(order), say("photo.steps", locale, n=order.steps), _time(making.seconds, pictures, locale)]
    if making.shared_with:
        second.append(say("photo.shared", locale, n=making.shared_with))
    if origin:
        second.append(say(f"lineage.{order.kind}", locale, link=origin))
    lines = [" · ".join(first), " · ".join(second), *(sentence for _, sentence in notes(making.notes, locale))]
    return "\n".join(f"-# {line}" for line in lines)


def _time(seconds: float, pictures: int, locale: str | None) -> str:
    if pictures == 1:
        return f"{seconds:.1f} s"
    return say("photo.each", locale, time=f"{seconds / pictures:.1f} s")
