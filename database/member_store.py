"""What is remembered of each person: :class:`bot.cogs.members.Members` on SQLite or PostgreSQL."""

import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from sqlalchemy import and_, delete, exists, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import Database, serialise
from database.gallery_store import withdraw
from database.moments import now
from database.operating import erase_history
from database.rows import jobs_of, picture_of, storable
from database.tables import ENDED, favourite, input_picture, job, job_event, outbox, preference, publication, result, session, strike
from database.upsert import upsert
from jobs.errors import InvalidRequest
from jobs.job import Job, JobId, Picture, UserId

CHOOSING = 14
"""The advisory lock's purpose: two changes of one person's choices do not undo each other."""

SCAN_MAX = 5_000
"""Jobs of one person that a search looks through, newest first."""

_ENDINGS = {"done": ("done",), "failed": ("failed", "expired", "quarantined")}


class SqlMemberStore:
    """Each method is one transaction; all raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def preferences(self, user_id: UserId) -> Mapping[str, Any]:
        """See the port."""
        query = select(preference.c.choices).where(preference.c.user_id == user_id)
        return await self._database.read(lambda tx: _scalar(tx, query)) or {}

    async def everybodys_preferences(self, *, limit: int) -> Mapping[UserId, Mapping[str, Any]]:
        """See the port."""
        query = select(preference.c.user_id, preference.c.choices).limit(limit)
        rows = await self._database.read(partial(_rows_of, query=query))
        return {UserId(row["user_id"]): row["choices"] or {} for row in rows}

    async def prefer(self, user_id: UserId, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """See the port. Raises InvalidRequest for text that no database takes."""
        if not storable(user_id) or not all(storable(str(value)) for value in changes.values()):
            raise InvalidRequest("invalid_field", field="settings", hint="")
        return await self._database.write(partial(_prefer, user_id=user_id, changes=changes))

    async def favour(self, user_id: UserId, job_id: JobId, *, favourite: bool) -> None:
        """See the port."""
        await self._database.write(partial(_favour, user_id=user_id, job_id=job_id, wanted=favourite))

    async def is_favourite(self, user_id: UserId, job_id: JobId) -> bool:
        """See the port."""
        query = select(favourite.c.job_id).where(favourite.c.user_id == user_id, favourite.c.job_id == job_id)
        return await self._database.read(lambda tx: _scalar(tx, query)) is not None

    async def search(
        self, user_id: UserId, *, words: str, model: str | None, favourites: bool, with_pictures: bool, skip: int, limit: int
    ) -> Sequence[Job]:
        """The person's jobs whose words hold every word asked for, newest first. See the port."""
        query = select(job).where(job.c.user_id == user_id).order_by(job.c.seq.desc()).limit(SCAN_MAX)
        if model is not None:
            query = query.where(job.c.model == model)
        if favourites:
            query = query.where(exists().where(favourite.c.user_id == user_id, favourite.c.job_id == job.c.id))
        if with_pictures:
            query = query.where(job.c.state == "done", exists().where(result.c.job_id == job.c.id, result.c.removed_at.is_(None)))
        wanted = words.casefold().split()
        return await self._database.read(partial(_search, query=query, wanted=wanted, skip=skip, limit=limit))

    async def turn_of(self, user_id: UserId, job_id: JobId, ending: Literal["done", "failed"]) -> tuple[int, int]:
        """See the port: both figures only grow, and are the same whenever they are asked for."""
        return await self._database.read(partial(_turn_of, user_id=user_id, job_id=job_id, endings=_ENDINGS[ending]))

    async def maker_of(self, sha256: str) -> JobId | None:
        """See the port."""
        query = select(result.c.job_id).where(result.c.sha256 == sha256).order_by(result.c.seq).limit(1)
        found = await self._database.read(lambda tx: _scalar(tx, query))
        return JobId(found) if found else None

    async def is_open(self, job_id: JobId) -> bool:
        """See the port."""
        query = select(func.count()).where(publication.c.job_id == job_id, publication.c.state == "posted", publication.c.show_prompt)
        return bool(await self._database.read(lambda tx: _scalar(tx, query)))

    async def discard(self, user_id: UserId, job_id: JobId) -> bool:
        """See the port. The files go when nothing refers to them any more."""
        return await self._database.write(partial(_discard, user_id=user_id, job_id=job_id))

    async def export(self, user_id: UserId) -> Mapping[str, Any]:
        """See the port."""
        return await self._database.read(partial(_export, user_id=user_id))

    async def erase(self, user_id: UserId) -> int:
        """See the port. On SQLite the WAL is emptied too: it holds the words as well."""
        erased = await self._database.write(partial(_erase, user_id=user_id))
        await self._database.flush_words()
        return erased


async def _scalar(tx: AsyncConnection, query: Any) -> Any:
    return (await tx.execute(query)).scalar_one_or_none()


async def _prefer(tx: AsyncConnection, *, user_id: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
    await serialise(tx, CHOOSING, zlib.crc32(user_id.encode()) - 2**31)
    before = await _scalar(tx, select(preference.c.choices).where(preference.c.user_id == user_id)) or {}
    choices = {name: value for name, value in {**before, **changes}.items() if value is not None}
    write = upsert(tx, preference).values(user_id=user_id, choices=choices, updated_at=now())
    again = {"choices": write.excluded.choices, "updated_at": write.excluded.updated_at}
    await tx.execute(write.on_conflict_do_update(index_elements=["user_id"], set_=again))
    return choices


async def _favour(tx: AsyncConnection, *, user_id: str, job_id: str, wanted: bool) -> None:
    if not wanted:
        await tx.execute(delete(favourite).where(favourite.c.user_id == user_id, favourite.c.job_id == job_id))
        return
    if await _scalar(tx, select(job.c.id).where(job.c.id == job_id)) is not None:
        await tx.execute(upsert(tx, favourite).values(user_id=user_id, job_id=job_id, made_at=now()).on_conflict_do_nothing())


async def _search(tx: AsyncConnection, *, query: Any, wanted: list[str], skip: int, limit: int) -> list[Job]:
    rows = (await tx.execute(query)).mappings().all()
    found = [row for row in rows if all(word in _text(row["order"]) for word in wanted)][skip : skip + limit]
    return jobs_of([{**row} for row in found], await _pictures(tx, [row["id"] for row in found]))


def _text(order: Mapping[str, Any]) -> str:
    """What a search looks at. In Python: the databases fold neither é nor Ñ alike, and the JSON is escaped."""
    loras = " ".join(use.get("name", "") for use in order.get("loras", ()))
    return f"{order.get('prompt', '')} {order.get('negative', '')} {order.get('model', '')} {loras}".casefold()


async def _pictures(tx: AsyncConnection, job_ids: Sequence[str]) -> dict[str, tuple[Picture, ...]]:
    pairs = select(job.c.id, job.c.generation).where(job.c.id.in_(job_ids))
    query = select(result).where(tuple_(result.c.job_id, result.c.generation).in_(pairs), result.c.removed_at.is_(None))
    found: dict[str, tuple[Picture, ...]] = {}
    for row in (await tx.execute(query.order_by(result.c.index))).mappings():
        found[row["job_id"]] = (*found.get(row["job_id"], ()), picture_of({**row}))
    return found


async def _turn_of(tx: AsyncConnection, *, user_id: str, job_id: str, endings: Sequence[str]) -> tuple[int, int]:
    this = (await tx.execute(select(job.c.seq, job.c.finished_at).where(job.c.id == job_id))).one_or_none()
    if this is None:
        return 0, 0
    mine = job.c.user_id == user_id
    asked = await _scalar(tx, select(func.count()).where(mine, job.c.seq < this.seq))
    if this.finished_at is None:
        return asked, 0
    before = or_(job.c.finished_at < this.finished_at, and_(job.c.finished_at == this.finished_at, job.c.seq < this.seq))
    return asked, await _scalar(tx, select(func.count()).where(mine, job.c.state.in_(endings), before))


async def _discard(tx: AsyncConnection, *, user_id: str, job_id: str) -> bool:
    mine = exists().where(job.c.id == result.c.job_id, job.c.user_id == user_id, job.c.state.in_(ENDED))
    gone = await tx.execute(delete(result).where(result.c.job_id == job_id, mine))
    return gone.rowcount > 0


async def _export(tx: AsyncConnection, *, user_id: str) -> dict[str, Any]:
    rows = (await tx.execute(select(job).where(job.c.user_id == user_id).order_by(job.c.seq))).mappings().all()
    shown = ("id", "state", "door", "order", "created_at", "started_at", "finished_at", "failure", "making")
    pictures = await _pictures(tx, [row["id"] for row in rows][-SCAN_MAX:])
    jobs = [{name: _plain(row[name]) for name in shown} | {"pictures": [_facts(p) for p in pictures.get(row["id"], ())]} for row in rows]
    tables = {"choices": preference, "favourites": favourite, "published": publication, "strikes": strike, "sessions": session}
    rest = {name: await _rows_of(tx, select(table).where(table.c.user_id == user_id)) for name, table in tables.items()}
    return {"person": user_id, "jobs": jobs, **rest}


async def _rows_of(tx: AsyncConnection, query: Any) -> list[dict[str, Any]]:
    return [{key: _plain(value) for key, value in row.items()} for row in (await tx.execute(query)).mappings()]


def _facts(picture: Picture) -> dict[str, Any]:
    return {"index": picture.index, "sha256": picture.sha256, "seed": picture.seed, "width": picture.width, "height": picture.height}


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


async def _erase(tx: AsyncConnection, *, user_id: str) -> int:
    """Every job with all that hangs on it: what waits is never made, what is being made loses its lease and is stopped."""
    found = (await tx.execute(select(job.c.id, job.c.state).where(job.c.user_id == user_id).with_for_update())).all()
    ids = [row.id for row in found]
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        for table in (result, outbox, favourite):
            await tx.execute(delete(table).where(table.c.job_id.in_(part)))
        # The log itself stays for whoever still reads it; it names nobody any more.
        await tx.execute(update(job_event).where(job_event.c.job_id.in_(part)).values(actor="erased", detail=None))
        await tx.execute(delete(job).where(job.c.id.in_(part)))
    await erase_history(tx, [row.id for row in found if row.state not in ENDED])  # so that every host's line drops them
    await withdraw(tx, user_id)
    # A strike that stands outlives the request to be forgotten, or it would be no strike; what was asked for goes.
    await tx.execute(update(strike).where(strike.c.user_id == user_id).values(wish={}))
    for table in (preference, favourite, input_picture):
        await tx.execute(delete(table).where(table.c.user_id == user_id))
    return len(ids)
