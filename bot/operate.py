"""The operator's commands: look at the queue, pause and resume workers, move, refund and ask again for jobs, purge a person.

A running host does them itself, through its door in the storage folder; without one they are done on the ledger directly.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar, cast

from bot import operator_door
from bot.board import BoardMaker
from bot.operator_door import Command, NoHost
from bot.settings import Settings
from database.corrections import Refund
from database.engine import open_database
from database.job_store import SqlJobStore
from database.operating import Lane, Operating, WorkerState
from database.picture_store import FilePictureStore
from jobs.errors import DarkroomError, JobNotFound, StoreUnavailable
from jobs.events import JobQueued
from jobs.feed import Feed
from jobs.job import Job, JobId, UserId
from jobs.words import explain

_T = TypeVar("_T")

JUST_PUT = 10.0
"""Seconds for which a purged person's picture may still be on its way into the ledger; the janitor finds it then."""

STATES: Mapping[str, WorkerState] = {"pause": "paused", "resume": "active", "drain": "draining"}
LANES: Mapping[str, Lane] = {"quick": "quick", "normal": "normal", "bulk": "bulk"}


class NotPossible(RuntimeError):
    """It cannot be done; the sentence says why."""


class Operator:
    """What operators do to workers and jobs, from the terminal and from Discord alike. All methods raise StoreUnavailable."""

    def __init__(self, operating: Operating, feed: Feed | None = None) -> None:
        """``feed``: where a running host hears of it, so that its loops look at once."""
        self._operating = operating
        self._feed = feed

    async def workers(self) -> Mapping[str, str]:
        """The state of every worker ever heard of."""
        return await self._operating.workers()

    async def rest(self, name: str, verb: str) -> None:
        """``pause``, ``resume`` or ``drain`` a worker. Raises DarkroomError("no_such_worker")."""
        if not await self._operating.set_worker(name, STATES[verb]):
            known = ", ".join(await self._operating.workers())
            raise DarkroomError("no_such_worker", worker=name[:100], known=known[:500] or "-")

    async def jobs(self, *, ended: bool, limit: int = 200) -> Sequence[Job]:
        """The newest jobs of everybody, those that have ended or those that have not."""
        return await self._operating.jobs(ended=ended, limit=limit)

    async def requeue(self, job_id: JobId, *, actor: str = "operator") -> Job:
        """An ended job waits again. Raises JobNotFound, also for one that has not ended."""
        return self._queued(await self._operating.requeue(job_id, actor=actor))

    async def move(self, job_id: JobId, *, lane: str | None, only_on: str | None, actor: str = "operator") -> Job:
        """See :meth:`Operating.move`. Raises JobNotFound, DarkroomError("not_waiting")."""
        return self._queued(await self._operating.move(job_id, lane=LANES[lane] if lane else None, only_on=only_on, actor=actor))

    async def refund(self, job_id: JobId, *, actor: str = "operator") -> Refund:
        """See :meth:`Operating.refund`. Raises JobNotFound, DarkroomError("not_ended"), DarkroomError("refunded_already")."""
        return await self._operating.refund(job_id, actor=actor)

    def _queued(self, job: Job) -> Job:
        if self._feed is not None:
            self._feed.publish(JobQueued(job=job))
        return job


def commands(maker: BoardMaker, operating: Operating, operator: Operator, pictures: FilePictureStore) -> dict[str, Command]:
    """Each by its name, over one ledger."""

    async def queue(_: Mapping[str, Any]) -> Any:
        return await maker.board()

    async def fairness(_: Mapping[str, Any]) -> Any:
        return await maker.fairness()

    async def worker(told: Mapping[str, Any]) -> Any:
        await _explained(operator.rest(str(told["name"]), str(told["to"])))

    async def requeue(told: Mapping[str, Any]) -> Any:
        try:
            return {"generation": (await operator.requeue(JobId(str(told["job"])))).generation}
        except JobNotFound:
            raise NotPossible("There is no ended job of that name.") from None

    async def move(told: Mapping[str, Any]) -> Any:
        await _explained(operator.move(JobId(str(told["job"])), lane=told.get("lane"), only_on=told.get("worker")))

    async def refund(told: Mapping[str, Any]) -> Any:
        given = await _explained(operator.refund(JobId(str(told["job"]))))
        return {"person": given.job.user_id, "gpu_seconds": given.gpu_seconds, "service": given.service}

    async def purge(told: Mapping[str, Any]) -> Any:
        purged = await operating.purge(UserId(str(told["user"])))
        removed = await pictures.remove(purged.digests, unused_for=JUST_PUT)
        return {"jobs": purged.jobs, "pictures": removed, "later": len(purged.digests) - removed}

    own = {"queue": queue, "fairness": fairness, "worker": worker, "purge": purge}
    return {**own, "requeue": requeue, "move": move, "refund": refund}


async def _explained(work: Coroutine[Any, Any, _T]) -> _T:
    """The same, its refusal as a sentence. Raises NotPossible."""
    try:
        return await work
    except StoreUnavailable:
        raise
    except JobNotFound as error:
        raise NotPossible(f"There is no job of the name {error.details['job']}.") from None
    except DarkroomError as error:
        raise NotPossible(explain(error, "en")) from None


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
        operating = Operating(database)
        known = commands(maker, operating, Operator(operating), pictures)
        return await cast(Command, known[str(told["do"])])(told)
