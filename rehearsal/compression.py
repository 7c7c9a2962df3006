"""Transport compression of the gateway: one context for the life of a connection, flushed after each message.

zlib-stream ends a message with Z_SYNC_FLUSH; zstd-stream flushes a block and never ends the frame.
"""

from __future__ import annotations

import importlib.util
import zlib
from typing import Protocol


class Stream(Protocol):
    """Compresses one message after another."""

    def pack(self, text: str) -> bytes:
        """The bytes to send for one message."""
        ...


class ZlibStream:
    """compress=zlib-stream."""

    def __init__(self) -> None:
        self._context = zlib.compressobj()

    def pack(self, text: str) -> bytes:
        """Compress and flush."""
        return self._context.compress(text.encode()) + self._context.flush(zlib.Z_SYNC_FLUSH)


class ZstdStream:
    """compress=zstd-stream; needs the package `zstandard` (the bot that asks for it has it)."""

    def __init__(self) -> None:
        import zstandard  # only a bot that has the package asks for this stream

        self._flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        self._context = zstandard.ZstdCompressor().compressobj()

    def pack(self, text: str) -> bytes:
        """Compress and flush a block."""
        return self._context.compress(text.encode()) + self._context.flush(self._flush)


def zstd_available() -> bool:
    """Whether zstd-stream can be served."""
    return importlib.util.find_spec("zstandard") is not None


def stream_for(name: str | None) -> Stream | None:
    """The stream a connection asked for; None for plain text. Raises ValueError for an unknown one."""
    if name is None:
        return None
    if name == "zlib-stream":
        return ZlibStream()
    if name == "zstd-stream" and zstd_available():
        return ZstdStream()
    raise ValueError(f"cannot serve compress={name}")
