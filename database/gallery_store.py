"""What was published, and who liked it: :class:`bot.cogs.gallery.store.Gallery` on SQLite or PostgreSQL."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import RowMapping, Select, Update, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import Database
from database.moments import now
from database.tables import publication, vote
from database.upsert import upsert

ERASED = "erased"
"""Instead of the person whose everything was removed: what of them hangs is still to be taken down, so its row stays until it is."""


class SqlGalleryStore:
    """Each method is one transaction; all raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, values: Mapping[str, Any]) -> tuple[int, str]:
        """Note that a picture is about to be published: (its number for good, the state it was in before, "" when new).

        One that was taken back may be published again, under its old number.
        """
        return await self._database.write(partial(_begin, values=values))

    async def posted(self, seq: int, message_id: str) -> bool:
        """It hangs there now. False when it is not to hang any more: it was taken back meanwhile."""
        return await self._move(seq, ("posting", "posted"), state="posted", message_id=message_id)

    async def taking(self, seq: int) -> None:
        """It is about to be taken from the wall."""
        await self._move(seq, ("posting", "posted"), state="taking")

    async def undone(self, seq: int) -> None:
        """It was taken back. Of somebody who was erased not even that is remembered."""
        await self._database.write(partial(_undone, seq=seq))

    async def unfinished(self) -> list[Mapping[str, Any]]:
        """What a process left between two steps: about to be hung, or to be taken down."""
        query = select(publication).where(publication.c.state.in_(("posting", "taking"))).order_by(publication.c.seq)
        return [{**row} for row in await self._database.read(partial(_rows, query=query))]

    async def get(self, seq: int) -> Mapping[str, Any] | None:
        """One publication with its votes, or None."""
        votes = select(func.count()).where(vote.c.publication == seq).scalar_subquery()
        row = await self._database.read(partial(_row, query=select(publication, votes.label("votes")).where(publication.c.seq == seq)))
        return {**row} if row else None

    async def of_job(self, job_id: str) -> list[Mapping[str, Any]]:
        """What of a job hangs in a gallery now."""
        query = select(publication).where(publication.c.job_id == job_id, publication.c.state != "undone")
        return [{**row} for row in await self._database.read(partial(_rows, query=query))]

    async def vote(self, seq: int, user_id: str) -> tuple[int, bool]:
        """Give or take back one's vote: (votes now, whether one's own is among them)."""
        return await self._database.write(partial(_vote, seq=seq, user_id=user_id))

    async def _move(self, seq: int, before: Sequence[str], **values: Any) -> bool:
        where = (publication.c.seq == seq, publication.c.state.in_(before))
        return await self._database.write(partial(_update, query=update(publication).where(*where).values(**values)))


async def _row(tx: AsyncConnection, *, query: Select) -> RowMapping | None:
    return (await tx.execute(query)).mappings().one_or_none()


async def _rows(tx: AsyncConnection, *, query: Select) -> list[RowMapping]:
    return list((await tx.execute(query)).mappings().all())


async def _update(tx: AsyncConnection, *, query: Update) -> bool:
    return (await tx.execute(query)).rowcount > 0


async def _undone(tx: AsyncConnection, *, seq: int) -> None:
    await tx.execute(delete(publication).where(publication.c.seq == seq, publication.c.user_id == ERASED))
    hangs = publication.c.state.in_(("posting", "posted", "taking"))
    await tx.execute(update(publication).where(publication.c.seq == seq, hangs).values(state="undone"))


async def withdraw(tx: AsyncConnection, user_id: str) -> None:
    """Everything that a person published is to be taken down by whoever holds the gateway; nothing in its rows tells whose it was."""
    theirs = publication.c.user_id == user_id
    await tx.execute(delete(vote).where(or_(vote.c.user_id == user_id, vote.c.publication.in_(select(publication.c.seq).where(theirs)))))
    await tx.execute(delete(publication).where(theirs, publication.c.state == "undone"))
    nameless = {"state": "taking", "user_id": ERASED, "show_prompt": False, "allow_remix": False}
    await tx.execute(update(publication).where(theirs).values(nameless))


async def _begin(tx: AsyncConnection, *, values: Mapping[str, Any]) -> tuple[int, str]:
    same = (publication.c.job_id == values["job_id"], publication.c.index == values["index"])
    insert = upsert(tx, publication).values({**values, "state": "posting", "made_at": now()}).on_conflict_do_nothing()
    made = (await tx.execute(insert.returning(publication.c.seq))).scalar_one_or_none()
    if made is not None:
        return made, ""
    row = (await tx.execute(select(publication.c.seq, publication.c.state).where(*same).with_for_update())).one()
    if row.state in ("posting", "undone"):
        changed = {**values, "state": "posting", "made_at": now()}
        await tx.execute(update(publication).where(publication.c.seq == row.seq).values(changed))
    return row.seq, row.state


async def _vote(tx: AsyncConnection, *, seq: int, user_id: str) -> tuple[int, bool]:
    mine = (vote.c.publication == seq, vote.c.user_id == user_id)
    gone = await tx.execute(delete(vote).where(*mine))
    given = not gone.rowcount
    if given:
        await tx.execute(upsert(tx, vote).values(publication=seq, user_id=user_id).on_conflict_do_nothing())
    count = (await tx.execute(select(func.count()).where(vote.c.publication == seq))).scalar_one()
    return count, given
