"""The real door over the real ledger, dispatcher and pool, with scripted workers in place of GPUs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import FastAPI

from bot.clock import SystemClock, draw_seed, new_job_id
from bot.readings import MetricsReader
from database.engine import Database
from database.fleet_memory import FleetMemory
from database.inputs import InputMemory
from database.job_store import SqlJobStore
from database.picture_store import FilePictureStore
from flows.catalog import read_catalog
from gateway.app import create_app
from gateway.serve import serve
from gateway.settings import GatewaySettings
from jobs.carrier import Carrier, Policy
from jobs.desk import Desk
from jobs.dispatcher import Dispatcher
from jobs.estimate import Estimator
from jobs.feed import Feed
from jobs.intake import Intake
from jobs.job import Job, JobId, UserId
from jobs.request import Request
from tests.gateway.scripted_worker import ScriptedWorker
from workers.inspection import PictureInspector
from workers.pool import Pool

QUICK = Policy(lease=5, renew_every=0.5, expire_every=0.2, backoff=0.02, backoff_max=0.1, store_patience=2)
QUICK_DOOR = {"heartbeat": 0.2, "look_again": 0.05, "write_seconds": 1.0, "body_seconds": 1.0}


@dataclass
class Studio:
    """A host with one door."""

    app: FastAPI
    desk: Desk
    store: SqlJobStore
    pictures: FilePictureStore
    feed: Feed
    pool: Pool
    workers: Sequence[ScriptedWorker]

    def client(self, **options) -> httpx.AsyncClient:
        base = {"base_url": "http://127.0.0.1:7860", "timeout": 10} | options
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app, raise_app_exceptions=False), **base)

    async def ask(self, user: str, prompt: str = "a red star", **wish) -> Job:
        """As another door would."""
        return await self.desk.submit(
            Request.model_validate({"prompt": prompt, "width": 64, "height": 64, "steps": 4, **wish}),
            user_id=UserId(user), door="http", idempotency_key=new_job_id(),
        )  # fmt: skip

    async def until(self, job_id: str, is_so: Callable[[Job], bool], *, seconds: float = 15) -> Job:
        async with asyncio.timeout(seconds):
            while True:
                job = await self.store.get(JobId(job_id))
                assert job is not None
                if is_so(job):
                    return job
                await asyncio.sleep(0.01)

    async def ended(self, job_id: str) -> Job:
        return await self.until(job_id, lambda job: job.state.is_terminal)

    async def count(self) -> int:
        return len(await self.store.unfinished())


@asynccontextmanager
async def open_studio(database: Database, folder: Path, *workers: ScriptedWorker, **door) -> AsyncIterator[Studio]:
    clock, feed, estimator = SystemClock(), Feed(), Estimator()
    store, pictures = SqlJobStore(database), FilePictureStore(folder / "pictures")
    carrier = Carrier(
        store=store, pictures=pictures, inspector=PictureInspector(), sink=feed, estimator=estimator, clock=clock, policy=QUICK
    )
    pool = Pool(
        workers=workers, dispatcher=Dispatcher(store=store, carrier=carrier, sink=feed, clock=clock, policy=QUICK), feed=feed,
        clock=clock, shipped=read_catalog().shipped, default_model="house", memory=FleetMemory(database), max_batch=8, poll=0.05,
    )  # fmt: skip
    desk = Desk(
        store=store, fleet=pool, feed=feed, estimator=estimator, new_id=new_job_id, draw_seed=draw_seed,
        intake=Intake(inspector=PictureInspector(), pictures=pictures, inputs=InputMemory(database)),
    )  # fmt: skip
    settings = GatewaySettings(**({"version": "0.0.test"} | QUICK_DOOR | door))
    read = MetricsReader(database=database, store=store, fleet=pool).read
    app = create_app(desk=desk, feed=feed, pictures=pictures, fleet=pool, settings=settings, read_metrics=read)
    running = asyncio.create_task(pool.run())
    try:
        yield Studio(app=app, desk=desk, store=store, pictures=pictures, feed=feed, pool=pool, workers=workers)
    finally:
        for worker in workers:
            worker.gate.set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.sleep(0.05)  # SQLite's thread still answers a question whose asker was just cancelled


@asynccontextmanager
async def served(studio: Studio) -> AsyncIterator[str]:
    """Its address, on a real socket."""
    stop, ports = asyncio.Event(), asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(studio.app, "127.0.0.1", 0, stop, started=ports.put_nowait))
        try:
            yield f"http://127.0.0.1:{await ports.get()}"
        finally:
            stop.set()
