"""The operator's commands: look at the queue, pause and resume workers, ask again for a job, purge a person.

A running host does them itself, through its door in the storage folder; without one they are done on the ledger directly.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, cast

from bot import operator_door
from bot.board import BoardMaker
from bot.operator_door import Command, NoHost
from bot.settings import Settings
from database.engine import open_database
from database.job_store import SqlJobStore
from database.operating import Operating, WorkerState
from database.picture_store import FilePictureStore
from jobs.errors import JobNotFound
from jobs.job import JobId, UserId

JUST_PUT = 10.0
"""Seconds for which a purged person's picture may still be on its way into the ledger; the janitor finds it then."""

STATES: Mapping[str, WorkerState] = {"pause": "paused", "resume": "active", "drain": "draining"}


class NotPossible(RuntimeError):
    """It cannot be done; the sentence says why."""


def commands(maker: BoardMaker, operating: Operating, pictures: FilePictureStore) -> dict[str, Command]:
    """Each by its name, over one ledger."""

    async def queue(_: Mapping[str, Any]) -> Any:
        return await maker.board()

    async def fairness(_: Mapping[str, Any]) -> Any:
        return await maker.fairness()

    async def worker(told: Mapping[str, Any]) -> Any:
        if not await operating.set_worker(str(told["name"]), STATES[str(told["to"])]):
            known = ", ".join(await operating.workers()) or "none so far"
            raise NotPossible(f"No worker of that name was ever here. Known: {known}.")
        return None

    async def requeue(told: Mapping[str, Any]) -> Any:
        try:
            job = await operating.requeue(JobId(str(told["job"])))
        except JobNotFound:
            raise NotPossible("There is no ended job of that name.") from None
        return {"generation": job.generation}

    async def purge(told: Mapping[str, Any]) -> Any:
        purged = await operating.purge(UserId(str(told["user"])))
        removed = await pictures.remove(purged.digests, unused_for=JUST_PUT)
        return {"jobs": purged.jobs, "pictures": removed, "later": len(purged.digests) - removed}

    return {"queue": queue, "fairness": fairness, "worker": worker, "requeue": requeue, "purge": purge}


def carry_out(settings: Settings, **told: Any) -> Any:
    """Do it where it can be done. Raises NotPossible, CommandFailed, DatabaseError, StoreUnavailable."""
    return asyncio.run(_carry_out(settings, told))


async def _carry_out(settings: Settings, told: Mapping[str, Any]) -> Any:
    try:
        return await operator_door.ask(settings.storage, **told)
    except NoHost:
        return await _without_host(settings, told)


async def _without_host(settings: Settings, told: Mapping[str, Any]) -> Any:
    if not settings.database_url and not (settings.storage / "darkroom.sqlite3").exists():
        raise NotPossible(f"There is no ledger in {settings.storage} yet: start `darkroom host` once.")
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings.ledger_url))
        maker = BoardMaker(database=database, store=SqlJobStore(database, owner="operator"))
        pictures = FilePictureStore(settings.storage / "pictures")
        known = commands(maker, Operating(database), pictures)
        return await cast(Command, known[str(told["do"])])(told)
