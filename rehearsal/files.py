"""Uploaded bytes: kept once on disk under their hash, looked at for type and size, served by signed urls."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import mimetypes
import re
import secrets
import shutil
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from rehearsal.clock import Clock
from rehearsal.model import Attachment

_PLAIN = re.compile(r"[^A-Za-z0-9_.\-]")
_CDN_PATH = re.compile(r"^/(?:ephemeral-)?attachments/(\d+)/(\d+)/([^/]+)$")


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file as it came in, not yet an attachment."""

    filename: str
    size: int
    digest: str
    content_type: str
    width: int | None = None
    height: int | None = None


def plain_name(name: str) -> str:
    """A file name as Discord keeps it: letters, digits, `_ - .`."""
    cleaned = _PLAIN.sub("", name.replace(" ", "_")).lstrip(".")
    return cleaned[-200:] or "unknown"


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _video(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        return "video/quicktime" if data[8:10] == b"qt" else "video/mp4"
    return "video/webm" if data[:4] == b"\x1aE\xdf\xa3" else None


def look_at(data: bytes, filename: str) -> tuple[str, int | None, int | None]:
    """Content type, width and height, from the first bytes; by the name's ending where the bytes say nothing."""
    size: tuple[int, int] | None = None
    kind = _video(data)
    try:
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            kind, size = "image/png", struct.unpack(">II", data[16:24])
        elif data[:6] in (b"GIF87a", b"GIF89a"):
            kind, size = "image/gif", struct.unpack("<HH", data[6:10])
        elif data[:2] == b"\xff\xd8":
            kind, size = "image/jpeg", _jpeg_size(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            kind, size = "image/webp", _webp_size(data)
    except struct.error:
        size = None
    kind = kind or mimetypes.guess_type(filename)[0] or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    width, height = size or (None, None)
    return kind, width, height


class FileStore:
    """Bytes by hash in a folder of its own, gone when the twin closes."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="rehearsal-"))
        self._secret = secrets.token_bytes(32)

    async def keep(self, filename: str, data: bytes) -> Upload:
        """Store bytes and describe them."""
        digest = await asyncio.to_thread(self._write, data)
        kind, width, height = look_at(data, filename)
        return Upload(filename=plain_name(filename), size=len(data), digest=digest, content_type=kind, width=width, height=height)

    def _write(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        path = self._folder / digest
        if not path.exists():
            path.write_bytes(data)
        return digest

    def path(self, digest: str) -> Path:
        """Where the bytes lie."""
        return self._folder / digest

    def read(self, digest: str) -> bytes:
        """The bytes."""
        return self.path(digest).read_bytes()

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def signature(self, path: str, expires: str, issued: str) -> str:
        """The `hm` of a url."""
        return hmac.new(self._secret, f"{path}|{expires}|{issued}".encode(), hashlib.sha256).hexdigest()


class Links:
    """Signed urls of attachments: `?ex` expiry and `is` issued in hex seconds, `hm` signature."""

    def __init__(self, store: FileStore, clock: Clock, life: float) -> None:
        self._store = store
        self._clock = clock
        self._life = life
        self.origin = ""

    def path(self, attachment: Attachment) -> str:
        """The path of an attachment, unsigned."""
        kind = "ephemeral-attachments" if attachment.ephemeral else "attachments"
        return f"/{kind}/{attachment.channel_id}/{attachment.id}/{attachment.filename}"

    def url(self, attachment: Attachment) -> str:
        """A fresh url."""
        path = self.path(attachment)
        now = int(self._clock.now())
        expires, issued = f"{now + int(self._life):x}", f"{now:x}"
        return f"{self.origin}{path}?ex={expires}&is={issued}&hm={self._store.signature(path, expires, issued)}&"

    def valid(self, path: str, query: dict[str, str]) -> bool:
        """Whether a request carries a signature that is ours and still lives."""
        expires, issued = query.get("ex", ""), query.get("is", "")
        good = hmac.compare_digest(self._store.signature(path, expires, issued), query.get("hm", ""))
        return good and int(expires, 16) > self._clock.now()  # a good signature means that `ex` is ours

    def attachment_id(self, url: str) -> tuple[int, bool] | None:
        """The attachment a url of ours names, and whether its signature still holds; None for foreign urls."""
        parts = urlsplit(url)
        match = _CDN_PATH.match(parts.path)
        if match is None or f"{parts.scheme}://{parts.netloc}" != self.origin:
            return None
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        return int(match[2]), self.valid(parts.path, query)
