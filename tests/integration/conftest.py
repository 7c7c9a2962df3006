"""The real ledger, dispatcher, pool and driver over HTTP, with workers that misbehave by name in place of GPUs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from bot.clock import SystemClock, new_job_id
from database.engine import Database
from database.fleet_memory import FleetMemory
from database.inputs import InputMemory
from database.job_store import SqlJobStore
from database.outbox import SqlOutbox
from database.picture_store import FilePictureStore
from flows.catalog import read_catalog
from jobs.carrier import Carrier, Policy
from jobs.desk import Desk
from jobs.dispatcher import Dispatcher
from jobs.estimate import Estimator
from jobs.feed import Feed
from jobs.intake import Intake
from jobs.job import Job, JobId, UserId
from jobs.judging import Classifier
from jobs.request import Request
from tests.fake_worker import FakeWorker
from workers.drivers.engine import EngineWorker, Patience
from workers.inspection import PictureInspector
from workers.pool import Pool

QUICK = Policy(
    lease=3, renew_every=0.2, expire_every=0.1, first_step=0.5, between_steps=0.5, backoff=0.02, backoff_max=0.1, store_patience=2
)


IMPATIENT = Patience(answer=1, silence=0.5, reconnects=1, pause=0.01, cancel=2)


@dataclass
class Lab:
    """A host without doors."""

    desk: Desk
    store: SqlJobStore
    outbox: SqlOutbox
    pictures: FilePictureStore
    feed: Feed
    pool: Pool
    database: Database

    async def ask(self, person: str, prompt: str = "a red star", **wish) -> Job:
        key = f"{person}:{prompt}:{new_job_id()}"
        return await self.desk.submit(
            Request.model_validate({"prompt": prompt, "width": 64, "height": 64, "steps": 4, **wish}),
            user_id=UserId(f"web:{person}"), door="http", idempotency_key=key,
        )  # fmt: skip

    async def until(self, job_id: JobId, is_so: Callable[[Job], bool], *, seconds: float = 15) -> Job:
        async with asyncio.timeout(seconds):
            while True:
                job = await self.store.get(job_id)
                assert job is not None
                if is_so(job):
                    return job
                await asyncio.sleep(0.01)

    async def ended(self, job_id: JobId) -> Job:
        return await self.until(job_id, lambda job: job.state.is_terminal)


@asynccontextmanager
async def open_lab(
    database: Database, folder: Path, *workers: FakeWorker, policy: Policy = QUICK, patience: Patience = IMPATIENT,
    classifier: Classifier | None = None,
) -> AsyncIterator[Lab]:  # fmt: skip
    clock, feed, estimator = SystemClock(), Feed(), Estimator()
    store, pictures = SqlJobStore(database), FilePictureStore(folder / "pictures")
    async with aiohttp.ClientSession() as session:
        drivers = [
            EngineWorker(name=f"w{i}", url=w.url, session=session, patience=patience, inputs=pictures.read) for i, w in enumerate(workers)
        ]
        carrier = Carrier(
            store=store, pictures=pictures, inspector=PictureInspector(), sink=feed, estimator=estimator, clock=clock, policy=policy,
            classifier=classifier,
        )  # fmt: skip
        pool = Pool(
            workers=drivers, dispatcher=Dispatcher(store=store, carrier=carrier, sink=feed, clock=clock, policy=policy, estimator=estimator),
            feed=feed, clock=clock, shipped=read_catalog().shipped, default_model="house", memory=FleetMemory(database), max_batch=8,
            poll=0.05, breaker_pause=0.2,
        )  # fmt: skip
        desk = Desk(
            store=store, fleet=pool, feed=feed, estimator=estimator, new_id=new_job_id, draw_seed=lambda: 5, waiting_limit=20,
            intake=Intake(inspector=PictureInspector(), pictures=pictures, inputs=InputMemory(database)),
        )  # fmt: skip
        running = asyncio.create_task(pool.run())
        try:
            yield Lab(desk=desk, store=store, outbox=SqlOutbox(database), pictures=pictures, feed=feed, pool=pool, database=database)
        finally:
            if not running.done():
                running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            if not running.cancelled() and running.exception() is not None:
                raise running.exception()


@pytest.fixture
async def fakes() -> AsyncIterator[Callable]:
    async with AsyncExitStack() as stack:

        async def make(count: int = 1, **options) -> list[FakeWorker]:
            return [await stack.enter_async_context(FakeWorker(**options).serve()) for _ in range(count)]

        yield make


@pytest.fixture
async def lab_of(database, tmp_path) -> AsyncIterator[Callable]:
    async with AsyncExitStack() as stack:

        async def make(*workers: FakeWorker, policy: Policy = QUICK, classifier: Classifier | None = None) -> Lab:
            return await stack.enter_async_context(open_lab(database, tmp_path, *workers, policy=policy, classifier=classifier))

        yield make
