"""Reading the queue: whole, for positions, or bounded, for a claim.

``state = 'queued'`` is written out in SQL, not bound: with a parameter neither database can prove that its partial
index fits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, RowMapping, Select, and_, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from database.moments import now
from database.rows import KINDS
from database.tables import job, person
from jobs.batch import BatchKey
from jobs.job import ACTIVE_MAX, UserId
from jobs.planner import QueueSnapshot, WaitingJob

_HEADS = ACTIVE_MAX + 2
"""Jobs of each person and model a claim looks at: more than anybody can be given."""

_ALONE_AFTER = 2
"""Lapsed leases after which a job runs by itself: one may have been the host's own absence."""

QUEUED: ColumnElement[bool] = job.c.state == literal_column("'queued'")
ACTIVE: ColumnElement[bool] = job.c.slot.is_not(None)

_WAITING = (job.c.seq, job.c.id, job.c.user_id, job.c.kind, job.c.model, job.c.width, job.c.height, job.c.lost)


@dataclass(frozen=True, kw_only=True)
class Claimable:
    """What a claim decides on: the queue's heads, and which slots are taken."""

    snapshot: QueueSnapshot
    taken: Mapping[UserId, frozenset[int]]


def _due() -> ColumnElement[bool]:
    held_back = or_(job.c.not_before.is_(None), job.c.not_before <= now())
    return and_(QUEUED, job.c.cancel_requested.is_(False), job.c.kind.in_(KINDS), held_back)


def whole_queue() -> Select:
    """Every waiting job and when its person was last served."""
    return select(*_WAITING, person.c.served).outerjoin(person, person.c.user_id == job.c.user_id).where(_due())


def heads() -> Select:
    """The first few jobs of each person and model, of those people who have a slot left."""
    full = select(job.c.user_id).where(ACTIVE).group_by(job.c.user_id).having(func.count() >= ACTIVE_MAX)
    nth = func.row_number().over(partition_by=(job.c.user_id, job.c.model), order_by=job.c.seq).label("nth")
    ranked = select(*_WAITING, nth).where(_due(), job.c.user_id.not_in(full)).subquery()
    first = select(ranked, person.c.served).outerjoin(person, person.c.user_id == ranked.c.user_id)
    return first.where(ranked.c.nth <= _HEADS)


async def read_queue(tx: AsyncConnection) -> QueueSnapshot:
    """The whole queue."""
    waiting = (await tx.execute(whole_queue())).mappings().all()
    return _snapshot(waiting, await _taken(tx))


async def read_claimable(tx: AsyncConnection) -> Claimable:
    """The heads, for a claim."""
    waiting = (await tx.execute(heads())).mappings().all()
    taken = await _taken(tx)
    return Claimable(snapshot=_snapshot(waiting, taken), taken=taken)


async def _taken(tx: AsyncConnection) -> dict[UserId, frozenset[int]]:
    taken: dict[UserId, frozenset[int]] = {}
    for user_id, slot in await tx.execute(select(job.c.user_id, job.c.slot).where(ACTIVE)):
        taken[user_id] = taken.get(user_id, frozenset()) | {slot}
    return taken


def _snapshot(rows: Sequence[RowMapping], taken: Mapping[UserId, frozenset[int]]) -> QueueSnapshot:
    return QueueSnapshot(
        waiting=tuple(_waiting(row) for row in sorted(rows, key=lambda row: row["seq"])),
        active={user_id: len(slots) for user_id, slots in taken.items()},
        served={row["user_id"]: row["served"] for row in rows if row["served"] is not None},
    )


def _waiting(row: RowMapping) -> WaitingJob:
    key = BatchKey(kind=row["kind"], model=row["model"], width=row["width"], height=row["height"])
    return WaitingJob(
        id=row["id"], user_id=row["user_id"], key=key, place=row["seq"], alone=row["lost"] >= _ALONE_AFTER
    )
