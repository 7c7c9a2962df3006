"""The host's composition root: the only place where settings, adapters and doors meet. Opens and closes them in order."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

import aiohttp

from bot.clock import SystemClock, draw_seed, new_job_id
from bot.settings import Settings
from database.engine import Database, open_database
from database.fleet_memory import FleetMemory
from database.job_store import SqlJobStore
from database.migrate import migrate
from database.outbox import SqlOutbox
from database.picture_store import FilePictureStore
from flows.catalog import read_catalog
from jobs.carrier import Carrier, Policy
from jobs.desk import Desk
from jobs.dispatcher import Dispatcher
from jobs.estimate import Estimator
from jobs.feed import Feed
from jobs.ports import Worker
from workers.drivers.engine import EngineWorker
from workers.inspection import PictureInspector
from workers.pool import Pool

_log = logging.getLogger(__name__)


class HostError(RuntimeError):
    """The host cannot serve; the sentence says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Lab:
    """Everything behind the doors."""

    database: Database
    store: SqlJobStore
    outbox: SqlOutbox
    pictures: FilePictureStore
    feed: Feed
    desk: Desk
    pool: Pool


@asynccontextmanager
async def open_lab(settings: Settings) -> AsyncIterator[Lab]:
    """The ledger migrated and open, the pool ready to run, no door yet."""
    settings.storage.mkdir(parents=True, exist_ok=True, mode=0o700)
    await migrate(settings.ledger_url)
    async with (
        open_database(settings.ledger_url, sqlite_synchronous=settings.sqlite_synchronous) as database,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        yield _lab(settings, database, _workers(settings, session))


def _lab(settings: Settings, database: Database, workers: Sequence[Worker]) -> Lab:
    clock, feed, estimator = SystemClock(), Feed(), Estimator()
    store, pictures = SqlJobStore(database), FilePictureStore(settings.storage / "pictures")
    policy = Policy(lease=settings.lease_seconds, renew_every=settings.lease_seconds / 3, expire_every=settings.lease_seconds / 6)
    carrier = Carrier(
        store=store,
        pictures=pictures,
        inspector=PictureInspector(),
        sink=feed,
        estimator=estimator,
        clock=clock,
        policy=policy,
    )
    catalog = read_catalog()
    pool = Pool(
        workers=workers,
        dispatcher=Dispatcher(store=store, carrier=carrier, sink=feed, clock=clock, policy=policy),
        feed=feed,
        clock=clock,
        shipped=catalog.shipped,
        default_model=catalog.flow("text_to_image").default_model,
        memory=FleetMemory(database),
        max_batch=settings.max_batch_size,
    )
    desk = Desk(
        store=store,
        fleet=pool,
        feed=feed,
        estimator=estimator,
        new_id=new_job_id,
        draw_seed=draw_seed,
        waiting_limit=settings.waiting_limit,
    )
    return Lab(database=database, store=store, outbox=SqlOutbox(database), pictures=pictures, feed=feed, desk=desk, pool=pool)


def _workers(settings: Settings, session: aiohttp.ClientSession) -> list[Worker]:
    """A driver per URL. Its name is the URL without the scheme: stable over restarts, since leases carry it."""
    return [
        EngineWorker(name=url.partition("://")[2], url=url, session=session, token=settings.worker_token)
        for url in settings.worker_urls
    ]


async def serve(settings: Settings, stop: asyncio.Event) -> int:
    """Serve until ``stop``. Work under way stays with its workers and is taken up again at the next start."""
    raise NotImplementedError
