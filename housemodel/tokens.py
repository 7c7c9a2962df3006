"""The tokenizer: CLIP's byte pairs, with merges so chosen that every word of the grammar is one token.

Words outside the grammar fall apart into letters, so they never fail; they only use up the length sooner.
"""

import unicodedata
from collections import Counter
from itertools import pairwise
from typing import Any

from transformers import CLIPTokenizer

from housemodel.words import vocabulary

MOST_TOKENS = 40
END = "</w>"
START_TEXT, END_TEXT = "<|startoftext|>", "<|endoftext|>"


def bytes_to_unicode() -> dict[int, str]:
    """The printable letter that stands for each byte in CLIP's vocabulary (the table of GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def build_tokenizer() -> CLIPTokenizer:
    """The tokenizer of the house, built from the words alone: the same on every machine."""
    words = sorted({unicodedata.normalize("NFC", word.lower()) for word in vocabulary()})
    merges = merges_for([spell(word) for word in words])
    table = bytes_to_unicode()
    letters = [table[byte] for byte in sorted(table, key=lambda byte: (not 33 <= byte < 127, byte))]
    pieces = [*letters, *(letter + END for letter in letters), *(a + b for a, b in merges), START_TEXT, END_TEXT]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    pairs: Any = merges  # pairs are what the class takes, whatever it says
    return CLIPTokenizer(vocab=vocab, merges=pairs, model_max_length=MOST_TOKENS)


def spell(word: str) -> list[str]:
    """A word as the byte symbols that byte-pair encoding starts from."""
    table = bytes_to_unicode()
    symbols = [table[byte] for byte in word.encode()]
    return [*symbols[:-1], symbols[-1] + END]


def merges_for(words: list[list[str]]) -> list[tuple[str, str]]:
    """Merges under which every word becomes one piece: the commonest pair first, until nothing is left to join."""
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(pair for word in words for pair in pairwise(word))
        if not pairs:
            return merges
        # sorted first: among equally common pairs the alphabet decides, not the order of a dictionary
        best = max(sorted(pairs), key=lambda pair: pairs[pair])
        merges.append(best)
        words = [_join(word, best) for word in words]


def _join(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    i = 0
    while i < len(pieces):
        if tuple(pieces[i : i + 2]) == pair:
            joined.append(pieces[i] + pieces[i + 1])
            i += 2
        else:
            joined.append(pieces[i])
            i += 1
    return joined
