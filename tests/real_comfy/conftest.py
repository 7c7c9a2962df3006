"""A real ComfyUI server, named by COMFY_TEST_URL. It needs a Stable Diffusion 1.x checkpoint with sd15 in its name, and our node pack."""

import asyncio
import hashlib
import io
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from PIL import Image

from flows.catalog import read_catalog
from jobs.job import JobId
from jobs.request import Order
from jobs.run import Run, RunEvent, RunFinished, RunKey
from workers.drivers.comfy.fleet import keys_of, open_comfy
from workers.drivers.comfy.patience import Patience
from workers.drivers.comfy.worker import ComfyWorker

URL = os.environ.get("COMFY_TEST_URL", "").rstrip("/")
KEY = os.environ.get("COMFY_TEST_KEY")
RESTART = os.environ.get("COMFY_TEST_RESTART")
"""A command that kills the server hard and starts it again."""

PATIENCE = Patience(missing=0.5)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "real_comfy" in str(item.path) and not URL:
            item.add_marker(pytest.mark.skip(reason="COMFY_TEST_URL is not set: no real ComfyUI server to drive"))


class Bench:
    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.pictures: dict[str, bytes] = {}
        self.stamp = os.urandom(4).hex()

    async def driver(self) -> ComfyWorker:
        (worker,) = await self._stack.enter_async_context(
            open_comfy([URL], flows=read_catalog().comfy, read_picture=self.read, keys=keys_of(KEY, [URL]), patience=PATIENCE)
        )
        return worker

    async def read(self, digest: str) -> bytes:
        return self.pictures[digest]

    def picture(self, colours: Callable[[int, int], tuple[int, int, int]]) -> str:
        image = Image.new("RGB", (64, 64))
        image.putdata([colours(x, y) for y in range(64) for x in range(64)])
        out = io.BytesIO()
        image.save(out, "PNG")
        digest = hashlib.sha256(out.getvalue()).hexdigest()
        self.pictures[digest] = out.getvalue()
        return digest

    async def model(self, worker: ComfyWorker) -> str:
        offers = (await worker.report()).models
        return next(offer.name for offer in offers if offer.family == "sd15" and "text_to_image" in offer.kinds)

    def run(self, job: str, *, dispatch: str = "", together: int = 1, **order: object) -> Run:
        plain = {"prompt": f"wish of {job}", "width": 64, "height": 64, "steps": 4, "guidance": 7.0, "seed": 7}
        return Run(
            key=RunKey(job_id=JobId(f"{job}-{self.stamp}"), epoch=1),
            order=Order.model_validate(plain | order),
            dispatch=dispatch and f"{dispatch}-{self.stamp}",
            together=together,
        )


async def follow(worker: ComfyWorker, run: Run, *, resume: bool = False) -> list[RunEvent]:
    async with asyncio.timeout(400):
        return [event async for event in worker.run(run, resume=resume)]


async def follow_all(worker: ComfyWorker, runs: list[Run]) -> list[list[RunEvent]]:
    return list(await asyncio.gather(*(follow(worker, run) for run in runs)))


def pixels(events: list[RunEvent]) -> list[bytes]:
    end = events[-1]
    assert isinstance(end, RunFinished), end
    return [Image.open(io.BytesIO(made.data)).convert("RGB").tobytes() for made in end.pictures]


def difference(one: bytes, other: bytes) -> tuple[int, float]:
    """(largest of 255, share of bytes that differ)."""
    gaps = [abs(a - b) for a, b in zip(one, other, strict=True)]
    return max(gaps), sum(gap > 0 for gap in gaps) / len(gaps)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        yield Bench(stack)
