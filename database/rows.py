"""Between rows and the domain's words.

Rows may have been written by a newer darkroom: a state, kind or field this one does not know makes a row unreadable
here, and it is then left alone for whoever can read it. Lists skip it with a line in the log.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from database.tables import result
from jobs.batch import BatchKey
from jobs.errors import InvalidRequest
from jobs.job import Failure, Job, JobState, Lease, Making, Picture, Place
from jobs.ports import NewJob
from jobs.request import Order, RequestKind

_log = logging.getLogger(__name__)

Row = Mapping[Any, Any]
"""Columns by name: a row as it was read, or as it will be."""

_T = TypeVar("_T", Failure, Making)

KINDS: tuple[str, ...] = get_args(RequestKind)
"""The kinds of request this version understands."""

_KEY_MAX = 255
_ALONE_AFTER = 2


class UnreadableRow(ValueError):
    """Written by another version; names the job and what is not understood, never its content."""


def storable(text: str) -> bool:
    """Whether both databases take it: no NUL, no half of a surrogate pair."""
    return "\0" not in text and text.encode("utf-8", "ignore").decode() == text


def job_of(row: Row, pictures: tuple[Picture, ...] = ()) -> Job:
    """The job of a row. Raises UnreadableRow."""
    try:
        return Job(
            id=row["id"],
            user_id=row["user_id"],
            door=row["door"],
            order=Order.model_validate(row["order"]),
            state=JobState(row["state"]),
            lease=_lease(row),
            place=_place(row),
            failure=_known(Failure, row["failure"]),
            making=_known(Making, row["making"]),
            dispatch=row["dispatch"] or "",
            alone=is_alone(row),
            predicted=row["predicted"],
            pictures=pictures,
            **{name: row[name] for name in _SAME},
        )
    except ValidationError as error:
        names = ", ".join(".".join(map(str, part["loc"])) for part in error.errors(include_input=False))
        raise UnreadableRow(f"job {row['id']}: its order is not understood here ({names})") from None
    except (TypeError, ValueError) as error:
        raise UnreadableRow(f"job {row['id']}: {error}") from error


def jobs_of(rows: Iterable[Row], pictures: Mapping[str, tuple[Picture, ...]] | None = None) -> list[Job]:
    """The jobs of all rows that can be read."""
    jobs: list[Job] = []
    for row in rows:
        try:
            jobs.append(job_of(row, (pictures or {}).get(row["id"], ())))
        except UnreadableRow as error:
            _log.warning("left alone: %s", error)
    return jobs


_SAME = (
    "generation", "attempt", "lost", "epoch", "version", "created_at", "not_before", "started_at", "finished_at",
    "cancel_requested", "idempotency_key",
)  # fmt: skip


def is_alone(row: Row) -> bool:
    """Whether it runs without company: a worker died while it ran, or its lease lapsed twice (once may be the host's own absence)."""
    return row["suspect"] > 0 or row["lost"] >= _ALONE_AFTER


def batch_key_of(row: Row) -> BatchKey | None:
    """The strict batch key of a row, without the cost of checking its order; None for one that only a newer darkroom understands."""
    order = row["order"]
    if not isinstance(order, dict) or not order.keys() <= _KNOWN:
        unknown = ", ".join(sorted(set(order) - _KNOWN)) if isinstance(order, dict) else "all of it"
        _log.warning("left alone: job %s: its order is not understood here (%s)", row["id"], unknown[:200])
        return None
    try:
        if order.get("loras"):
            return BatchKey.of(Order.model_validate(order), strict=True)
        return BatchKey.of(Order.model_construct(None, **{**order, "loras": ()}), strict=True)
    except (ValidationError, AttributeError, TypeError):
        return None


_KNOWN = frozenset(Order.model_fields)


def _lease(row: Row) -> Lease | None:
    if row["slot"] is None:
        return None
    return Lease(worker=row["worker"], epoch=row["epoch"], until=row["lease_until"])


def _place(row: Row) -> Place | None:
    if row["channel_id"] is None:
        return None
    return Place(guild_id=row["guild_id"], channel_id=row["channel_id"], locale=row["locale"])


def _known(kind: type[_T], stored: Mapping[str, Any] | None) -> _T | None:
    """Built from the fields this version has; a newer one may have written more."""
    if stored is None:
        return None
    found = {field.name: stored[field.name] for field in fields(kind) if field.name in stored}
    if "notes" in found:
        found["notes"] = tuple(found["notes"])  # JSON has no tuples
    return kind(**found)


def values_of(new: NewJob) -> dict[str, Any]:
    """The columns of a new job, times aside. Raises InvalidRequest for text that no database takes."""
    _check(new)
    place = {} if new.place is None else asdict(new.place)
    order = new.order
    return {
        "id": new.id,
        "idempotency_key": new.idempotency_key,
        "user_id": new.user_id,
        "door": new.door,
        "kind": order.kind,
        "model": order.model,
        "width": order.width,
        "height": order.height,
        "order": order.model_dump(),
        "state": JobState.QUEUED.value,
        "count": order.rows,
        "lane": new.lane,
        "weight": new.weight,
        "cost": new.cost,
        "params_hash": order.params_hash,
        **place,
    }


def _check(new: NewJob) -> None:
    place = new.place
    texts = {
        "id": new.id,
        "user_id": new.user_id,
        "idempotency_key": new.idempotency_key,
        "model": new.order.model,
        "prompt": new.order.prompt,
        "negative": new.order.negative,
        "place": "" if place is None else f"{place.guild_id} {place.channel_id} {place.locale}",
    }
    for field, text in texts.items():
        if not storable(text):
            raise InvalidRequest("invalid_field", field=field, hint="Use plain text.")
    for field in ("id", "user_id", "idempotency_key"):
        if not 0 < len(texts[field]) <= _KEY_MAX:
            raise InvalidRequest("invalid_field", field=field, hint=f"1 to {_KEY_MAX}")


def same_wish(stored: Mapping[str, Any], new: NewJob) -> bool:
    """Whether a stored order is what ``new`` asks for; the seed may have been drawn anew."""
    return Order.model_validate({**stored, "seed": 0}) == new.order.model_copy(update={"seed": 0})


def picture_of(row: Row) -> Picture:
    """The picture of a result row."""
    return Picture(**{field.name: row[field.name] for field in fields(Picture)})


async def pictures_of(tx: AsyncConnection, rows: Sequence[Row]) -> dict[str, tuple[Picture, ...]]:
    """The pictures of these jobs' present generations, by job; asked only when one of them is done."""
    done = [(row["id"], row["generation"]) for row in rows if row["state"] == JobState.DONE]
    if not done:
        return {}
    query = select(result).where(tuple_(result.c.job_id, result.c.generation).in_(done)).order_by(result.c.index)
    pictures: dict[str, tuple[Picture, ...]] = {}
    for row in (await tx.execute(query)).mappings():
        pictures[row["job_id"]] = (*pictures.get(row["job_id"], ()), picture_of(row))
    return pictures
