"""Reading the header of a GGUF file, as hostile input: nothing is allocated or trusted before it was checked.

The format: ``GGUF``, version (u32), number of tensors and of facts (u64 each), the facts (key, type, value), then for each
tensor its name, dimensions (fastest first), type and offset, then the data, aligned. All little-endian.
Source: docs/gguf.md of the ggml repository; block sizes as in the gguf package's GGML_QUANT_SIZES.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from workers.engine.errors import ModelUnreadable
from workers.engine.weights_file import Tensor

_TENSORS_MAX = 50_000
_FACTS_MAX = 10_000
_TEXT_MAX = 1024 * 1024
_ELEMENTS_MAX = 2_000_000
_ARRAY = 9
_STRING = 8
#: Of a fact's scalar types: their struct format.
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
#: Number -> name, numbers a block, bytes a block: what diffusers can compute with.
_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 20: ("IQ4_NL", 32, 18), 23: ("IQ4_XS", 256, 136),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """What a file says before its numbers begin."""

    tensors: dict[str, Tensor]
    #: ``general.architecture``, where it is there.
    architecture: str


class _Broken(Exception):
    """Half a sentence that says what is wrong with the file."""


def read_header(path: Path) -> GgufHeader:
    """The tensors of a GGUF file by name. Raises ModelUnreadable for a file that is not one, or is cut short."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _header(_Reader(file, size))
    except OSError as error:
        raise ModelUnreadable(f"{path.name} cannot be read: {error.strerror}.") from error
    except _Broken as broken:
        raise ModelUnreadable(f"{path.name} is broken: {broken}.") from broken


class _Reader:
    """Reads forward, and never more than the file has."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size

    def at(self) -> int:
        return self._file.tell()

    def take(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise _Broken("it ends within its header; download it again")
        return data

    def skip(self, count: int) -> None:
        if count > self.size - self.at():
            raise _Broken("its header is longer than the file")
        self._file.seek(count, 1)

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def count(self, most: int, what: str) -> int:
        found = self.number("<Q")
        if found > most:
            raise _Broken(f"its header claims {found} {what}")
        return found

    def text(self) -> str:
        return self.take(self.count(_TEXT_MAX, "bytes of one name")).decode("utf-8", "replace")


def _header(reader: _Reader) -> GgufHeader:
    if reader.take(4) != b"GGUF":
        raise _Broken("it is no GGUF file")
    version = reader.number("<I")
    if version not in (2, 3):
        raise _Broken(f"it is of GGUF version {version}; versions 2 and 3 are known here")
    tensors = reader.count(_TENSORS_MAX, "tensors")
    facts = dict(_fact(reader) for _ in range(reader.count(_FACTS_MAX, "facts")))
    alignment = facts.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
        raise _Broken("its alignment makes no sense")
    found: dict[str, Tensor] = {}
    spans: list[tuple[int, int]] = []
    for _ in range(tensors):
        name, tensor, span = _tensor(reader)
        found[name] = tensor
        spans.append(span)
    _check_spans(spans, reader, alignment)
    return GgufHeader(tensors=found, architecture=str(facts.get("general.architecture", "")))


def _fact(reader: _Reader) -> tuple[str, Any]:
    key = reader.text()
    return key, _value(reader, reader.number("<I"))


def _value(reader: _Reader, kind: int) -> Any:
    """A fact's value; of arrays nothing is kept."""
    if kind == _STRING:
        return reader.text()
    if kind in _SCALARS:
        return reader.number(_SCALARS[kind])
    if kind != _ARRAY:
        raise _Broken(f"it has a fact of the unknown type {kind}")
    inner = reader.number("<I")
    count = reader.count(_ELEMENTS_MAX, "elements of one list")
    if inner == _STRING:
        for _ in range(count):
            reader.skip(reader.count(_TEXT_MAX, "bytes of one text"))
    elif inner in _SCALARS:
        reader.skip(count * struct.calcsize(_SCALARS[inner]))
    else:
        raise _Broken("it has a list of lists")
    return None


def _tensor(reader: _Reader) -> tuple[str, Tensor, tuple[int, int]]:
    name = reader.text()
    dimensions = reader.number("<I")
    if not 1 <= dimensions <= 4:
        raise _Broken(f"its tensor {name[:80]!r} has {dimensions} dimensions")
    shape = tuple(reader.number("<Q") for _ in range(dimensions))
    kind = reader.number("<I")
    if kind not in _TYPES:
        raise _Broken(f"its tensor {name[:80]!r} is of a type ({kind}) that cannot be computed with here")
    label, block, size = _TYPES[kind]
    if shape[0] % block or prod(shape) > 1 << 40:
        raise _Broken(f"its header is wrong about the tensor {name[:80]!r}")
    start = reader.number("<Q")
    return name, Tensor(dtype=label, shape=shape[::-1]), (start, start + prod(shape) // block * size)


def _check_spans(spans: list[tuple[int, int]], reader: _Reader, alignment: int) -> None:
    """Tensors must lie in the file and beside each other: overlaps are an attack, a missing tail a broken download."""
    begin = -(-reader.at() // alignment) * alignment
    at = 0
    for start, end in sorted(spans):
        if start < at or start % alignment:
            raise _Broken("its tensors overlap or are not aligned")
        at = end
    if begin + at > reader.size:
        raise _Broken(f"it is cut short: {begin + at - reader.size} bytes are missing. Download it again")
