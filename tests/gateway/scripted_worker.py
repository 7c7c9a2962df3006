"""A worker in this process that obeys the test: it draws a flat picture in a colour of its prompt, sends previews, and goes
on only while its gate is open."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator

from PIL import Image, ImageDraw

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

HOUSE = ModelOffer(
    name="house", family="sd15", title="House model", default_width=128, default_height=128, size_multiple=32, side_min=64,
    side_max=256, max_pixels=65536, default_steps=12, default_guidance=3.0,
)  # fmt: skip


def colour_of(prompt: str) -> tuple[int, int, int]:
    digest = hashlib.sha256(prompt.encode()).digest()
    return digest[0], digest[1], digest[2]


def drawn(order: Order, kind: str, *, scale: int = 1) -> bytes:
    """A flat ground with a lighter disc: enough for an eye to see a picture come up."""
    width, height = order.width // scale, order.height // scale
    picture = Image.new("RGB", (width, height), colour_of(order.prompt))
    low = min(width, height) // 4
    light = tuple(min(255, c + 90) for c in colour_of(order.prompt))
    ImageDraw.Draw(picture).ellipse((low, low, width - low, height - low), fill=light)
    out = io.BytesIO()
    picture.save(out, kind)
    return out.getvalue()


class ScriptedWorker:
    """:class:`jobs.ports.Worker` with strings attached."""

    def __init__(self, name: str = "desk-gpu", *, step_seconds: float = 0.002, max_batch: int = 4, previews: bool = True) -> None:
        self.name = name
        self.step_seconds = step_seconds
        self.max_batch = max_batch
        self.previews = previews
        self.refuses: str | None = None
        self.alive = True
        self.gate = asyncio.Event()
        self.gate.set()
        self.halt_at: int | None = None
        """With the gate closed, runs stand still after this step; None means before the first one."""
        self.notes: tuple[str, ...] = ()
        """What the end of every run says its person should know."""
        self.running: dict[RunKey, Run] = {}
        self.stopped: set[RunKey] = set()

    async def report(self) -> WorkerReport:
        if not self.alive:
            from jobs.errors import WorkerUnreachable

            raise WorkerUnreachable("worker_unreachable", reason="switched off by the test")
        return WorkerReport(
            name=self.name, instance="one", device="Test GPU", models=(HOUSE,), loaded=frozenset({"house"}), max_batch=self.max_batch,
            room=self.max_batch - len(self.running), running=tuple(self.running),
        )  # fmt: skip

    async def run(self, run: Run, *, resume: bool = False) -> AsyncIterator[RunEvent]:
        key, order = run.key, run.order
        self.running[key] = run
        try:
            yield RunAccepted(key=key)
            if self.refuses is not None:
                yield RunFailed(key=key, kind=FaultKind.JOB, code="refused", detail=self.refuses)
                return
            for step in range(order.steps):
                while not self.gate.is_set() and step == (self.halt_at or 0) and key not in self.stopped:
                    await asyncio.sleep(0.005)
                await asyncio.sleep(self.step_seconds)
                if key in self.stopped:
                    yield RunCancelled(key=key)
                    return
                preview = drawn(order, "WEBP", scale=2) if self.previews else None
                yield RunProgressed(key=key, step=step + 1, total_steps=order.steps, preview=preview)
            picture = MadePicture(index=0, seed=order.seed, data=drawn(order, "PNG"))
            company = len(self.running) - 1
            seconds = self.step_seconds * order.steps
            yield RunFinished(key=key, pictures=(picture,), seconds=seconds, shared_with=company, notes=self.notes)
        finally:
            self.running.pop(key, None)

    async def cancel(self, key: RunKey) -> None:
        self.stopped.add(key)

    async def acknowledge(self, key: RunKey) -> None:
        pass
