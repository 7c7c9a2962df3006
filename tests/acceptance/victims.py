"""What the loop of kills may kill: the host, a worker, PostgreSQL's postmaster and one of its servers; each begins again at once.

A host that starts while PostgreSQL is away says so and ends with status 2, for its supervisor to start it again: here that is us.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg

from tests.acceptance.lab import Lab, Process, eventually, free_port
from tests.postgres import PostgresServer

HOST, WORKER, BACKEND, POSTMASTER = "host", "worker", "backend", "postmaster"
_REFUSED = 2
_OURS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'darkroom' ORDER BY pid"


class Victims:
    """Kills what it is told to with SIGKILL, and starts it again."""

    def __init__(self, *, lab: Lab, worker: Process, postgres: PostgresServer | None, dice: random.Random) -> None:
        self._lab = lab
        self._worker = worker
        self._postgres = postgres
        self._dice = dice

    @property
    def kinds(self) -> tuple[str, ...]:
        """What can be killed here."""
        return (HOST, WORKER) if self._postgres is None else (HOST, WORKER, BACKEND, POSTMASTER)

    async def kill(self, victim: str) -> bool:
        """Whether there was something to kill."""
        match victim:
            case "host":
                await self._again(self._lab.host)
            case "worker":
                await self._again(self._worker, pause=self._dice.choice((0.0, 0.0, 0.6)))
            case "backend":
                return await asyncio.to_thread(self._kill_backend)
            case _:
                await asyncio.to_thread(self._kill_postmaster)
        return True

    async def _again(self, process: Process, *, pause: float = 0.0) -> None:
        assert process.is_alive() or self._has_refused(process), _by_itself(process)
        await process.kill()
        await asyncio.sleep(pause)
        await process.start()

    async def back(self) -> None:
        """Wait until the host serves, started again where it found no database, and has its worker.

        A worker that died again and again is kept out by its breaker: 15 s first, twice as long each time, 375 s at most.
        """
        try:
            await eventually(self._is_back, seconds=450, what="the host with its worker")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._lab.host.log.read_text()[-6000:]}") from None

    async def _is_back(self) -> bool:
        host = self._lab.host
        if not host.is_alive():
            assert self._has_refused(host), _by_itself(host)
            await host.start()
        return await self._lab.is_ready()

    def _has_refused(self, process: Process) -> bool:
        away = "The database cannot be used" in process.log.read_text()[-2000:]
        return self._postgres is not None and process.status == _REFUSED and away

    def _kill_backend(self) -> bool:
        """The postmaster then ends all others and recovers: shared memory may be damaged, for all it knows."""
        assert self._postgres is not None
        try:
            (rows,) = self._postgres.execute(_OURS)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # it still recovers from the kill before
            return False
        if not rows:  # the host is starting
            return False
        with suppress(ProcessLookupError):  # it ended between the question and the kill
            os.kill(self._dice.choice(rows)["pid"], signal.SIGKILL)
            return True
        return False

    def _kill_postmaster(self) -> None:
        assert self._postgres is not None
        self._postgres.kill9()
        self._postgres.start()


def _by_itself(process: Process) -> str:
    return f"it ended by itself with {process.status}:\n{process.log.read_text()[-3000:]}"


@asynccontextmanager
async def worker_process(folder: Path) -> AsyncIterator[tuple[Process, str]]:
    """The misbehaving worker's well-behaved self as a process, and its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = Process(["--port", str(port)], {}, folder / "worker.log", module="tests.fake_worker")
    await process.start()
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.is_alive():
            await process.kill()
