"""A host that kills itself (SIGKILL, no clean-up) at a named moment: ``FAILPOINT=after_commit:finish python -m tests.acceptance.failing_host host``.

The real program with one wrapper put around the named place, so that the shipped code carries no switch for its own death.
``@n`` dies at the n-th passing. A name that names nothing ends the process at once with exit status 3.
"""

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from bot.cli import main
from bot.cogs.gallery.wall import Wall
from bot.cogs.photos.courier import DiscordCourier
from database import engine, gallery_store, job_store, migrate, outbox, picture_store
from workers.drivers.engine import EngineWorker

OPERATION: ContextVar[str] = ContextVar("OPERATION", default="")
COMMITTING: ContextVar[list[str] | None] = ContextVar("COMMITTING", default=None)

WRITES = {
    job_store.SqlJobStore: ("submit", "request_cancel", "claim", "accept", "renew", "finish", "retry", "fail", "cancelled", "expire"),
    outbox.SqlOutbox: ("take", "sent", "later"),
}
"""Public methods that write; each has a moment before and one after its commit."""

PLACES = {
    "before_order": (EngineWorker, "_put", "before"),  # leased, the worker not called
    "after_order": (EngineWorker, "_put", "after"),  # the worker has it, the host does not know
    "after_result": (EngineWorker, "_fetched", "after"),  # the pictures are here, the worker still has them
    "after_blob": (picture_store.FilePictureStore, "put", "after"),  # bytes on disk, nothing in the ledger
    "before_acknowledge": (EngineWorker, "acknowledge", "before"),  # in the ledger, the worker not told
    "before_post": (DiscordCourier, "_send", "before"),  # taken from the outbox, nothing posted
    "after_post": (DiscordCourier, "_send", "after"),  # posted, the outbox does not know
    "before_close": (DiscordCourier, "edit_card", "before"),
    "draining": (engine.Database, "close", "before"),  # SIGTERM came, everything is given back, the database still open
    "migrating": (migrate, "_upgrade_connection", "after"),  # all its statements ran, nothing is committed
}


GALLERY_WRITES = {gallery_store.SqlGalleryStore: ("begin", "posted", "taking", "undone")}
GALLERY_PLACES = {
    "before_hanging": (Wall, "hang", "before"),  # in the ledger, nothing in the channel
    "after_hanging": (Wall, "hang", "after"),  # in the channel, the ledger does not know
    "before_taking_down": (Wall, "take_down", "before"),  # to be taken down, still in the channel
    "after_taking_down": (Wall, "take_down", "after"),  # gone from the channel, the ledger does not know
}
"""Publishing and taking back, which a test of their own does."""


def names() -> list[str]:
    """Every failpoint of a request's way."""
    return _named_points(WRITES, PLACES)


def gallery_names() -> list[str]:
    """Every failpoint of publishing."""
    return _named_points(GALLERY_WRITES, GALLERY_PLACES)


def _named_points(writes: dict[Any, tuple[str, ...]], places: dict[str, Any]) -> list[str]:
    found = [name for methods in writes.values() for name in methods]
    return [f"{when}:{name}" for name in found for when in ("before_commit", "after_commit")] + list(places)


class Failpoint:
    """Counts passings and dies at the chosen one."""

    def __init__(self, text: str) -> None:
        self.name, _, nth = text.partition("@")
        self._left = int(nth or 1)

    def pass_by(self, name: str) -> None:
        if name == self.name:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


def arm(point: Failpoint) -> None:
    """Put the wrappers in place."""
    if point.name not in names() + gallery_names():
        sys.exit(3)
    if ":" in point.name:
        _watch_commits(point)
        return
    owner, attribute, when = (PLACES | GALLERY_PLACES)[point.name]
    setattr(owner, attribute, _around(getattr(owner, attribute), point, when))


def _around(original: Callable[..., Any], point: Failpoint, when: str) -> Callable[..., Any]:
    def strike(moment: str) -> None:
        if moment == when:
            point.pass_by(point.name)

    if not asyncio.iscoroutinefunction(original):

        @functools.wraps(original)
        def around(*args: Any, **kw: Any) -> Any:
            result = original(*args, **kw)
            strike("after")
            return result

        return around

    @functools.wraps(original)
    async def around_async(self: Any, *args: Any, **kw: Any) -> Any:
        strike("before")
        result = await original(self, *args, **kw)
        strike("after")
        return result

    return around_async


def _watch_commits(point: Failpoint) -> None:
    """Name each write by the public method that asked for it, and look again when its transaction is committed."""
    for owner, methods in (WRITES | GALLERY_WRITES).items():
        for name in methods:
            setattr(owner, name, _named(getattr(owner, name), name))
    write, write_once, once = engine.Database.write, engine.Database.write_once, engine.Database._once

    def watched(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
        name = OPERATION.get()

        async def run(tx: Any) -> Any:
            result = await work(tx)
            point.pass_by(f"before_commit:{name}")
            done = COMMITTING.get()
            if done is not None:
                done.append(name)
            return result

        return run

    async def once_watched(self: Any, on: Any, work: Any) -> Any:
        done: list[str] = []

        async def inside(tx: Any) -> Any:
            token = COMMITTING.set(done)  # here, since the transaction may run on a thread of its own
            try:
                return await work(tx)
            finally:
                COMMITTING.reset(token)

        result = await once(self, on, inside)
        for name in done:
            point.pass_by(f"after_commit:{name}")
        return result

    engine.Database.write = lambda self, work: write(self, watched(work))  # type: ignore[method-assign]
    engine.Database.write_once = lambda self, work: write_once(self, watched(work))  # type: ignore[method-assign]
    engine.Database._once = once_watched  # type: ignore[method-assign]


def _named(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(self: Any, *args: Any, **kw: Any) -> Any:
        token = OPERATION.set(name)
        try:
            return await method(self, *args, **kw)
        finally:
            OPERATION.reset(token)

    return call


if __name__ == "__main__":
    arm(Failpoint(os.environ["FAILPOINT"]))
    sys.exit(main())
