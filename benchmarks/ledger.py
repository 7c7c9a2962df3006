"""How many jobs a second the ledger claims and finishes, durably, and how long a submission takes until it is committed.

Claims are for batches of eight rows, planned fairly over a full queue; the jobs of a batch are finished one by one, as their runs
end, and share a commit where they end together. The baseline, in the same run: how many commits of one changed row a second the
same database makes on this disk when nothing else is done. Two cores, the database on the same machine.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import Database, Synchronous, open_database
from database.fleet_memory import FleetMemory
from database.job_store import SqlJobStore
from database.migrate import migrate
from database.moments import moment_from_now
from database.tables import job
from jobs.job import JobId, Making, Picture, UserId
from jobs.line import Line
from jobs.offer import ModelOffer
from jobs.planner import Plan, WorkerView, make_plan
from jobs.ports import NewJob
from jobs.request import Order
from jobs.run import Run
from tests.postgres import find_binaries, running_server

PEOPLE, BATCH = 500, 8
ORDER = Order(prompt="a red kite over the sea", model="house", width=128, height=128, steps=8, guidance=3.0, seed=7)
OFFER = ModelOffer(
    name="house", family="sd15", default_width=128, default_height=128, size_multiple=32, side_min=64, side_max=256,
    max_pixels=65536, default_steps=8, default_guidance=3.0,
)  # fmt: skip
MADE = Picture(index=0, sha256="0" * 64, content_type="image/png", size=900, width=128, height=128, seed=7)


async def jobs_per_s(database: Database, *, jobs: int, dispatchers: int) -> float:
    """Claimed and finished jobs a second, until the queue is empty."""
    await FleetMemory(database).remember("gpu", [OFFER])
    await database.write(lambda tx: _fill(tx, jobs))
    store = SqlJobStore(database)
    await store.look(lambda line: line, fresh=0)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(dispatchers):
            group.create_task(_dispatch(store))
    return jobs / (time.perf_counter() - started)


async def _dispatch(store: SqlJobStore) -> None:
    view = WorkerView(
        name="gpu", models=frozenset({"house"}), room=BATCH, loaded=frozenset({"house"}), step_level=frozenset({"house"})
    )

    def decide(line: Line) -> Plan:
        return make_plan(line, view)

    while batch := await store.claim("gpu", decide, lease_seconds=30):
        making = Making(worker="gpu", seconds=1.0, shared_with=len(batch) - 1)
        await asyncio.gather(*(store.finish(Run.of(one).key, [MADE], making) for one in batch))


async def _fill(tx: AsyncConnection, jobs: int) -> None:
    order = ORDER.model_dump()
    rows = [
        {"id": f"j{n:06}", "idempotency_key": f"k{n}", "user_id": f"discord:{n % PEOPLE}", "door": "http", "kind": ORDER.kind,
         "model": "house", "width": 128, "height": 128, "order": order, "state": "queued", "cost": 1.0}
        for n in range(jobs)
    ]  # fmt: skip
    await tx.execute(insert(job).values(deadline=moment_from_now(3600)), rows)


async def commits_per_s(database: Database, *, seconds: float) -> float:
    """The baseline: commits of one changed row, one after another."""
    change = text(
        "INSERT INTO host_lease VALUES ('bench', 'x', 1, CURRENT_TIMESTAMP) ON CONFLICT (name) DO UPDATE SET epoch = host_lease.epoch + 1"
    )
    started, commits = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        await database.write_once(lambda tx: tx.execute(change))
        commits += 1
    return commits / (time.perf_counter() - started)


async def submit_ms(database: Database, *, seconds: float, rate: float) -> list[float]:
    """Milliseconds from the moment a submission was due until it was committed, at a fixed rate (an open loop)."""
    store = SqlJobStore(database)
    taken: list[float] = []

    async def submit(number: int, due: float) -> None:
        new = NewJob(
            id=JobId(f"s{number:06}"), user_id=UserId(f"discord:{number % PEOPLE}"), door="http", order=ORDER,
            idempotency_key=f"submit-{number}", cost=1.0,
        )  # fmt: skip
        await store.submit(new, waiting_limit=1000)
        taken.append((time.perf_counter() - due) * 1000)

    await submit(-1, time.perf_counter())
    taken.clear()
    await _at_rate(submit, seconds=seconds, rate=rate)
    return taken


async def _at_rate(work: Callable[[int, float], Awaitable[None]], *, seconds: float, rate: float) -> None:
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(round(seconds * rate)):
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(_as_coroutine(work(number, due)))


async def _as_coroutine(work: Awaitable[None]) -> None:
    await work


async def one_row_ms(database: Database, *, seconds: float, rate: float) -> list[float]:
    """The baseline: one changed row, at the same rate."""
    taken: list[float] = []

    async def change(_: int, due: float) -> None:
        await database.write(lambda tx: tx.execute(text("UPDATE host_lease SET epoch = epoch + 1 WHERE name = 'bench'")))
        taken.append((time.perf_counter() - due) * 1000)

    await _at_rate(change, seconds=seconds, rate=rate)
    return taken


def p99(values: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(values, n=100)[98]


async def sqlite_figures(folder: Path, synchronous: Synchronous, *, jobs: int, seconds: float) -> tuple[float, float]:
    """(jobs a second, commits a second)."""
    url = f"sqlite:///{folder / synchronous}.sqlite3"
    await migrate(url)
    async with open_database(url, sqlite_synchronous=synchronous) as database:
        return await jobs_per_s(database, jobs=jobs, dispatchers=1), await commits_per_s(database, seconds=seconds)


async def submission_figures(folder: Path, *, seconds: float) -> tuple[list[float], list[float]]:
    """(milliseconds of submissions, of the baseline) at 200 a second, SQLite NORMAL."""
    url = f"sqlite:///{folder / 'submit'}.sqlite3"
    await migrate(url)
    async with open_database(url, sqlite_synchronous="NORMAL") as database:
        taken = await submit_ms(database, seconds=seconds, rate=200)
        return taken, await one_row_ms(database, seconds=min(seconds, 5), rate=200)


async def postgresql_figures(url: str, *, jobs: int, seconds: float) -> tuple[float, float]:
    """(jobs a second, commits a second)."""
    await migrate(url)
    async with open_database(url) as database:
        return await jobs_per_s(database, jobs=jobs, dispatchers=2), await commits_per_s(database, seconds=seconds)


def main() -> None:
    """Print the figures; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer jobs, shorter loops")
    parser.add_argument("--folder", type=Path, default=None, help="where the SQLite files go (a real disk, not tmpfs)")
    quick = (options := parser.parse_args()).quick
    jobs, seconds = (1_600, 2.0) if quick else (8_000, 8.0)
    figures: dict[str, float | None] = {}
    folder = Path(tempfile.mkdtemp(prefix="darkroom-bench-", dir=options.folder))
    try:
        for synchronous, name in (("FULL", "sqlite_full"), ("NORMAL", "sqlite_normal")):
            figures |= _pair(name, *asyncio.run(sqlite_figures(folder, synchronous, jobs=jobs, seconds=seconds / 4)))
        taken, plain = asyncio.run(submission_figures(folder, seconds=seconds))
        figures |= {"submit_p99_ms": round(p99(taken), 1), "submit_p50_ms": round(statistics.median(taken), 1)}
        figures["one_row_p99_ms"] = round(p99(plain), 1)
        latency = f"p50 {figures['submit_p50_ms']} ms, p99 {figures['submit_p99_ms']} ms"
        print(f"{'submit, 200/s':16} {latency}; one row: p99 {figures['one_row_p99_ms']} ms")
        figures |= _postgresql(jobs, seconds)
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)
    print(json.dumps(figures))


def _postgresql(jobs: int, seconds: float) -> dict[str, float | None]:
    if find_binaries() is None:
        print("no PostgreSQL here: its figure is left out", file=sys.stderr)
        return {"postgresql_per_s": None}
    with running_server(durable=True) as server:
        url = server.url(server.new_database())
        return _pair("postgresql", *asyncio.run(postgresql_figures(url, jobs=jobs, seconds=seconds / 4)))


def _pair(name: str, jobs: float, commits: float) -> dict[str, float | None]:
    print(f"{name:16} {jobs:7.0f} jobs/s; {commits:7.0f} commits of one row/s; ratio {jobs / commits:.2f}")
    return {f"{name}_per_s": round(jobs), f"{name}_commits_per_s": round(commits)}


if __name__ == "__main__":
    main()
