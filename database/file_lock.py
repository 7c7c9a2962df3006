"""One process a file: an flock beside the SQLite file, released by the kernel even when its holder is killed."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from database.errors import DatabaseInUse

_EVERY = 0.1


@asynccontextmanager
async def hold_file_lock(file: Path, *, patience: float) -> AsyncIterator[None]:
    """Hold ``<file>.lock``, made with its folder where missing. Raises DatabaseInUse after ``patience`` seconds."""
    lock = file.with_name(file.name + ".lock")
    lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        await _take(descriptor, file, patience)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        # Prompts are private: readable by nobody else. SQLite gives its side files the mode of the main one.
        os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        yield
    finally:
        os.close(descriptor)  # the file stays: removing it would let two holders lock two files of one name


async def _take(descriptor: int, file: Path, patience: float) -> None:
    """A short wait, because a host that was just told to stop may still be closing."""
    for _ in range(max(1, round(patience / _EVERY))):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(_EVERY)
        else:
            return
    raise DatabaseInUse(str(file), os.pread(descriptor, 20, 0).decode(errors="replace"))
