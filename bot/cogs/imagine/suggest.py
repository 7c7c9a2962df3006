"""Suggestions while somebody types: from memory, in order of use, at most 25. Nobody waits for a network here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bot.cogs.imagine.ask import CHOICES_MAX, sizes_of
from jobs.offer import LoraOffer, ModelOffer

VALUE_MAX = 100
"""Characters of a choice's name and value that Discord takes."""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """What is shown, and what is put into the option."""

    name: str
    value: str


def models(offers: Mapping[str, ModelOffer], typed: str, *, usual: str, kind: str | None = None) -> list[Suggestion]:
    """Models whose name or title holds every word typed; the usual one first. ``kind``: only who can do that."""
    words = typed.lower().split()
    able = [offer for offer in offers.values() if kind is None or kind in offer.kinds]
    found = [offer for offer in able if _holds(words, offer.name, offer.title)]
    found.sort(key=lambda offer: (offer.name != usual, offer.name.lower()))
    return [Suggestion(name=_titled(offer.name, offer.title), value=offer.name) for offer in found[:CHOICES_MAX]]


def loras(offered: Mapping[str, LoraOffer], typed: str, *, family: str | None) -> list[Suggestion]:
    """Complete the last name of ``film-grain:0.8, no``; those of the model's family only, none twice.

    Once a name is whole, the same with weights is suggested. What would be longer than Discord takes is left out.
    """
    before, last = _split(typed)
    taken = {part.rpartition(":")[0].strip() or part.strip() for part in before.split(",")}
    fitting = [lora for lora in offered.values() if (family is None or lora.family == family) and lora.name not in taken]
    name = last.rpartition(":")[0].strip() if ":" in last else last.strip()
    words = name.lower().split()
    found = [lora for lora in fitting if _holds(words, lora.name, lora.title, *lora.triggers)]
    found.sort(key=lambda lora: (not lora.name.lower().startswith(name.lower()), lora.name.lower()))
    made = [_mixed(before, lora, weight) for lora in found[:CHOICES_MAX] for weight in _weights(lora, name, ":" in last)]
    return [suggestion for suggestion in made if len(suggestion.value) <= VALUE_MAX][:CHOICES_MAX]


def _split(typed: str) -> tuple[str, str]:
    head, comma, last = typed.rpartition(",")
    return (head.strip(), last) if comma else ("", typed)


def _weights(lora: LoraOffer, name: str, has_colon: bool) -> Sequence[float]:
    if has_colon and lora.name == name:
        return (lora.weight, 0.4, 0.6, 0.8, 1.0, 1.2)
    return (lora.weight,)


def _mixed(before: str, lora: LoraOffer, weight: float) -> Suggestion:
    value = f"{before}, {lora.name}:{weight:g}" if before else f"{lora.name}:{weight:g}"
    about = f" ({', '.join(lora.triggers[:3])})" if lora.triggers else ""
    title = f": {lora.title}" if lora.title else ""
    return Suggestion(name=_cut(f"{value}{title}{about}"), value=value)


def sizes(offer: ModelOffer | None, typed: str) -> list[str]:
    """``832x1216`` and the like that hold what was typed; the model's own first."""
    if offer is None:
        return []
    wanted = typed.strip().lower().replace("×", "x")
    return [size for width, height in sizes_of(offer) if wanted in (size := f"{width}x{height}")]


def _holds(words: Iterable[str], *texts: str) -> bool:
    text = " ".join(texts).lower()
    return all(word in text for word in words)


def _titled(name: str, title: str) -> str:
    return _cut(f"{name}: {title}" if title else name)


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_MAX else text[: VALUE_MAX - 1] + "…"
