"""Hosts on one PostgreSQL tell each other that something happened, so that nobody waits for the next look.

A hint is never needed: whoever misses one looks every two seconds anyway. It goes over a connection of its own, outside every
transaction, since a NOTIFY inside one makes all commits of the database queue for a lock. Behind a pooler in transaction mode
there is no listening: then looking is all there is.
"""

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum

import asyncpg

from database.url import Target

_log = logging.getLogger(__name__)

CHANNEL = "darkroom"
_PATIENCE = 10.0
"""Seconds for one exchange with the server."""
_AGAIN = 5.0
"""Seconds until a lost connection is tried anew."""
_ALIVE = 30.0
"""Seconds of silence after which the connection is tested: a dead one never says so."""


class Hint(StrEnum):
    """What happened."""

    QUEUED = "queued"
    """Something waits that did not before, or a place is free."""
    CANCEL = "cancel"
    """Somebody wants a running job stopped."""


class Hints:
    """One host's ear and voice. On SQLite there is nobody to talk to."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._untold: set[Hint] = set()
        self._wake = asyncio.Event()
        self._lost = asyncio.Event()
        self.listening = asyncio.Event()
        """Set while hints arrive."""

    def tell(self, hint: Hint) -> None:
        """Soon, once however often it was said meanwhile. Dropped while nobody can be reached."""
        if self.listening.is_set():
            self._untold.add(hint)
            self._wake.set()

    async def run(self, heard: Callable[[Hint], None]) -> None:
        """Listen until cancelled, over every loss of the connection. Returns at once where there is nobody to hear."""
        if self._target.file is not None or self._target.pooled:
            return
        while True:
            try:
                if not await self._follow(heard):
                    return
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                _log.info("no hints from other hosts for now: %s", type(error).__name__)
            await asyncio.sleep(_AGAIN)

    async def _follow(self, heard: Callable[[Hint], None]) -> bool:
        """Whether to try again once the connection is gone; not so behind a pooler."""
        connection = await self._connect()
        try:
            # A pooler tells a process number of its own (database.direct says why that shows it).
            if await connection.fetchval("SELECT pg_backend_pid()", timeout=_PATIENCE) != connection.get_server_pid():
                _log.info("the database is behind a pooler: hosts learn of each other by looking")
                return False
            await self._listen(connection, heard)
            await self._speak(connection)
        finally:
            self.listening.clear()
            connection.terminate()  # no farewell: the server may be what is gone
        return True

    async def _connect(self) -> asyncpg.Connection:
        url = self._target.url
        arguments = {"host": url.host, "port": url.port, **self._target.connect_args}
        async with asyncio.timeout(_PATIENCE):
            return await asyncpg.connect(
                user=url.username, password=url.password, database=url.database, statement_cache_size=0, **arguments
            )

    async def _listen(self, connection: asyncpg.Connection, heard: Callable[[Hint], None]) -> None:
        own = connection.get_server_pid()

        def hear(_connection: object, pid: int, _channel: str, payload: object) -> None:
            if pid != own and payload in set(Hint):
                heard(Hint(str(payload)))

        self._lost.clear()
        connection.add_termination_listener(lambda _: self._end())
        async with asyncio.timeout(_PATIENCE):
            await connection.add_listener(CHANNEL, hear)
        self.listening.set()
        heard(Hint.QUEUED)  # whatever was said while nobody listened

    def _end(self) -> None:
        self._lost.set()
        self._wake.set()

    async def _speak(self, connection: asyncpg.Connection) -> None:
        """Say what there is to say until the connection is lost."""
        while not self._lost.is_set():
            untold, self._untold = self._untold, set()
            for hint in sorted(untold):
                await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, hint.value, timeout=_PATIENCE)
            self._wake.clear()
            if self._untold or self._lost.is_set():
                continue
            try:
                async with asyncio.timeout(_ALIVE):
                    await self._wake.wait()
            except TimeoutError:
                await connection.fetchval("SELECT 1", timeout=_PATIENCE)
