"""A persona as read from its TOML file, and which of its lines comes next."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from bot.cogs.toml_file import FileInvalidError, TomlFile, read_text
from jobs.words import language_of

Occasion = Literal["waiting", "done", "failed"]
OCCASIONS: tuple[Occasion, ...] = ("waiting", "done", "failed")
PLAIN = "plain"
"""The house's own voice: its sentences are the catalogue's, and it needs no file."""

LINE_MAX = 200


class PersonaInvalid(ValueError):
    """A persona's file cannot be used; names file and field."""


@dataclass(frozen=True, kw_only=True)
class Persona:
    """A voice: its name and its lines, by occasion and language."""

    key: str
    names: Mapping[str, str]
    lines: Mapping[str, Mapping[str, tuple[str, ...]]]

    def name(self, locale: str | None) -> str:
        """Its name in this language, else in English."""
        return self.names.get(language_of(locale)) or self.names["en"]

    def line(self, occasion: Occasion, locale: str | None, *, turn: int, salt: str) -> str:
        """The line of somebody's ``turn``-th occasion (from 0): varied, never the one of the turn before."""
        lines = self.lines[occasion]
        told = lines.get(language_of(locale)) or lines["en"]
        return told[place_of(turn, len(told), f"{salt}|{self.key}|{occasion}")]


def place_of(turn: int, count: int, salt: str) -> int:
    """Which of ``count`` comes at ``turn``: rounds of all in ever other orders, no two neighbours alike. Pure."""
    round_, place = divmod(turn, count)
    order = _order(round_, count, salt)
    return order[place]


def _order(round_: int, count: int, salt: str) -> list[int]:
    order = random.Random(f"{salt}|{round_}").sample(range(count), count)  # noqa: S311  variety, no secret
    if round_ and count > 1:
        # The last of the round before must not open this one. Its own opening swap moves only its first two, so for three
        # and more its last place is that of the plain shuffle; for two the rounds would undo each other, so they all agree.
        if count == 2:
            return [0, 1]
        before = random.Random(f"{salt}|{round_ - 1}").sample(range(count), count)[-1]  # noqa: S311
        if order[0] == before:
            order[0], order[1] = order[1], order[0]
    return order if count != 2 else [0, 1]


def shipped() -> dict[str, Persona]:
    """The personas that come with darkroom."""
    folder = files("bot.cogs.voices") / "personas"
    found = (file for file in folder.iterdir() if file.name.endswith(".toml"))
    return {made.key: made for made in (read_persona(file.name, file.read_text(encoding="utf-8")) for file in found)}


def read_folder(folder: Path | None) -> dict[str, Persona]:
    """The operator's own, ``*.toml``; none where there is no folder. Raises PersonaInvalid."""
    if folder is None or not folder.is_dir():
        return {}
    return {made.key: made for made in map(_read_file, sorted(folder.glob("*.toml")))}


def _read_file(file: Path) -> Persona:
    try:
        return read_persona(file.name, read_text(file))
    except FileInvalidError as error:
        raise PersonaInvalid(str(error)) from error


def read_persona(name: str, text: str) -> Persona:
    """A persona from its file: ``name``, and for each occasion lists of lines by language, English at least.

    Raises PersonaInvalid naming the field.
    """
    key = name.removesuffix(".toml")
    if not re.fullmatch(r"[a-z0-9-]{1,32}", key) or key == PLAIN:
        raise PersonaInvalid(f"{name}: the file's name is its key: small letters, digits and -, at most 32, and not {PLAIN!r}.")
    try:
        file = TomlFile(name, text)
        file.check_keys("", file.tree, ("name", *OCCASIONS))
    except FileInvalidError as error:
        raise PersonaInvalid(str(error)) from error
    tree = file.tree
    names = tree.get("name")
    if not isinstance(names, Mapping) or "en" not in names or not all(isinstance(told, str) and told for told in names.values()):
        raise PersonaInvalid(f'{name}: name needs at least {{ en = "…" }}, and a text for each language.')
    return Persona(key=key, names=dict(names), lines={occasion: _lines(name, occasion, tree.get(occasion)) for occasion in OCCASIONS})


def _lines(name: str, occasion: str, told: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(told, Mapping) or "en" not in told:
        raise PersonaInvalid(f"{name}: [{occasion}] needs at least a list en = [ … ].")
    for language, lines in told.items():
        fits = isinstance(lines, list) and len(lines) > 1 and all(isinstance(line, str) and 0 < len(line) <= LINE_MAX for line in lines)
        if not fits or len(set(lines)) < len(lines):
            raise PersonaInvalid(f"{name}: {occasion}.{language} needs two or more different lines of 1 to {LINE_MAX} characters.")
    return {language: tuple(lines) for language, lines in told.items()}
