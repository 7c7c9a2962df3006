"""What each worker offered when last heard, so that a host started while its workers are down knows their models."""

import logging
from collections.abc import Sequence
from functools import partial

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import Database
from database.moments import now
from database.rows import storable
from database.tables import worker
from database.upsert import upsert
from jobs.offer import ModelOffer

_log = logging.getLogger(__name__)


class FleetMemory:
    """Offers by worker name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remember(self, name: str, offers: Sequence[ModelOffer]) -> None:
        """Keep what this worker offers now, in place of what it offered before. Raises StoreUnavailable.

        A name that no database takes is not remembered: workers are as hostile as anything from outside.
        """
        if not storable(name):
            _log.warning("a worker's name cannot be stored; its models are not remembered")
            return
        values = [offer.model_dump() for offer in offers]
        await self._database.write(partial(_remember, name=name, offers=values))

    async def recall(self) -> dict[str, tuple[ModelOffer, ...]]:
        """What every worker ever heard of offered last. Raises StoreUnavailable."""
        return await self._database.read(_recall)


async def _remember(tx: AsyncConnection, *, name: str, offers: list[dict[str, object]]) -> None:
    insert = upsert(tx, worker).values(name=name, offers=offers, last_seen=now())
    changed = {"offers": insert.excluded.offers, "last_seen": insert.excluded.last_seen}
    await tx.execute(insert.on_conflict_do_update(index_elements=["name"], set_=changed))


async def _recall(tx: AsyncConnection) -> dict[str, tuple[ModelOffer, ...]]:
    rows = (await tx.execute(select(worker.c.name, worker.c.offers).order_by(worker.c.last_seen))).all()
    return {row.name: _offers(row.name, row.offers) for row in rows}


def _offers(name: str, stored: Sequence[object]) -> tuple[ModelOffer, ...]:
    offers: list[ModelOffer] = []
    for entry in stored:
        try:
            offers.append(ModelOffer.model_validate(entry))
        except ValidationError:
            _log.warning("an offer remembered of worker %s is of another version; it is left out", name)
    return tuple(offers)
