"""Which host this is, that it lives, and whether it may hold what only one host may: the Discord gateway and posting.

A host is named by its storage folder, which it locks: one that starts in the same folder is the same host, and its former self is
proved gone. All others tell that one is gone by its lease, which lapses.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.clock import until_set
from database.host_leases import HostLeases
from jobs.errors import StoreUnavailable
from jobs.ports import Clock

_log = logging.getLogger(__name__)

LIVES = 15.0
"""Seconds for which one word of life counts."""
EVERY = 5.0
GATEWAY = "discord"


class StorageInUse(RuntimeError):
    """Another host has this storage folder."""


@contextmanager
def host_identity(storage: Path) -> Iterator[str]:
    """This host's name, while its folder is locked. Raises StorageInUse."""
    descriptor = os.open(storage / "host.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageInUse(f"{storage} is in use by another host: give each host a STORAGE of its own.") from None
        yield _name(storage / "host.id")
    finally:
        os.close(descriptor)


def _name(file: Path) -> str:
    with contextlib.suppress(FileExistsError), file.open("x", encoding="ascii", errors="ignore") as out:
        machine = "".join(c for c in socket.gethostname().lower() if c.isascii() and (c.isalnum() or c == "-"))
        out.write(f"{machine[:30] or 'host'}-{secrets.token_hex(4)}")
    return file.read_text(encoding="ascii").strip()


async def keep_alive(leases: HostLeases, clock: Clock) -> None:
    """Say for ever that this host lives."""
    while True:
        try:
            await leases.live(seconds=LIVES)
        except StoreUnavailable as error:
            _log.warning("nobody hears that this host lives: %s", error)
        await clock.sleep(EVERY)


async def hold_gateway(leases: HostLeases, clock: Clock, stop: asyncio.Event, serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run ``serve`` while this host holds the gateway's lease; stand by while another one does. Ends when ``stop`` is set.

    A lease that cannot be prolonged is given up before it lapses, so that two never serve at once by our fault; a doubled event in
    the moment between is harmless, because submissions are keyed by Discord's own ids.
    """
    stood_by = False
    while not stop.is_set():
        epoch = await _take(leases)
        if epoch is None:
            if not stood_by:
                _log.info("another host holds the Discord gateway: standing by")
            stood_by = True
            await until_set(stop, EVERY)
            continue
        _log.info("this host holds the Discord gateway (epoch %d)", epoch)
        stood_by = False
        await _serve_while_held(leases, clock, stop, serve, epoch)
    with contextlib.suppress(StoreUnavailable, TimeoutError):  # else it lapses
        async with asyncio.timeout(EVERY):
            await leases.give_back(GATEWAY)


async def _serve_while_held(
    leases: HostLeases, clock: Clock, stop: asyncio.Event, serve: Callable[[asyncio.Event], Awaitable[None]], epoch: int
) -> None:
    enough = asyncio.Event()

    async def watch() -> None:
        held_at = clock.monotonic()
        while not stop.is_set():
            await until_set(stop, EVERY)
            if stop.is_set():  # and not after asking a database that may be away
                break
            now = await _take(leases)
            if now == epoch:
                held_at = clock.monotonic()
            elif now is not None or clock.monotonic() - held_at > LIVES - EVERY:
                _log.warning("the Discord gateway's lease is lost: standing by")
                break
        enough.set()

    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch(), name="gateway lease")
            await serve(enough)
            watching.cancel()
    except* Exception as broken:  # noqa: BLE001  passed on, out of its group, so that the host can say why in one sentence
        raise broken.exceptions[0] from None


async def _take(leases: HostLeases) -> int | None:
    try:
        return await leases.take(GATEWAY, seconds=LIVES)
    except StoreUnavailable as error:
        _log.warning("the gateway's lease cannot be asked for: %s", error)
        return None
