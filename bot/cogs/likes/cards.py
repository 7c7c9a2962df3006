"""/settings and /privacy as cards. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from discord import ui

from bot.cogs.members import Preferences
from bot.cogs.parts import BAD, Address, Card, Choice, button, panel, pick, row
from bot.cogs.voices.persona import PLAIN, Persona
from jobs.words import LANGUAGES, MORE, catalogue, say

AS_HOUSE = "-"
"""The value of "as the house has it"."""


def settings_card(
    chosen: Preferences, *, models: Sequence[str], sizes: Sequence[str], personas: Mapping[str, Persona], locale: str | None
) -> Card:
    """Four selects and a switch; each choice counts at once."""
    voices = [Choice(label=say("likes.plain", locale), value=PLAIN, chosen=chosen.persona == PLAIN)]
    voices += [
        Choice(
            label=persona.name(locale),
            value=key,
            about=persona.line("waiting", locale, turn=0, salt="sample"),
            chosen=chosen.persona == key,
        )
        for key, persona in sorted(personas.items())
    ]
    names = catalogue()["likes.own_name"]
    languages = [Choice(label=names[name], value=name, chosen=chosen.language == name) for name in (*LANGUAGES, *MORE)]
    own_models = [Choice(label=name, value=name, chosen=chosen.model == name) for name in models[:24]]
    own_sizes = [Choice(label=size.replace("x", "×"), value=size, chosen=chosen.size == size) for size in sizes[:24]]
    parts: list[ui.Item[Any]] = [ui.TextDisplay(f"**{say('likes.title', locale)}**\n{say('likes.about', locale)}")]
    for verb, choices, usual in (
        ("language", languages, "likes.as_discord"),
        ("model", own_models, "likes.usual_model"),
        ("size", own_sizes, "likes.usual_size"),
        ("persona", voices, "likes.usual_voice"),
    ):
        parts += _select(verb, choices, usual, locale)
    word = "likes.dm_off" if chosen.dm else "likes.dm_on"
    parts.append(row(button(_address("dm"), word, locale)))
    return panel(*parts)


def _address(verb: str) -> Address:
    return Address(area="likes", subject="me", verb=verb)


def _select(verb: str, choices: Sequence[Choice], usual: str, locale: str | None) -> list[ui.Item[Any]]:
    is_own = any(choice.chosen for choice in choices)
    first = Choice(label=say(usual, locale), value=AS_HOUSE, chosen=not is_own)
    return [ui.TextDisplay(f"-# {say(f'likes.{verb}', locale)}"), pick(_address(verb), [first, *choices], say(f"likes.{verb}", locale))]


def erase_card(locale: str | None) -> Card:
    """Asks before everything goes."""
    sure = Address(area="likes", subject="me", verb="erase")
    return panel(ui.TextDisplay(say("privacy.ask", locale)), row(button(sure, "privacy.sure", locale, style=BAD)))
