"""Asking and killing: six members ask while the host, its worker and PostgreSQL are killed (SIGKILL) at random moments.

``python -m tests.acceptance.kill_loop --kills 1000 --database postgresql`` brings everything up by itself, says how far it is, and
ends with one line of JSON; it fails when anything was lost, made twice, told twice, or anybody had a third active job.
"""

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.config import RehearsalConfig
from tests.acceptance.books import Entry, Told
from tests.acceptance.history import gaps, third_active
from tests.acceptance.lab import MEMBERS, Json, Lab, Refused, button, eventually, is_failure, is_picture, open_lab, texts
from tests.acceptance.victims import BACKEND, HOST, POSTMASTER, WORKER, Victims, worker_process
from tests.postgres import PostgresServer, running_server

SHARES = {HOST: 5, WORKER: 2, BACKEND: 3, POSTMASTER: 2}
"""How often each is drawn. Workers less often: tries again are budgeted, so that a worker that always dies only makes everybody wait."""
_WISH = re.compile(r"wish number \d+ of many")
_ENDINGS = {"done": ["picture"], "failed": ["failure"], "expired": ["failure"], "quarantined": ["failure"], "cancelled": []}


@dataclass
class Verdict:
    """What the judge found; a sentence for each breach."""

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Gaps in the log, cancels that nobody asked for."""
    third_active: int = 0

    def compare(self, expected: Iterable[object], found: Iterable[object], what: str) -> None:
        """Note what is missing and what is there too often."""
        wanted, seen = Counter(expected), Counter(found)
        self.lost += [f"{what}: {missing} is not there" for missing in (wanted - seen).elements()]
        self.twice += [f"{what}: {surplus} is one too many" for surplus in (seen - wanted).elements()]

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.twice or self.broken or self.third_active)


class Kills:
    """Asks as six members, kills, remembers what was promised."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.config = RehearsalConfig(seed="demo", message_limit=50, global_limit=200)
        self.promised: dict[str, bool] = {}
        """Each prompt, and whether the member was told that it was taken."""
        self.members = MEMBERS
        self.cancels = 0
        """How often somebody pressed Cancel."""
        self.killed: Counter[str] = Counter()
        self._count = 0

    @property
    def acknowledged(self) -> int:
        return sum(self.promised.values())

    async def ask(self, lab: Lab) -> None:
        """A handful of requests, until each is answered or known to be lost."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.random.randint(2, 5)):
                self._count += 1
                prompt = f"wish number {self._count:04d} of many"
                self.promised[prompt] = False
                group.create_task(self._one(lab, self.random.choice(MEMBERS), prompt))

    async def _one(self, lab: Lab, member: str, prompt: str) -> None:
        try:
            record = await lab.imagine(member, prompt)
        except Refused:  # the bot was not there, or not yet
            return
        self.promised[prompt] = record["state"] == "acked" and "<#" in str(record["original"])

    async def kill_something(self, lab: Lab, victims: Victims) -> None:
        """One kill, while requests are on the wire; then, mostly, time to come back before the next one."""
        kinds = victims.kinds
        victim = self.random.choices(kinds, [SHARES[kind] for kind in kinds])[0]
        async with asyncio.TaskGroup() as group:
            group.create_task(self.ask(lab))
            await asyncio.sleep(self.random.uniform(0, 1.2))
            self.killed[victim] += await victims.kill(victim)
            if self.random.random() < 0.3:  # and one more before it has found its feet
                await asyncio.sleep(self.random.uniform(0, 0.5))
                second = self.random.choice(kinds)
                self.killed[second] += await victims.kill(second)
            await victims.back()

    async def judge(self, lab: Lab) -> None:
        """Fails with what is wrong where anything is."""
        verdict = await self.verdict(lab)
        assert verdict.is_clean, verdict

    async def verdict(self, lab: Lab) -> Verdict:
        """Each wish is one job at most, each promised one is there, and what each came to was told once, in pictures or words."""
        books, history = await lab.books(), await lab.history()
        messages = {message["id"]: message for message in await lab.everything()}
        verdict = Verdict(third_active=third_active(history), broken=gaps(history))
        self._judge_jobs(books, verdict)
        for job in books:
            _judge_telling(job, messages, verdict)
        _judge_pictures(books, messages, verdict)
        told = [told.message_id for job in books for told in _endings(job, "failure")]
        verdict.compare(told, [m["id"] for m in messages.values() if is_failure(m)], "a line of a failure")
        if sum(job.state == "cancelled" for job in books) > self.cancels:
            verdict.broken.append("something was cancelled that nobody cancelled")
        return verdict

    def _judge_jobs(self, books: list[Entry], verdict: Verdict) -> None:
        jobs = Counter(job.prompt for job in books)
        verdict.lost += [f"{prompt!r}: promised, and no job" for prompt, sure in self.promised.items() if sure and not jobs[prompt]]
        verdict.twice += [f"{prompt!r}: {n} jobs" for prompt, n in jobs.items() if n > 1]
        verdict.broken += [f"{prompt!r} was never asked" for prompt in jobs.keys() - self.promised.keys()]


def _judge_telling(job: Entry, messages: Json, verdict: Verdict) -> None:
    """A job's end was told in the one kind of message that tells of it, and every message that the ledger calls sent is there."""
    if job.state not in _ENDINGS:
        verdict.lost.append(f"{job} has not ended")
        return
    endings = [told.kind for told in job.told if told.kind in ("picture", "failure")]
    verdict.compare(_ENDINGS[job.state], endings, f"{job.prompt!r} ({job.state})")
    for told in job.told:
        if told.kind != "close" and not (told.state == "sent" and told.message_id in messages):
            verdict.lost.append(f"{job.prompt!r}: {told}")


def _judge_pictures(books: list[Entry], messages: Json, verdict: Verdict) -> None:
    """The pictures that stand in the channels are those of which the ledger says so, each with its own wish."""
    shown = [(_wish_of(m), m["id"]) for m in messages.values() if is_picture(m)]
    told = [(job.prompt, told.message_id) for job in books for told in _endings(job, "picture")]
    verdict.compare(told, shown, "a picture")


def _endings(job: Entry, kind: str) -> list[Told]:
    return [told for told in job.told if told.kind == kind]


def _wish_of(message: Json) -> str:
    found = _WISH.search(texts(message))
    return found[0] if found else ""


async def settle(lab: Lab, *, seconds: float = 90) -> None:
    """Wait until nobody waits, every card is closed, nothing is left to be posted and no message comes any more.

    What a killed host was just posting is posted again only once its lease has lapsed: nothing is to be seen of it until then.
    """

    async def is_quiet() -> bool:
        before = await lab.everything()
        await asyncio.sleep(2)
        async with lab.web.get(f"{lab.studio}/health") as answer:
            health = await answer.json()
        after = await lab.everything()
        is_owed = any(told.state not in ("sent", "dead") for job in await lab.books() for told in job.told)
        return health["queue_length"] == 0 and len(after) == len(before) and not is_owed and not any(button(m, "cancel") for m in after)

    await eventually(is_quiet, seconds=seconds, what="quiet")


@asynccontextmanager
async def arena(folder: Path, kills: Kills, postgres: PostgresServer | None) -> AsyncIterator[tuple[Lab, Victims]]:
    """Rehearsal, host, worker and what may be killed of them."""
    url = "" if postgres is None else postgres.url(postgres.new_database())
    async with worker_process(folder) as (worker, worker_url):
        async with open_lab(folder, [worker_url], database_url=url, rehearsal=kills.config) as lab:
            yield lab, Victims(lab=lab, worker=worker, postgres=postgres, dice=kills.random)


async def _loop(kills: Kills, number: int, folder: Path, postgres: PostgresServer | None) -> Verdict:
    async with arena(folder, kills, postgres) as (lab, victims):
        begun, said = time.monotonic(), 0
        while (done := kills.killed.total()) < number:
            if done >= said + 10:
                said, seconds = done, time.monotonic() - begun
                print(f"{done} kills in {seconds:.0f} s {dict(kills.killed)}, {kills.acknowledged} of {len(kills.promised)} acknowledged", flush=True)
            await kills.kill_something(lab, victims)
        await settle(lab, seconds=900)  # tries beyond their budget come back after two minutes
        return await kills.verdict(lab)


def main() -> int:
    """Kill as often as asked; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    kills = Kills(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        if options.database == "sqlite":
            verdict = asyncio.run(_loop(kills, options.kills, Path(folder), None))
        else:
            with running_server(durable=True) as server:
                verdict = asyncio.run(_loop(kills, options.kills, Path(folder), server))
    for breach in (*verdict.lost, *verdict.twice, *verdict.broken):
        print(breach, file=sys.stderr)
    figures = {
        "database": options.database, "seed": options.seed, "kills": dict(kills.killed), "requests": len(kills.promised),
        "acknowledged": kills.acknowledged, "lost": len(verdict.lost), "twice": len(verdict.twice), "broken": len(verdict.broken),
        "third_active": verdict.third_active,
    }  # fmt: skip
    print(json.dumps(figures))
    return 0 if verdict.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
