"""The options of a command, carried through a form in its ``custom_id``: 64 characters, and no memory between the two."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What was chosen before the form opened. None: left to the model."""

    model: str | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int | None = None
    count: int | None = None
    width: int | None = None
    height: int | None = None

    def pack(self) -> str:
        """Letters, digits, ``_``, ``-`` and ``.`` only; the model by eight digits of its name's hash."""
        hundredths = None if self.guidance is None else round(self.guidance * 100)
        figures = (self.steps, hundredths, self.seed, self.count, self.width, self.height)
        return ".".join([_mark(self.model) if self.model else "-", *("-" if n is None else _base36(n) for n in figures)])

    @classmethod
    def unpack(cls, text: str, models: Iterable[str]) -> Self:
        """From :meth:`pack`. A model that is not among ``models`` any more is left to the house. Raises ValueError."""
        mark, *figures = text.split(".")
        steps, guidance, seed, count, width, height = (None if part == "-" else int(part, 36) for part in figures)
        model = next((name for name in models if _mark(name) == mark), None)
        hundredths = None if guidance is None else guidance / 100
        return cls(model=model, steps=steps, guidance=hundredths, seed=seed, count=count, width=width, height=height)


def _mark(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, last = divmod(number, 36)
        digits = _DIGITS[last] + digits
    return digits or "0"
