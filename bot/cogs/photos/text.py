"""Prompts as Discord shows them: data, never markup."""

import re

PROMPT_SHOWN = 300
"""Characters of a prompt on a card; all of it stays with the job."""

_MARKUP = re.compile(r"([\\*_~`|\[\]<])")
_LINE_START = re.compile(r"^(\d*)([#>\-+.])")
"""Headings, quotes, small print and lists count at the start of a line only."""


def shown(prompt: str, *, limit: int = PROMPT_SHOWN) -> str:
    """One line of plain text: cut at a word, line breaks gone, markdown escaped, mentions broken.

    ``allowed_mentions`` keeps everyone from being called; the zero-width space keeps it from *looking* like a call.
    """
    line = cut(" ".join(prompt.split()), limit)
    line = _MARKUP.sub(r"\\\1", line).replace("@", "@\u200b")
    return _LINE_START.sub(r"\1\\\2", line)


def plain(prompt: str, *, limit: int) -> str:
    """One line for where Discord renders no markdown: alternative texts."""
    return cut(" ".join(prompt.split()), limit)


def cut(text: str, limit: int) -> str:
    """At most ``limit`` characters, ended at a word with an ellipsis."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    words, blank, _ = head.rpartition(" ")
    return (words if blank and len(words) > limit // 2 else head).rstrip() + "…"
