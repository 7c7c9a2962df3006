"""What cards and forms are made of: views that the library does not keep, buttons with ids that outlive every process.

A pressed button is found by its ``custom_id`` alone (:mod:`bot.cogs.switchboard`), so the library need not remember any view:
what it would keep for each card is a leak in a process that posts cards for months.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import discord
from discord import ui

from jobs.words import say

MAIN, PLAIN, GOOD, BAD = (
    discord.ButtonStyle.primary,
    discord.ButtonStyle.secondary,
    discord.ButtonStyle.success,
    discord.ButtonStyle.danger,
)

GREY, LAMP, RED = 0x87776C, 0xFFB347, 0xFF9C90

_ID = re.compile(r"(?P<area>[a-z]{1,20}):(?P<subject>[A-Za-z0-9_.-]{1,64}):(?P<verb>[a-z-]{1,20}):(?P<n>\d{1,4})")


@dataclass(frozen=True, kw_only=True)
class Address:
    """What a ``custom_id`` says: ``job:<id>:vary:2`` is the second picture of a job. At most 100 characters, as Discord takes."""

    area: str
    subject: str
    verb: str
    n: int = 0

    def __str__(self) -> str:
        return f"{self.area}:{self.subject}:{self.verb}:{self.n}"

    @classmethod
    def parse(cls, custom_id: str) -> Self | None:
        """None for what was never written by this class."""
        match = _ID.fullmatch(custom_id)
        if match is None:
            return None
        return cls(area=match["area"], subject=match["subject"], verb=match["verb"], n=int(match["n"]))


class Card(ui.LayoutView):
    """A components V2 message. Looks finished to the library, so that it never stores it or times it out."""

    def __init__(self, *items: ui.Item[Any]) -> None:
        super().__init__(timeout=None)
        for item in items:
            self.add_item(item)

    def is_finished(self) -> bool:
        """Always, as far as the library need know."""
        return True


class Form(ui.Modal):
    """A modal; its answers come through the switchboard, also after a restart."""

    def __init__(self, address: Address, title: str, *items: ui.Item[Any]) -> None:
        super().__init__(title=title[:45], custom_id=str(address))
        for item in items:
            self.add_item(item)

    def is_finished(self) -> bool:
        """Always, as far as the library need know: a stored modal answers only once."""
        return True


def button(address: Address, word: str, locale: str | None, *, style: discord.ButtonStyle = PLAIN) -> ui.Button[Any]:
    """A button with a word of the catalogue on it."""
    return ui.Button(style=style, label=say(word, locale)[:80], custom_id=str(address))


def row(*items: ui.Item[Any]) -> ui.ActionRow[Any]:
    """An action row: five buttons or one select."""
    made: ui.ActionRow[Any] = ui.ActionRow()
    for item in items:
        made.add_item(item)
    return made


def text(content: str, *, marker: int | None = None) -> ui.TextDisplay[Any]:
    """A text display."""
    return ui.TextDisplay(content, id=marker)


def panel(*items: ui.Item[Any], colour: int | None = None, marker: int | None = None) -> Card:
    """One container as a whole message."""
    return Card(ui.Container(*items, accent_colour=colour, id=marker))


def field(
    name: str,
    word: str,
    locale: str | None,
    *,
    value: str = "",
    long: bool = False,
    required: bool = False,
    limit: int = 100,
    hint: str | None = None,
) -> ui.Label[Any]:
    """A line (or, ``long``, a box) to type in. ``hint`` is a word of the catalogue under the label."""
    style = discord.TextStyle.paragraph if long else discord.TextStyle.short
    box: ui.TextInput[Any] = ui.TextInput(custom_id=name, style=style, default=value[:limit] or None, required=required, max_length=limit)
    return ui.Label(text=say(word, locale)[:45], description=say(hint, locale)[:100] if hint else None, component=box)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One line of a select or a radio group."""

    label: str
    value: str
    about: str | None = None
    chosen: bool = False


def pick(address: Address, choices: Sequence[Choice], placeholder: str, *, least: int = 1, most: int = 1) -> ui.ActionRow[Any]:
    """A select of at most 25 choices in a row of its own."""
    options = [
        discord.SelectOption(
            label=choice.label[:100], value=choice.value, description=(choice.about or "")[:100] or None, default=choice.chosen
        )
        for choice in choices[:25]
    ]
    made: ui.Select[Any] = ui.Select(
        custom_id=str(address), placeholder=placeholder[:150], options=options, min_values=least, max_values=min(most, len(options))
    )
    return row(made)


def radio(name: str, label: str, choices: Sequence[Choice]) -> ui.Label[Any]:
    """A radio group of 2 to 10 choices, in a form."""
    group: ui.RadioGroup[Any] = ui.RadioGroup(
        custom_id=name,
        required=False,
        options=[discord.RadioGroupOption(label=c.label[:100], value=c.value, default=c.chosen) for c in choices[:10]],
    )
    return ui.Label(text=label[:45], component=group)
