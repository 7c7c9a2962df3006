"""A host as bot/host.py composes it, with the simulation's clock, random numbers, workers and Discord in place of the real ones."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import discord
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cogs.photos.budget import Budget
from bot.cogs.photos.courier import DiscordCourier
from bot.cogs.photos.memory import CardMemory
from bot.janitor import Janitor
from bot.poster import Poster
from database.engine import engines
from database.fleet_memory import FleetMemory
from database.host_leases import HostLeases
from database.job_store import SqlJobStore
from database.member_store import SqlMemberStore
from database.outbox import SqlOutbox
from database.picture_store import FilePictureStore
from database.retention import Ages
from database.url import read_url
from jobs.carrier import Carrier, Policy
from jobs.desk import Desk
from jobs.dispatcher import Dispatcher
from jobs.errors import StoreUnavailable
from jobs.estimate import Estimator
from jobs.fairness import Rules
from jobs.feed import Feed
from jobs.job import Job, JobId, Place
from jobs.line import Line as FairLine
from jobs.planner import Plan
from jobs.ports import Decide
from tests.simulation.chat import Chat, SimClient
from tests.simulation.fair import FairWatch
from tests.simulation.gpu import Line, SimWorker, offer
from tests.simulation.loop import HOST, SimLoop
from tests.simulation.sqlite import EPOCH, SimDatabase, SimLedger
from workers.inspection import PictureInspector
from workers.pool import Pool

POLICY = Policy(lease=30, renew_every=10, expire_every=10, first_step=120, between_steps=60)
POLL = 10.0

_ENGINES: dict[int, tuple[AsyncEngine, AsyncEngine]] = {}
"""One pair a seat, for all its hosts one after the other: their statements are compiled once a process."""


class SimClock:
    """jobs.ports.Clock on virtual time; ``skew`` is how wrong this host's own clock goes."""

    def __init__(self, loop: SimLoop, skew: float) -> None:
        self._loop = loop
        self._skew = skew

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time() + self._skew)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, kw_only=True)
class Write:
    """A fenced write that the ledger took, as its caller saw it."""

    at: float
    name: str
    epoch: int
    job: Job


@dataclass(frozen=True, kw_only=True)
class Take:
    """Jobs that a host got for a worker: by a claim, or taken over."""

    at: float
    host: int
    worker: str
    jobs: tuple[tuple[str, int], ...]
    claimed: bool


class WatchedStore:
    """The real store. Fenced writes are noted with the epoch they came with, and who got which job; each claim's line is looked at."""

    FENCED = frozenset({"accept", "finish", "retry", "fail", "cancelled"})

    def __init__(self, store: SqlJobStore, host: int, world: "Surroundings") -> None:
        self._store = store
        self._host = host
        self._world = world
        self._loop = world.loop
        self._log = world.writes

    async def claim(self, worker: str, decide: Decide, *, lease_seconds: float) -> list[Job]:
        def watched(line: FairLine) -> Plan:
            plan = decide(line)
            self._world.fair.claims_on(self._host, worker, line, plan)
            return plan

        return self._taken(worker, await self._store.claim(worker, watched, lease_seconds=lease_seconds), claimed=True)

    async def adopt(self, worker: str, **how: Any) -> list[Job]:
        return self._taken(worker, await self._store.adopt(worker, **how), claimed=False)

    def _taken(self, worker: str, jobs: list[Job], *, claimed: bool) -> list[Job]:
        if jobs:
            keys = tuple((str(job.id), job.epoch) for job in jobs)
            self._world.takes.append(Take(at=self._loop.time(), host=self._host, worker=worker, jobs=keys, claimed=claimed))
        return jobs

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in self.FENCED:
            return method

        async def call(key: Any, *args: Any, **kw: Any) -> Job:
            job = await method(key, *args, **kw)
            self._log.append(Write(at=self._loop.time(), name=name, epoch=key.epoch, job=job))
            return job

        return call


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What every host of a world shares."""

    loop: SimLoop
    rng: random.Random
    database: SimDatabase
    chat: Chat
    workers: list[SimWorker]
    folder: Path
    writes: list[Write]
    takes: list[Take]
    fair: FairWatch
    rules: Rules


@dataclass
class SimHost:
    """One incarnation of a host process."""

    number: int
    seat: int
    """Which of the machines it is on; a new number for each start there."""
    world: Surroundings
    skew: float = 0.0
    calls: set[asyncio.Future] = field(default_factory=set)
    crashed: BaseException | None = None
    ended: bool = False

    def boot(self) -> None:
        """Start the process."""
        self.booted_at = self.world.loop.time()
        self.context: Context = copy_context()
        self.context.run(HOST.set, self.number)
        self.context.run(self._compose)
        self.main = self.world.loop.create_task(self._main(), name=f"host {self.number}", context=self.context)

    def _compose(self) -> None:
        world, loop = self.world, self.world.loop
        clock, feed, estimator = SimClock(loop, self.skew), Feed(), Estimator()
        database = self.ledger = SimLedger(*_fresh_engines(self.seat), world.database)
        store = cast(SqlJobStore, WatchedStore(SqlJobStore(database, owner=self.owner, rules=world.rules), self.number, world))
        outbox, pictures = SqlOutbox(database), FilePictureStore(world.folder / "pictures")
        carrier = Carrier(
            store=store, pictures=pictures, inspector=PictureInspector(), sink=feed, estimator=estimator, clock=clock, policy=POLICY,
            jitter=world.rng.random,
        )  # fmt: skip
        self.dispatcher = Dispatcher(store=store, carrier=carrier, sink=feed, clock=clock, policy=POLICY, estimator=estimator)
        self.leases = HostLeases(database, owner=self.owner)
        self.members = SqlMemberStore(database)
        self.janitor = Janitor(database=database, pictures=pictures, leases=self.leases, clock=clock, ages=Ages())
        shipped = {name: offer(name) for worker in world.workers for name in worker.models}
        self.pool = Pool(
            workers=[Line(worker, self.number, loop, world.rng) for worker in world.workers],
            dispatcher=self.dispatcher, feed=feed, clock=clock, shipped=shipped, default_model=next(iter(shipped)),
            memory=FleetMemory(database), max_batch=8, poll=POLL,
        )  # fmt: skip
        self.desk = Desk(
            store=store, fleet=self.pool, feed=feed, estimator=estimator, waiting_limit=20,
            new_id=lambda: JobId(f"{world.rng.getrandbits(64):016x}"), draw_seed=lambda: world.rng.getrandbits(62),
        )  # fmt: skip
        courier = DiscordCourier(
            client=cast(discord.Client, SimClient(world.chat)), store=store, outbox=outbox, pictures=pictures,
            memory=CardMemory(desk=self.desk, store=store, feed=feed, clock=clock), budget=Budget(clock), on_channel_gone=_nothing,
            since=datetime.min.replace(tzinfo=UTC),  # no ledger is restored here; and looking always would hide what the nonce is for
        )  # fmt: skip
        self.poster = Poster(outbox=outbox, courier=courier, feed=feed, clock=clock, poll=POLL)
        self.stop = asyncio.Event()

    async def _main(self) -> None:
        """As bot/host.py runs it: one TaskGroup; a core loop that fails ends the process."""
        try:
            async with asyncio.TaskGroup() as group:
                pool = group.create_task(self.pool.run(), name="pool")
                lives = group.create_task(self._live(), name="host lease")
                poster = group.create_task(self.poster.run(self.stop), name="poster")
                await asyncio.wait([poster])
                pool.cancel()
                lives.cancel()
        except BaseException as error:  # noqa: BLE001  the judge asks why the process ended
            self.crashed = error
        finally:
            self.ended = True

    @property
    def owner(self) -> str:
        """The name under which it leases: a restarted host has that of its former self, which is surely gone."""
        return f"seat-{self.seat}"

    async def _live(self) -> None:
        while True:
            with suppress(StoreUnavailable):
                await self.leases.live(seconds=POLICY.lease)
            await asyncio.sleep(POLICY.renew_every)

    async def ask(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do something in this process, for somebody outside who hears nothing more when it dies (ConnectionResetError)."""
        loop = self.world.loop
        answer = loop.create_future()
        self.calls.add(answer)
        loop.create_task(_serve(work, answer), context=self.context)
        try:
            return await answer
        finally:
            self.calls.discard(answer)

    def bury(self) -> None:
        """After its death: whoever waited for an answer hears a reset."""
        for answer in self.calls:
            if not answer.done():
                answer.set_exception(ConnectionResetError("the host died"))
        self.calls.clear()


def _fresh_engines(seat: int) -> tuple[AsyncEngine, AsyncEngine]:
    if seat not in _ENGINES:
        writer, reader = engines(read_url("sqlite:////nowhere/simulated.sqlite3"))
        _ENGINES[seat] = (writer, reader)
    for engine in _ENGINES[seat]:
        engine.sync_engine.dispose(close=False)  # the last host's connections died with it
    return _ENGINES[seat]


async def _serve(work: Callable[[], Awaitable[Any]], answer: asyncio.Future) -> None:
    await asyncio.sleep(0.01)
    try:
        result = await work()
    except Exception as error:  # noqa: BLE001  whoever asked hears it
        if not answer.done():
            answer.set_exception(error)
        return
    await asyncio.sleep(0.01)
    if not answer.done():
        answer.set_result(result)


async def _nothing(_: Place) -> None:
    return
