"""The host's driver speaks to the real worker server: both sides of workers.protocol over loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

pytest.importorskip("numpy", reason="a host without the worker's packages has no engine to test")

import aiohttp
from aiohttp.test_utils import TestServer

from jobs.errors import RunForgotten, WorkerBusy, WorkerUnreachable
from jobs.job import JobId
from jobs.request import Order
from jobs.run import FaultKind, Run, RunAccepted, RunCancelled, RunEvent, RunFailed, RunFinished, RunKey, RunProgressed
from tests.workers.fake_backend import FakeBackend
from tests.workers.test_server import TOKEN, FakeModels
from workers.drivers.engine import EngineWorker
from workers.server.routes import make_app
from workers.server.settings import WorkerSettings


def wanted(job: str, epoch: int = 1, **changes: object) -> Run:
    plain = {"prompt": "a cat", "model": "m", "width": 16, "height": 16, "steps": 4, "guidance": 3.0, "seed": 7}
    return Run(key=RunKey(job_id=JobId(job), epoch=epoch), order=Order.model_validate(plain | changes))


class Pair:
    """A driver and the worker it drives."""

    def __init__(self, backend: FakeBackend, driver: EngineWorker, stranger: EngineWorker) -> None:
        self.backend = backend
        self.driver = driver
        self.stranger = stranger

    async def follow(self, run: Run, *, resume: bool = False) -> list[RunEvent]:
        async with asyncio.timeout(10):
            return [event async for event in self.driver.run(run, resume=resume)]

    async def until_running(self, number: int) -> None:
        async with asyncio.timeout(10):
            while len((await self.driver.report()).running) < number:
                await asyncio.sleep(0.01)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    backend = FakeBackend()
    async with AsyncExitStack() as stack:
        settings = WorkerSettings(name="gpu-1", token=TOKEN, max_batch=2)
        worker = FakeModels(settings, builtin={}, make_backend=lambda: backend)
        await worker.rescan()
        await stack.enter_async_context(worker)
        await worker.ready.wait()
        server = await stack.enter_async_context(TestServer(make_app(worker)))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        url = str(server.make_url("/"))
        driver = EngineWorker(name="gpu-1", url=url, session=session, token=TOKEN)
        yield Pair(backend, driver, EngineWorker(name="x", url=url, session=session, token="wrong-token-of-16"))
        backend.let_go()
        backend.permit(1000)


async def test_a_run_is_driven_to_its_picture_and_forgotten(pair: Pair) -> None:
    run = wanted("job")
    events = await pair.follow(run)
    assert isinstance(events[0], RunAccepted)
    finished = events[-1]
    assert isinstance(finished, RunFinished)
    assert finished.pictures[0].data.startswith(b"\x89PNG")
    again = await pair.follow(run, resume=True)
    assert again[-1] == finished
    await pair.driver.acknowledge(run.key)
    with pytest.raises(RunForgotten):
        await pair.follow(run, resume=True)


async def test_the_report_tells_models_room_and_live_runs(pair: Pair) -> None:
    pair.backend.held = True
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(pair.follow(wanted("job", steps=2)))
        await pair.until_running(1)
        report = await pair.driver.report()
        assert (report.max_batch, report.room, report.draining) == (2, 1, False)
        assert report.running == (wanted("job").key,)
        assert [model.name for model in report.models] == ["m"]
        pair.backend.let_go()
    assert isinstance(following.result()[-1], RunFinished)


async def test_a_cancelled_run_ends_as_cancelled(pair: Pair) -> None:
    pair.backend.held = True
    run = wanted("job", steps=50)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(pair.follow(run))
        await pair.until_running(1)
        cancelling = tasks.create_task(pair.driver.cancel(run.key))
        await asyncio.sleep(0.05)
        pair.backend.permit(1)
        await cancelling
    assert isinstance(following.result()[-1], RunCancelled)


async def test_failures_keep_their_kind(pair: Pair) -> None:
    pair.backend.fits = 0
    failed = (await pair.follow(wanted("job")))[-1]
    assert isinstance(failed, RunFailed)
    assert failed.kind is FaultKind.OUT_OF_MEMORY
    refused = (await pair.follow(wanted("other", width=17)))[-1]
    assert isinstance(refused, RunFailed)
    assert refused.kind is FaultKind.JOB


async def test_a_full_worker_is_busy_not_broken(pair: Pair) -> None:
    pair.backend.held = True
    async with asyncio.TaskGroup() as tasks:
        following = [tasks.create_task(pair.follow(wanted(f"job{n}", steps=2))) for n in range(2)]
        await pair.until_running(2)
        with pytest.raises(WorkerBusy):
            await pair.follow(wanted("third"))
        pair.backend.let_go()
    assert all(isinstance(one.result()[-1], RunFinished) for one in following)


async def test_progress_and_previews_arrive(pair: Pair) -> None:
    pair.backend.held = True
    pair.backend.permit(1)
    told: list[RunProgressed] = []
    async with asyncio.timeout(10):
        async for event in pair.driver.run(wanted("job", steps=3)):
            if isinstance(event, RunProgressed):
                told.append(event)
                if event.preview is not None:
                    pair.backend.let_go()
    assert [event.step for event in told] == sorted(event.step for event in told)
    assert any(event.preview for event in told)


async def test_a_wrong_token_is_the_workers_fault_not_the_jobs(pair: Pair) -> None:
    with pytest.raises(WorkerUnreachable, match="needs its token"):
        await pair.stranger.report()
