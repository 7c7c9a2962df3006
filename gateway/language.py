"""Which of the catalogue's languages a browser prefers."""

from collections.abc import Iterable

from jobs.words import LANGUAGES, language_of


def preferred(accept_language: str | None) -> str:
    """The best of ``en`` and ``es`` by an Accept-Language header (RFC 9110 §12.5.4); English where none is named."""
    wishes = [_wish(part) for part in (accept_language or "")[:1000].split(",")]
    for weight, tag in sorted(wishes, key=lambda wish: -wish[0]):
        if weight > 0 and tag.split("-")[0] in LANGUAGES:
            return language_of(tag)
    return "en"


def _wish(part: str) -> tuple[float, str]:
    tag, *parameters = part.strip().lower().split(";")
    return _weight(parameters), tag.strip()


def _weight(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
