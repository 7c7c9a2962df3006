"""A driver for ComfyUI and the server it drives."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import pytest
from PIL import Image

from flows.catalog import read_catalog
from jobs.job import JobId
from jobs.request import Order
from jobs.run import Run, RunEvent, RunKey
from tests.comfy_server import FakeComfy, colour_of
from workers.drivers.comfy.patience import Patience
from workers.drivers.comfy.worker import ComfyWorker

QUICK = Patience(
    connect=1, answer=1.5, probe=1.5, probe_every=30, transfer=2, gather=0.1, socket=0.3, poll=0.15, poll_talking=0.3, poll_ending=0.01,
    doubt=(0.02, 0.02, 0.02), missing=0.03, outage=1.0, first_step=1.5, between_steps=1.5, tell=0.2,
)  # fmt: skip
FLOWS = read_catalog().comfy
MODEL = "sd15"


def order(prompt: str = "a red star", **changes: object) -> Order:
    plain = {"prompt": prompt, "model": MODEL, "width": 64, "height": 64, "steps": 4, "guidance": 7.0, "seed": 7}
    return Order.model_validate(plain | changes)


def run_of(job: str, *, epoch: int = 1, dispatch: str = "", together: int = 1, **changes: object) -> Run:
    return Run(
        key=RunKey(job_id=JobId(job), epoch=epoch), order=order(**{"prompt": f"wish of {job}", **changes}), dispatch=dispatch, together=together
    )


def lease(*jobs: str, dispatch: str = "lease-1", **changes: object) -> list[Run]:
    """Runs that one claim leased together, each with a seed of its own."""
    return [run_of(job, dispatch=dispatch, together=len(jobs), **{"seed": index + 1, **changes}) for index, job in enumerate(jobs)]


def colour(data: bytes) -> tuple[int, ...]:
    return Image.open(io.BytesIO(data)).convert("RGB").getpixel((3, 3))


def own_colours(run: Run) -> list[tuple[int, int, int]]:
    return [colour_of(run.order.prompt, run.order.negative, seed) for seed in run.order.seeds]


@dataclass
class Pair:
    driver: ComfyWorker
    server: FakeComfy
    session: aiohttp.ClientSession
    stack: AsyncExitStack
    pictures: dict[str, bytes]

    async def follow(self, run: Run, *, resume: bool = False, driver: ComfyWorker | None = None) -> list[RunEvent]:
        async with asyncio.timeout(15):
            return [event async for event in (driver or self.driver).run(run, resume=resume)]

    async def follow_all(self, runs: list[Run], *, resume: bool = False, driver: ComfyWorker | None = None) -> list[list[RunEvent]]:
        return list(await asyncio.gather(*(self.follow(run, resume=resume, driver=driver) for run in runs)))

    async def another(self, **options: object) -> ComfyWorker:
        """A second driver for the same server: the host after a restart, or another host."""
        return await self.stack.enter_async_context(self.make(**options))

    def make(self, **options: object) -> ComfyWorker:
        return ComfyWorker(**{
            "name": "gpu1", "url": self.server.url, "session": self.session, "flows": FLOWS, "read_picture": self.read, "patience": QUICK, **options,
        })  # fmt: skip

    async def read(self, digest: str) -> bytes:
        try:
            return self.pictures[digest]
        except KeyError:
            raise FileNotFoundError(digest) from None

    def input_picture(self, shade: int) -> str:
        out = io.BytesIO()
        Image.new("RGB", (64, 64), (shade, shade, shade)).save(out, "PNG")
        digest = hashlib.sha256(out.getvalue()).hexdigest()
        self.pictures[digest] = out.getvalue()
        return digest


@pytest.fixture
async def pair_with() -> AsyncIterator[Callable]:
    async with AsyncExitStack() as stack:

        async def make(*, driver: dict | None = None, **options: object) -> Pair:
            server = await stack.enter_async_context(FakeComfy(**options).serve())
            session = await stack.enter_async_context(aiohttp.ClientSession())
            pair = Pair(driver=None, server=server, session=session, stack=stack, pictures={})  # type: ignore[arg-type]
            pair.driver = await pair.another(**(driver or {}))
            return pair

        yield make


@pytest.fixture
async def pair(pair_with) -> Pair:
    return await pair_with()


async def until(is_so: Callable[[], bool], *, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.005)
