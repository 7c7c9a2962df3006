"""The one catalogue of sentences for people: all of it in English and Spanish, Discord's commands and cards in six more.

``say("why.ahead", "es", n=3)``. Keys are ``section.name`` over all TOML files beside this one; a sentence with a figure
``n`` may have ``one`` and ``other`` forms. Every key has English and Spanish: reading a catalogue that lacks one raises. The
files in ``more/`` add a language each, for the sections in ``TRANSLATED``; whatever they do not have is said in English.
Figures are data: they are inserted once and never read as format strings.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jobs.errors import DarkroomError

LANGUAGES = ("en", "es")
MORE = ("de", "fr", "it", "ja", "pt", "zh")
"""Languages of the commands and cards alone."""
TRANSLATED = (
    "command", "aspect", "menu", "card", "queue", "why", "eta", "run", "done", "fail", "cancel", "verb", "act", "state", "alt", "photo",
    "lineage", "note",
)  # fmt: skip
"""The sections that every language has, whole."""
_FIGURE = re.compile(r"\{(\w+)\}")


class CatalogueError(ValueError):
    """A TOML file of the catalogue is wrong; names file and key."""


Forms = Mapping[str, str]
"""``en``, ``es``, or ``one.en``, ``other.en``…"""


def language_of(locale: str | None) -> str:
    """The catalogue's language for a Discord or browser locale: ``es-419`` → ``es``; English for those it does not know."""
    language = (locale or "").lower().split("-")[0]
    return language if language in (*LANGUAGES, *MORE) else "en"


@cache
def catalogue() -> Mapping[str, Forms]:
    """Every sentence, read once on first use. Raises CatalogueError."""
    sentences: dict[str, Forms] = {}
    for file in sorted(files(__name__).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".toml"):
            _read(file.name, tomllib.loads(file.read_text(encoding="utf-8")), sentences)
    for language in MORE:
        file = files(__name__) / "more" / f"{language}.toml"
        if file.is_file():
            _add(language, tomllib.loads(file.read_text(encoding="utf-8")), sentences)
    return sentences


def _add(language: str, tree: Mapping[str, Mapping[str, Any]], into: dict[str, Forms]) -> None:
    """One more language for sentences that are there. Raises CatalogueError for an unknown key or another figure."""
    for section, entries in tree.items():
        for name, told in entries.items():
            key, name_of_file = f"{section}.{name}", f"more/{language}.toml"
            if key not in into:
                raise CatalogueError(f"{name_of_file}: there is no {key}")
            forms = {f"{number}.{language}": text for number, text in told.items()} if isinstance(told, Mapping) else {language: told}
            counted = "en" not in into[key]
            if set(forms) != ({f"one.{language}", f"other.{language}"} if counted else {language}):
                raise CatalogueError(f"{name_of_file}: {key} needs {'one and other' if counted else 'one sentence'}")
            if any(_figures(text) != _figures(next(iter(into[key].values()))) for text in forms.values()):
                raise CatalogueError(f"{name_of_file}: {key} has other figures than in English")
            into[key] = {**into[key], **forms}


def _figures(text: str) -> frozenset[str]:
    return frozenset(_FIGURE.findall(text)) - {"n"}


def _read(name: str, tree: Mapping[str, Mapping[str, Any]], into: dict[str, Forms]) -> None:
    for section, entries in tree.items():
        for key, forms in entries.items():
            full = f"{section}.{key}"
            if full in into:
                raise CatalogueError(f"{name}: {full} is there twice")
            into[full] = _checked(name, full, _flat(forms))


def _flat(forms: Mapping[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in forms.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}.{language}": text for language, text in value.items()})
        else:
            flat[key] = value
    return flat


def _checked(name: str, key: str, forms: dict[str, str]) -> Forms:
    plain = set(LANGUAGES)
    counted = {f"{number}.{language}" for number in ("one", "other") for language in LANGUAGES}
    if set(forms) not in (plain, counted):
        raise CatalogueError(f"{name}: {key} needs the forms {sorted(plain)} or {sorted(counted)}, has {sorted(forms)}")
    figures = {_figures(text) for text in forms.values()}
    if len(figures) != 1:
        raise CatalogueError(f"{name}: {key} has other figures in one form than in another")
    return forms


def say(key: str, locale: str | None, /, **figures: object) -> str:
    """The sentence in the language of ``locale``. Raises KeyError for an unknown key or a missing figure."""
    text = _form(catalogue()[key], language_of(locale), figures.get("n"))
    return _FIGURE.sub(lambda match: str(figures[match[1]]), text)


def _form(forms: Mapping[str, str], language: str, n: object) -> str:
    """The sentence of that language, or the English one where it has none."""
    counted = f"{'one' if n == 1 else 'other'}."
    return next(forms[name] for name in (language, counted + language, "en", counted + "en") if name in forms)


def explain(error: DarkroomError, locale: str | None) -> str:
    """One kind sentence for an error: what is wrong and what to do."""
    figures = {k: ", ".join(map(str, v)) if isinstance(v, (list, tuple)) else v for k, v in error.details.items()}
    key = f"error.{error.code}"
    return say(key, locale, **figures) if key in catalogue() else say("error.unknown", locale)


def notes(codes: Iterable[str], locale: str | None) -> list[tuple[str, str]]:
    """(code, sentence) of a picture's notes. A code that only a newer version knows is left out."""
    return [(code, say(f"note.{code}", locale)) for code in codes if f"note.{code}" in catalogue()]


def duration(seconds: float, locale: str | None) -> str:
    """A length of time as people say it: < 10 s "a few seconds", < 1 min by 5 s, < 10 min by half minutes, else minutes."""
    if seconds < 10:
        return say("eta.soon", locale)
    if seconds < 57.5:
        return f"{max(10, round(seconds / 5) * 5)} s"
    if seconds < 600:
        halves = max(2, round(seconds / 30))
        return f"{halves // 2}½ min" if halves % 2 else f"{halves // 2} min"
    return f"{round(seconds / 60)} min"
