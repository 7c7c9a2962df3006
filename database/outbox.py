"""What is still to be posted, each row in one poster's hands at a time. :mod:`database.history` writes the rows."""

import hashlib
import logging
from base64 import b32encode
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from sqlalchemy import ColumnElement, Float, Integer, RowMapping, Select, and_, bindparam, exists, func, literal_column, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import Database
from database.moments import moment_from_now, now
from database.rows import storable
from database.tables import outbox
from jobs.errors import LeaseLost
from jobs.job import JobId, Place
from jobs.ports import Delivery, DeliveryKind

_log = logging.getLogger(__name__)

_KINDS = [kind.value for kind in DeliveryKind]
_REASON_MAX = 500


# Asked again and again, so built once: that costs more than running them.
_SENT_AS = select(outbox.c.message_id).where(
    outbox.c.job_id == bindparam("job"),
    outbox.c.generation == bindparam("gen"),
    outbox.c.kind == bindparam("what"),
    outbox.c.part == 0,
    outbox.c.state == "sent",
)
_MINE = and_(*(outbox.c[name] == bindparam(f"mine_{name}") for name in ("job_id", "generation", "kind", "part", "epoch")))
_SETTLE = update(outbox).where(_MINE, outbox.c.state == "sending")
_STATE_OF_MINE = select(outbox.c.state).where(_MINE)
_TAKEN = (
    update(outbox)
    .where(outbox.c.seq.in_(bindparam("seqs", expanding=True)))
    .values(
        state="sending",
        epoch=outbox.c.epoch + 1,
        attempts=outbox.c.attempts + 1,
        lease_until=moment_from_now(bindparam("lease_seconds", type_=Float)),
        first_try_at=func.coalesce(outbox.c.first_try_at, now()),
    )
)


def delivery_id(job_id: str, generation: int, kind: str, part: int) -> str:
    """The nonce and file stem of a delivery: 20 characters [a-z2-7], the same for good, another for each part."""
    digest = hashlib.sha256(f"{job_id}|{generation}|{kind}|{part}".encode()).digest()
    return b32encode(digest).decode().lower()[:20]


class SqlOutbox:
    """:class:`jobs.ports.Outbox` on SQLite or PostgreSQL. ``Delivery.attempts`` counts takes, this one included."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, *, limit: int, lease_seconds: float) -> list[Delivery]:
        """O1. See the port."""
        return await self._database.write(partial(_take, limit=limit, lease_seconds=lease_seconds))

    async def sent(self, delivery: Delivery, message_id: str) -> None:
        """O2. See the port."""
        values = {"state": "sent", "message_id": _plain(message_id), "reason": None}
        await self._database.write(partial(_settle, delivery=delivery, values=values))

    async def later(self, delivery: Delivery, *, delay_seconds: float, reason: str) -> None:
        """O3. See the port."""
        values = {"state": "pending", "not_before": moment_from_now(delay_seconds), "reason": _plain(reason)}
        await self._database.write(partial(_settle, delivery=delivery, values=values))

    async def dead(self, delivery: Delivery, reason: str) -> None:
        """O4. See the port."""
        values = {"state": "dead", "reason": _plain(reason)}
        await self._database.write(partial(_settle, delivery=delivery, values=values))

    async def message_of(self, job_id: JobId, generation: int, kind: DeliveryKind) -> str | None:
        """See the port."""
        if not storable(job_id):
            return None
        given = {"job": job_id, "gen": generation, "what": kind.value}
        return await self._database.read(partial(_first, query=_SENT_AS, given=given))

    async def pending(self) -> int:
        """See the port."""
        return await self._database.read(partial(_first, query=select(func.count()).where(_is_open(outbox))))


def _is_open(rows: Any) -> ColumnElement[bool]:
    """Written out, not bound, so that the partial indexes are used."""
    return rows.c.state.in_([literal_column("'pending'"), literal_column("'sending'")])


@cache  # building it costs more than running it, and every poster asks every second or so
def _due() -> Select:
    """Open rows whose time has come, whose poster (if any) let the lease lapse, and with no open row of the job before.

    A dead card is not open, so it does not hold up its picture.
    """
    earlier = outbox.alias("earlier")
    first = ~exists().where(earlier.c.job_id == outbox.c.job_id, earlier.c.seq < outbox.c.seq, _is_open(earlier))
    waits = and_(
        outbox.c.state == literal_column("'pending'"),
        or_(outbox.c.not_before.is_(None), outbox.c.not_before <= now()),
    )
    lapsed = and_(outbox.c.state == literal_column("'sending'"), outbox.c.lease_until < now())
    ours = outbox.c.kind.in_(_KINDS)  # a newer darkroom's kinds are its own to post
    query = select(outbox).where(_is_open(outbox), or_(waits, lapsed), ours, first).order_by(outbox.c.seq)
    # Rows are independent of each other once they are due, so posters need not wait for one another: they skip.
    return query.limit(bindparam("most", type_=Integer)).with_for_update(skip_locked=True, of=outbox)


async def _take(tx: AsyncConnection, *, limit: int, lease_seconds: float) -> list[Delivery]:
    rows = (await tx.execute(_due(), {"most": limit})).mappings().all()
    if rows:
        await tx.execute(_TAKEN, {"seqs": [row["seq"] for row in rows], "lease_seconds": lease_seconds})
    return [_delivery(row) for row in rows]


def _delivery(before: RowMapping) -> Delivery:
    """The delivery in its new taker's hands, with ``first_try_at`` as it was before."""
    name = (before["job_id"], before["generation"], before["kind"], before["part"])
    return Delivery(
        id=delivery_id(*name),
        job_id=JobId(before["job_id"]),
        generation=before["generation"],
        kind=DeliveryKind(before["kind"]),
        part=before["part"],
        epoch=before["epoch"] + 1,
        attempts=before["attempts"] + 1,
        place=Place(guild_id=before["guild_id"], channel_id=before["channel_id"], locale=before["locale"]),
        first_try_at=before["first_try_at"],
        message_id=before["message_id"],
    )


async def _settle(tx: AsyncConnection, *, delivery: Delivery, values: Mapping[str, Any]) -> None:
    """End this take. Raises LeaseLost, unless this very call took effect before and only its answer was lost."""
    given = {
        "mine_job_id": delivery.job_id,
        "mine_generation": delivery.generation,
        "mine_kind": delivery.kind.value,
        "mine_part": delivery.part,
        "mine_epoch": delivery.epoch,
    }
    if (await tx.execute(_SETTLE.values({**values, "lease_until": None}), given)).rowcount:
        return
    if await _first(tx, query=_STATE_OF_MINE, given=given) != values["state"]:
        raise LeaseLost(delivery.job_id, delivery.epoch)


async def _first(tx: AsyncConnection, *, query: Select, given: Mapping[str, Any] | None = None) -> Any:
    return (await tx.execute(query, given)).scalar_one_or_none()


def _plain(reason: str) -> str:
    """A reason may quote what a server sent."""
    return reason.replace("\0", "").encode("utf-8", "replace").decode()[:_REASON_MAX]


