"""What a LoRA's maker says of it: its title, the words that wake it, a weight. From its header and the files beside it.

Everything is text from strangers: cut, cleaned, and never trusted to be there. Foreign files are read and never written.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BYTES_MAX = 1024 * 1024
_TRIGGERS_MAX = 12
_TRIGGER_CHARACTERS = 100
_TITLE_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True)
class Words:
    """What is known; empty where nothing is."""

    title: str = ""
    triggers: tuple[str, ...] = ()
    weight: float | None = None
    #: The family of models, where somebody says so.
    base: str = ""

    def over(self, other: Words) -> Words:
        """These, with `other` where these are silent."""
        return Words(
            title=self.title or other.title,
            triggers=self.triggers or other.triggers,
            weight=other.weight if self.weight is None else self.weight,
            base=self.base or other.base,
        )


def of_file(path: Path, metadata: Mapping[str, str]) -> Words:
    """All that is told of the LoRA in `path`. An operator's own ``NAME.darkroom.json`` goes before the rest."""
    words = Words()
    for suffix, read in _SIDECARS:
        table = _table(path.with_suffix(suffix))
        if table is not None:
            words = words.over(_safely(read, table))
    return words.over(_safely(_header, metadata))


def _safely(read: Callable[[Mapping[str, Any]], Words], table: Mapping[str, Any]) -> Words:
    try:
        return read(table)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError):
        return Words()  # A sidecar of another shape says nothing; the LoRA itself is none the worse for it.


def _table(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            text = file.read(_BYTES_MAX + 1)
        table = json.loads(text) if len(text) <= _BYTES_MAX else None
    except (OSError, ValueError, RecursionError):
        return None
    return table if isinstance(table, dict) else None


def _own(table: Mapping[str, Any]) -> Words:
    return Words(
        title=_text(table.get("title")),
        triggers=_triggers(table.get("triggers")),
        weight=_weight(table.get("weight")),
        base=_text(table.get("family")),
    )


def _lora_manager(table: Mapping[str, Any]) -> Words:
    """Lora-Manager's file; its ``usage_tips`` is JSON in a string."""
    tips = json.loads(table.get("usage_tips") or "{}")
    found = table.get("civitai") or {}
    return Words(
        title=_text(table.get("model_name")),
        triggers=_triggers(found.get("trainedWords")),
        weight=_weight(tips.get("strength")),
        base=_text(table.get("base_model")),
    )


def _a1111(table: Mapping[str, Any]) -> Words:
    words = table.get("activation text")
    return Words(
        triggers=_triggers(words.split(",") if isinstance(words, str) else None),
        # The program writes 0 where its user set nothing.
        weight=_weight(table.get("preferred weight")) or None,
        base=_text(table.get("sd version")),
    )


def _civitai(table: Mapping[str, Any]) -> Words:
    model = table.get("model") or {}
    return Words(title=_text(model.get("name")), triggers=_triggers(table.get("trainedWords")), base=_text(table.get("baseModel")))


def _header(metadata: Mapping[str, Any]) -> Words:
    phrase = metadata.get("modelspec.trigger_phrase")
    return Words(
        title=_text(metadata.get("modelspec.title")) or _text(metadata.get("ss_output_name")),
        triggers=_triggers(phrase.split(",") if phrase else None) or _commonest(metadata.get("ss_tag_frequency")),
        base=_text(metadata.get("modelspec.architecture")) or _text(metadata.get("ss_base_model_version")),
    )


def _commonest(frequency: Any) -> tuple[str, ...]:
    """The tag that was on (nearly) every picture of the training, which is how a trigger looks there; none where several were."""
    counts: dict[str, int] = {}
    for tags in json.loads(frequency or "{}").values():
        for tag, count in tags.items():
            counts[tag.strip()] = counts.get(tag.strip(), 0) + int(count)
    most = max(counts.values(), default=0)
    return _triggers([tag for tag, count in counts.items() if count >= 0.95 * most][:3]) if most > 1 else ()


def _triggers(found: Iterable[Any] | None) -> tuple[str, ...]:
    if not isinstance(found, (list, tuple)):
        return ()
    words = (_text(word, most=_TRIGGER_CHARACTERS).strip(" ,") for word in found)
    return tuple(dict.fromkeys(word for word in words if word))[:_TRIGGERS_MAX]


def _text(value: Any, *, most: int = _TITLE_CHARACTERS) -> str:
    if not isinstance(value, str):
        return ""
    printable = "".join(c if not unicodedata.category(c).startswith("C") else " " for c in value[: 4 * most])
    return " ".join(printable.split())[:most]


def _weight(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 2 else None


_SIDECARS: tuple[tuple[str, Callable[[Mapping[str, Any]], Words]], ...] = (
    (".darkroom.json", _own),
    (".metadata.json", _lora_manager),
    (".json", _a1111),
    (".cm-info.json", _civitai),
    (".civitai.info", _civitai),
)
