"""Simulated workers behind the Worker port: a process that outlives hosts, and each host's own line to it."""

import asyncio
import functools
import hashlib
import io
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from PIL import Image

from jobs.errors import RunForgotten, WorkerBusy, WorkerUnreachable
from jobs.offer import ModelOffer
from jobs.request import Order
from jobs.run import (
    FaultKind,
    MadePicture,
    Run,
    RunAccepted,
    RunCancelled,
    RunEvent,
    RunFailed,
    RunFinished,
    RunKey,
    RunProgressed,
    WorkerReport,
)
from tests.simulation.loop import SimLoop

SIDE = 16
RETENTION = 1800.0


def offer(name: str) -> ModelOffer:
    return ModelOffer(
        name=name, family="sim", title=name, default_width=SIDE, default_height=SIDE, size_multiple=8, side_min=8, side_max=64,
        max_pixels=4096, default_steps=10, steps_min=1, steps_max=60, default_guidance=3.0,
    )  # fmt: skip


def colour_of(prompt: str) -> tuple[int, int, int]:
    digest = hashlib.sha256(prompt.encode()).digest()
    return digest[0], digest[1], digest[2]


@functools.lru_cache(maxsize=512)
def drawn(prompt: str, width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour_of(prompt)).save(out, "PNG", compress_level=1)
    return out.getvalue()


@dataclass
class SimRun:
    """One run in a worker process."""

    key: RunKey
    order: Order
    started: float
    fault: str | None
    events: list[RunEvent] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    ended: float | None = None
    cancelled: bool = False

    def tell(self, event: RunEvent) -> None:
        self.events.append(event)
        self.news.set()


@dataclass
class Told:
    """For the judge: a run that this worker had."""

    key: RunKey
    order: Order
    started: float
    worker: str
    ended: float | None = None
    how: str = "running"


class SimWorker:
    """A GPU's process. It dies, hangs, runs out of memory and sends rubbish as the scenario says."""

    def __init__(self, loop: SimLoop, rng: random.Random, *, name: str, models: tuple[str, ...], max_batch: int, step: float) -> None:
        self._loop = loop
        self._rng = rng
        self.name = name
        self.models = models
        self.max_batch = max_batch
        self.step = step
        self.faults: list[str] = []
        """The next accepted runs take one each: hang, oom, infra, refuse, truncated, other_seed, other_size, twice, two_pictures, confused."""
        self.oom_above: int | None = None
        self.poison: set[str] = set()
        """Prompts that kill the process."""
        self.doomed: set[str] = set()
        """Prompts that fail by the worker's fault, each time."""
        self.instance = 1
        self.down_until = 0.0
        self.cut_off: dict[int, float] = {}
        """Hosts that cannot reach it, until when."""
        self.runs: dict[RunKey, SimRun] = {}
        self.log: list[Told] = []
        self.overfull = 0
        self.confused = False
        """Who attaches to a run gets another."""
        self.loses = 0.0
        """How likely a message to or from it is lost."""

    # ---- the process -----------------------------------------------------------------------------------------------

    def is_up(self) -> bool:
        return self._loop.time() >= self.down_until

    def die(self, seconds: float) -> None:
        """kill -9 and a restart after some seconds: every run is forgotten."""
        self.instance += 1
        self.down_until = self._loop.time() + seconds
        for run in self.runs.values():
            self._end(run, "died")
            run.news.set()
        self.runs.clear()

    def running(self) -> list[SimRun]:
        return [run for run in self.runs.values() if run.ended is None]

    def start(self, run: Run) -> SimRun:
        known = self.runs.get(run.key)
        if known is not None:
            return known
        if len(self.running()) >= self.max_batch:
            self.overfull += 1
            raise WorkerBusy("worker_busy", reason="full")
        if run.order.model not in self.models:
            raise WorkerBusy("worker_busy", reason="no such model")
        fault = self.faults.pop(0) if self.faults else None
        made = SimRun(key=run.key, order=run.order, started=self._loop.time(), fault=fault)
        self.runs[run.key] = made
        self.log.append(Told(key=run.key, order=run.order, started=made.started, worker=self.name))
        made.tell(RunAccepted(key=run.key, params_hash=run.order.params_hash))
        self._loop.outside(self._first(made), self._work, made, self.instance)
        return made

    def _first(self, run: SimRun) -> float:
        if run.order.prompt in self.poison:
            return 0.5
        return run.order.steps * self.step * self._rng.uniform(0.4, 0.6)

    def _work(self, run: SimRun, instance: int) -> None:
        """Half way: faults strike, a step is told."""
        if instance != self.instance or run.ended is not None:
            return None
        if run.cancelled:
            return self._stop(run)
        if run.order.prompt in self.poison:
            return self.die(self._rng.uniform(2, 10))
        crowd = len(self.running())
        if run.fault == "oom" or (self.oom_above is not None and crowd > self.oom_above):
            return self._fail(run, FaultKind.OUT_OF_MEMORY, "out_of_memory")
        if run.fault == "infra" or run.order.prompt in self.doomed:
            return self._fail(run, FaultKind.INFRA, "cuda_error")
        if run.fault == "refuse":
            return self._fail(run, FaultKind.JOB, "bad_order")
        if run.fault == "hang":
            return None
        run.tell(RunProgressed(key=run.key, step=run.order.steps // 2, total_steps=run.order.steps * (9 if run.fault == "liar" else 1)))
        self._loop.outside(run.order.steps * self.step * 0.5, self._finish, run, instance)
        return None

    def _finish(self, run: SimRun, instance: int) -> None:
        if instance != self.instance or run.ended is not None:
            return None
        if run.cancelled:
            return self._stop(run)
        self._end(run, "finished")
        run.tell(RunFinished(key=run.key, pictures=self._pictures(run), seconds=self._loop.time() - run.started, shared_with=0))
        if run.fault == "twice":
            run.tell(run.events[-1])
        self._loop.outside(RETENTION, self.forget, run.key)
        return None

    def _pictures(self, run: SimRun) -> tuple[MadePicture, ...]:
        order, fault = run.order, run.fault
        seed = order.seed + (fault == "other_seed")
        side = order.width * 2 if fault == "other_size" else order.width
        data = drawn(order.prompt, side, order.height)
        data = data[: len(data) // 2] if fault == "truncated" else data
        count = getattr(order, "count", 1) + (fault == "two_pictures")
        return tuple(MadePicture(index=index, seed=seed + index, data=data) for index in range(count))

    def _fail(self, run: SimRun, kind: FaultKind, code: str) -> None:
        self._end(run, "failed")
        run.tell(RunFailed(key=run.key, kind=kind, code=code, detail="the scenario says so"))

    def cancel(self, key: RunKey) -> None:
        run = self.runs.get(key)
        if run is not None and run.ended is None and not run.cancelled:
            run.cancelled = True
            self._loop.outside(self.step, self._stop, run)

    def _stop(self, run: SimRun) -> None:
        if run.ended is None and self.runs.get(run.key) is run:
            self._end(run, "cancelled")
            run.tell(RunCancelled(key=run.key))

    def forget(self, key: RunKey) -> None:
        run = self.runs.get(key)
        if run is not None and run.ended is not None:
            del self.runs[key]

    def _end(self, run: SimRun, how: str) -> None:
        if run.ended is None:
            run.ended = self._loop.time()
            told = next(told for told in reversed(self.log) if told.key == run.key)
            told.ended, told.how = run.ended, how


class Line:
    """One host's driver for a simulated worker: every call crosses a network that loses requests and answers."""

    def __init__(self, worker: SimWorker, host: int, loop: SimLoop, rng: random.Random) -> None:
        self._worker = worker
        self._host = host
        self._loop = loop
        self._rng = rng

    @property
    def name(self) -> str:
        return self._worker.name

    async def report(self) -> WorkerReport:
        await self._there()
        worker = self._worker
        running = worker.running()
        report = WorkerReport(
            name=worker.name, instance=str(worker.instance), device="simulated", models=tuple(offer(name) for name in worker.models),
            loaded=frozenset(run.order.model for run in running), max_batch=worker.max_batch, room=worker.max_batch - len(running),
            running=tuple(run.key for run in running),
        )  # fmt: skip
        await self._back()
        return report

    async def run(self, run: Run, *, resume: bool = False) -> AsyncGenerator[RunEvent, None]:
        await self._there()
        worker = self._worker
        known = worker.runs.get(run.key)
        if resume and worker.confused:
            known = next((other for other in worker.runs.values() if other.key != run.key), known)
        if known is None and resume:
            raise RunForgotten("worker_unreachable", reason="the worker forgot the run")
        known = known or worker.start(run)
        instance, told = worker.instance, 0
        await self._back()
        while True:
            while told < len(known.events):
                event = known.events[told]
                told += 1
                yield event
                if not isinstance(event, RunAccepted | RunProgressed):
                    return
                await self._back()
            known.news.clear()
            if worker.instance != instance:
                raise WorkerUnreachable("worker_unreachable", reason="reset")
            try:
                async with asyncio.timeout(30):  # the stream's idle limit
                    await known.news.wait()
            except TimeoutError:
                await self._reach()

    async def cancel(self, key: RunKey) -> None:
        await self._there()
        self._worker.cancel(key)
        await self._back()

    async def acknowledge(self, key: RunKey) -> None:
        await self._there()
        self._worker.forget(key)
        await self._back()

    async def _reach(self) -> None:
        if not self._worker.is_up():
            raise WorkerUnreachable("worker_unreachable", reason="refused")
        if self._loop.time() < self._worker.cut_off.get(self._host, 0.0):
            await asyncio.sleep(15)
            raise WorkerUnreachable("worker_unreachable", reason="timeout")

    async def _there(self) -> None:
        await asyncio.sleep(self._rng.uniform(0.0, 0.02))
        await self._reach()
        if self._rng.random() < self._worker.loses:
            raise WorkerUnreachable("worker_unreachable", reason="reset on the way there")

    async def _back(self) -> None:
        await asyncio.sleep(self._rng.uniform(0.0, 0.02))
        await self._reach()
        if self._rng.random() < self._worker.loses:
            raise WorkerUnreachable("worker_unreachable", reason="reset on the way back")
