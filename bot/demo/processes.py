"""The demo's processes: started in order, stopped together, never left behind."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path


class DemoFailed(RuntimeError):
    """A process did not come up, or a picture did not come; the sentence says where to look."""


def free_port(wanted: int) -> int:
    """``wanted`` when it is free on loopback, else one that the system gives."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return probe.getsockname()[1]
    raise DemoFailed("No port is free on 127.0.0.1.")


@dataclass(frozen=True, kw_only=True)
class Child:
    """A process of the demo and where it logs."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    def check(self) -> None:
        """Raise DemoFailed with the log's end when the process is gone."""
        if self.process.returncode is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
            raise DemoFailed(f"{self.name} stopped with status {self.process.returncode}. The end of {self.log}:\n{tail}")


def _die_with_parent() -> None:
    """Linux: the kernel kills the child when the demo is killed without a chance to clean up."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@asynccontextmanager
async def child(name: str, module: str, *arguments: str, log: Path, env: Mapping[str, str]) -> AsyncIterator[Child]:
    """Run ``python -m module arguments`` for as long as the block lasts; SIGTERM, then SIGKILL after 5 s.

    In a session of its own, so that Ctrl-C in the terminal reaches the demo alone, which then stops its children in order.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **env},  # noqa: TID251
            start_new_session=True, preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )  # fmt: skip
    try:
        yield Child(name=name, process=process, log=log)
    finally:
        await asyncio.shield(_stop(process))


async def _stop(process: asyncio.subprocess.Process) -> None:
    for ask in (process.terminate, process.kill):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            ask()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await process.wait()
