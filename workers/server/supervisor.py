"""Keeping worker processes alive: one for each GPU, started again when their engine died, ended together.

A dead CUDA context cannot be revived within its process; a new process is the only cure. This one loads no torch, so
nothing can kill it but its operator.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from workers.server.serve import ENGINE_DIED

#: A worker that dies again within so many seconds of its start is broken, not unlucky.
_STEADY_SECONDS = 60.0
_FAILURES_MAX = 5
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
_PROBE_SECONDS = 120.0
#: Prints which kind of GPU torch sees, and how many.
_PROBE = "import torch; print('hip' if torch.version.hip else 'cuda', torch.cuda.device_count() if torch.cuda.is_available() else 0)"


@dataclass(frozen=True, kw_only=True)
class Child:
    """One worker process: what it is called, how it is started."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)


async def find_gpus(environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """The variable that shows a process one GPU, and its value for each GPU; none where torch sees none.

    Asked of torch in a process of its own, which then lets go of the cards.
    """
    probe = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROBE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=dict(environment)
    )
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            said, _ = await probe.communicate()
    except TimeoutError:
        probe.kill()
        await probe.wait()
        return "CUDA_VISIBLE_DEVICES", []
    kind, _, count = said.decode("utf-8", "replace").strip().partition(" ")
    variable = "HIP_VISIBLE_DEVICES" if kind == "hip" else "CUDA_VISIBLE_DEVICES"
    # An operator may have shown us only some of the cards already, by number or by UUID.
    shown = [one.strip() for one in environment.get(variable, "").split(",") if one.strip()]
    number = int(count) if count.isascii() and count.isdecimal() else 0
    return variable, (shown or [str(index) for index in range(number)])[:number]


def children_of(
    arguments: Sequence[str], *, name: str, port: int, variable: str, gpus: Sequence[str], environment: Mapping[str, str]
) -> list[Child]:
    """One worker for each GPU on ports of its own, counted from `port`; one alone where there is no GPU."""
    command = [sys.executable, "-m", "workers.server", *arguments]
    if not gpus:
        return [Child(name=name, command=command, environment=environment)]
    return [
        Child(
            name=f"{name}-{index}" if len(gpus) > 1 else name,
            command=[*command, "--port", str(port + index if port else 0), "--name", f"{name}-{index}" if len(gpus) > 1 else name],
            environment={**environment, variable: gpu},
        )
        for index, gpu in enumerate(gpus)
    ]


class Supervisor:
    """Runs children until it is told to stop, or until one cannot be kept alive."""

    def __init__(self, children: Sequence[Child], *, announce: Callable[[str], None], pauses: Sequence[float] = _PAUSES) -> None:
        self._children = children
        self._announce = announce
        self._pauses = pauses
        self._stopping = asyncio.Event()
        self._alive: set[asyncio.subprocess.Process] = set()

    async def run(self) -> int:
        """Until all have ended; the worst status of theirs."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._pass_on, number)
        try:
            async with asyncio.TaskGroup() as tasks:
                kept = [tasks.create_task(self._keep(child)) for child in self._children]
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        return max(task.result() for task in kept)

    def _pass_on(self, number: signal.Signals) -> None:
        """Children drain on the first signal and exit on the second, as they do without us."""
        self._stopping.set()
        for process in self._alive:
            process.send_signal(number)

    async def _keep(self, child: Child) -> int:
        failures = 0
        while True:
            began = asyncio.get_running_loop().time()
            status = await self._once(child)
            if self._stopping.is_set() or not _is_accident(status):
                return abs(status)
            steady = asyncio.get_running_loop().time() - began >= _STEADY_SECONDS
            failures = 1 if steady else failures + 1
            if failures > _FAILURES_MAX:
                self._announce(f"{child.name} died {failures} times in a row (status {status}); given up")
                return abs(status)
            pause = self._pauses[min(failures, len(self._pauses)) - 1]
            self._announce(f"{child.name} died (status {status}); started again in {pause:g} s")
            if await self._stopped_within(pause):
                return 0

    async def _once(self, child: Child) -> int:
        process = await asyncio.create_subprocess_exec(*child.command, env=dict(child.environment))
        self._alive.add(process)
        try:
            return await process.wait()
        except asyncio.CancelledError:
            process.kill()
            raise
        finally:
            self._alive.discard(process)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True


def _is_accident(status: int) -> bool:
    """Whether another try may help: the engine died, or something killed the process. Refused settings stay refused."""
    return status == ENGINE_DIED or status < 0
