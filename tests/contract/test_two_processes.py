"""Two processes on one ledger, whatever they do one after the other or at once: the promises hold after every step.

On PostgreSQL two hosts with pools of their own; their statements interleave as the server likes. SQLite takes one process, so there
two sessions of it share the one writer.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from database.engine import open_database
from database.host_leases import HostLeases
from database.job_store import SqlJobStore
from database.outbox import SqlOutbox
from database.tables import metadata
from jobs.errors import LeaseLost
from jobs.job import Failure, Job, JobState, UserId, may_move
from jobs.run import Run, RunKey
from tests.contract.asking import HERE, MAKING, by_turns, picture, wish
from tests.contract.looking import rows
from tests.databases import sqlite_url
from tests.postgres import PostgresServer

PEOPLE = [UserId(f"discord:{n}") for n in range(3)]
REASON = Failure(code="worker_unreachable")
WRITES = ("accept", "finish", "retry", "give back", "fail", "cancelled", "renew")
HOSTS = (0, 1)


@dataclass
class Process:
    """A host's view of the ledger."""

    store: SqlJobStore
    outbox: SqlOutbox
    leases: HostLeases

    async def write(self, key: RunKey, what: str) -> Any:
        match what:
            case "accept":
                return await self.store.accept(key)
            case "finish":
                return await self.store.finish(key, [picture()], MAKING)
            case "retry":
                return await self.store.retry(key, REASON, delay_seconds=0, attempts_max=3)
            case "give back":
                return await self.store.retry(key, REASON, delay_seconds=0, attempts_max=None)
            case "fail":
                return await self.store.fail(key, REASON)
            case "cancelled":
                return await self.store.cancelled(key)
        return await self.store.renew([key], lease_seconds=60)

    async def claim(self, room: int, *, lapses: bool) -> list[Job]:
        return await self.store.claim("gpu", by_turns(room), lease_seconds=-1 if lapses else 60)

    async def post(self, fate: str) -> None:
        for delivery in await self.outbox.take(limit=3, lease_seconds=-1 if fate == "crash" else 60):
            if fate == "sent":
                await self.outbox.sent(delivery, "1")
            elif fate == "later":
                await self.outbox.later(delivery, delay_seconds=0, reason="500")


class TwoProcesses(RuleBasedStateMachine):
    """Doors, two hosts and their janitors."""

    place: "Place"

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.processes = self.run(self.place.open(self.stack))
        self.database = self.processes[0].store._database
        self.asked: dict[str, UserId] = {}
        self.keys: list[RunKey] = []
        """Every lease there ever was, the newest last."""
        for user in PEOPLE[:2]:
            for on in HOSTS:
                self.ask(user, on, 60)
        self._learn(self.run(self.processes[0].claim(2, lapses=False)))

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    @rule(user=st.sampled_from(PEOPLE), on=st.sampled_from(HOSTS), live=st.sampled_from([-1, 60, 60]))
    def ask(self, user: UserId, on: int, live: float) -> None:
        new = wish(user, place=HERE, live_seconds=live)
        self.run(self.processes[on].store.submit(new, waiting_limit=50))
        self.asked[new.id] = user

    @rule(user=st.sampled_from(PEOPLE))
    def ask_twice_at_once(self, user: UserId) -> None:
        new = wish(user, place=HERE)
        answers = self.run(_both(*(process.store.submit(new, waiting_limit=50) for process in self.processes)))
        assert sorted(created for _, created in answers) == [False, True]
        assert answers[0][0].id == answers[1][0].id
        self.asked[new.id] = user

    @rule(on=st.sampled_from(HOSTS), room=st.integers(1, 4), lapses=st.booleans())
    def claim(self, on: int, room: int, lapses: bool) -> None:
        self._learn(self.run(self.processes[on].claim(room, lapses=lapses)))

    @rule(room=st.integers(1, 4), lapses=st.booleans())
    def claim_at_once(self, room: int, lapses: bool) -> None:
        claimed = self.run(_both(*(process.claim(room, lapses=lapses) for process in self.processes)))
        assert not {job.id for job in claimed[0]} & {job.id for job in claimed[1]}
        self._learn([*claimed[0], *claimed[1]])

    @rule(on=st.sampled_from(HOSTS))
    def restart_and_adopt(self, on: int) -> None:
        self._learn(self.run(self.processes[on].store.adopt("gpu", lease_seconds=60)))

    @rule(on=st.sampled_from(HOSTS), lives=st.booleans())
    def live_or_lapse_and_be_adopted(self, on: int, lives: bool) -> None:
        self.run(self.processes[on].leases.live(seconds=60 if lives else -1))
        self._learn(self.run(self.processes[1 - on].store.adopt("gpu", lease_seconds=60)))

    def _learn(self, jobs: list[Job]) -> None:
        self.keys += [Run.of(job).key for job in jobs if Run.of(job).key not in self.keys]

    @rule(writes=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(HOSTS), st.sampled_from(WRITES)), min_size=2, max_size=4))
    def write(self, writes: list[tuple[int, int, str]]) -> None:
        for back, on, what in writes:
            self._write(self.keys[-1 - back % len(self.keys)], on, what)

    def _write(self, key: RunKey, on: int, what: str) -> None:
        before = self._row(key)
        holds = before["slot"] is not None and before["epoch"] == key.epoch and before["owner"] == f"host-{on}"
        try:
            after = self.run(self.processes[on].write(key, what))
        except LeaseLost:
            assert not holds
        else:
            if what != "renew":
                assert after.epoch == key.epoch
                assert holds or (after.state.value, after.version) == (before["state"], before["version"])

    @rule(back=st.integers(0, 3), first=st.sampled_from(WRITES), second=st.sampled_from(WRITES))
    def write_at_once(self, back: int, first: str, second: str) -> None:
        """Two hosts that both believe to hold the run: one at most is right."""
        key = self.keys[-1 - back % len(self.keys)]
        before = self._row(key)
        outcomes = self.run(_both(*(p.write(key, what) for p, what in zip(self.processes, (first, second), strict=True))))
        moved = [n for n, o in enumerate(outcomes) if isinstance(o, Job) and o.version > before["version"]]
        assert before["slot"] is not None or not moved
        assert not moved or before["owner"] in [f"host-{n}" for n in moved]  # the other may find it as the right one left it

    @rule(data=st.data(), on=st.sampled_from(HOSTS))
    def cancel(self, data: st.DataObject, on: int) -> None:
        if self.asked:
            job_id = data.draw(st.sampled_from(sorted(self.asked)))
            self.run(self.processes[on].store.request_cancel(job_id, self.asked[job_id]))

    @rule(data=st.data(), room=st.integers(1, 3))
    def cancel_while_it_is_claimed(self, data: st.DataObject, room: int) -> None:
        if self.asked:
            job_id = data.draw(st.sampled_from(sorted(self.asked)))
            cancel = self.processes[0].store.request_cancel(job_id, self.asked[job_id])
            self.run(_both(cancel, self.processes[1].claim(room, lapses=False)))

    @rule()
    def expire_at_once(self) -> None:
        changed = self.run(_both(*(process.store.expire(lost_max=3) for process in self.processes)))
        assert not {job.id for job, _ in changed[0]} & {job.id for job, _ in changed[1]}

    @rule(fates=st.tuples(*[st.sampled_from(["sent", "later", "crash"])] * 2))
    def post_at_once(self, fates: tuple[str, str]) -> None:
        self.run(_both(*(process.post(fate) for process, fate in zip(self.processes, fates, strict=True))))

    def _row(self, key: RunKey) -> dict[str, Any]:
        return next(row for row in self.run(rows(self.database, "job")) if row["id"] == key.job_id)

    @invariant()
    def promises_hold(self) -> None:
        jobs = self.run(rows(self.database, "job"))
        history = self.run(rows(self.database, "job_event"))
        owed = self.run(rows(self.database, "outbox"))
        results = Counter(row["job_id"] for row in self.run(rows(self.database, "result")))
        assert {job["id"] for job in jobs} == set(self.asked)
        active = Counter(job["user_id"] for job in jobs if job["slot"] is not None)
        assert all(count <= 2 for count in active.values())
        for job in jobs:
            assert (job["slot"] is not None) == (job["state"] in ("leased", "running"))
            assert sorted(row["kind"] for row in owed if row["job_id"] == job["id"]) == sorted(DUE[job["state"]])
            assert results[job["id"]] == (job["state"] == "done")
            _history_is_legal(job, [line for line in history if line["job_id"] == job["id"]])


def _history_is_legal(job: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    assert lines[0]["from_state"] is None
    assert (lines[-1]["to_state"], lines[-1]["epoch"]) == (job["state"], job["epoch"])
    for earlier, later in pairwise(lines):
        assert later["from_state"] == earlier["to_state"]
        before, after = JobState(later["from_state"]), JobState(later["to_state"])
        assert before is after or (may_move(before, after) and not before.is_terminal)
        assert later["epoch"] >= earlier["epoch"] + (after is JobState.LEASED and before is not after)


DUE = {
    "queued": ["card"],
    "leased": ["card"],
    "running": ["card"],
    "cancelled": ["card", "close"],
    "done": ["card", "picture", "close"],
    "failed": ["card", "failure", "close"],
    "expired": ["card", "failure", "close"],
    "quarantined": ["card", "failure", "close"],
}


async def _both(*works: Any) -> list[Any]:
    """Both at once; a lost lease is an answer, anything else is raised."""
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, LeaseLost):
            raise outcome
    return outcomes


class Place:
    """Where each example finds an empty, migrated ledger."""

    def __init__(self, template: Path, server: PostgresServer | None = None, name: str = "") -> None:
        self._template, self._server, self._name = template, server, name

    async def open(self, stack: AsyncExitStack) -> list[Process]:
        if self._server is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            copyfile(self._template, Path(folder) / "x.sqlite3")
            opened = open_database(sqlite_url(Path(folder) / "x.sqlite3"), sqlite_synchronous="NORMAL")
            databases = [await stack.enter_async_context(opened)] * 2
        else:
            tables = reversed(metadata.sorted_tables)
            await asyncio.to_thread(self._server.execute, *(f"DELETE FROM {table.name}" for table in tables), database=self._name)
            databases = [await stack.enter_async_context(open_database(self._server.url(self._name))) for _ in HOSTS]
        processes = [
            Process(
                store=SqlJobStore(database, owner=f"host-{n}"), outbox=SqlOutbox(database), leases=HostLeases(database, owner=f"host-{n}")
            )
            for n, database in enumerate(databases)
        ]
        for process in processes:
            await process.leases.live(seconds=60)
        return processes


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, migrated_file: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place(migrated_file)
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = request.getfixturevalue("migrated_database")
    yield Place(migrated_file, server, name)
    server.execute(*(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables)), database=name)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_promises_hold_whatever_two_processes_do_at_once(place: Place):
    TwoProcesses.place = place
    # Without shrinking: a failure tells its steps, and smaller ones would cost minutes of real transactions.
    quick = settings(
        max_examples=6, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )  # fmt: skip
    run_state_machine_as_test(TwoProcesses, settings=quick)
