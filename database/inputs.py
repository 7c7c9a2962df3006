"""Whose pictures may be started from: a digest is no secret, so naming one is not owning it."""

from functools import partial

from sqlalchemy import select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import Database
from database.moments import now
from database.rows import storable
from database.tables import input_picture, job, result
from database.upsert import upsert
from jobs.errors import InvalidRequest
from jobs.job import InputPicture, UserId
from jobs.request import Order


class InputMemory:
    """Pictures that people gave, by person and digest."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, user_id: UserId, picture: InputPicture) -> None:
        """This person gave this picture; its bytes are in the PictureStore already. Raises StoreUnavailable."""
        if not storable(user_id):
            raise InvalidRequest("invalid_field", field="user_id", hint="Use plain text.")
        await self._database.write(partial(_keep, user_id=user_id, picture=picture))

    async def may_use(self, user_id: UserId, sha256: str) -> bool:
        """Whether it is an input of theirs, or a picture that was made for them. Raises StoreUnavailable."""
        if not (storable(user_id) and storable(sha256)):
            return False
        return sha256 in await self._database.read(partial(_allowed, user_id=user_id, digests=(sha256,)))


async def check_inputs(tx: AsyncConnection, user_id: UserId, order: Order) -> None:
    """Raises InvalidRequest where the order names a picture that is not this person's; marks those it names as used."""
    if not order.inputs:
        return
    allowed = await _allowed(tx, user_id=user_id, digests=order.inputs)
    for field in ("image", "mask"):
        digest = getattr(order, field)
        if digest is not None and digest not in allowed:
            raise InvalidRequest("missing_input", field=field)
    mine = (input_picture.c.user_id == user_id, input_picture.c.sha256.in_(order.inputs))
    await tx.execute(update(input_picture).where(*mine).values(last_used=now()))


async def _allowed(tx: AsyncConnection, *, user_id: UserId, digests: tuple[str, ...]) -> set[str]:
    given = select(input_picture.c.sha256).where(input_picture.c.user_id == user_id, input_picture.c.sha256.in_(digests))
    made = (
        select(result.c.sha256)
        .join(job, job.c.id == result.c.job_id)
        .where(job.c.user_id == user_id, result.c.sha256.in_(digests), result.c.removed_at.is_(None))
    )
    return set((await tx.execute(union(given, made))).scalars())


async def _keep(tx: AsyncConnection, *, user_id: UserId, picture: InputPicture) -> None:
    values = {"user_id": user_id, "sha256": picture.sha256, "width": picture.width, "height": picture.height}
    insert = upsert(tx, input_picture).values(values)
    await tx.execute(insert.on_conflict_do_update(index_elements=["user_id", "sha256"], set_={"last_used": now()}))
