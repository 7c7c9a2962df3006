"""The processes that benchmarks measure: a host by itself, or beside the rehearsal with a worker without a GPU."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from rehearsal.config import RehearsalConfig
from tests.acceptance.lab import Lab, Process, eventually, free_port, open_lab
from tests.fake_worker import FakeWorker

WIDE: dict[str, Any] = {"message_limit": 1000, "global_limit": 5000}
"""Rate limits that are never met."""


def rss_mib(pid: int) -> float:
    """Resident memory of a process, MiB."""
    return round(psutil.Process(pid).memory_info().rss / 2**20, 1)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, which other programs on the machine change less than the clock."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@asynccontextmanager
async def host_alone() -> AsyncIterator[tuple[Process, str]]:
    """A host with the web page alone: no Discord, no worker."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        env = {"DISCORD_TOKEN": "", "STORAGE": folder, "WORKER_URLS": "", "HTTP_PORT": str(port), "DATABASE_URL": "", "API_KEYS": ""}
        process = Process(["host"], env, Path(folder) / "host.log")
        await process.start()
        url = f"http://127.0.0.1:{port}"
        try:
            await eventually(lambda: _answers(url), what=f"the host ({process.log})")
            yield process, url
        finally:
            await process.kill()


async def _answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as web, web.get(f"{url}/health") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


@asynccontextmanager
async def lab_with_fake_worker(
    *, step_seconds: float = 0.005, max_batch: int = 8, limits: dict[str, Any] = WIDE, started: bool = True, **settings: str
) -> AsyncIterator[tuple[Lab, FakeWorker]]:
    """Rehearsal and host as for the tests; the worker draws flat colours, so that only the house itself is measured.

    ``limits`` are the rehearsal's; none means Discord's own. Not ``started``: the caller starts the host.
    """
    config = RehearsalConfig(seed="demo", **limits)
    with tempfile.TemporaryDirectory() as folder:
        async with FakeWorker(step_seconds=step_seconds, max_batch=max_batch).serve() as worker:
            async with open_lab(Path(folder), [worker.url], rehearsal=config, started=started, **settings) as lab:
                yield lab, worker
