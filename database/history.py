"""What every move of a job leaves in the same transaction: a line of history, and deliveries for its channel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from database.one_trip import Part, write_parts
from database.rows import Row
from database.tables import ENDED, job_event, outbox
from jobs.ports import DeliveryKind

# In the order in which they are posted.
_DELIVERIES = {
    "done": (DeliveryKind.PICTURE, DeliveryKind.CLOSE),
    "failed": (DeliveryKind.FAILURE, DeliveryKind.CLOSE),
    "expired": (DeliveryKind.FAILURE, DeliveryKind.CLOSE),
    "quarantined": (DeliveryKind.FAILURE, DeliveryKind.CLOSE),
    "cancelled": (DeliveryKind.CLOSE,),
}


@dataclass(frozen=True, kw_only=True)
class Move:
    """A job's row after a move. ``was`` None: it is new. ``was`` its own state: a note, it did not move."""

    row: Row
    was: str | None
    actor: str
    detail: str | None = None
    kept: float | None = None
    """At an end: the part of the charge that stays."""
    facts: Mapping[str, Any] | None = None

    @property
    def deliveries(self) -> tuple[DeliveryKind, ...]:
        """What the move owes its channel."""
        if self.row["channel_id"] is None or self.was == self.row["state"]:
            return ()
        if self.was is None or (self.was in ENDED and self.row["state"] == "queued"):
            return (DeliveryKind.CARD,)
        return _DELIVERIES.get(self.row["state"], ())


async def record(tx: AsyncConnection, moves: Sequence[Move]) -> None:
    """Write history and deliveries of all moves, however many there are."""
    await write_parts(tx, record_of(moves))


def record_of(moves: Sequence[Move]) -> list[Part]:
    """History and deliveries of all moves, to be written with what they tell of."""
    owed = [_delivery(move.row, kind) for move in moves for kind in move.deliveries]
    return [Part(table=job_event, rows=[_line(move) for move in moves]), Part(table=outbox, rows=owed)]


def _line(move: Move) -> dict[str, object]:
    row = move.row
    return {
        "job_id": row["id"],
        "from_state": move.was,
        "to_state": row["state"],
        "generation": row["generation"],
        "epoch": row["epoch"],
        "actor": move.actor,
        "detail": move.detail,
        "kept": move.kept,
        "facts": move.facts,
    }


def _delivery(row: Row, kind: DeliveryKind) -> dict[str, object]:
    same = ("generation", "guild_id", "channel_id", "locale")
    return {"job_id": row["id"], "kind": kind.value, "part": 0, **{name: row[name] for name in same}}
