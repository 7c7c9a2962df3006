"""Picture files under their SHA-256, written so that a name never shows half a picture, not even after a power cut."""

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from jobs.errors import StoreUnavailable

_NAME = re.compile(r"[0-9a-f]{64}", re.ASCII)


class FilePictureStore:
    """:class:`jobs.ports.PictureStore` on a local folder: ``ab/abcd…``, files for the owner's eyes only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hands = threading.Lock()
        """Held while a file is found there and marked as used, or removed: never both at once."""

    async def put(self, data: bytes) -> str:
        """T5. See the port. Raises StoreUnavailable when the disk takes no more."""
        try:
            return await asyncio.to_thread(self._put, data)
        except OSError as error:
            raise StoreUnavailable(f"pictures: {error.strerror}") from error

    async def read(self, sha256: str) -> bytes:
        """See the port. FileNotFoundError also for what is no hash: a name from outside never becomes a path."""
        if not _NAME.fullmatch(sha256):
            raise FileNotFoundError("not a picture's hash")
        return await asyncio.to_thread(self._path(sha256).read_bytes)

    async def remove(self, digests: Sequence[str], *, unused_for: float) -> int:
        """Delete these files, those put within the last ``unused_for`` seconds aside: their row may be on its way. How many went."""
        return await asyncio.to_thread(self._remove, [name for name in digests if _NAME.fullmatch(name)], time.time() - unused_for)

    async def old(self, *, seconds: float, limit: int, after: str = "") -> list[str]:
        """Digests of files last put longer ago than that, in order, from behind ``after``."""
        return await asyncio.to_thread(self._old, time.time() - seconds, limit, after)

    def _remove(self, digests: Sequence[str], before: float) -> int:
        gone = 0
        for digest in digests:
            path = self._path(digest)
            with self._hands, contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    gone += 1
        return gone

    def _old(self, before: float, limit: int, after: str) -> list[str]:
        found: list[str] = []
        for folder in sorted(self._folder.glob("[0-9a-f][0-9a-f]")):
            if folder.name < after[:2]:
                continue
            names = sorted(file.name for file in folder.iterdir() if _NAME.fullmatch(file.name) and file.name > after)
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    if (folder / name).stat().st_mtime < before:
                        found.append(name)
                if len(found) == limit:
                    return found
        return found

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    def _put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._path(sha256)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        with self._hands:
            there = _holds(path, data)
            if there:
                os.utime(path)  # its row comes next: the janitor must not think it forgotten
        if not there:
            aside = path.with_name(f".{secrets.token_hex(8)}")
            try:
                _write(aside, data)
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)
        for folder in (path.parent, self._folder):  # names are durable with their folder; an earlier put may have died
            _sync(folder)
        return sha256


def _holds(file: Path, data: bytes) -> bool:
    """Whether the bytes are there already, unspoiled."""
    try:
        return file.read_bytes() == data
    except FileNotFoundError:
        return False


def _write(file: Path, data: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
