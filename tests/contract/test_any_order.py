"""Whatever is called in whatever order: the ledger's promises hold after every step."""

import asyncio
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from shutil import copyfile

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from database.engine import open_database
from database.job_store import SqlJobStore
from database.outbox import SqlOutbox
from jobs.errors import LeaseLost
from jobs.job import Failure, JobState, UserId, may_move
from jobs.run import Run, RunKey
from tests.contract.asking import HERE, MAKING, by_turns, picture, wish
from tests.contract.looking import rows
from tests.databases import sqlite_url

PEOPLE = [UserId(f"discord:{n}") for n in range(3)]
REASON = Failure(code="worker_unreachable")


class Ledger(RuleBasedStateMachine):
    """Doors, two workers and a janitor, one step at a time."""

    template: Path
    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        copyfile(self.template, Path(self.folder) / "x.sqlite3")
        opened = open_database(sqlite_url(Path(self.folder) / "x.sqlite3"), sqlite_synchronous="NORMAL")
        self.database = self.run(self.stack.enter_async_context(opened))
        self.store = SqlJobStore(self.database)
        self.outbox = SqlOutbox(self.database)
        self.asked: dict[str, UserId] = {}
        self.lost: set[RunKey] = set()

    def run(self, work):
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    @rule(user=st.sampled_from(PEOPLE), live=st.sampled_from([-1, 60]))
    def ask(self, user: UserId, live: float) -> None:
        new = wish(user, place=HERE, live_seconds=live)
        self.run(self.store.submit(new, waiting_limit=50))
        self.asked[new.id] = user

    @rule(target=keys, room=st.integers(1, 4), lapses=st.booleans())
    def claim(self, room: int, lapses: bool):
        jobs = self.run(self.store.claim("gpu", by_turns(room), lease_seconds=-1 if lapses else 60))
        return multiple(*(Run.of(job).key for job in jobs))

    @rule(key=keys, what=st.sampled_from(["accept", "finish", "retry", "give back", "fail", "cancelled", "renew"]))
    def write(self, key: RunKey, what: str) -> None:
        before = self.run(self.store.get(key.job_id))
        holds = before.state.is_active and before.epoch == key.epoch
        try:
            after = self.run(self._write(key, what))
        except LeaseLost:
            assert not holds
        else:
            assert what == "renew" or after.epoch == key.epoch
            assert holds or what == "renew" or after == before

    async def _write(self, key: RunKey, what: str):
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

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.asked:
            job_id = data.draw(st.sampled_from(sorted(self.asked)))
            self.run(self.store.request_cancel(job_id, self.asked[job_id]))

    @rule()
    def expire(self) -> None:
        self.run(self.store.expire(lost_max=3))

    @rule(fate=st.sampled_from(["sent", "later", "dead", "crash"]), limit=st.integers(1, 5))
    def post(self, fate: str, limit: int) -> None:
        lease = -1 if fate == "crash" else 60
        for delivery in self.run(self.outbox.take(limit=limit, lease_seconds=lease)):
            if fate == "sent":
                self.run(self.outbox.sent(delivery, "1"))
            elif fate == "later":
                self.run(self.outbox.later(delivery, delay_seconds=0, reason="500"))
            elif fate == "dead":
                self.run(self.outbox.dead(delivery, "403"))

    @invariant()
    def promises_hold(self) -> None:
        jobs = self.run(rows(self.database, "job"))
        history = self.run(rows(self.database, "job_event"))
        owed = self.run(rows(self.database, "outbox"))
        results = {row["job_id"] for row in self.run(rows(self.database, "result"))}
        assert {job["id"] for job in jobs} == set(self.asked)
        active = Counter(job["user_id"] for job in jobs if job["slot"] is not None)
        assert all(count <= 2 for count in active.values())
        for job in jobs:
            self._history_is_legal(job, [line for line in history if line["job_id"] == job["id"]])
            kinds = [row["kind"] for row in owed if row["job_id"] == job["id"]]
            assert kinds == DUE[job["state"]]
            assert (job["id"] in results) == (job["state"] == "done")

    def _history_is_legal(self, job: dict, lines: list[dict]) -> None:
        assert lines[0]["from_state"] is None
        assert lines[-1]["to_state"] == job["state"]
        assert lines[-1]["epoch"] == job["epoch"]
        for earlier, later in pairwise(lines):
            assert later["from_state"] == earlier["to_state"]
            assert later["epoch"] >= earlier["epoch"]
            before, after = JobState(later["from_state"]), JobState(later["to_state"])
            assert before is after or (may_move(before, after) and not before.is_terminal)
            assert later["epoch"] > earlier["epoch"] or after is not JobState.LEASED or before is after


DUE = {
    "queued": ["card"],
    "leased": ["card"],
    "running": ["card"],
    "cancelled": ["card", "close"],
    "done": ["card", "picture", "close"],
    "failed": ["card", "failure", "close"],
    "expired": ["card", "failure", "close"],
}


def test_the_promises_hold_whatever_is_called_in_whatever_order(migrated_file: Path):
    Ledger.template = migrated_file
    quick = settings(max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Ledger, settings=quick)
