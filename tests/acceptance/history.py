"""The ledger's log, read past our own code and played again: how many jobs of one person were ever active at once."""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import asyncpg

# By number: whoever frees a slot writes its line before its commit, and whoever takes that slot writes after it.
_LINES = "SELECT e.job_id, j.user_id, e.from_state, e.to_state FROM job_event e LEFT JOIN job j ON j.id = e.job_id ORDER BY e.seq"
_ACTIVE = ("leased", "running")


@dataclass(frozen=True)
class Told:
    """A line of the log."""

    job_id: str
    user_id: str
    was: str | None
    state: str


async def read_history(database_url: str, storage: Path) -> list[Told]:
    """Every line in order; of SQLite's file in `storage` where no URL is given."""
    if database_url:
        connection = await asyncpg.connect(database_url.replace("postgresql+asyncpg://", "postgresql://"))
        try:
            return [Told(*row) for row in await connection.fetch(_LINES)]
        finally:
            await connection.close()
    file = sqlite3.connect(f"file:{storage / 'darkroom.sqlite3'}?mode=ro", uri=True)
    try:
        return [Told(*row) for row in file.execute(_LINES)]
    finally:
        file.close()


def third_active(lines: Iterable[Told]) -> int:
    """How often a lease gave somebody a third active job."""
    active: Counter[str] = Counter()
    thirds = 0
    for line in lines:
        before, after = line.was in _ACTIVE, line.state in _ACTIVE
        active[line.user_id] += after - before
        thirds += after and not before and active[line.user_id] > 2
    return thirds


def gaps(lines: Iterable[Told]) -> list[str]:
    """Lines that do not begin where the job's line before them ended."""
    state: dict[str, str] = {}
    broken: list[str] = []
    for line in lines:
        if state.get(line.job_id) != line.was:
            broken.append(f"{line.job_id}: {state.get(line.job_id)} before {line.was} → {line.state}")
        state[line.job_id] = line.state
    return broken
