"""A picture's file without a word in it: what others may load of somebody who keeps their words to themselves. Pure.

The files of the house carry their whole order (:func:`workers.inspection.redraw`), and whoever sees a picture can read its file.
Chunks are taken out rather than pixels drawn anew: a clip would lose quality, and a picture is the same to the last bit.
"""

import struct
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"pHYs"))
"""What draws it (PNG specification, section 11). Everything else, tEXt, iTXt, zTXt, eXIf, iCCP and what is unknown, can hold words."""

_WEBP_KEPT = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"))
_VP8X_WORDS = 0b0010_1100
"""The flags of VP8X that promise an ICC profile, EXIF or XMP (WebP container specification)."""


def without_words(data: bytes) -> bytes:
    """The same picture or clip, bare. Raises ValueError for what is neither a PNG nor a WebP, or is cut off."""
    if data.startswith(_PNG):
        return _PNG + b"".join(chunk for name, chunk in _png_chunks(data) if name in _PNG_KEPT)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kept = b"WEBP" + b"".join(chunk for name, chunk in _webp_chunks(data) if name in _WEBP_KEPT)
        return b"RIFF" + struct.pack("<I", len(kept)) + kept
    raise ValueError("neither a PNG nor a WebP")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, name = len(_PNG), b""
    while name != b"IEND":  # what follows the end is nobody's picture
        if at + 12 > len(data):
            raise ValueError("the PNG is cut off")
        end = at + 12 + int.from_bytes(data[at : at + 4])
        name = data[at + 4 : at + 8]
        yield name, data[at:end]
        at = end


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, end = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while at + 8 <= end:
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]
        if len(body) < size:
            raise ValueError("the WebP is cut off")
        if name == b"VP8X":
            body = bytes([body[0] & ~_VP8X_WORDS]) + body[1:]
        yield name, data[at : at + 8] + body + b"\0" * (size % 2)
        at += 8 + size + size % 2
