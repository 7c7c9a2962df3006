"""One scenario from one seed: people who ask and cancel, hosts that die, workers and Discord with their bad days, then peace."""

import asyncio
import hashlib
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiosqlite

from jobs.errors import IdempotencyConflict, JobNotFound, StoreUnavailable, WaitingLimitReached
from jobs.fairness import Rules
from jobs.job import Job, Place, UserId
from jobs.request import Request
from tests.simulation.chat import Chat
from tests.simulation.fair import FairWatch, draw_rules
from tests.simulation.forgetting import Deletion, Erasing, LogEar, clear_files_away, draw_erasings, have_everything_deleted
from tests.simulation.gpu import SimWorker
from tests.simulation.host import SimHost, Surroundings, Take, Write
from tests.simulation.idling import IdleWatch
from tests.simulation.loop import SimLoop
from tests.simulation.sqlite import EPOCH, SimDatabase

SAME_SEED = 7
"""Chosen by several people at once: then nothing but the order tells their pictures apart."""

PEACE_LIMIT = 1500.0
"""Virtual seconds after the last fault in which everything must have drained."""


@dataclass
class Wish:
    """What somebody asked, and what they were told."""

    person: int
    prompt: str
    key: str
    asked_at: float
    acked: Job | None = None
    acked_at: float | None = None
    refused: str | None = None
    tries: int = 0
    cancel_told: str | None = None


@dataclass(kw_only=True)
class Plan:
    """What a seed drew. Kept apart from the world so that a failing seed can print it."""

    seats: int
    people: int
    wishes: int
    models: tuple[str, ...]
    workers: list[dict[str, Any]]
    loses: float
    troubles: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    kills: list[tuple[int, int]] = field(default_factory=list)
    """(seat, callbacks until it dies)."""
    cancels: float = 0.25
    """How many of the wishes are cancelled later."""
    same_seed: float = 0.3
    latency: float = 0.002
    """Seconds a statement may take to reach the database."""
    erasings: list[Erasing] | None = None
    """Who has everything deleted; None: drawn apart, from the seed."""
    rules: Rules | None = None
    """Of fairness; None: drawn apart, from the seed."""
    spoil: str = ""
    """SQL that takes a constraint away: for mutants only."""


def draw_plan(rng: random.Random) -> Plan:
    """The scenario of a seed: small, so that many fit into a minute, and nasty, so that each is worth it."""
    models = ("alpha", "beta")[: rng.choice((1, 2, 2))]
    plan = Plan(
        seats=rng.choice((1, 2, 2)), people=rng.randint(2, 4), wishes=rng.randint(4, 8), models=models,
        workers=[
            {"models": models if rng.random() < 0.7 or index == 0 else models[:1], "max_batch": rng.choice((1, 2, 4)),
             "step": rng.choice((0.3, 1.0, 3.0))}
            for index in range(rng.choice((1, 2, 2)))
        ],
        loses=rng.choice((0.0, 0.01, 0.05)),
    )  # fmt: skip
    for _ in range(rng.choice((0, 2, 3, 4, 5, 6))):
        name = rng.choice(tuple(TROUBLES))
        plan.troubles.append((rng.uniform(0, 90), name, {}))
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        plan.kills.append((rng.randrange(plan.seats), int(10 ** rng.uniform(1.5, 3.7))))
    return plan


def _completed(plan: Plan, seed: int) -> Plan:
    """With what is drawn apart, so that it changes nothing in seeds that do not have it."""
    if plan.erasings is None:
        plan.erasings = draw_erasings(random.Random(f"seed {seed}: deletions"), plan)
    if plan.rules is None:
        plan.rules = draw_rules(random.Random(f"{seed} rules"))
    return plan


def draw_trouble(rng: random.Random, *, name: str) -> Plan:
    """A scenario with one sort of trouble and nothing else."""
    plan = draw_plan(rng)
    plan.kills, plan.loses = [], 0.0
    plan.troubles = [(rng.uniform(0, 60), name, {}) for _ in range(8)]
    return plan


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, template: Path, *, draw: "Callable[[random.Random], Plan] | None" = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        random.seed(seed)  # the code's own jitter
        self.plan = _completed((draw or draw_plan)(self.rng), seed)
        self.is_calm = not self.plan.troubles and not self.plan.kills and not self.plan.loses
        self.loop = SimLoop(random.Random(self.rng.getrandbits(64)))
        self.folder = Path(tempfile.mkdtemp(prefix="darkroom-sim-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        shutil.copyfile(template, self.folder / "sim.sqlite3")
        if self.plan.spoil:
            with sqlite3.connect(self.folder / "sim.sqlite3") as raw:
                raw.executescript(self.plan.spoil)
            raw.close()
        self.history: list[tuple[float, str]] = []
        self.writes: list[Write] = []
        self.takes: list[Take] = []
        self.deletions: list[Deletion] = []
        self.left_in_files: list[str] = []
        self.died: dict[int, float] = {}
        self.stops: list[tuple[float, float]] = []
        """When hosts stood still."""
        self.ear = LogEar()
        self.wishes: list[Wish] = []
        self.database = SimDatabase(self.folder / "sim.sqlite3", self.loop, random.Random(self.rng.getrandbits(64)))
        self.database.latency = self.plan.latency
        self.chat = Chat(self.loop, random.Random(self.rng.getrandbits(64)))
        self.workers = [
            SimWorker(self.loop, random.Random(self.rng.getrandbits(64)), name=f"gpu{index}", **how)
            for index, how in enumerate(self.plan.workers)
        ]
        for worker in self.workers:
            worker.loses = self.plan.loses
        self.fair = FairWatch(self.database, self.plan.rules)
        self.idle = IdleWatch(self)
        self.around = Surroundings(
            loop=self.loop, rng=random.Random(self.rng.getrandbits(64)), database=self.database, chat=self.chat, workers=self.workers,
            folder=self.folder, writes=self.writes, takes=self.takes, fair=self.fair, rules=self.plan.rules,
        )  # fmt: skip
        self.hosts: dict[int, SimHost] = {}
        self.all_hosts: list[SimHost] = []
        self.starts: list[float] = []
        self._numbers = 0
        self._kill_at: dict[int, int] = {}
        self.complaints: list[str] = []
        self.faults_over = False
        self.peace_at: float | None = None
        self.loop.before_step = self._maybe_kill
        aiosqlite.connect = self.database.connect  # type: ignore[assignment]

    # ---- hosts -----------------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        self.history.append((self.loop.time(), text))

    def boot(self, seat: int) -> None:
        self._numbers += 1
        host = SimHost(number=self._numbers, seat=seat, world=self.around, skew=self.rng.choice((0.0, 0.0, 3600.0, -3600.0)))
        self.hosts[seat] = host
        self.all_hosts.append(host)
        self.starts.append(self.loop.time())
        due = next((steps for at, steps in self.plan.kills if at == seat), None)
        if due is not None and not self.faults_over:
            self.plan.kills.remove((seat, due))
            self._kill_at[host.number] = due
        self.note(f"host {host.number} starts on seat {seat}")
        host.boot()

    def kill(self, host: SimHost, why: str, *, away: float | None = None) -> None:
        if host.number in self.loop.dead:
            return
        self.note(f"host {host.number} is killed {why}")
        self.died[host.number] = self.loop.time()
        self.loop.kill(host.number)
        self.loop.stopped.discard(host.number)
        self.database.drop(host.number)
        host.bury()
        if away is None:
            away = self.rng.uniform(0.2, 8) if self.rng.random() < 0.8 else self.rng.uniform(20, 70)
        self.loop.outside(away, self.boot, host.seat)

    def _maybe_kill(self, number: int, step: int) -> None:
        if self._kill_at.get(number) == step and not self.faults_over:
            self.kill(next(host for host in self.hosts.values() if host.number == number), f"at its step {step}")

    def alive(self) -> list[SimHost]:
        return [host for host in self.hosts.values() if host.number not in self.loop.dead and not host.ended]

    @property
    def crashes(self) -> list[tuple[int, BaseException]]:
        """Hosts that ended by an error of their own."""
        return [(host.number, host.crashed) for host in self.all_hosts if host.crashed is not None]

    def seconds(self, moment: str) -> float:
        """Virtual seconds of a moment as SQLite keeps it."""
        return (datetime.fromisoformat(moment).replace(tzinfo=UTC) - EPOCH).total_seconds()

    def closed_after(self, job: dict[str, Any]) -> float:
        """When the job ended: a card posted later already says so."""
        return self.seconds(job["finished_at"]) if job["finished_at"] else float("inf")

    def told(self) -> list[tuple[float, str]]:
        """Everything that happened, for a failing seed's story."""
        lines = list(self.history)
        for worker in self.workers:
            for run in worker.log:
                lines.append((run.started, f"{worker.name} starts {run.key} ({run.order.prompt})"))
                if run.ended is not None:
                    lines.append((run.ended, f"{worker.name}: {run.key} {run.how}"))
        lines += [(m.at, f"message {m.texts[:40]!r} in {m.channel}{' with a picture' if m.files else ''}") for m in self.chat.messages]
        lines += [(w.at, f"ledger: {w.name} of {w.job.id}.{w.epoch}, now {w.job.state}") for w in self.writes]
        return lines

    def digest(self) -> str:
        """The same for the same seed, or the simulation is not deterministic."""
        text = "\n".join(f"{at:.6f} {line}" for at, line in self.told())
        return hashlib.sha256(text.encode()).hexdigest()

    # ---- people ----------------------------------------------------------------------------------------------------

    async def _person(self, number: int, wishes: int) -> None:
        user = UserId(f"discord:{number}")
        place = Place(guild_id="10", channel_id=str(100 + number), locale="en")
        for count in range(1, wishes + 1):
            await asyncio.sleep(self.rng.expovariate(1 / 12) if self.rng.random() < 0.7 else 0.0)
            wish = Wish(number, f"wish {len(self.wishes)} of person {number}", f"key-{len(self.wishes)}-{number}", self.loop.time())
            self.wishes.append(wish)
            request = Request(
                prompt=wish.prompt, model=self.rng.choice(self.plan.models), steps=self.rng.choice((4, 10, 20)),
                seed=SAME_SEED if self.rng.random() < self.plan.same_seed else None,
            )  # fmt: skip
            job = await self._insist(wish, request, user, place)
            if job is not None and self.rng.random() < self.plan.cancels:
                self.loop.create_task(self._cancel(wish, job, user))
            await self._erase_what_is_due(number, count, user)

    async def _erase_what_is_due(self, number: int, count: int, user: UserId) -> None:
        for due in self.plan.erasings or ():
            if (due.person, due.after) == (number, count):
                await asyncio.sleep(due.delay)
                await have_everything_deleted(self, number, user, random.Random(f"{number} of {self.seed}"))

    async def _insist(self, wish: Wish, request: Request, user: UserId, place: Place) -> Job | None:
        """Ask until answered, under one key, as a client that is told nothing does."""
        while True:
            host = self._somebody()
            if host is None:
                await asyncio.sleep(1.0)
                continue
            wish.tries += 1
            submit = _submit(host, request, user, wish.key, place)
            try:
                async with asyncio.timeout(60):
                    wish.acked = await host.ask(submit)
            except (ConnectionResetError, StoreUnavailable, TimeoutError):
                await asyncio.sleep(self.rng.uniform(0.1, 3.0))
                continue
            except (WaitingLimitReached, IdempotencyConflict) as refusal:
                wish.refused = refusal.code
                return None
            except Exception as error:  # noqa: BLE001  nobody may ever be answered with that
                self.complaints.append(f"a person who asked was answered {error!r}")
                wish.refused = "error"
                return None
            wish.acked_at = self.loop.time()
            self.note(f"{wish.prompt}: job {wish.acked.id} acknowledged at try {wish.tries}")
            return wish.acked

    async def _cancel(self, wish: Wish, job: Job, user: UserId) -> None:
        await asyncio.sleep(self.rng.expovariate(1 / 15))
        for _ in range(20):
            host = self._somebody()
            if host is None:
                await asyncio.sleep(1.0)
                continue
            try:
                async with asyncio.timeout(60):
                    after = await host.ask(lambda host=host: host.desk.cancel(job.id, user_id=user))
            except JobNotFound:
                if not any(deletion.person == wish.person for deletion in self.deletions):
                    self.complaints.append(f"{wish.prompt!r} was to be cancelled and was not there")
                return
            except (ConnectionResetError, StoreUnavailable, TimeoutError):
                await asyncio.sleep(1.0)
                continue
            except Exception as error:  # noqa: BLE001  nobody may ever be answered with that
                self.complaints.append(f"a person who cancelled was answered {error!r}")
                return
            wish.cancel_told = after.state.value
            self.note(f"{wish.prompt}: cancel asked, the job is {after.state.value}")
            return

    def _somebody(self) -> SimHost | None:
        able = [host for host in self.alive() if host.number not in self.loop.stopped]
        return self.rng.choice(able) if able else None

    # ---- the whole story -------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Until everything has drained; complaints say what did not."""
        self.ear.begin()
        try:
            self._play()
        finally:
            self.ear.end()

    def _play(self) -> None:
        for seat in range(self.plan.seats):
            self.loop.outside(self.rng.uniform(0, 2) if seat else 0.0, self.boot, seat)
        people = [self.plan.wishes // self.plan.people + (n < self.plan.wishes % self.plan.people) for n in range(self.plan.people)]
        self._people = [self._spawn(self._person(number, count)) for number, count in enumerate(people) if count]
        last = 0.0
        for at, name, how in self.plan.troubles:
            self.loop.outside(at, self._trouble, name, how)
            last = max(last, at)
        self._run(self._asked_all, limit=240.0)
        self._run(lambda: self.loop.time() >= last, limit=last)
        self._make_peace()
        limit = self.loop.time() + PEACE_LIMIT
        if not self._run(self._drained, limit=limit):
            self.complaints.append(f"I16: not drained {PEACE_LIMIT:.0f} s after the last fault")
        self.loop.run_until(lambda: False, limit=self.loop.time() + 25.0)  # late effects show themselves
        if self.deletions:
            sweep = self._spawn(clear_files_away(self))
            if not self.loop.run_until(sweep.done, limit=self.loop.time() + 700.0):
                self.complaints.append("I17: nobody swept the files")

    def _run(self, done: Callable[[], bool], *, limit: float) -> bool:
        def looked_and_done() -> bool:
            self.idle.look()
            return done()

        return self.loop.run_until(looked_and_done, limit=limit)

    def _spawn(self, coro: Any) -> Any:
        asyncio._set_running_loop(self.loop)
        try:
            return self.loop.create_task(coro)
        finally:
            asyncio._set_running_loop(None)

    def _asked_all(self) -> bool:
        return all(task.done() for task in self._people)

    def _trouble(self, name: str, how: dict[str, Any]) -> None:
        if not self.faults_over:
            self.note(f"trouble: {name}")
            TROUBLES[name](self)

    def _make_peace(self) -> None:
        self.note("peace")
        self.faults_over = True
        self.peace_at = self.loop.time()
        self._kill_at.clear()
        chat = self.chat
        chat.loses = chat.hangs = chat.errors = chat.limits = chat.down_until = chat.forbidden_until = 0.0
        database = self.database
        database.away_until = database.full_until = database.lost_answers = database.busy = 0.0
        for worker in self.workers:
            worker.faults.clear()
            worker.confused = False
            worker.loses = 0.0
            worker.cut_off.clear()
            worker.oom_above = None
            worker.poison.clear()
            worker.down_until = min(worker.down_until, self.loop.time() + 5)
        self.loop.stopped.clear()

    def _drained(self) -> bool:
        if not self._asked_all() or not all(seat in self.hosts for seat in range(self.plan.seats)):
            return False
        if self.loop.time() < getattr(self, "_look_again", 0.0):
            return False
        self._look_again = self.loop.time() + 2.0
        with sqlite3.connect(self.database.file) as raw:
            waiting = raw.execute("SELECT count(*) FROM job WHERE state IN ('queued', 'leased', 'running')").fetchone()[0]
            owed = raw.execute("SELECT count(*) FROM outbox WHERE state IN ('pending', 'sending')").fetchone()[0]
        raw.close()
        return not waiting and not owed

    def clean(self) -> None:
        self.idle.close()
        self.fair.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _submit(host: SimHost, request: Request, user: UserId, key: str, place: Place) -> Callable[[], Any]:
    return lambda: host.desk.submit(request, user_id=user, door="discord", idempotency_key=key, place=place)


# ---- troubles ----------------------------------------------------------------------------------------------------------


def _worker(world: World) -> SimWorker:
    return world.rng.choice(world.workers)


def _a_host(world: World) -> SimHost | None:
    alive = world.alive()
    return world.rng.choice(alive) if alive else None


def _for_a_while(world: World, holder: Any, name: str, value: float, seconds: float) -> None:
    setattr(holder, name, value)
    world.loop.outside(seconds, lambda: None if world.faults_over else setattr(holder, name, 0.0))


def worker_dies(world: World) -> None:
    _worker(world).die(world.rng.uniform(0.5, 40))


def worker_is_cut_off(world: World) -> None:
    host, worker = _a_host(world), _worker(world)
    if host is not None:
        worker.cut_off[host.number] = world.loop.time() + world.rng.uniform(5, 70)


def worker_misbehaves(world: World) -> None:
    kinds = ("hang", "oom", "infra", "refuse", "truncated", "other_seed", "other_size", "twice", "two_pictures", "liar")
    _worker(world).faults += world.rng.choices(kinds, k=world.rng.randint(1, 3))


def a_wish_always_fails(world: World) -> None:
    """By the worker's fault each time, and in peace too: it has to end by its own tries."""
    if world.wishes:
        doomed = world.rng.choice(world.wishes).prompt
        for worker in world.workers:
            worker.doomed.add(doomed)


def worker_mixes_runs_up(world: World) -> None:
    _worker(world).confused = True


def worker_is_small(world: World) -> None:
    _worker(world).oom_above = 1


def a_wish_is_poison(world: World) -> None:
    if world.wishes:
        poisoned = world.rng.choice(world.wishes).prompt
        for worker in world.workers:
            worker.poison.add(poisoned)


def host_stops_for_a_while(world: World) -> None:
    """SIGSTOP and, much later, SIGCONT: a zombie that believes its leases."""
    host = _a_host(world)
    if host is not None and host.number not in world.loop.stopped:
        world.loop.stopped.add(host.number)
        seconds = world.rng.choice((15.0, 45.0, 60.0, 130.0))
        world.stops.append((world.loop.time(), world.loop.time() + seconds))
        world.loop.outside(seconds, world.loop.stopped.discard, host.number)


def host_is_killed(world: World) -> None:
    host = _a_host(world)
    if host is not None:
        world.kill(host, "by SIGKILL")


def nobody_is_there_for_long(world: World) -> None:
    """Every host dies, and the next ones start only after Discord has forgotten every nonce."""
    for host in world.alive():
        world.kill(host, "and stays away", away=world.rng.uniform(400, 500))


def a_host_is_gone_for_good(world: World) -> None:
    """Its machine burnt down: what it held is for others to take."""
    if len(world.alive()) > 1:
        world.kill(world.rng.choice(world.alive()), "for good", away=1e6)


def host_drains(world: World) -> None:
    """SIGTERM: it may end what it sends; then a new one starts."""
    host = _a_host(world)
    if host is None or host.number in world.loop.stopped:
        return
    host.context.copy().run(host.stop.set)
    world.loop.outside(60.0, world.kill, host, "as its drain ended")


def host_dies_at_a_commit(world: World) -> None:
    """Exactly between a commit and the answer to it."""
    wanted = world.database.commits + world.rng.randint(1, 25)

    def strike(number: int) -> None:
        if world.database.commits >= wanted and not world.faults_over:
            world.database.after_commit = None
            world.kill(next(host for host in world.hosts.values() if host.number == number), f"right after commit {wanted}")

    world.database.after_commit = strike


def host_dies_after_a_finish(world: World) -> None:
    """Exactly between the commit that ends a job and whatever comes after it."""
    before = _done(world)

    def strike(number: int) -> None:
        if not world.faults_over and _done(world) > before:
            world.database.after_commit = None
            world.kill(next(host for host in world.hosts.values() if host.number == number), "right after a finish")

    world.database.after_commit = strike


def _done(world: World) -> int:
    raw = sqlite3.connect(world.database.file)
    try:
        return raw.execute("SELECT count(*) FROM job WHERE state = 'done'").fetchone()[0]
    finally:
        raw.close()


def database_is_away(world: World) -> None:
    world.database.away_until = world.loop.time() + world.rng.choice((3.0, 20.0, 60.0))


def database_is_full(world: World) -> None:
    world.database.full_until = world.loop.time() + world.rng.uniform(5, 60)


def commits_lose_their_answers(world: World) -> None:
    _for_a_while(world, world.database, "lost_answers", 0.1, 40)


def database_is_busy(world: World) -> None:
    _for_a_while(world, world.database, "busy", 0.3, 30)


def discord_is_down(world: World) -> None:
    world.chat.down_until = world.loop.time() + world.rng.uniform(5, 120)


def discord_forbids(world: World) -> None:
    world.chat.forbidden_until = world.loop.time() + world.rng.uniform(5, 60)


def discord_loses_answers(world: World) -> None:
    _for_a_while(world, world.chat, "loses", 0.5, 60)


def discord_hangs(world: World) -> None:
    _for_a_while(world, world.chat, "hangs", 0.5, 60)


def discord_hangs_for_long(world: World) -> None:
    """Longer than any lease and any nonce."""
    world.chat.hang_seconds = (410.0, 470.0)
    _for_a_while(world, world.chat, "hangs", 0.5, 90)


def discord_errs(world: World) -> None:
    _for_a_while(world, world.chat, "errors", 0.5, 60)


def discord_limits(world: World) -> None:
    _for_a_while(world, world.chat, "limits", 0.3, 60)


TROUBLES: dict[str, Callable[[World], None]] = {
    trouble.__name__: trouble
    for trouble in (
        worker_dies, worker_is_cut_off, worker_misbehaves, worker_mixes_runs_up, a_wish_always_fails, worker_is_small, a_wish_is_poison, host_stops_for_a_while, host_is_killed,
        nobody_is_there_for_long, a_host_is_gone_for_good, host_drains, host_dies_at_a_commit, host_dies_after_a_finish, database_is_away, database_is_full, commits_lose_their_answers, database_is_busy,
        discord_is_down, discord_forbids, discord_loses_answers, discord_hangs, discord_hangs_for_long,
        discord_errs, discord_limits,
    )
}  # fmt: skip
