"""Measurements as JSON by name."""

from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import Database
from database.moments import now
from database.tables import measure
from database.upsert import upsert


class Measures:
    """What was learned. All methods raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remember(self, name: str, facts: dict[str, Any]) -> None:
        """Keep these in place of the former ones."""
        await self._database.write(partial(_put, name=name, facts=facts))

    async def recall(self, name: str) -> dict[str, Any] | None:
        """What was kept last."""
        return await self._database.read(partial(_get, name=name))


async def _put(tx: AsyncConnection, *, name: str, facts: dict[str, Any]) -> None:
    insert = upsert(tx, measure).values(name=name, facts=facts, at=now())
    await tx.execute(insert.on_conflict_do_update(index_elements=["name"], set_={"facts": insert.excluded.facts, "at": insert.excluded.at}))


async def _get(tx: AsyncConnection, *, name: str) -> dict[str, Any] | None:
    return (await tx.execute(select(measure.c.facts).where(measure.c.name == name))).scalar_one_or_none()
