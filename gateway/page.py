"""The studio page's files, read once: a template with the catalogue's words in it, styles, modules, an icon."""

import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from jobs.words import LANGUAGES, catalogue, say

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_WORD = re.compile(r"\[\[([a-z_]+\.[a-z_]+)\]\]")
_SECTIONS = ("page", "error", "why", "eta", "state", "run", "queue", "verb", "alt", "cancel", "done", "fail", "card")
"""What the page says by itself."""


@dataclass(frozen=True, kw_only=True)
class File:
    """Bytes to serve, with their type and a tag that changes when they do."""

    data: bytes
    media_type: str
    etag: str


def read_files() -> Mapping[str, File]:
    """Every file of the page by its path below the root. Reads the disk: call it once."""
    found: dict[str, File] = {}
    for entry in files("gateway.web").iterdir():
        name = entry.name
        suffix = name.rpartition(".")[2]
        if suffix in _TYPES:
            found[f"/web/{name}"] = _file(entry.read_bytes(), _TYPES[suffix])
    template = (files("gateway.web") / "index.html").read_text(encoding="utf-8")
    for language in LANGUAGES:
        found[f"/{language}"] = _file(_filled(template, language).encode(), "text/html")
        found[f"/words/{language}.json"] = _file(_words(language).encode(), "application/json")
    return found


def _file(data: bytes, media_type: str) -> File:
    return File(data=data, media_type=media_type, etag=f'"{hashlib.sha256(data).hexdigest()[:32]}"')


def _filled(template: str, language: str) -> str:
    """Words go in as text, whatever they contain. Raises KeyError for a word that the catalogue lacks."""
    filled = _WORD.sub(lambda match: html.escape(say(match[1], language)), template)
    return filled.replace("[[language]]", language)


def _words(language: str) -> str:
    """The page's sentences in one language: ``{"why.ahead": {"one": …, "other": …}, "state.done": {"other": …}}``."""
    told: dict[str, dict[str, str]] = {}
    for key, forms in catalogue().items():
        if key.partition(".")[0] in _SECTIONS:
            told[key] = {
                number: text
                for number in ("one", "other")
                if (text := forms.get(f"{number}.{language}") or (number == "other" and forms.get(language)))
            }
    return json.dumps(told, ensure_ascii=False, sort_keys=True)
