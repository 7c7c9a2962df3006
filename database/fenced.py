"""What lease holders write: fenced by the epoch, many jobs in one transaction, each failing alone.

However many writes come together, they cost one locking read and one trip of :mod:`database.one_trip`. A write that may
not be made is found on the row that was read, before anything is written, so it spoils nobody else's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from database.history import Move, record_of
from database.limits import remember_limits
from database.moments import now
from database.one_trip import Part, write_parts
from database.rows import Row, job_of, pictures_of
from database.tables import job, result
from jobs.errors import LeaseLost
from jobs.job import Job, JobState, Picture
from jobs.ports import RowLimit
from jobs.run import RunKey

FREED: Mapping[str, Any] = {
    "slot": None, "worker": None, "owner": None, "lease_until": None, "predicted": None, "charged": None, "dispatch": None,
}  # fmt: skip

_NEVER = datetime.min.replace(tzinfo=UTC)

Change = Callable[[Row, datetime], Mapping[str, Any]]
"""From the row of an active job and the database's now to the columns that change; empty: nothing is to be done."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a write settles the charge: what was executed of it, and whether the worker is to blame."""

    executed: float = 1.0
    """Of the charged cost, 0 to 2: what a done job measured, what a cancelled one had of it."""
    worker_to_blame: bool = False
    """Then the first loss of a job costs nothing. Later ones do: crashing a worker must not be free GPU time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Write:
    """One fenced write."""

    key: RunKey
    change: Change
    outcomes: frozenset[JobState]
    """States in which a repeated call of the same holder finds the job."""
    ending: Ending | None = None
    """None where the lease goes on."""
    detail: str | None = None
    pictures: tuple[Picture, ...] = ()
    limit: RowLimit | None = None
    """What the worker's memory was found to hold, remembered with it."""


async def write_all(tx: AsyncConnection, writes: Sequence[Write], owner: str) -> list[Job | Exception]:
    """For each write its job, or LeaseLost. A call that repeats one whose answer was lost gets the job as it left it."""
    rows, at = await _locked(tx, [write.key.job_id for write in writes])
    work = _Work(rows=rows, at=at, owner=owner)
    outcomes = [work.apply(write) for write in writes]
    await work.write(tx)
    known = await pictures_of(tx, [row for row in outcomes if isinstance(row, dict) and not work.is_new(row)])
    return [
        row if isinstance(row, Exception) else job_of(row, known.get(row["id"], work.made.get(row["id"], ())))
        for row in outcomes
    ]


# In the order of seq, so that two such reads never wait for each other crosswise.
_LOCKING = (
    select(job, now().label("at"))
    .where(job.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(job.c.seq)
    .with_for_update()
)


async def _locked(tx: AsyncConnection, ids: Sequence[str]) -> tuple[dict[str, Row], datetime]:
    found = (await tx.execute(_LOCKING, {"ids": sorted(set(ids))})).all()
    rows: dict[str, Row] = {row.id: dict(zip(_COLUMNS, row, strict=False)) for row in found}  # the last of a row is the time
    return rows, found[0].at if found else _NEVER


_COLUMNS = tuple(column.name for column in job.columns)


class _Work:
    """The rows as the writes leave them, one after another, and what has to be written for it."""

    def __init__(self, *, rows: dict[str, Row], at: datetime, owner: str) -> None:
        self._rows = rows
        self._owner = owner
        self._at = at
        self._changed: dict[str, dict[str, Any]] = {}
        self._moves: list[Move] = []
        self._results: list[dict[str, Any]] = []
        self._limits: list[RowLimit] = []
        self.made: dict[str, tuple[Picture, ...]] = {}

    def is_new(self, row: Row) -> bool:
        """Whether its pictures are of this very transaction."""
        return row["id"] in self.made

    def apply(self, write: Write) -> Row | Exception:
        """The row after the write, or what it may not."""
        before = self._rows.get(write.key.job_id)
        if before is None or before["epoch"] != write.key.epoch:
            return LeaseLost(write.key.job_id, write.key.epoch)
        if before["slot"] is None:
            # Already in one of its outcomes: by an earlier call of the same holder, whose answer was lost on the way.
            # Expiry raises the epoch, so a lapsed holder never gets here.
            return before if before["state"] in write.outcomes else LeaseLost(write.key.job_id, write.key.epoch)
        if before["owner"] not in (None, self._owner):  # another host has taken the run over under the same epoch
            return LeaseLost(write.key.job_id, write.key.epoch)
        values = dict(write.change(before, self._at))
        return self._apply(before, values, write) if values else before

    def _apply(self, before: Row, values: dict[str, Any], write: Write) -> Row:
        kept = None
        if write.ending is not None:
            kept, refunds = _kept(before, write.ending)
            values = {**FREED, "refunds": refunds, **values}
        values["version"] = before["version"] + 1
        after = {**before, **values}
        self._rows[before["id"]] = after
        self._changed.setdefault(before["id"], {}).update(values)
        facts = {"charged": before["charged"]} if kept is not None and before["charged"] else None
        self._moves.append(
            Move(row=after, was=before["state"], actor=before["worker"], detail=write.detail, kept=kept, facts=facts)
        )
        self._keep(before, write)
        return after

    def _keep(self, before: Row, write: Write) -> None:
        if write.pictures:
            same = {"job_id": before["id"], "generation": before["generation"]}
            self._results += [{**same, **vars(picture)} for picture in write.pictures]
            self.made[before["id"]] = tuple(sorted(write.pictures, key=lambda picture: picture.index))
        if write.limit is not None:
            self._limits.append(write.limit)

    async def write(self, tx: AsyncConnection) -> None:
        """One part a table; two for the jobs where some ended and others began."""
        by_columns: dict[frozenset[str], list[dict[str, Any]]] = {}
        for job_id, values in self._changed.items():
            by_columns.setdefault(frozenset(values), []).append({"seq": self._rows[job_id]["seq"], **values})
        changed = [Part(table=job, rows=rows, known=True) for rows in by_columns.values()]
        await write_parts(tx, [*changed, Part(table=result, rows=self._results), *record_of(self._moves)])
        await remember_limits(tx, self._limits)


def _kept(before: Row, ending: Ending) -> tuple[float, int]:
    """(the part of the charge that stays, refunds so far)."""
    if ending.worker_to_blame and before["refunds"] == 0:
        return 0.0, 1
    return min(max(ending.executed, 0.0), 2.0), before["refunds"]
