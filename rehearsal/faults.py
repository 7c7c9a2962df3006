"""Faults by name: what goes wrong, where, and how often.

A fault that was never hit should fail the test that armed it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

BEFORE = ("status", "drop", "slow", "hang", "html", "429", "global429", "shared429", "cf429")
AFTER = ("after_status", "after_drop", "after_slow", "truncate")
LIMITS = (
    "guild_full", "category_full", "quota_commands", "token_expired", "nonce_expired", "file_limit", "bucket_change"
)  # fmt: skip
EVENTS = (
    "event_dup", "event_late", "event_reorder", "event_drop", "event_before_answer", "event_after_answer",
    "interaction_late",
)  # fmt: skip
AT_ONCE = ("ws_reset", "ws_close", "op7", "op9_true", "op9_false")
CONNECT = ("no_hello", "no_ack", "resume_unknown", "resume_slow", "gateway_down", "guild_late")
WORLD = ("guild_unavailable", "kicked", "role_removed", "perm_lost", "channel_deleted", "message_deleted")
CDN = ("cdn_404", "cdn_expired", "cdn_slow", "cdn_short")
PROCESS = ("kill_bot",)
NAMES = frozenset(BEFORE + AFTER + LIMITS + EVENTS + AT_ONCE + CONNECT + WORLD + CDN + PROCESS)
NEEDS_NUMBER = frozenset(
    ("status", "slow", "429", "global429", "shared429", "after_status", "after_slow", "event_late",
     "interaction_late", "ws_close", "resume_slow", "guild_late", "cdn_slow")
)  # fmt: skip


@dataclass(kw_only=True, slots=True)
class Fault:
    """One armed fault. `kind` is the name without its number."""

    id: int
    name: str
    kind: str
    number: float
    method: str | None = None
    path: str | None = None
    count: int = 1
    skip: int = 0
    hits: int = 0
    cleared: bool = False
    args: dict[str, Any] = field(default_factory=dict)

    @property
    def armed(self) -> bool:
        """Whether it can still hit."""
        return not self.cleared and self.hits < self.count

    def matches(self, method: str, path: str) -> bool:
        """Whether it is meant for this request or event."""
        return (self.method is None or self.method == method) and (self.path is None or bool(re.search(self.path, path)))

    def as_json(self) -> dict[str, Any]:
        """The shape of CONTROL.md."""
        keys = ("name", "method", "path", "count", "skip", "hits", "armed", "args")
        return {"id": str(self.id)} | {key: getattr(self, key) for key in keys}


class Faults:
    """Every fault of this run, armed and spent."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._ids = itertools.count(1)

    def arm(self, name: str, **details: Any) -> Fault:
        """Arm a fault. Raises ValueError with a sentence when the name or the regex is wrong."""
        kind, _, number = name.partition(":")
        if kind not in NAMES:
            raise ValueError(f"There is no fault {kind!r}; there are: {', '.join(sorted(NAMES))}.")
        if kind in NEEDS_NUMBER and not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", number):
            raise ValueError(f"The fault {kind!r} needs a number, as in {kind}:1.")
        try:
            re.compile(details.get("path") or "")
        except re.error as error:
            raise ValueError(f"The path is not a regular expression: {error}.") from error
        fault = Fault(id=next(self._ids), name=name, kind=kind, number=float(number or 0), **details)
        self._faults.append(fault)
        return fault

    def take(self, kinds: tuple[str, ...] | str, method: str = "", path: str = "") -> Fault | None:
        """The first armed fault of these kinds that is meant for this; it counts as hit."""
        for fault in self._faults:
            if fault.armed and fault.kind in ((kinds,) if isinstance(kinds, str) else kinds) and fault.matches(method, path):
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.hits += 1
                return fault
        return None

    def take_kill(self, when: str, method: str, path: str) -> Fault | None:
        """An armed `kill_bot` that is meant for this side of the request; `after` unless it says `before`."""
        for fault in self._faults:
            if fault.kind == "kill_bot" and fault.armed and fault.args.get("when", "after") == when:
                if not fault.matches(method, path):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.hits += 1
                return fault
        return None

    def standing(self, kind: str) -> Fault | None:
        """An armed fault that lasts until it is cleared; hits are counted, `count` is not a limit."""
        for fault in self._faults:
            if fault.kind == kind and not fault.cleared:
                fault.hits += 1
                return fault
        return None

    def clear(self, fault_id: int | None = None) -> None:
        """Disarm one fault, or all."""
        for fault in self._faults:
            if fault_id in (None, fault.id):
                fault.cleared = True

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults)

    def __bool__(self) -> bool:
        return any(fault.armed for fault in self._faults)
