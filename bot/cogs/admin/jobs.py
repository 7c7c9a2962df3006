"""What can be done to jobs: asked again, moved, refunded, cancelled. Never shows anybody's words."""

from collections.abc import Sequence
from dataclasses import dataclass

from bot.cogs.admin.deeds import Deed, Done, word_of
from bot.cogs.admin.part import Steering
from bot.cogs.admin.workers import name_behind
from bot.cogs.photos.facts import size_of
from bot.cogs.photos.text import shown
from jobs.desk import Desk
from jobs.errors import DarkroomError
from jobs.job import Job, JobId, UserId, person
from jobs.ports import Fleet, JobStore
from jobs.words import say

LANES = ("quick", "normal", "bulk")
ANYWHERE = "any"
"""In place of a worker's mark: it may go to any again."""


def known_as(user_id: UserId) -> str:
    """A mention of somebody who came by Discord, else their name."""
    return f"<@{person(user_id)}>" if user_id.startswith("discord:") else shown(user_id, limit=60)


def facts_of(job: Job, locale: str) -> str:
    """Whose it is, what it is, and how it stands; its words are its person's."""
    order = job.order
    what = f"{say(f'kind.{order.kind}', locale)} · {shown(order.model, limit=60)} · {size_of(order)}"
    return f"{known_as(job.user_id)} · {what} · {say(f'state.{job.state}', locale)}"


@dataclass(frozen=True, kw_only=True)
class House:
    """What doers of jobs need."""

    desk: Desk
    store: JobStore
    operator: Steering
    fleet: Fleet

    async def job(self, job_id: str) -> Job:
        """Anybody's. Raises DarkroomError("no_such_job")."""
        found = await self.store.get(JobId(job_id))
        if found is None:
            raise DarkroomError("no_such_job", job=job_id[:60])
        return found

    async def ended(self, job_id: str) -> Job:
        """Raises DarkroomError("no_such_job"), DarkroomError("not_ended")."""
        job = await self.job(job_id)
        if not job.state.is_terminal:
            raise DarkroomError("not_ended")
        return job


def _asked(deed: Deed, locale: str, facts: Sequence[str], **figures: object) -> str:
    return "\n".join([f"**{say(f'would.{word_of(deed.verb)}', locale, **figures)}**", *facts])


class Requeue:
    """An ended job is made again and posted again."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def foretell(self, deed: Deed, locale: str) -> str:
        """What would be made again."""
        job = await self._house.ended(deed.subject)
        return _asked(deed, locale, [facts_of(job, locale)])

    async def do(self, deed: Deed, locale: str) -> Done:
        """Raises JobNotFound where somebody was quicker."""
        await self._house.ended(deed.subject)
        job = await self._house.operator.requeue(JobId(deed.subject), actor=deed.by)
        return Done(words=say("did.requeue", locale, person=known_as(job.user_id)), subject=job.id, facts={"generation": job.generation})


class Move:
    """A waiting job waits in another lane, or for one worker. Nobody's turn is taken: a lane is a preference inside fairness."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def foretell(self, deed: Deed, locale: str) -> str:
        """Raises DarkroomError("not_waiting"), DarkroomError("worker_without")."""
        job, lane, worker = await self._meant(deed)
        if str(job.state) != "queued":
            raise DarkroomError("not_waiting")
        return _asked(deed, locale, [facts_of(job, locale), *_where(lane, worker, locale)])

    async def do(self, deed: Deed, locale: str) -> Done:
        """Raises what :meth:`foretell` raises."""
        job, lane, worker = await self._meant(deed)
        await self._house.operator.move(job.id, lane=lane, only_on=worker, actor=deed.by)
        where = " ".join(_where(lane, worker, locale))
        return Done(words=f"{say('did.move', locale)} {where}", subject=job.id, facts={"lane": lane, "worker": worker})

    async def _meant(self, deed: Deed) -> tuple[Job, str | None, str | None]:
        """(job, lane, worker): a worker of None is left as it is, "" is any."""
        job_id, _, mark = deed.subject.partition(".")
        job = await self._house.job(job_id)
        lane = LANES[deed.n - 1] if 0 < deed.n <= len(LANES) else None
        if not mark or mark == ANYWHERE:
            return job, lane, "" if mark else None
        worker = await name_behind(self._house.operator, mark)
        self._check(worker, job)
        return job, lane, worker

    def _check(self, worker: str, job: Job) -> None:
        """A job that waits for a worker which cannot make it would wait for ever."""
        report = next((report for report in self._house.fleet.online() if report.name == worker), None)
        if report is None or not any(job.order.model == offer.name and job.order.kind in offer.kinds for offer in report.models):
            raise DarkroomError("worker_without", worker=worker[:100], model=job.order.model)


def _where(lane: str | None, worker: str | None, locale: str) -> list[str]:
    lines = [] if lane is None else [say(f"lane.{lane}", locale)]
    if worker is not None:
        lines.append(say("admin.only_on", locale, worker=shown(worker, limit=60)) if worker else say("admin.anywhere", locale))
    return lines


class Refunding:
    """What a job cost its person is given back: in the day's quota and on their account."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def foretell(self, deed: Deed, locale: str) -> str:
        """Raises DarkroomError("refunded_already")."""
        job = await self._house.ended(deed.subject)
        if job.making is not None and job.making.refunded:
            raise DarkroomError("refunded_already")
        seconds = job.making.seconds if job.making is not None else 0.0
        return _asked(deed, locale, [facts_of(job, locale)], person=known_as(job.user_id), seconds=f"{seconds:.1f}")

    async def do(self, deed: Deed, locale: str) -> Done:
        """Raises what :meth:`foretell` raises."""
        await self._house.ended(deed.subject)
        given = await self._house.operator.refund(JobId(deed.subject), actor=deed.by)
        seconds = f"{given.gpu_seconds:.1f}"
        words = say("did.refund", locale, person=known_as(given.job.user_id), seconds=seconds)
        return Done(words=words, subject=given.job.id, facts={"seconds": seconds})


class Cancel:
    """One job, or all that somebody has under way."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def foretell(self, deed: Deed, locale: str) -> str:
        """Raises DarkroomError("nothing_under_way")."""
        jobs = await self._meant(deed)
        return _asked(deed, locale, [facts_of(job, locale) for job in jobs[:8]], n=len(jobs))

    async def do(self, deed: Deed, locale: str) -> Done:
        """Those that wait at once; those being made as soon as their worker says so."""
        jobs = await self._meant(deed)
        for job in jobs:
            await self._house.desk.cancel(job.id, user_id=job.user_id)
        return Done(words=say("did.cancel", locale, n=len(jobs)), subject=deed.subject, facts={"count": len(jobs)})

    async def _meant(self, deed: Deed) -> list[Job]:
        if deed.verb == "cancel-job":
            found = [await self._house.job(deed.subject)]
        else:
            found = await self._house.store.recent(UserId(f"discord:{deed.subject}"), limit=500)
        under_way = [job for job in found if not job.state.is_terminal]
        if not under_way:
            raise DarkroomError("nothing_under_way")
        return under_way


class Clear:
    """Everything that waits, of everybody."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def foretell(self, deed: Deed, locale: str) -> str:
        """Raises DarkroomError("nothing_waits")."""
        waiting = (await self._house.desk.snapshot()).waiting
        if not waiting:
            raise DarkroomError("nothing_waits")
        return _asked(deed, locale, [], n=waiting)

    async def do(self, deed: Deed, locale: str) -> Done:
        """What is being made goes on."""
        count = await self._house.desk.clear_waiting()
        if not count:
            raise DarkroomError("nothing_waits")
        return Done(words=say("admin.cleared", locale, n=count), subject="", facts={"count": count})
