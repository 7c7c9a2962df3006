"""What grows old is removed: pictures after days, jobs after weeks.

Never a picture that a live job, a delivery or a newer row names, nor one that its person keeps as a favourite or has published.
Of people whose last job is gone the accounts of service go too, where they say nothing: whoever comes back begins at the pool's
clock, and so does whoever stands below it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.claim import CLAIMING
from database.engine import Database, serialise, try_serialise
from database.moments import moment_from_now, now
from database.operating import still_named
from database.tables import ENDED, account, favourite, input_picture, job, job_event, outbox, pool, publication, result

RETAINING = 5
"""The advisory lock's purpose."""

_AT_ONCE = 300
_DAY = 24 * 3600.0

Keep = Callable[[], ColumnElement[bool]]
"""What else keeps a job and its pictures: a condition over the job table."""


@dataclass(frozen=True, kw_only=True)
class Ages:
    """Days. 0 keeps for ever."""

    pictures: float = 7.0
    jobs: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Swept:
    """One round. ``digests``: files that no row names any more; ``more``: another round would find more."""

    pictures: int = 0
    jobs: int = 0
    accounts: int = 0
    digests: tuple[str, ...] = ()
    more: bool = False


def is_treasured() -> ColumnElement[bool]:
    """Whether somebody holds the job as a favourite, or a picture of it hangs in the gallery."""
    liked = exists().where(favourite.c.job_id == job.c.id)
    hanging = exists().where(publication.c.job_id == job.c.id, publication.c.state != "undone")
    return or_(liked, hanging)


async def sweep(database: Database, ages: Ages, *, keep: Keep | None = is_treasured) -> Swept:
    """One bounded round; the files named in its answer are the caller's to remove. Raises StoreUnavailable."""
    return await database.write(partial(_sweep, ages=ages, keep=keep))


async def _sweep(tx: AsyncConnection, *, ages: Ages, keep: Keep | None) -> Swept:
    if not await try_serialise(tx, RETAINING):
        return Swept()  # another host is at it
    kept = [] if keep is None else [~keep()]
    digests, pictures = await _old_pictures(tx, ages.pictures, kept) if ages.pictures else (set(), 0)
    inputs = await _old_inputs(tx, ages.pictures) if ages.pictures else set()
    jobs = await _old_jobs(tx, ages.jobs, kept) if ages.jobs else 0
    accounts = await _idle_accounts(tx) if ages.jobs else 0
    unnamed = (digests | inputs) - await still_named(tx, digests | inputs)
    more = max(pictures, jobs, len(inputs), accounts) >= _AT_ONCE
    return Swept(pictures=pictures, jobs=jobs, accounts=accounts, digests=tuple(sorted(unnamed)), more=more)


async def _old_pictures(tx: AsyncConnection, days: float, kept: list[ColumnElement[bool]]) -> tuple[set[str], int]:
    posting = exists().where(outbox.c.job_id == job.c.id, outbox.c.state.in_(("pending", "sending")))
    old = (
        select(result.c.seq, result.c.sha256)
        .join(job, job.c.id == result.c.job_id)
        .where(result.c.removed_at.is_(None), job.c.finished_at < moment_from_now(-days * _DAY), job.c.state.in_(ENDED), ~posting, *kept)
        .limit(_AT_ONCE)
    )
    rows = (await tx.execute(old)).all()
    if rows:
        await tx.execute(update(result).where(result.c.seq.in_([row.seq for row in rows])).values(removed_at=now()))
    return {row.sha256 for row in rows}, len(rows)


async def _idle_accounts(tx: AsyncConnection) -> int:
    """Accounts at or below their pool's clock, of people without a job. What hosts still have of them in memory says the same."""
    gone = 0
    for row in (await tx.execute(select(pool.c.id, pool.c.v, pool.c.facts))).all():
        level = row.v - (row.facts or {}).get("shift", 0.0)
        idle = (account.c.pool == row.id, account.c.v <= level, ~exists().where(job.c.user_id == account.c.user_id))
        users = list((await tx.execute(select(account.c.user_id).where(*idle).limit(_AT_ONCE - gone))).scalars())
        if users:
            await serialise(tx, CLAIMING)  # and only now looked at for good: a claim may have charged one of them meanwhile
            gone += (await tx.execute(delete(account).where(*idle, account.c.user_id.in_(users)))).rowcount
        if gone >= _AT_ONCE:
            break
    return gone


async def _old_inputs(tx: AsyncConnection, days: float) -> set[str]:
    old = select(input_picture.c.user_id, input_picture.c.sha256).where(input_picture.c.last_used < moment_from_now(-days * _DAY))
    rows = (await tx.execute(old.limit(_AT_ONCE))).all()
    live = select(job.c.order).where(job.c.state.not_in(ENDED), job.c.kind != "text_to_image")
    named = {order.get(field) for order in (await tx.execute(live)).scalars() for field in ("image", "mask")}
    gone = [row for row in rows if row.sha256 not in named]
    for row in gone:
        mine = (input_picture.c.user_id == row.user_id, input_picture.c.sha256 == row.sha256)
        await tx.execute(delete(input_picture).where(*mine))
    return {row.sha256 for row in gone}


async def _old_jobs(tx: AsyncConnection, days: float, kept: list[ColumnElement[bool]]) -> int:
    """Jobs whose pictures are gone, with their history; the newest line of the log stays, so that its numbers never begin anew."""
    posting = exists().where(outbox.c.job_id == job.c.id, outbox.c.state.in_(("pending", "sending")))
    pictured = exists().where(result.c.job_id == job.c.id, result.c.removed_at.is_(None))
    old = select(job.c.id).where(job.c.finished_at < moment_from_now(-days * _DAY), job.c.state.in_(ENDED), ~posting, ~pictured, *kept)
    ids = list((await tx.execute(old.limit(_AT_ONCE))).scalars())
    if ids:
        newest = (await tx.execute(select(func.max(job_event.c.seq)))).scalar_one()
        await tx.execute(delete(job_event).where(job_event.c.job_id.in_(ids), job_event.c.seq != newest))
        await tx.execute(delete(job).where(job.c.id.in_(ids)))
    return len(ids)
