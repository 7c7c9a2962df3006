"""What became of a prompt, read from its history without trust."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from jobs.errors import BadPicture

_TYPES = ("temp", "output")
_CLASS = re.compile(r"[A-Za-z0-9_.|+-]{1,60}( \([A-Za-z0-9_.+-]{1,30}\))?")
"""Names of nodes and exceptions; some packs put their own name behind, in brackets."""
_WORKERS_FAULT = (
    "FileNotFoundError",
    "PermissionError",
    "OSError",
    "SafetensorError",
    "ConnectionError",
    "ModuleNotFoundError",
    "ImportError",
)


class End(Enum):
    """How it ended, by whom it blames."""

    DONE = auto()
    MEMORY = auto()
    CANNOT_BATCH = auto()
    """The node pack refused: these requests must go one by one."""
    INTERRUPTED = auto()
    WORKER = auto()
    """A broken file or installation: other servers may do it."""
    JOB = auto()


@dataclass(frozen=True, kw_only=True)
class File:
    """A result as the server names it: untrusted strings, used in a query only."""

    filename: str
    subfolder: str
    type: str
    item: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An end with what it left."""

    end: End
    files: tuple[File, ...] = ()
    detail: str = ""
    """For the operator: class and kind of error. Never ``current_inputs`` nor its text: they may hold anybody's prompt."""
    words: str = ""
    """The first line of the error's text: for the person of a prompt made alone, never for a log."""
    seconds: float = 0.0
    """0 where it is not told."""


def read_outcome(entry: Mapping[str, Any], result_node: str) -> Outcome:
    """The outcome of a history entry. Raises BadPicture for results of an unknown shape."""
    status = entry.get("status")
    status = status if isinstance(status, dict) else {}
    messages = _messages(status.get("messages"))
    seconds = _seconds(messages)
    if status.get("status_str") == "success":
        return Outcome(end=End.DONE, files=_files(entry.get("outputs"), result_node), seconds=seconds)
    for event, data in messages:
        if event == "execution_error":
            end, detail, words = _error(data)
            return Outcome(end=end, detail=detail, words=words, seconds=seconds)
    return Outcome(end=End.INTERRUPTED, detail="somebody interrupted it", seconds=seconds)


def _messages(told: Any) -> list[tuple[str, dict[str, Any]]]:
    pairs = told if isinstance(told, list) else []
    return [(str(pair[0]), pair[1]) for pair in pairs[:1000] if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], dict)]


_CLOCK_MAX = 1e15
"""Milliseconds since 1970, some thirty thousand years on: a server's clock shows less."""


def _seconds(messages: Sequence[tuple[str, dict[str, Any]]]) -> float:
    told = [data.get("timestamp") for _, data in messages]
    times = [moment for moment in told if isinstance(moment, int | float) and 0 <= moment <= _CLOCK_MAX]
    return (max(times) - min(times)) / 1000 if times else 0.0


def _error(data: Mapping[str, Any]) -> tuple[End, str, str]:
    """(whom it blames, class and kind, the first line of its text)."""
    kind, text = str(data.get("exception_type", ""))[:200], str(data.get("exception_message", ""))
    name = kind.rpartition(".")[2]
    words = text.strip().splitlines()[0][:120] if text.strip() else ""
    detail = f"{_word(data.get('node_type'))}: {_word(name)}"
    if "outofmemory" in name.lower() or "out of memory" in text.lower():  # a plain RuntimeError says it in words only
        return End.MEMORY, detail, words
    if name == "CannotBatch":
        return End.CANNOT_BATCH, detail, words
    return (End.WORKER if name in _WORKERS_FAULT else End.JOB), detail, words


def _word(value: Any) -> str:
    """The name of a class, which is no sentence; else only that there was something else."""
    return value[:60] if isinstance(value, str) and _CLASS.fullmatch(value) else "?"


def _files(outputs: Any, node: str) -> tuple[File, ...]:
    """Every entry with a file name under our result node, whatever its kind is called (``images``, ``gifs``, ``video``)."""
    told = outputs.get(node) if isinstance(outputs, dict) else None
    found: list[File] = []
    for entries in told.values() if isinstance(told, dict) else ():
        some = entries[:1000] if isinstance(entries, list) else []
        found += [_file(entry) for entry in some if isinstance(entry, dict) and "filename" in entry]
    return tuple(found)


def _file(entry: Mapping[str, Any]) -> File:
    filename, subfolder, kind, item = entry.get("filename"), entry.get("subfolder", ""), entry.get("type"), entry.get("item")
    if not isinstance(filename, str) or not isinstance(subfolder, str) or kind not in _TYPES or not 0 < len(filename) <= 255:
        raise BadPicture("bad_picture", reason="a result that names no file")
    return File(filename=filename, subfolder=subfolder[:255], type=kind, item=item if isinstance(item, str) else None)


def by_item(files: Sequence[File], names: Sequence[str], *, all_of_them: bool = True) -> dict[str, File]:
    """Each name's own file, never guessed by order. Raises BadPicture unless every name is there once, and nothing else.

    Without ``all_of_them`` (a prompt taken up again for some of its people) there may be others' files beside them.
    """
    found = {file.item: file for file in files if file.item is not None}
    wrong = set(found) != set(names) if all_of_them else not set(names) <= set(found)
    if wrong or len(files) != len(found):
        raise BadPicture("bad_picture", reason=f"{len(files)} results for {len(names)} requests, or under other names")
    return {name: found[name] for name in names}
