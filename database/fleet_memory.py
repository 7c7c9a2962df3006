"""What each worker offered when last heard, so that a host started while its workers are down knows their models."""

import logging
from collections.abc import Sequence
from functools import partial

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import Database
from database.moments import moment_from_now, now
from database.rows import storable
from database.tables import worker
from database.upsert import upsert
from jobs.abilities import Abilities, Ability
from jobs.offer import ModelOffer

_LATELY = 7 * 24 * 3600.0
"""Seconds for which an absent worker's abilities still shape the pools: a short absence is no event."""

_log = logging.getLogger(__name__)


class FleetMemory:
    """Offers by worker name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remember(self, name: str, offers: Sequence[ModelOffer], loras: Sequence[str] = ()) -> None:
        """Keep what this worker offers now, in place of what it offered before. Raises StoreUnavailable.

        A name that no database takes is not remembered: workers are as hostile as anything from outside.
        """
        if not storable(name):
            _log.warning("a worker's name cannot be stored; its models are not remembered")
            return
        values = [offer.model_dump() for offer in offers]
        await self._database.write(partial(_remember, name=name, offers=values, loras=[lora for lora in loras if storable(lora)]))

    async def recall(self) -> dict[str, tuple[ModelOffer, ...]]:
        """What every worker ever heard of offered last. Raises StoreUnavailable."""
        return await self._database.read(_recall)


async def _remember(tx: AsyncConnection, *, name: str, offers: list[dict[str, object]], loras: list[str]) -> None:
    insert = upsert(tx, worker).values(name=name, offers=offers, loras=loras, last_seen=now(), revised_at=now())
    changed = {name: insert.excluded[name] for name in ("offers", "loras", "last_seen", "revised_at")}
    await tx.execute(insert.on_conflict_do_update(index_elements=["name"], set_=changed))


async def read_fleet(tx: AsyncConnection) -> tuple[Abilities, frozenset[str]]:
    """(what every worker can do that was heard of lately, those that the operator lets rest): the same on every host."""
    lately = worker.c.last_seen > moment_from_now(-_LATELY)
    rows = (await tx.execute(select(worker).where(lately).order_by(worker.c.name))).mappings().all()
    able = tuple(_ability(row["name"], _offers(row["name"], row["offers"]), row["loras"] or ()) for row in rows)
    return Abilities(workers=able), frozenset(row["name"] for row in rows if row["state"] != "active")


def _ability(name: str, offers: Sequence[ModelOffer], loras: Sequence[str]) -> Ability:
    return Ability(
        worker=name,
        models=frozenset(offer.name for offer in offers),
        loras=frozenset(loras),
        kinds={offer.name: frozenset(offer.kinds) for offer in offers},
        pixels_max={offer.name: offer.max_pixels * (offer.frames_max or 1) for offer in offers},
    )


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
