"""Reading the header of a safetensors file, as hostile input: nothing is allocated or trusted before it was checked.

The format: 8 bytes little-endian length of the header, the header as JSON (tensor name -> dtype, shape, data_offsets;
and ``__metadata__``), then the tensors, which fill the rest of the file without gaps.
Source: the format section of the safetensors README.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from workers.engine.errors import ModelUnreadable

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
#: The reference implementation's own limit.
HEADER_BYTES_MAX = 100_000_000
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """What the header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Header:
    """All that a file says before its numbers begin."""

    tensors: dict[str, Tensor]
    #: What its author wrote: text by text. Hostile.
    metadata: dict[str, str]


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name. Raises ModelUnreadable for a file that is not one, or is cut short."""
    return read_all(path).tensors


def read_all(path: Path) -> Header:
    """The whole header of a safetensors file. Raises ModelUnreadable for a file that is not one, or is cut short."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            first = file.read(8)
            length = int.from_bytes(first, "little")
            if first[:4] in _ZIP_STARTS:
                raise ModelUnreadable(f"{path.name} is a zip archive under another name, as pickles come: nothing in it was opened.")
            if size < 10 or not 2 <= length <= min(HEADER_BYTES_MAX, size - 8):
                raise ModelUnreadable(f"{path.name} is no safetensors file: its header says it is {length} bytes long.")
            text = file.read(length)
    except OSError as error:
        raise ModelUnreadable(f"{path.name} cannot be read: {error.strerror}.") from error
    return _header(path.name, text, size - 8 - length)


def _header(name: str, text: bytes, data_bytes: int) -> Header:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelUnreadable(f"{name} is no safetensors file: its header is not JSON.") from error
    if not isinstance(entries, dict):
        raise ModelUnreadable(f"{name} is no safetensors file: its header is no table.")
    told = entries.pop("__metadata__", None)
    metadata = {key: value for key, value in told.items() if isinstance(value, str)} if isinstance(told, dict) else {}
    return Header(tensors=_tensors(name, entries, data_bytes), metadata=metadata)


def _tensors(name: str, entries: dict[str, Any], data_bytes: int) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    spans: list[tuple[int, int]] = []
    for key, entry in entries.items():
        tensor, span = _tensor(name, key, entry)
        tensors[key] = tensor
        spans.append(span)
    _check_cover(name, spans, data_bytes)
    return tensors


def _tensor(name: str, key: str, entry: Any) -> tuple[Tensor, tuple[int, int]]:
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        sound = all(type(number) is int and number >= 0 for number in (*shape, start, end)) and len(shape) <= 8
        sound = sound and end - start == (prod(shape) * _BITS[dtype] + 7) // 8
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong(name, key) from error
    if not sound:
        raise _wrong(name, key)
    return Tensor(dtype=dtype, shape=tuple(shape)), (start, end)


def _wrong(name: str, key: str) -> ModelUnreadable:
    return ModelUnreadable(f"{name} is broken: its header is wrong about the tensor {key[:80]!r}.")


def _check_cover(name: str, spans: list[tuple[int, int]], data_bytes: int) -> None:
    """The tensors must fill the data exactly: overlaps are an attack, a missing tail is a download that broke off."""
    at = 0
    for start, end in sorted(spans):
        if start != at:
            raise ModelUnreadable(f"{name} is broken: its tensors overlap or leave gaps.")
        at = end
    if at > data_bytes:
        raise ModelUnreadable(f"{name} is cut short: {at - data_bytes} bytes are missing. Download it again.")
    if at < data_bytes:
        raise ModelUnreadable(f"{name} is broken: it has {data_bytes - at} bytes too many.")
