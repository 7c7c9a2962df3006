"""What the operator's own TOML files have in common: read whole or refused, with file, line, key and what to write instead. Pure."""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

_BITS_MAX = 256
"""Of whole numbers; larger ones cannot be compared with others nor shown."""

_HEADER = re.compile(r"\[{1,2}([^\[\]]+)\]{1,2}")


class FileInvalidError(ValueError):
    """A file of the operator's cannot be used; the sentence names file, place and cure."""


class TomlFile:
    """A file's tree, and where in its text a key stands."""

    def __init__(self, name: str, text: str) -> None:
        """Raises FileInvalidError for what is no TOML."""
        self.name = name
        self._lines = text.splitlines()
        try:
            self.tree: Mapping[str, Any] = tomllib.loads(text)
        except RecursionError as error:
            raise FileInvalidError(f"{name}: its brackets are nested too deeply.") from error
        except ValueError as error:  # no TOML; or a number of more digits than Python reads
            raise FileInvalidError(f"{name}: {str(error).partition(';')[0]}") from error
        if any(isinstance(value, int) and value.bit_length() > _BITS_MAX for value in _values(self.tree)):
            raise FileInvalidError(f"{name}: a number in it has more than {_BITS_MAX} bits: nothing here is so large.")

    def fault(self, table: str, key: str, words: str, *, nth: int = 1) -> FileInvalidError:
        """``quotas.toml, line 3: everyone.weight …``. ``nth``: which of several tables of that name."""
        line = self._line_of(table, key, nth)
        where = ".".join(part for part in (table if nth == 1 else f"{table} {nth}", key) if part)
        where = where if len(where) <= 80 else f"{where[:79]}…"
        return FileInvalidError(f"{self.name}{f', line {line}' if line else ''}: {where} {words}")

    def check_keys(self, table: str, told: Mapping[str, Any], known: Collection[str], *, nth: int = 1) -> None:
        """Refuse the first key that nobody reads: a slip of the pen would else be a limit that is not there."""
        for key in told:
            if key not in known:
                close = get_close_matches(key, list(known), n=1)
                instead = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}."
                raise self.fault(table, key, f"is not known: {instead}", nth=nth)

    def _line_of(self, table: str, key: str, nth: int) -> int | None:
        """None where the file is written in a way that this does not follow (inline tables, quoted or dotted keys)."""
        here, seen = "", 0
        for number, line in enumerate(self._lines, 1):
            bare = line.partition("#")[0].strip()
            if header := _HEADER.fullmatch(bare):
                here = header[1].strip()
                seen += here == table
                if here == (f"{table}.{key}" if table else key):
                    return number
            elif here == table and (seen == nth or not table) and bare.partition("=")[0].strip() == key:
                return number
        return None


def _values(tree: Mapping[str, Any]) -> Iterator[Any]:
    """Everything in it, however deep."""
    left: list[Any] = [tree]
    while left:
        value = left.pop()
        yield value
        left += value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else []


def read_text(path: Path) -> str:
    """A file's text. Raises FileInvalidError for what is no UTF-8 or cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileInvalidError(f"{path.name} is not written in UTF-8 (byte {error.start}): save it as UTF-8.") from error
    except OSError as error:
        raise FileInvalidError(f"{path.name} cannot be read: {error.strerror}.") from error


def shown_value(value: object) -> str:
    """A value as it stands in the file, cut short."""
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
