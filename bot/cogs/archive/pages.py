"""A page of somebody's history as a card. What is being looked for travels in the buttons' ids. Pure."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import discord
from discord import ui

from bot.cogs.parts import Address, Card, Choice, button, panel, pick, row
from bot.cogs.photos.text import plain, shown
from jobs.job import Job
from jobs.words import say

ON_A_PAGE = 9
WORDS_MAX = 40
"""Bytes of what is looked for: as much as an id of 100 characters holds."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """What of the history is wanted."""

    words: str = ""
    favourites: bool = False

    def pack(self) -> str:
        """Letters, digits, ``-`` and ``_``."""
        told = base64.urlsafe_b64encode(self.words.encode()).decode().rstrip("=")
        return f"{'f' if self.favourites else 'a'}{told}"

    @classmethod
    def unpack(cls, text: str) -> Self:
        """From :meth:`pack`; what cannot be read finds everything."""
        try:
            words = base64.urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4)).decode()
        except ValueError:
            words = ""
        return cls(words=words, favourites=text.startswith("f"))


def page_card(jobs: Sequence[Job], names: Sequence[str | None], query: Query, page: int, locale: str | None, *, more: bool) -> Card:
    """Up to nine jobs: a gallery of small pictures (``names`` of attached files, None where the file is gone), and their words."""
    parts: list[ui.Item[Any]] = [ui.TextDisplay(_title(query, page, locale, empty=not jobs))]
    items = [
        discord.MediaGalleryItem(f"attachment://{name}", description=_alt(job, locale))
        for job, name in zip(jobs, names, strict=True)
        if name
    ]
    if items:
        parts.append(ui.MediaGallery(*items))
    if jobs:
        lines = [f"{number}. {_line(job)}" for number, job in enumerate(jobs, 1)]
        parts += [ui.TextDisplay("\n".join(lines)), _open(jobs, locale)]
    parts.append(_turn(query, page, locale, more=more, any_here=bool(jobs)))
    return panel(*parts)


def _title(query: Query, page: int, locale: str | None, *, empty: bool) -> str:
    if empty:
        return say("history.nothing" if query.words or query.favourites else "history.empty", locale)
    title = f"**{say('history.favourites' if query.favourites else 'history.title', locale)}**"
    if query.words:
        title += f" · {say('history.found', locale, words=shown(query.words, limit=60))}"
    return f"{title}\n-# {say('history.page', locale, n=page + 1)}"


def _line(job: Job) -> str:
    words = shown(job.order.prompt, limit=60) or "…"
    several = f" ×{len(job.pictures)}" if len(job.pictures) > 1 else ""
    return f"{words}{several} · <t:{int(job.created_at.timestamp())}:d>"


def _alt(job: Job, locale: str | None) -> str:
    words = plain(job.order.prompt, limit=300) or say("alt.no_words", locale)
    return say("alt.picture", locale, prompt=words, w=job.order.width, h=job.order.height)


def _open(jobs: Sequence[Job], locale: str | None) -> ui.Item[Any]:
    choices = [
        Choice(label=f"{number}. {plain(job.order.prompt, limit=80) or '…'}"[:100], value=job.id, about=job.order.model[:100])
        for number, job in enumerate(jobs, 1)
    ]
    return pick(Address(area="past", subject="a", verb="open"), choices, say("history.open", locale))


def _turn(query: Query, page: int, locale: str | None, *, more: bool, any_here: bool) -> ui.Item[Any]:
    told = query.pack()
    other = Query(words=query.words, favourites=not query.favourites)
    back = button(Address(area="past", subject=told, verb="page", n=max(page - 1, 0)), "history.back", locale)
    on = button(Address(area="past", subject=told, verb="next", n=page + 1), "history.next", locale)
    back.disabled, on.disabled = page == 0, not more
    star = button(Address(area="past", subject=other.pack(), verb="turn"), "history.all" if query.favourites else "history.stars", locale)
    files = button(Address(area="past", subject=told, verb="zip"), "history.zip", locale)
    files.disabled = not any_here
    return row(back, on, star, files)
