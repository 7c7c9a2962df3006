"""Rules about words: read from TOML, applied to text made plain, so that spelling tricks change nothing. Pure.

``rules.toml``, an example::

    [[rule]]
    name = "gore"
    reason = { en = "No gore here.", es = "Aquí no hay violencia sangrienta." }
    any = ["gore", "dismember*"]          # one of these words; * stands for any ending
    all = [["child", "kid"], ["naked"]]   # or: one of each group
    pattern = "regular expression"        # or: this, over the plain text
    strike = true
"""

import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jobs.words import language_of

_LEET = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i", "|": "i"})
_ALIKE = str.maketrans("аеіоорсухвкмнтαεικορτυχν", "aeiooрcyxbkmhtaeikoptuxv".replace("р", "p"))
"""Cyrillic and Greek letters that look like Latin ones."""


class RulesInvalid(ValueError):
    """A rules file cannot be used; names file, rule and field."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing that is not made here, and what is said of it: never its words."""

    name: str
    reasons: Mapping[str, str]
    matches: Sequence[Sequence[re.Pattern[str]]]
    """It hits when of one of these groups of patterns every one is found."""
    strike: bool = True

    def reason(self, locale: str | None) -> str:
        """The sentence of this rule, in English where the language has none."""
        return self.reasons.get(language_of(locale)) or self.reasons["en"]

    def hits(self, texts: Sequence[str]) -> bool:
        """Whether one of these plain texts breaks it."""
        return any(all(pattern.search(text) for pattern in group) for group in self.matches for text in texts)


def plain_forms(text: str) -> tuple[str, ...]:
    """The text as it is meant: marks and invisible characters gone, look-alikes and digits as letters, ``n u d e`` joined."""
    folded = unicodedata.normalize("NFKD", text).casefold().translate(_ALIKE)
    letters = "".join(c for c in folded if (not unicodedata.combining(c) and unicodedata.category(c) not in ("Cf", "Cc")) or c in " \n\t")
    read = letters.translate(_LEET)
    spaced = re.sub(r"[^\w]+", " ", letters)
    unleet = re.sub(r"[^\w]+|_+", " ", read)
    # Before blanks are made one: two of them part words, one parts the letters of a word that hides.
    joined = re.sub(r"\b(?:\w[ .\-_]){2,}\w\b", lambda run: re.sub(r"[ .\-_]", "", run[0]), read)
    joined = re.sub(r"[^\w]+|_+", " ", joined)
    squeezed = re.sub(r"(\w)\1{2,}", r"\1", joined)
    return tuple(dict.fromkeys((spaced, unleet, joined, squeezed)))


def first_broken(rules: Sequence[Rule], *texts: str) -> Rule | None:
    """The first rule that one of the texts breaks. The negative prompt counts too: what is named there can be shown."""
    forms = [form for text in texts for form in plain_forms(text)]
    return next((rule for rule in rules if rule.hits(forms)), None)


def shipped_rules() -> list[Rule]:
    """What is never made, whatever the operator allows."""
    file = files("bot.cogs.safety") / "always.toml"
    return read_rules(file.name, file.read_text(encoding="utf-8"))


def read_file(path: Path | None) -> list[Rule]:
    """The operator's own rules; none where there is no file. Raises RulesInvalid."""
    if path is None or not path.is_file():
        return []
    return read_rules(path.name, path.read_text(encoding="utf-8"))


def read_rules(name: str, text: str) -> list[Rule]:
    """The rules of a file. Raises RulesInvalid naming the fault."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RulesInvalid(f"{name}: {error}") from error
    return [_rule(name, number, told) for number, told in enumerate(tree.get("rule", []), 1)]


def _rule(name: str, number: int, told: Any) -> Rule:
    where = f"{name}, rule {number}"
    reason = told.get("reason") if isinstance(told, Mapping) else None
    if not isinstance(reason, Mapping) or not isinstance(reason.get("en"), str) or not isinstance(told.get("name"), str):
        raise RulesInvalid(f'{where}: it needs a name and reason = {{ en = "…" }}.')
    groups = [[_words([word])] for word in told.get("any", [])]
    if told.get("all"):
        groups.append([_words(words) for words in told["all"]])
    if told.get("pattern"):
        try:
            groups.append([re.compile(told["pattern"])])
        except re.error as error:
            raise RulesInvalid(f"{where}: pattern: {error}") from error
    if not groups:
        raise RulesInvalid(f"{where}: it needs any, all or pattern.")
    return Rule(name=told["name"], reasons=dict(reason), matches=groups, strike=told.get("strike", True) is True)


def _words(words: Sequence[str]) -> re.Pattern[str]:
    parts = [re.escape(plain_forms(word.rstrip("*"))[0].strip()) + (r"\w*" if word.endswith("*") else "") for word in words]
    return re.compile(rf"\b(?:{'|'.join(parts)})\b")
