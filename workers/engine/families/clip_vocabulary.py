"""The CLIP tokenizer from its merges alone: its vocabulary follows from them, so half a megabyte does for all of it.

Source of the order (bytes, bytes at a word's end, merges, two marks): ``SimpleTokenizer`` of the CLIP repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"
_WINDOW = 77


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder that has a whole one, or only ``merges.txt``."""
    from transformers import CLIPTokenizer

    if any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json")):
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
    given: dict[str, Any] = {"vocab": _vocabulary(merges), "merges": merges}
    return CLIPTokenizer(**given, model_max_length=_WINDOW)


def _vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    letters = _letters()
    symbols = [*letters, *(letter + "</w>" for letter in letters), *(left + right for left, right in merges)]
    return {symbol: number for number, symbol in enumerate([*symbols, _BEGIN, _END])}


def _letters() -> list[str]:
    """A printable character for each of the 256 bytes, in CLIP's order: those that are printable themselves first."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    lent = range(256, 256 + 256 - len(own))
    return [chr(code) for code in (*own, *lent)]
