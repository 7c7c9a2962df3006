"""Consent before publishing, and the picture as it hangs. Pure."""

from dataclasses import dataclass
from typing import Any

import discord
from discord import ui

from bot.cogs.parts import MAIN, Address, Card, button, panel, row
from bot.cogs.photos.result import alt_text
from bot.cogs.photos.text import shown
from jobs.job import Job, Picture, person
from jobs.words import say


@dataclass(frozen=True, kw_only=True)
class Consent:
    """What its maker lets others see and do. Travels in the buttons' numbers."""

    n: int
    """Which picture, from 1."""
    show_prompt: bool = False
    allow_remix: bool = False

    def pack(self) -> int:
        """A number of at most four digits."""
        return self.n * 4 + 2 * self.show_prompt + self.allow_remix

    @classmethod
    def unpack(cls, number: int) -> "Consent":
        """From :meth:`pack`."""
        return cls(n=number // 4, show_prompt=bool(number & 2), allow_remix=bool(number & 1))


def consent_card(job: Job, consent: Consent, channel: str, locale: str | None) -> Card:
    """Nothing is shown that was not agreed to: both choices begin with no."""

    def toggled(**change: bool) -> Address:
        changed = Consent(n=consent.n, show_prompt=consent.show_prompt, allow_remix=consent.allow_remix)
        values = {"show_prompt": changed.show_prompt, "allow_remix": changed.allow_remix} | change
        return Address(area="pub", subject=job.id, verb=f"ask-{next(iter(change)).split('_')[1]}", n=Consent(n=consent.n, **values).pack())

    prompt = button(toggled(show_prompt=not consent.show_prompt), _word("prompt", on=consent.show_prompt), locale)
    remix = button(toggled(allow_remix=not consent.allow_remix), _word("remix", on=consent.allow_remix), locale)
    go = button(Address(area="pub", subject=job.id, verb="go", n=consent.pack()), "gallery.publish", locale, style=MAIN)
    lines = [say("gallery.ask", locale, channel=channel)]
    lines.append(say("gallery.prompt_shown" if consent.show_prompt else "gallery.prompt_hidden", locale))
    lines.append(say("gallery.remix_allowed" if consent.allow_remix else "gallery.remix_refused", locale))
    return panel(ui.TextDisplay("\n".join(lines)), row(prompt, remix, go))


def _word(what: str, *, on: bool) -> str:
    return {
        ("prompt", True): "gallery.hide_prompt",
        ("prompt", False): "gallery.show_prompt",
        ("remix", True): "gallery.refuse_remix",
        ("remix", False): "gallery.allow_remix",
    }[what, on]


def hung(job: Job, picture: Picture, file: str, consent: Consent, seq: int, *, marker: int, locale: str | None) -> Card:
    """The picture in the gallery: its maker's name, what they agreed to, a vote, and their own way back."""
    alt = alt_text(job, picture, locale) if consent.show_prompt else say("gallery.alt", locale, w=picture.width, h=picture.height)
    parts: list[ui.Item[Any]] = [
        ui.TextDisplay(say("gallery.by", locale, person=f"<@{person(job.user_id)}>")),
        ui.MediaGallery(discord.MediaGalleryItem(f"attachment://{file}", description=alt)),
    ]
    if consent.show_prompt:
        parts.append(ui.TextDisplay(f"> {shown(job.order.prompt)}"))
    verbs = [button(_on(seq, "vote"), "gallery.vote", locale)]
    if consent.allow_remix:
        verbs.append(button(_on(seq, "remix"), "act.remix", locale))
    verbs.append(button(_on(seq, "undo"), "gallery.undo", locale))
    return panel(*parts, row(*verbs), marker=marker)


def _on(seq: int, verb: str) -> Address:
    return Address(area="pub", subject=str(seq), verb=verb)
