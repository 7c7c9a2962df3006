"""What a ComfyUI server says on its socket, read without trust. Big-endian binary frames as in its protocol.py and server.py."""

import json
import struct
from dataclasses import dataclass
from typing import Any

PREVIEW_MAX = 96 * 1024
"""Larger previews are dropped: they are for looking at while waiting."""

_PREVIEW_WITH_METADATA = 4
_ENDS = ("execution_success", "execution_error", "execution_interrupted")


@dataclass(frozen=True, kw_only=True)
class Told:
    """One event about one prompt."""

    prompt_id: str
    step: int = 0
    total: int = 0
    node: str = ""
    ending: bool = False
    """An end was announced: history has it now or in milliseconds."""
    ended: bool = False
    """``executing`` with no node: history has it."""
    preview: bytes | None = None
    item: str | None = None
    """Whose preview it is, where the node pack says so."""


def read_text(frame: str) -> Told | None:
    """An event, or None for what does not concern a prompt of ours (``status``, ``feature_flags``, garbage)."""
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        return None
    data = message.get("data") if isinstance(message, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("prompt_id"), str):
        return None
    prompt_id, kind = data["prompt_id"], message.get("type")
    if kind == "progress":
        return Told(prompt_id=prompt_id, step=_count(data.get("value")), total=_count(data.get("max")), node=str(data.get("node"))[:60])
    if kind == "executing":
        return Told(prompt_id=prompt_id, node=str(data.get("node") or "")[:60], ended="node" in data and data["node"] is None)
    return Told(prompt_id=prompt_id, ending=kind in _ENDS)


def _count(value: Any) -> int:
    return int(min(max(0, value), 100_000)) if isinstance(value, int | float) and value == value else 0


def read_binary(frame: bytes) -> Told | None:
    """A preview that says whose it is. Kind 1 carries no id and is dropped: it may be another host's picture."""
    if len(frame) < 8 or len(frame) > PREVIEW_MAX + 4096:
        return None
    kind, size = struct.unpack(">II", frame[:8])
    if kind != _PREVIEW_WITH_METADATA or size > len(frame) - 8 or size > 4096:
        return None
    try:
        told = json.loads(frame[8 : 8 + size])
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or not isinstance(told.get("prompt_id"), str):
        return None
    item = told.get("darkroom_item")
    return Told(prompt_id=told["prompt_id"], preview=frame[8 + size :], item=item if isinstance(item, str) else None)
