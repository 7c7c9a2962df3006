"""What a host's ledger says about each wish, read past our own code: plain SQL on the database file or server."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

_JOBS = 'SELECT id, state, failure, "order" FROM job'
_TOLD = "SELECT job_id, kind, state, message_id, channel_id FROM outbox"


@dataclass
class Told:
    """A row of the outbox."""

    kind: str
    state: str
    message_id: str | None
    channel_id: str


@dataclass
class Entry:
    """A job, and what was to be told about it."""

    id: str
    state: str
    failure: str
    prompt: str
    told: list[Told] = field(default_factory=list)


async def read_books(database_url: str, storage: Path) -> list[Entry]:
    """Every job with its deliveries; of SQLite's file in `storage` where no URL is given."""
    if database_url:
        connection = await asyncpg.connect(database_url.replace("postgresql+asyncpg://", "postgresql://"))
        try:
            return _entries(await connection.fetch(_JOBS), await connection.fetch(_TOLD))
        finally:
            await connection.close()
    file = sqlite3.connect(f"file:{storage / 'darkroom.sqlite3'}?mode=ro", uri=True)
    try:
        return _entries(file.execute(_JOBS).fetchall(), file.execute(_TOLD).fetchall())
    finally:
        file.close()


def _entries(jobs: Iterable[tuple[str, ...]], told: Iterable[tuple[str, ...]]) -> list[Entry]:
    entries = {row[0]: Entry(row[0], row[1], row[2] or "", str(json.loads(row[3])["prompt"])) for row in jobs}
    for row in told:
        entries[row[0]].told.append(Told(*tuple(row)[1:]))
    return list(entries.values())
