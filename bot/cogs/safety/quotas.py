"""Who may have how much: by role, the most generous of a member's roles counts. Pure.

``quotas.toml``, an example::

    [everyone]
    waiting = 20              # requests that may wait
    gpu_seconds = 1800        # of the last 24 hours; what failed costs nothing

    [role.1042317265498202122]
    waiting = 60
    gpu_seconds = 0           # 0: no limit
"""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class QuotasInvalid(ValueError):
    """A quotas file cannot be used; names the field."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What somebody may have. None: no limit of this kind."""

    waiting: int | None = None
    gpu_seconds: float | None = None

    def or_more(self, other: "Allowance") -> "Allowance":
        """The more generous of the two, field by field."""
        return Allowance(waiting=_more(self.waiting, other.waiting), gpu_seconds=_more(self.gpu_seconds, other.gpu_seconds))


def _more(one: float | None, other: float | None) -> Any:
    return None if one is None or other is None else max(one, other)


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


NO_QUOTAS = Quotas(everyone=Allowance(), roles={})


def read_quotas(path: Path | None) -> Quotas:
    """From the operator's file; no limits but the house's where there is none. Raises QuotasInvalid."""
    if path is None or not path.is_file():
        return NO_QUOTAS
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise QuotasInvalid(f"{path.name}: {error}") from error
    roles: dict[int, Allowance] = {}
    for role_id, told in tree.get("role", {}).items():
        if not role_id.isdecimal():
            raise QuotasInvalid(f"{path.name}: role.{role_id} is no role's id.")
        roles[int(role_id)] = _allowance(path.name, f"role.{role_id}", told)
    return Quotas(everyone=_allowance(path.name, "everyone", tree.get("everyone", {})), roles=roles)


def _allowance(name: str, where: str, told: Any) -> Allowance:
    figures: dict[str, Any] = {}
    for field in ("waiting", "gpu_seconds"):
        value = told.get(field) if isinstance(told, Mapping) else 0
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise QuotasInvalid(f"{name}: {where}.{field} is a number from 0 (no limit).")
        figures[field] = value or None
    return Allowance(**figures)
