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
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from bot.cogs.toml_file import FileInvalidError, TomlFile, read_text, shown_value
from jobs.words import language_of

_LEET = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i", "|": "i"})
_ALIKE = str.maketrans("аеіоорсухвкмнтαεικορτυχν", "aeiooрcyxbkmhtaeikoptuxv".replace("р", "p"))
"""Cyrillic and Greek letters that look like Latin ones."""


class RulesInvalid(FileInvalidError):
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
    try:
        return read_rules(path.name, read_text(path))
    except FileInvalidError as error:
        raise RulesInvalid(str(error)) from error


def read_rules(name: str, text: str) -> list[Rule]:
    """The rules of a file. Raises RulesInvalid naming the fault."""
    try:
        file = TomlFile(name, text)
        file.check_keys("", file.tree, ("rule",))
        told = file.tree.get("rule", [])
        if not isinstance(told, list):
            raise file.fault("", "rule", "is one table: write [[rule]], with two brackets, for each rule.")
        return [_rule(file, number, one) for number, one in enumerate(told, 1)]
    except FileInvalidError as error:
        raise RulesInvalid(str(error)) from error


_KEYS = ("name", "reason", "any", "all", "pattern", "strike")


def _rule(file: TomlFile, number: int, told: Any) -> Rule:
    if not isinstance(told, Mapping):
        raise file.fault("", "rule", "is a list of values: write [[rule]] for each rule.")
    file.check_keys("rule", told, _KEYS, nth=number)
    reason, name, strike = told.get("reason"), told.get("name"), told.get("strike", True)
    if not isinstance(reason, Mapping) or "en" not in reason or not all(isinstance(text, str) for text in reason.values()):
        raise file.fault("rule", "reason", 'is missing or no table of sentences: write reason = { en = "…" }.', nth=number)
    if not isinstance(name, str) or not name:
        raise file.fault("rule", "name", 'is missing or no text: write name = "…".', nth=number)
    if not isinstance(strike, bool):
        raise file.fault("rule", "strike", f"is {shown_value(strike)}: write true or false.", nth=number)
    groups = _groups(file, number, told)
    if not groups:
        raise file.fault("rule", "name", f"{shown_value(name)} forbids nothing: it needs any, all or pattern.", nth=number)
    return Rule(name=name, reasons=dict(reason), matches=groups, strike=strike)


def _groups(file: TomlFile, number: int, told: Mapping[str, Any]) -> list[list[re.Pattern[str]]]:
    groups = [[_words([word])] for word in _texts(file, number, "any", told.get("any", []), 'any = ["…"]')]
    if "all" in told:
        each = told["all"] if isinstance(told["all"], list) else [told["all"]]
        groups.append([_words(_texts(file, number, "all", words, 'all = [["…", "…"], ["…"]]')) for words in each])
    if "pattern" in told:
        try:
            pattern = re.compile(told["pattern"])
        except (re.error, TypeError, RecursionError, OverflowError) as error:
            raise file.fault("rule", "pattern", f"is no regular expression: {error}.", nth=number) from error
        if pattern.search(""):
            raise file.fault("rule", "pattern", "fits every text, an empty one too: write one that needs something.", nth=number)
        groups.append([pattern])
    return groups


def _texts(file: TomlFile, number: int, key: str, told: Any, instead: str) -> Sequence[str]:
    """A list of words; one word alone would be read letter by letter."""
    if not isinstance(told, list) or not all(isinstance(word, str) and word.strip(" *") for word in told):
        raise file.fault("rule", key, f"is {shown_value(told)}: write {instead}.", nth=number)
    for word in told:
        if not _plain(word):
            raise file.fault("rule", key, f"has {shown_value(word)}, which is no word: each needs a letter or a digit.", nth=number)
    return told


def _plain(word: str) -> str:
    """As texts are made plain, too; of signs alone nothing is left, which would be found everywhere."""
    return plain_forms(word.rstrip("*"))[0].strip()


def _words(words: Sequence[str]) -> re.Pattern[str]:
    parts = [re.escape(_plain(word)) + (r"\w*" if word.endswith("*") else "") for word in words]
    return re.compile(rf"\b(?:{'|'.join(parts)})\b")
