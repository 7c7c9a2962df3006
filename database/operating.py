"""What operators do to jobs and workers: pause, resume, drain, move, ask again, refund, purge a person, and look at the whole ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.corrections import Refund, move, refund
from database.engine import Database
from database.gallery_store import ERASED, withdraw
from database.history import Move, record
from database.moments import moment_from_now, now
from database.queue import ALL_ACTIVE, QUEUED
from database.rows import job_of, jobs_of, storable
from database.tables import ENDED, input_picture, job, job_event, metadata, result, worker
from jobs.errors import JobNotFound
from jobs.job import Job, JobId, JobState, UserId

WorkerState = Literal["active", "paused", "draining"]
Lane = Literal["quick", "normal", "bulk"]

_FRESH: Mapping[str, Any] = {
    "state": JobState.QUEUED.value, "attempt": 0, "lost": 0, "suspect": 0, "died_on": None, "shunned": None, "refunds": 0,
    "cancel_requested": False, "failure": None, "making": None, "not_before": None, "started_at": None, "finished_at": None,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Purged:
    """What a purge took away. ``digests``: pictures that nobody else's row names."""

    jobs: int
    digests: tuple[str, ...]


class Operating:
    """The operator's hand on the ledger. All methods raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_worker(self, name: str, state: WorkerState) -> bool:
        """Let a worker rest or work again. False: no worker of that name was ever heard of."""
        if not storable(name):
            return False
        change = update(worker).where(worker.c.name == name).values(state=state, revised_at=now())
        return await self._database.write(partial(_touched, change=change))

    async def workers(self) -> dict[str, WorkerState]:
        """The state of every worker ever heard of."""
        rows = await self._database.read(lambda tx: tx.execute(select(worker.c.name, worker.c.state).order_by(worker.c.name)))
        return {row.name: row.state for row in rows}

    async def jobs(self, *, ended: bool, limit: int) -> list[Job]:
        """The newest jobs of everybody, those that have ended or those that have not; without their pictures."""
        return await self._database.read(partial(_newest, ended=ended, limit=limit))

    async def requeue(self, job_id: JobId, *, actor: str = "operator", live_seconds: float = 24 * 3600) -> Job:
        """T16. An ended job waits again, as a new generation: its deliveries get new names, so they are posted anew.

        Raises JobNotFound, also for a job that has not ended.
        """
        if not storable(job_id):
            raise JobNotFound(job_id)
        return await self._database.write(partial(_requeue, job_id=job_id, actor=actor, live_seconds=live_seconds))

    async def move(self, job_id: JobId, *, lane: Lane | None = None, only_on: str | None = None, actor: str = "operator") -> Job:
        """Let a waiting job wait in another lane, or for one worker ("" for any). Raises JobNotFound, DarkroomError("not_waiting")."""
        if not storable(job_id) or not storable(only_on or ""):
            raise JobNotFound(job_id)
        return await self._database.write(partial(move, job_id=job_id, lane=lane, only_on=only_on, actor=actor))

    async def refund(self, job_id: JobId, *, actor: str = "operator") -> Refund:
        """Give back what an ended job cost. Raises JobNotFound, DarkroomError("not_ended"), DarkroomError("refunded_already")."""
        if not storable(job_id):
            raise JobNotFound(job_id)
        return await self._database.write(partial(refund, job_id=job_id, actor=actor))

    async def purge(self, user_id: UserId) -> Purged:
        """Remove everything of a person: jobs, results, deliveries, history, accounts, inputs, sessions. Running ones lose their lease.

        What hangs in the gallery is taken down by the host that holds the gateway. The files are the caller's to remove: ``digests``.
        On SQLite the WAL is emptied too: it holds the words as well.
        """
        if not storable(user_id) or user_id == ERASED:  # the latter's rows are what still hangs of people already gone
            return Purged(jobs=0, digests=())
        purged = await self._database.write(partial(_purge, user_id=user_id))
        await self._database.flush_words()
        return purged


async def _newest(tx: AsyncConnection, *, ended: bool, limit: int) -> list[Job]:
    # Those that have not ended are few among many: sorted apart, or SQLite would walk back through all that ever ended.
    newest = job.c.seq.desc() if ended else (job.c.seq + 0).desc()
    kinds = [job.c.state.in_(ENDED)] if ended else [QUEUED, ALL_ACTIVE]
    rows = [row for which in kinds for row in (await tx.execute(select(job).where(which).order_by(newest).limit(limit))).mappings()]
    return jobs_of(sorted(rows, key=lambda row: -row["seq"])[:limit])


async def _touched(tx: AsyncConnection, *, change: Any) -> bool:
    return bool((await tx.execute(change)).rowcount)


async def _requeue(tx: AsyncConnection, *, job_id: JobId, actor: str, live_seconds: float) -> Job:
    before = (await tx.execute(select(job).where(job.c.id == job_id).with_for_update())).mappings().one_or_none()
    if before is None or before["state"] not in ENDED:
        raise JobNotFound(job_id)
    values = {
        **_FRESH,
        "generation": before["generation"] + 1,
        "epoch": before["epoch"] + 1,
        "version": before["version"] + 1,
        "queued_at": now(),
        "deadline": moment_from_now(live_seconds),
    }
    row = (await tx.execute(update(job).where(job.c.seq == before["seq"]).values(values).returning(job))).mappings().one()
    await record(tx, [Move(row=row, was=before["state"], actor=actor, detail="asked again")])
    return job_of(row)


async def _purge(tx: AsyncConnection, *, user_id: UserId) -> Purged:
    ids = list((await tx.execute(select(job.c.id).where(job.c.user_id == user_id).with_for_update())).scalars())
    made = select(result.c.sha256).join(job, job.c.id == result.c.job_id).where(job.c.user_id == user_id)
    given = select(input_picture.c.sha256).where(input_picture.c.user_id == user_id)
    digests = set((await tx.execute(made)).scalars()) | set((await tx.execute(given)).scalars())
    await erase_history(tx, ids)
    await withdraw(tx, user_id)
    for table in _tables_of_a_person():
        await tx.execute(delete(table).where(table.c.user_id == user_id))
    return Purged(jobs=len(ids), digests=tuple(sorted(digests - await still_named(tx, digests))))


async def erase_history(tx: AsyncConnection, ids: Sequence[str]) -> None:
    """Lines are replaced by one without a word of anybody, so that every host's line drops the job.

    The new ones first: SQLite gives the number of a deleted newest line out again, and nobody looks at a number twice.
    """
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        gone = {"from_state": None, "to_state": "purged", "generation": 0, "epoch": 0, "actor": "operator"}
        await tx.execute(insert(job_event), [{**gone, "job_id": job_id} for job_id in some])
        await tx.execute(delete(job_event).where(job_event.c.job_id.in_(some), job_event.c.to_state != gone["to_state"]))


def _tables_of_a_person() -> list[Any]:
    """Every table with a ``user_id``, jobs (with results and deliveries in their train) first."""
    others = [table for table in metadata.sorted_tables if "user_id" in table.c and table is not job]
    return [job, *others]


async def still_named(tx: AsyncConnection, digests: set[str]) -> set[str]:
    """Of these pictures those that some row still names."""
    if not digests:
        return set()
    made = select(result.c.sha256).where(result.c.sha256.in_(digests), result.c.removed_at.is_(None))
    given = select(input_picture.c.sha256).where(input_picture.c.sha256.in_(digests))
    named = set((await tx.execute(made)).scalars()) | set((await tx.execute(given)).scalars())
    live = select(job.c.order).where(job.c.state.not_in(ENDED), job.c.kind != "text_to_image")
    for order in (await tx.execute(live)).scalars():
        named |= {order.get("image"), order.get("mask")} & digests
    return named
