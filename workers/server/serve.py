"""The worker process from its start to its end: listen, serve, drain on the first signal, exit on the second."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping

from aiohttp import web

from workers.engine.catalog import Builtin
from workers.engine.loras.library import LoraLibrary
from workers.engine.ports import Backend
from workers.server.routes import make_app
from workers.server.settings import WorkerSettings
from workers.server.worker import Worker

#: The exit status after the engine died, so that a supervisor starts another process.
ENGINE_DIED = 70
#: How long open connections get at the end; streams have been told their ends by then.
_CLOSE_SECONDS = 2.0


async def serve(
    settings: WorkerSettings,
    *,
    builtin: Mapping[str, Builtin],
    library: LoraLibrary,
    make_backend: Callable[[], Backend],
    announce: Callable[[str], None],
) -> int:
    """Serve until told to end; the exit status. Raises SettingsRefused, and OSError where the port is taken."""
    settings.check()
    worker = Worker(settings, builtin=builtin, library=library, make_backend=make_backend)
    await worker.rescan()
    runner = web.AppRunner(make_app(worker), access_log=None, handler_cancellation=True, shutdown_timeout=_CLOSE_SECONDS)
    await runner.setup()
    try:
        # Before the engine starts: a port that is taken is said at once, not after the import of torch.
        await web.TCPSite(runner, settings.host, settings.port).start()
        announce(f"listening on http://{_address(runner)}")
        async with worker:
            with _Signals(worker):
                return await _live(worker, announce)
    finally:
        await runner.cleanup()


async def _live(worker: Worker, announce: Callable[[str], None]) -> int:
    async with asyncio.TaskGroup() as tasks:
        beside = [tasks.create_task(worker.keep_rescanning()), tasks.create_task(_say_ready(worker, announce))]
        await worker.ending.wait()
        if worker.death is None:
            announce("draining: no new runs are taken; press Ctrl-C again to exit at once")
            await worker.drained()
        for task in beside:
            task.cancel()
    if worker.death is None:
        return 0
    announce(f"the engine died: {worker.death or type(worker.death).__name__}")
    return ENGINE_DIED


async def _say_ready(worker: Worker, announce: Callable[[str], None]) -> None:
    await worker.ready.wait()
    can = worker.capabilities()
    models = ", ".join(model.name for model in can.models) or "none: put one into the models folder"
    where = f"{can.device.kind} ({can.device.name}, {can.device.precision})"
    announce(f"ready: {can.worker_name} on {where}; models: {models}; LoRAs: {len(can.loras)}")
    for refused in can.refused_models:
        announce(f"not served: {refused.name}: {refused.reason}")


def _address(runner: web.AppRunner) -> str:
    host, port, *_ = runner.addresses[0]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Signals:
    """SIGTERM and SIGINT while a worker is served: the first drains, the second exits now."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._heard, number)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)

    def _heard(self, number: signal.Signals) -> None:
        if self._worker.ending.is_set():
            # Not sys.exit: it would wait for the engine's and the loader's threads, which may be inside a long call.
            os._exit(128 + number)
        self._worker.begin_draining()
