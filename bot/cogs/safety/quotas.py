"""Who may have how much: by role, the most generous of a member's roles counts. Pure.

``quotas.toml``, an example::

    [everyone]
    waiting = 20              # requests that may wait; unsaid: WAITING_LIMIT
    gpu_seconds = 1800        # of the last 24 hours; what failed costs nothing; unsaid: no limit
    weight = 1                # share of the GPUs against others' 1, while they are contended; 0.25 to 8

    [role.1042317265498202122]
    waiting = 60              # what a role leaves unsaid stays as it is for everyone
    gpu_seconds = 0           # 0: no limit
    weight = 2
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from bot.cogs.toml_file import FileInvalidError, TomlFile, read_text, shown_value

MOST_WAITING = 1000
"""What ``waiting = 0`` stands for: the ledger is asked for a number, and WAITING_LIMIT goes no further either."""
WEIGHTS = (0.25, 8.0)
"""Least and greatest; docs/fairness.md: an account's slack is divided by its weight, so that a tiny one bounds nothing."""


class QuotasInvalid(FileInvalidError):
    """A quotas file cannot be used; names the line and the field."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What somebody may have."""

    waiting: int = 20
    gpu_seconds: float | None = None
    """Of the last 24 hours. None: no limit."""
    weight: float = 1.0

    def or_more(self, other: "Allowance") -> "Allowance":
        """The more generous of the two, field by field."""
        one, two = self.gpu_seconds, other.gpu_seconds
        return Allowance(
            waiting=max(self.waiting, other.waiting),
            gpu_seconds=None if one is None or two is None else max(one, two),
            weight=max(self.weight, other.weight),
        )


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """Everybody's allowance, and those of roles."""

    everyone: Allowance
    roles: Mapping[int, Allowance]

    def of(self, role_ids: Collection[int]) -> Allowance:
        """What a member with these roles may have."""
        found = self.everyone
        for role_id in role_ids:
            if role_id in self.roles:
                found = found.or_more(self.roles[role_id])
        return found


def read_quotas(path: Path | None, *, waiting: int = 20) -> Quotas:
    """From the operator's file; no limits but the house's own, ``waiting``, where it has none. Raises QuotasInvalid."""
    house = Allowance(waiting=waiting)
    if path is None or not path.is_file():
        return Quotas(everyone=house, roles={})
    try:
        return _quotas(TomlFile(path.name, read_text(path)), house)
    except FileInvalidError as error:
        raise QuotasInvalid(str(error)) from error


def _quotas(file: TomlFile, house: Allowance) -> Quotas:
    file.check_keys("", file.tree, ("everyone", "role"))
    everyone = _allowance(file, "everyone", file.tree.get("everyone", {}), house)
    roles: dict[int, Allowance] = {}
    for role_id, told in _table(file, "role", file.tree.get("role", {})).items():
        if not (role_id.isascii() and role_id.isdecimal() and len(role_id) <= 20):
            raise file.fault("role", role_id, "is no role's id: write [role.1042317265498202122], with the number that Copy Role ID gives.")
        roles[int(role_id)] = _allowance(file, f"role.{role_id}", told, everyone)
    return Quotas(everyone=everyone, roles=roles)


def _allowance(file: TomlFile, where: str, told: Any, usual: Allowance) -> Allowance:
    figures: dict[str, Any] = {}
    file.check_keys(where, _table(file, where, told), tuple(_READERS))
    for field, value in told.items():
        fits, words, read = _READERS[field]
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or not fits(value):
            raise file.fault(where, field, f"is {shown_value(value)}: write {words}.")
        figures[field] = read(value)
    return replace(usual, **figures)


def _table(file: TomlFile, where: str, told: Any) -> Mapping[str, Any]:
    if not isinstance(told, Mapping):
        raise file.fault("", where, f"is {shown_value(told)}: write a table, [{where}].")
    return told


_READERS: Mapping[str, tuple[Callable[[float], bool], str, Callable[[float], float | None]]] = {
    "waiting": (
        lambda value: 0 <= value <= MOST_WAITING and value == int(value),
        f"a whole number from 1 to {MOST_WAITING}, or 0 (no limit)",
        lambda value: int(value) or MOST_WAITING,
    ),
    "gpu_seconds": (lambda value: value >= 0, "a number from 0 (no limit)", lambda value: value or None),
    "weight": (lambda value: WEIGHTS[0] <= value <= WEIGHTS[1], f"a number from {WEIGHTS[0]:g} to {WEIGHTS[1]:g}", float),
}
"""Field of the file: what fits, what the operator is told otherwise, and how it is kept."""
