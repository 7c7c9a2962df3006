"""This process's line, and how much of the ledger it contains.

The line changes in memory while a claim's transaction goes on. A commit that fails leaves a line of which nobody knows whether it is
true, so it is dropped and read anew; so is one that another host overtook while ours held changes that were never stored.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncConnection

from database.books import read_changes, read_pool_ids
from database.engine import Database
from database.fleet_memory import read_fleet
from database.limits import read_limits
from database.log import AT_ONCE, CLOCK, JOB_COLUMNS, disown_foreign_numbers, read_news, read_position
from database.moments import now
from database.queue import ALL_ACTIVE, QUEUED
from database.rows import KINDS, Row, batch_key_of, is_alone
from database.tables import claim_clock, job
from jobs.abilities import Abilities
from jobs.batch import BatchKey
from jobs.fairness import Changes, Rules
from jobs.job import JobId, UserId
from jobs.line import ActiveJob, Line, WaitingJob

_log = logging.getLogger(__name__)

_CHUNK = 20_000
_LIMITS_EVERY = 60.0
"""Seconds after which limits that other hosts found are read again."""
_UNKNOWN_COST = 10.0
"""Seconds for a job that an older host wrote without its cost."""


class Overtaken(Exception):
    """The line does not know everything it should: read it anew and begin again."""


class LineKeeper:
    """Keeps one line. Its owner lets only one claim at a time near it."""

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._line: Line | None = None
        self._seen = ""
        self._stamp = -1
        self._dirty = False
        self._is_new = False
        """Read anew and told nothing yet."""
        self._limits_at = float("-inf")
        self.mutex = threading.RLock()
        """Held wherever the line is read or changed: a claim may do it on another thread. Never held while something is awaited."""
        self._fleet: object = None
        self.resting: frozenset[str] = frozenset()
        """Workers that the operator has paused or drains: nothing is claimed for them."""

    @property
    def line(self) -> Line | None:
        """As of the last look; None before the first."""
        return self._line

    @property
    def next_stamp(self) -> int:
        """The number of the claim that is being made."""
        return self._stamp + 1

    @property
    def seen(self) -> str:
        """The part of the log that the line contains."""
        return self._seen

    @property
    def dirty(self) -> bool:
        """Whether the accounts contain more of the log than is stored."""
        return self._dirty

    def drop(self) -> None:
        """Forget the line: the next look reads everything."""
        self._line = None

    def committed(self, *, wrote: bool) -> None:
        """What the line holds is what the ledger holds."""
        self._dirty = False
        if wrote:
            self._stamp += 1

    async def load(self, database: Database) -> None:
        """Read the queue, if the line is not there, on one snapshot and outside any lock."""
        if self._line is None:
            if database.is_postgresql:
                await database.write(disown_foreign_numbers)
            await database.read(self._load)

    async def catch_up(self, tx: AsyncConnection) -> Line:
        """Bring the line up to date, under the claim's lock. Raises Overtaken."""
        line = self._line
        if line is None:
            raise Overtaken
        news = await read_news(tx, self._seen)
        first = news[0]
        stamp = -1 if first["stamp"] is None else first["stamp"]
        if len(news) >= AT_ONCE:
            raise Overtaken
        theirs = await self._of_others(tx, line, stamp) if stamp != self._stamp else None
        fleet = await read_fleet(tx) if first["fleet"] != self._fleet else None
        present = first["present"].timestamp()
        limits = await read_limits(tx) if present - self._limits_at > _LIMITS_EVERY else None
        with self.mutex:  # from here on nothing is awaited: who reads the line sees it before or after, never between
            self._take(line, news, theirs, fleet, limits)
        return line

    def _take(
        self,
        line: Line,
        news: Sequence[RowMapping],
        theirs: tuple[Changes, dict[str, float]] | None,
        fleet: tuple[Abilities, frozenset[str]] | None,
        limits: dict[tuple[str, BatchKey], int] | None,
    ) -> None:
        first = news[0]
        if theirs is not None:
            line.replace(theirs[0], forced_at=theirs[1])
            self._stamp = first["stamp"]
        self._dirty = self._dirty or first["event"] is not None or first["stamp"] is None
        line.wake(first["present"].timestamp())
        if fleet is not None:
            abilities, self.resting = fleet
            line.resting = self.resting
            line.realign(abilities)
            self._fleet = first["fleet"]
        _tell(line, news)
        if self._is_new:
            # Jobs were read as they are now, so nothing of the news, and no end of a back-off, was seen to begin: it begins here.
            woken = {waiting.user_id for waiting in line.waiting.values() if waiting.not_before is not None}
            line.begins(woken | {UserId(event["j_user_id"]) for event in news if event["fresh"] and event["j_user_id"] is not None})
            self._is_new = False
        self._seen = first["position"]
        if limits is not None:
            line.limits, self._limits_at = limits, line.now

    async def _of_others(self, tx: AsyncConnection, line: Line, stamp: int) -> tuple[Changes, dict[str, float]]:
        if self._dirty or stamp < self._stamp:
            raise Overtaken
        changes, forced_at = await read_changes(tx, after=self._stamp)
        gone = line.books.pools.keys() - await read_pool_ids(tx)
        return Changes(accounts=changes.accounts, pools=changes.pools, gone=tuple(gone)), forced_at

    async def _load(self, tx: AsyncConnection) -> None:
        clock = (await tx.execute(select(claim_clock).where(claim_clock.c.name == CLOCK))).mappings().one_or_none()
        self._stamp = -1 if clock is None else clock["stamp"]
        # The accounts contain the log up to there; what came after is told again, which changes nothing else.
        self._seen = await read_position(tx) if clock is None else clock["applied"]
        present = (await tx.execute(select(now()))).scalar_one().timestamp()
        changes, forced_at = await read_changes(tx, after=-1)
        abilities, self.resting = await read_fleet(tx)
        self._fleet = None  # the first look under the lock looks at it again
        line = Line(self._rules)
        line.load(
            waiting=await _waiting_jobs(tx),
            active=[_active(row) for row in await _rows(tx, ALL_ACTIVE)],
            accounts=changes.accounts,
            pools=changes.pools,
            forced_at=forced_at,
            abilities=abilities,
            now=present,
        )
        line.resting = self.resting
        line.limits, self._limits_at = await read_limits(tx), present
        self._line, self._dirty, self._is_new = line, False, True


async def _waiting_jobs(tx: AsyncConnection) -> list[WaitingJob]:
    """In portions, so that a million rows never are in memory beside what is made of them."""
    jobs: list[WaitingJob] = []
    last = -1
    while rows := await _rows(tx, QUEUED & (job.c.seq > last), limit=_CHUNK):
        jobs += [_waiting(row) for row in rows if _is_claimable(row)]
        last = rows[-1]["seq"]
    return jobs


async def _rows(tx: AsyncConnection, which: Any, *, limit: int | None = None) -> Sequence[RowMapping]:
    query = select(*(job.c[name] for name in JOB_COLUMNS)).where(which)
    # Sorted apart: in the order of its rows SQLite would walk through all that ever ended.
    query = query.order_by(job.c.seq if limit is not None else job.c.seq + 0).limit(limit)
    return (await tx.execute(query)).mappings().all()


def _tell(line: Line, news: Sequence[RowMapping]) -> None:
    """First every charge that ended, in the order of the log; then each job as it is now."""
    latest: dict[str, RowMapping] = {}
    for event in news:
        if event["event"] is None:
            continue
        latest[event["event_job"]] = event
        if event["kept"] is not None:
            _end(line, event["event_job"], event)
    for job_id, event in latest.items():
        _set(line, job_id, event, settled=not event["fresh"])


_LABELS = tuple((name, f"j_{name}") for name in JOB_COLUMNS)


def _row_of(event: RowMapping) -> Row | None:
    return {name: event[label] for name, label in _LABELS} if event["j_id"] is not None else None


def _end(line: Line, job_id: str, event: RowMapping) -> None:
    charged = (event["facts"] or {}).get("charged") or {}
    if job_id not in line.active and charged and event["fresh"] and (row := _row_of(event)) is not None:
        # Leased by another host and ended since our last look: its charge is known from the log alone.
        line.holds(_active({**row, "charged": charged, "worker": ""}))
    line.ends(JobId(job_id), event["kept"], settled=not event["fresh"])


def _set(line: Line, job_id: str, event: RowMapping, *, settled: bool) -> None:
    state = event["j_state"]  # None: the job is gone
    if state in ("leased", "running"):
        if not _holds_already(line, job_id, event) and (row := _row_of(event)) is not None:
            line.holds(_active(row))
        return
    if job_id in line.active:  # it ended without a word on its charge, by an older host's hand
        line.ends(JobId(job_id), 1.0, settled=settled)
    row = _row_of(event) if state == "queued" else None
    if row is not None and _is_claimable(row):
        # Of a back-off the log tells the beginning alone: whoever reads of it after its end is the first to see that end.
        line.waits(_waiting(row), settled=settled and row["not_before"] is None)
    else:
        line.leaves(JobId(job_id))


def _holds_already(line: Line, job_id: str, event: RowMapping) -> bool:
    """Our own claims tell the line when they are committed; the log tells them once more."""
    known = line.active.get(JobId(job_id))
    return known is not None and (known.worker, known.charged, known.predicted) == (
        event["j_worker"], event["j_charged"], event["j_predicted"]
    )  # fmt: skip


def _is_claimable(row: Row) -> bool:
    """Not one that only a newer darkroom understands, nor one whose cancel was asked."""
    return row["kind"] in KINDS and not row["cancel_requested"] and batch_key_of(row) is not None


def _waiting(row: Row) -> WaitingJob:
    key = batch_key_of(row)
    assert key is not None
    return WaitingJob(
        id=JobId(row["id"]),
        user_id=UserId(row["user_id"]),
        key=key,
        place=row["seq"],
        cost=row["cost"] or _UNKNOWN_COST,
        rows=row["count"],
        lane=row["lane"] or "normal",
        weight=row["weight"] or 1.0,
        queued_at=(row["queued_at"] or row["created_at"]).timestamp(),
        not_before=None if row["not_before"] is None else row["not_before"].timestamp(),
        alone=is_alone(row),
        exclude=_excluded(row),
    )


def _active(row: Row) -> ActiveJob:
    plain = BatchKey(kind=row["kind"], model=row["model"], width=row["width"], height=row["height"])
    key = batch_key_of(row) or plain  # a newer host's job takes its place here too
    return ActiveJob(
        id=JobId(row["id"]),
        user_id=UserId(row["user_id"]),
        key=key,
        worker=row["worker"],
        charged=row["charged"] or {},
        predicted=row["predicted"] or 0.0,
        exclude=_excluded(row),
    )


def _excluded(row: Row) -> frozenset[str]:
    return frozenset(row["shunned"] or ())
