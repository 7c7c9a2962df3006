"""Prompts as Discord shows them: data, never markup."""

import re
import unicodedata

PROMPT_SHOWN = 300
"""Characters of a prompt on a card; all of it stays with the job."""

MARKS_MAX = 3
"""Marks on one letter that are shown: Vietnamese and Hebrew need as many."""

_JOINERS = "\u200c\u200d"
"""Format characters that spelling (Persian, Indic) and emoji need."""

_MARKUP = re.compile(r"([\\*_~`|\[\]<])")
_LINE_START = re.compile(r"^(\d*)([#>\-+.])")
"""Headings, quotes, small print and lists count at the start of a line only."""


def shown(prompt: str, *, limit: int = PROMPT_SHOWN) -> str:
    """One line of plain text: cut at a word, line breaks gone, markdown escaped, mentions broken.

    ``allowed_mentions`` keeps everyone from being called; the zero-width space keeps it from *looking* like a call.
    """
    line = cut(" ".join(legible(prompt).split()), limit)
    line = _MARKUP.sub(r"\\\1", line).replace("@", "@\u200b")
    return _LINE_START.sub(r"\1\\\2", line)


def plain(prompt: str, *, limit: int) -> str:
    """One line for where Discord renders no markdown: alternative texts."""
    return cut(" ".join(legible(prompt).split()), limit)


def legible(text: str) -> str:
    """Without what turns the line around, hides in it or drips out of it: control and format characters, and heaps of marks."""
    kept: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        hidden = category in ("Cc", "Cf", "Co", "Cs") and character not in _JOINERS
        if not hidden and marks <= MARKS_MAX:
            kept.append(character)
        elif character in "\t\r\n\v\f":
            kept.append(" ")
    return "".join(kept)


def cut(text: str, limit: int) -> str:
    """At most ``limit`` characters, ended at a word with an ellipsis."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    words, blank, _ = head.rpartition(" ")
    return (words if blank and len(words) > limit // 2 else head).rstrip() + "…"
