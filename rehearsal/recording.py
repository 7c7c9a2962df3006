"""All traffic, as records: hashes instead of bytes, secrets replaced."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from typing import Any

LONGEST_BODY = 400_000


class RawJson(str):
    """JSON kept as text until somebody asks for the recording: a tenth of the memory of the parsed thing."""

    __slots__ = ()


def _readable(value: Any) -> Any:
    if not isinstance(value, RawJson):
        return value
    if len(value) > LONGEST_BODY:
        return f"{len(value)} characters"
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return str(value)


_TOKENS = re.compile(r"(/(?:webhooks|interactions)/\d+/)([^/?]+)")


class Recorder:
    """The last records, numbered. Kinds: rest, gateway, cdn."""

    def __init__(self, limit: int) -> None:
        self._records: deque[dict[str, Any]] = deque(maxlen=limit)
        self._secrets: dict[str, str] = {}
        self.count = 0
        self.unknown_routes: list[str] = []

    def hide(self, secret: str, name: str) -> None:
        """Never write `secret`; write `<name>`."""
        self._secrets[secret] = f"<{name}>"

    def add(self, kind: str, record: dict[str, Any]) -> None:
        """Keep one record."""
        self.count += 1
        if "path" in record:
            record["path"] = _TOKENS.sub(r"\1<token>", record["path"])
        self._records.append({"n": self.count, "kind": kind} | record)

    def records(self, *, kind: str | None = None, since: int = 0) -> Iterator[dict[str, Any]]:
        """Records after number `since`."""
        for record in self._records:
            if record["n"] > since and kind in (None, record["kind"]):
                yield {key: _readable(value) for key, value in record.items()}

    def lines(self, *, kind: str | None = None, since: int = 0) -> str:
        """The same as JSON lines, with the secrets replaced."""
        lines = []
        for record in self.records(kind=kind, since=since):
            line = json.dumps(record, default=str)
            for secret, name in self._secrets.items():
                line = line.replace(secret, name)
            lines.append(_INLINE_TOKEN.sub(r'\1"<token>"', line))
        return "".join(line + "\n" for line in lines)


_INLINE_TOKEN = re.compile(r'("token": )"[^"]*"')
