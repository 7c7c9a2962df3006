"""The ledger: every method one transaction, every write of a lease holder fenced by its epoch."""

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import RowMapping, Select, bindparam, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from database.adoption import adopt
from database.claim import Claimed, Outrun, Terms, claim, leased_by, take_over
from database.endings import accepting, cancelling, failing, finishing, retrying
from database.engine import Database, PassingOutage
from database.expiry import expire
from database.fenced import Write, write_all
from database.history import Move, record
from database.line_keeper import LineKeeper, Overtaken
from database.moments import moment_from_now, now
from database.queue import ACTIVE, ALL_ACTIVE, QUEUED
from database.rows import job_of, jobs_of, pictures_of, storable, values_of
from database.submitting import submit
from database.tables import ENDED, job
from database.together import Together
from jobs.errors import JobNotFound, StoreUnavailable
from jobs.fairness import Rules
from jobs.job import Failure, Job, JobId, JobState, Making, Picture, UserId
from jobs.line import Line
from jobs.ports import Decide, NewJob, RowLimit
from jobs.run import RunKey

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_SHARE = 64
"""Writes of lease holders in one commit at most."""
_TRIES = 5

# Asked again and again, so built once: that costs more than running them.
_BY_ID = select(job).where(job.c.id == bindparam("id"))
_RECENT = select(job).where(job.c.user_id == bindparam("user")).order_by(job.c.seq.desc()).limit(bindparam("limit"))


class SqlJobStore:
    """:class:`jobs.ports.JobStore` on SQLite or PostgreSQL. ``owner`` names the host whose runs it writes of."""

    def __init__(self, database: Database, *, owner: str = "here", rules: Rules | None = None) -> None:
        self._database = database
        self._owner = owner
        self._keeper = LineKeeper(rules)
        self._claiming = asyncio.Lock()
        self._looked_at = float("-inf")
        self._writes: Together[Write, Job] = Together(self._write_together, at_most=_SHARE)

    # -- doors ---------------------------------------------------------------------------------------------------------

    async def submit(self, new: NewJob, *, waiting_limit: int) -> tuple[Job, bool]:
        """T1. See the port. Raises InvalidRequest for text that no database takes."""
        values = values_of(new)
        return await self._database.write(partial(submit, new=new, values=values, limit=waiting_limit))

    async def get(self, job_id: JobId) -> Job | None:
        """See the port; None also for a job that only a newer darkroom can read."""
        if not storable(job_id):
            return None
        found = await self._database.read(partial(_jobs, query=_BY_ID, given={"id": job_id}))
        return found[0] if found else None

    async def recent(self, user_id: UserId, *, limit: int) -> list[Job]:
        """See the port."""
        if not storable(user_id):
            return []
        return await self._database.read(partial(_jobs, query=_RECENT, given={"user": user_id, "limit": limit}))

    async def request_cancel(self, job_id: JobId, user_id: UserId) -> Job:
        """T12 or the first half of T13. See the port."""
        if not (storable(job_id) and storable(user_id)):
            raise JobNotFound(job_id)
        return await self._database.write(partial(_request_cancel, job_id=job_id, user_id=user_id))

    async def cancel_waiting(self, user_id: UserId | None) -> list[Job]:
        """Cancel the waiting jobs of one person, or (None) of everybody, and return them; those being made go on."""
        return await self._database.write(partial(_cancel_waiting, user_id=user_id))

    # -- reading the queue ---------------------------------------------------------------------------------------------

    async def unfinished(self) -> list[Job]:
        """See the port."""
        return await self._database.read(_unfinished)

    async def adopt(self, worker: str, *, lease_seconds: float, but: Collection[RunKey] = ()) -> list[Job]:
        """T15. See the port."""
        work = partial(adopt, worker=worker, owner=self._owner, lease_seconds=lease_seconds, but=but)
        return await self._database.write(work)

    async def held_by(self, worker: str) -> list[Job]:
        """See the port."""
        query = select(job).where(ALL_ACTIVE, job.c.worker == worker).order_by(job.c.seq + 0)
        return await self._database.read(partial(_jobs, query=query))

    # -- leases --------------------------------------------------------------------------------------------------------

    async def claim(self, worker: str, decide: Decide, *, lease_seconds: float) -> list[Job]:
        """T2. See the port."""
        terms = Terms(worker=worker, owner=self._owner, dispatch=f"{random.getrandbits(104):026x}", lease_seconds=lease_seconds)
        async with self._claiming:
            return list((await self._claim(decide, terms)).jobs)

    async def look(self, question: Callable[[Line], _T], *, fresh: float = 1.0) -> _T:
        """See the port."""
        asked = _seconds()
        async with self._claiming:  # of those who wait here together, the first brings it up to date for all
            if self._keeper.line is None or asked - self._looked_at >= fresh:
                await self._claim(None, Terms(worker="", owner=self._owner, dispatch="", lease_seconds=0))
        return self.peek(question)

    def peek(self, question: Callable[[Line], _T]) -> _T:
        """See the port."""
        line = self._keeper.line
        if line is None:
            raise StoreUnavailable("the line is being read anew")
        with self._keeper.mutex:
            return question(line)

    async def _claim(self, decide: Decide | None, terms: Terms) -> Claimed:
        """Again where somebody was faster, or where nobody knows whether the commit took effect."""
        for attempt in range(_TRIES):
            begun = _seconds()
            try:
                await self._keeper.load(self._database)
                if attempt and terms.dispatch and (jobs := await self._database.read(partial(leased_by, dispatch=terms.dispatch))):
                    self._keeper.drop()  # the commit whose answer was lost
                    return Claimed(jobs=tuple(jobs), wrote=True)
                work = partial(claim, keeper=self._keeper, decide=decide, terms=terms)
                claimed = await self._database.write_once(work)
            except Outrun:
                continue  # the line is right up to its last look, and the next one shows who was faster
            except (Overtaken, PassingOutage, IntegrityError) as error:
                self._keeper.drop()
                if attempt + 1 == _TRIES:
                    raise
                _log.info("a claim is made again: %r", error)
                await asyncio.sleep(random.random() * 0.1 * 2**attempt)  # noqa: S311  (jitter, no secret)
            except BaseException:
                self._keeper.drop()
                raise
            else:
                take_over(self._keeper, claimed)
                self._looked_at = begun
                return claimed
        return Claimed()

    async def renew(self, keys: Sequence[RunKey], *, lease_seconds: float) -> tuple[set[RunKey], set[RunKey]]:
        """T4. See the port."""
        if not keys:
            return set(), set()
        return await self._database.write(partial(_renew, keys=keys, owner=self._owner, lease_seconds=lease_seconds))

    async def expire(self, *, lost_max: int) -> list[tuple[Job, Failure | None]]:
        """T9 and T14. See the port."""
        return await self._database.write(partial(expire, lost_max=lost_max))

    async def accept(self, key: RunKey) -> Job:
        """T3. See the port."""
        return await self._writes(accepting(key))

    async def finish(self, key: RunKey, pictures: Sequence[Picture], making: Making, *, executed: float = 1.0) -> Job:
        """T6. See the port."""
        return await self._writes(finishing(key, tuple(pictures), making, executed=executed))

    async def retry(
        self,
        key: RunKey,
        reason: Failure,
        *,
        delay_seconds: float,
        attempts_max: int | None,
        executed: float = 1.0,
        died: bool = False,
        shun: bool = False,
        limit: RowLimit | None = None,
    ) -> Job:
        """T7, T8, T11. See the port."""
        write = retrying(
            key,
            reason,
            delay_seconds=delay_seconds,
            attempts_max=attempts_max,
            executed=executed,
            died=died,
            shun=shun,
            limit=limit,
        )
        return await self._writes(write)

    async def fail(self, key: RunKey, failure: Failure, *, executed: float = 1.0) -> Job:
        """T10. See the port."""
        return await self._writes(failing(key, failure, executed=executed))

    async def cancelled(self, key: RunKey, *, executed: float = 1.0) -> Job:
        """T13. See the port."""
        return await self._writes(cancelling(key, executed=executed))

    async def _write_together(self, writes: Sequence[Write]) -> Sequence[Job | Exception]:
        """One commit for all. Where it cannot be made, each goes alone, and the one at fault fails; unless the database is away."""
        try:
            return await self._database.write(partial(write_all, writes=writes, owner=self._owner))
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  whatever one of them stumbled over: a rule, a value, our own code
            if len(writes) == 1:
                return [error]
            _log.warning("a commit of %d writes failed, each goes alone: %s", len(writes), type(error).__name__)
        return [(await self._write_together([write]))[0] for write in writes]


def _seconds() -> float:
    return asyncio.get_running_loop().time()


# -- reading -----------------------------------------------------------------------------------------------------------


async def _jobs(tx: AsyncConnection, *, query: Select, given: Mapping[str, Any] | None = None) -> list[Job]:
    rows = (await tx.execute(query, given)).mappings().all()
    return jobs_of(rows, await pictures_of(tx, rows))


async def _unfinished(tx: AsyncConnection) -> list[Job]:
    """On one snapshot; as two queries, because no index serves both halves at once."""
    waiting = await _jobs(tx, query=select(job).where(QUEUED))
    active = await _jobs(tx, query=select(job).where(ALL_ACTIVE))
    return sorted([*waiting, *active], key=lambda found: (found.created_at, found.id))


# -- cancel ------------------------------------------------------------------------------------------------------------


async def _request_cancel(tx: AsyncConnection, *, job_id: JobId, user_id: UserId) -> Job:
    before = await _locked(tx, job_id)
    if before is None or before["user_id"] != user_id:
        raise JobNotFound(job_id)
    if before["state"] in ENDED or before["cancel_requested"]:
        return job_of(before, (await pictures_of(tx, [before])).get(job_id, ()))
    values: dict[str, Any] = {"cancel_requested": True}
    if before["state"] == JobState.QUEUED:
        values |= {"state": JobState.CANCELLED.value, "finished_at": now()}
    row = await _change(tx, before, values)
    await record(tx, [Move(row=row, was=before["state"], actor=user_id, detail="cancel asked")])
    return job_of(row)


async def _cancel_waiting(tx: AsyncConnection, *, user_id: UserId | None) -> list[Job]:
    whose = QUEUED if user_id is None else QUEUED & (job.c.user_id == user_id)
    values: dict[str, Any] = {
        "state": JobState.CANCELLED.value,
        "cancel_requested": True,
        "version": job.c.version + 1,
        "finished_at": now(),
    }
    rows = (await tx.execute(update(job).where(whose).values(values).returning(job))).mappings().all()
    rows = sorted(rows, key=lambda row: row["seq"])
    await record(tx, [Move(row=row, was=JobState.QUEUED, actor="admin") for row in rows])
    return jobs_of(rows)


async def _locked(tx: AsyncConnection, job_id: JobId) -> RowMapping | None:
    return (await tx.execute(select(job).where(job.c.id == job_id).with_for_update())).mappings().one_or_none()


async def _change(tx: AsyncConnection, before: RowMapping, values: Mapping[str, Any]) -> RowMapping:
    """Write to a row locked in this transaction."""
    change = update(job).where(job.c.seq == before["seq"]).values({**values, "version": before["version"] + 1})
    return (await tx.execute(change.returning(job))).mappings().one()


async def _renew(
    tx: AsyncConnection, *, keys: Sequence[RunKey], owner: str, lease_seconds: float
) -> tuple[set[RunKey], set[RunKey]]:
    pairs = [(key.job_id, key.epoch) for key in keys]
    change = (
        update(job)
        .where(ACTIVE, tuple_(job.c.id, job.c.epoch).in_(pairs), or_(job.c.owner.is_(None), job.c.owner == owner))
        .values(lease_until=moment_from_now(lease_seconds))
        .returning(job.c.id, job.c.epoch, job.c.cancel_requested)
    )
    rows = (await tx.execute(change)).all()
    held = {RunKey(job_id=row.id, epoch=row.epoch) for row in rows}
    return held, {RunKey(job_id=row.id, epoch=row.epoch) for row in rows if row.cancel_requested}
