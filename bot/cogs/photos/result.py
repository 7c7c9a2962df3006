"""The message that brings the pictures, and the short ones in its place. Pure: no request is made here.

New, so that it notifies; at most 20 parts and 1,200 characters; its buttons' ids outlive every process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import discord
from discord import ui

from bot.cogs.parts import BAD, Address, Card, Choice, button, panel, pick, row
from bot.cogs.photos.facts import facts, seeds_of
from bot.cogs.photos.text import plain, shown
from jobs.job import Job, Picture, person
from jobs.words import say

ALT_MAX = 1024
"""Characters of an alternative text that Discord takes."""

_ROWS = (("reroll", "vary", "upscale", "edit", "animate"), ("remix", "use", "publish", "details", "delete"))
_CLIP_ROWS = (("reroll", "remix", "publish", "details", "delete"),)


@dataclass(frozen=True, kw_only=True)
class Print:
    """One file of the message: the name it is sent under, and the picture it shows."""

    name: str
    picture: Picture


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What a result says beside the job's own figures."""

    line: str | None = None
    """What the persona says."""
    origin: str | None = None
    """The address of the message that its parent came with."""
    notes: Sequence[str] = ()
    """Sentences about files that came smaller, or as a link."""


def result(job: Job, prints: Sequence[Print], *, marker: int, extras: Extras | None = None) -> Card:
    """The pictures of a job with everything that can be done with them."""
    extras = extras or Extras()
    locale = job.place.locale if job.place else None
    parts: list[ui.Item[Any]] = [ui.TextDisplay(_title(job, extras, locale))]
    if prints:
        parts.append(ui.MediaGallery(*(_item(job, print_, locale) for print_ in prints)))
    if job.order.prompt:
        parts.append(ui.TextDisplay(f"> {shown(job.order.prompt)}"))
    parts.append(ui.TextDisplay(facts(job, locale, origin=extras.origin)))
    if extras.notes:
        parts.append(ui.TextDisplay("\n".join(extras.notes)))
    return panel(*parts, *verbs(job, locale), marker=marker)


def further(job: Job, prints: Sequence[Print], notes: Sequence[str], *, marker: int) -> Card:
    """More pictures of a job whose buttons are on an earlier message."""
    locale = job.place.locale if job.place else None
    parts: list[ui.Item[Any]] = []
    if prints:
        n, last = prints[0].picture.index + 1, prints[-1].picture.index + 1
        parts.append(ui.TextDisplay(f"-# {say('delivery.part', locale, n=n, last=last, total=len(job.pictures))}"))
        parts.append(ui.MediaGallery(*(_item(job, print_, locale) for print_ in prints)))
    if notes:
        parts.append(ui.TextDisplay("\n".join(notes)))
    return panel(*parts, marker=marker)


def verbs(job: Job, locale: str | None, *, n: int | None = None) -> list[ui.Item[Any]]:
    """The rows of buttons: for the ``n``-th picture, or for all with a select where there are several."""
    several = len(job.pictures) > 1 and n is None
    number = n if n is not None else (0 if several else 1)
    is_clip = job.order.kind == "animate"
    rows = [row(*(_button(job, name, number, locale) for name in names)) for names in (_CLIP_ROWS if is_clip else _ROWS)]
    return [which(job, "pick", locale), *rows] if several else [*rows]


def which(job: Job, verb: str, locale: str | None) -> ui.ActionRow[Any]:
    """The select that asks which of several pictures."""
    choices = [
        Choice(label=say("act.picture_n", locale, n=p.index + 1), value=str(p.index + 1), about=seeds_of(job, [p], locale))
        for p in job.pictures
    ]
    return pick(Address(area="job", subject=job.id, verb=verb), choices, say("act.which", locale))


def _button(job: Job, name: str, n: int, locale: str | None) -> ui.Button[Any]:
    address = Address(area="job", subject=job.id, verb=name, n=n)
    word = f"act.{name}"
    return button(address, word, locale, style=BAD) if name == "delete" else button(address, word, locale)


def _title(job: Job, extras: Extras, locale: str | None) -> str:
    is_clip = job.order.kind == "animate"
    plain_words = say("done.clip", locale) if is_clip else say("done.title", locale, n=max(len(job.pictures), 1))
    return f"**{extras.line or plain_words}** <@{person(job.user_id)}>"


def _item(job: Job, print_: Print, locale: str | None) -> discord.MediaGalleryItem:
    return discord.MediaGalleryItem(f"attachment://{print_.name}", description=alt_text(job, print_.picture, locale))


def alt_text(job: Job, picture: Picture, locale: str | None) -> str:
    """What a screen reader says of it: the prompt, what it is, and how large."""
    key = "alt.clip" if job.order.kind == "animate" else "alt.picture"
    words = plain(job.order.prompt, limit=900) or say("alt.no_words", locale)
    alt = say(key, locale, prompt=words, w=picture.width, h=picture.height)
    if len(job.pictures) > 1:
        alt = f"{alt} {say('alt.number', locale, n=picture.index + 1, total=len(job.pictures))}"
    return alt[:ALT_MAX]


def failure(job: Job, *, marker: int) -> Card:
    """The short line that calls the owner when no picture comes."""
    locale = job.place.locale if job.place else None
    text = say("photo.failed_short", locale, person=f"<@{person(job.user_id)}>")
    return Card(ui.TextDisplay(text, id=marker))


def lost_picture(job: Job, *, marker: int) -> Card:
    """The line for a picture whose file retention took before it could be posted."""
    locale = job.place.locale if job.place else None
    text = say("photo.gone", locale, seed=job.order.seed)
    return Card(ui.TextDisplay(f"{text} <@{person(job.user_id)}>", id=marker))
