"""/admin requeue, move, refund, cancel: the commands about jobs."""

from typing import Literal

import discord
from discord import app_commands

from bot.cogs.admin.deeds import Deed
from bot.cogs.admin.jobs import ANYWHERE, LANES
from bot.cogs.admin.part import ADMIN
from bot.cogs.admin.workers import CHOICES_MAX, Choices, WorkerPart, mark_of, no_such_worker, worker_choices
from bot.cogs.imagine.localised import localised
from bot.cogs.imagine.suggest import VALUE_MAX
from bot.cogs.interactions import Answer, answer_in_time
from bot.cogs.verbs.commands import named
from jobs.errors import DarkroomError
from jobs.job import Job, person
from jobs.words import say

JOB_ID_MAX = 40
"""Characters of a job's id that fit into a ``custom_id`` beside a worker's mark."""


class JobPart(WorkerPart):
    """The commands."""

    @ADMIN.command(name=localised("command.requeue"), description=localised("command.requeue_about"))
    @named("sure", job="any_job")
    async def requeue(self, interaction: discord.Interaction, job: str, sure: bool = False) -> None:
        """An ended job again, posted anew."""
        await self._about(interaction, "requeue", job, sure=sure)

    @ADMIN.command(name=localised("command.refund"), description=localised("command.refund_about"))
    @named("sure", job="any_job")
    async def refund(self, interaction: discord.Interaction, job: str, sure: bool = False) -> None:
        """What a job cost its person, given back."""
        await self._about(interaction, "refund", job, sure=sure)

    @ADMIN.command(name=localised("command.move"), description=localised("command.move_about"))
    @named("lane", "worker", "sure", job="any_job")
    @app_commands.choices(lane=[app_commands.Choice(name=localised(f"lane.{name}_name"), value=name) for name in LANES])
    async def move(
        self, interaction: discord.Interaction, job: str, lane: str | None = None, worker: str | None = None, sure: bool = False
    ) -> None:
        """A waiting job into another lane, or to one worker alone."""

        async def work() -> Answer:
            self.check(interaction)
            if lane is None and worker is None:
                raise DarkroomError("move_where")
            mark = "" if worker is None else f".{await self._mark(worker)}"
            deed = Deed(verb="move", subject=f"{_id(job)}{mark}", n=0 if lane is None else LANES.index(lane) + 1)
            return await self.deeds.answer(interaction, deed, sure=sure)

        await answer_in_time(interaction, work())

    @ADMIN.command(name=localised("command.cancel"), description=localised("command.cancel_about"))
    @named("member", "sure", job="any_job")
    async def cancel(
        self, interaction: discord.Interaction, member: discord.User | None = None, job: str | None = None, sure: bool = False
    ) -> None:
        """What somebody has waiting and running, or one job by its id."""

        async def work() -> Answer:
            self.check(interaction)
            if job is not None:
                return await self.deeds.answer(interaction, Deed(verb="cancel-job", subject=_id(job)), sure=sure)
            if member is None:
                raise DarkroomError("whom")
            return await self.deeds.answer(interaction, Deed(verb="cancel-member", subject=str(member.id)), sure=sure)

        await answer_in_time(interaction, work())

    async def _about(self, interaction: discord.Interaction, verb: str, job: str, *, sure: bool) -> None:
        async def work() -> Answer:
            self.check(interaction)
            return await self.deeds.answer(interaction, Deed(verb=verb, subject=_id(job)), sure=sure)

        await answer_in_time(interaction, work())

    async def _mark(self, worker: str) -> str:
        if worker in (ANYWHERE, "*"):
            return ANYWHERE
        known = await self.parts.operator.workers()
        if worker not in known:
            raise no_such_worker(worker, known)
        return mark_of(worker)

    @requeue.autocomplete("job")
    @refund.autocomplete("job")
    async def complete_ended(self, interaction: discord.Interaction, typed: str) -> Choices:
        """The newest that have ended."""
        return await self._jobs(interaction, typed, which="ended")

    @move.autocomplete("job")
    async def complete_waiting(self, interaction: discord.Interaction, typed: str) -> Choices:
        """The newest that wait."""
        return await self._jobs(interaction, typed, which="waiting")

    @cancel.autocomplete("job")
    async def complete_under_way(self, interaction: discord.Interaction, typed: str) -> Choices:
        """The newest that have not ended."""
        return await self._jobs(interaction, typed, which="under_way")

    @move.autocomplete("worker")
    async def complete_target(self, interaction: discord.Interaction, typed: str) -> Choices:
        """Every worker, and anywhere."""
        found = await worker_choices(self, interaction, typed)
        if not found and typed:
            return found
        anywhere = app_commands.Choice(name=say("admin.anywhere", str(interaction.locale))[:VALUE_MAX], value=ANYWHERE)
        return [anywhere, *found[: CHOICES_MAX - 1]]

    async def _jobs(self, interaction: discord.Interaction, typed: str, *, which: Literal["ended", "waiting", "under_way"]) -> Choices:
        """By id or person; nothing for whoever is no admin, nor while the ledger is away."""
        try:
            locale = self.check(interaction)
            jobs = await self.parts.operator.jobs(ended=which == "ended")
        except DarkroomError:
            return []
        fitting = (job for job in jobs if which != "waiting" or str(job.state) == "queued")
        wanted = typed.strip().lower()
        found = [job for job in fitting if wanted in job.id.lower() or wanted in job.user_id.lower()]
        return [app_commands.Choice(name=_line(job, locale), value=job.id) for job in found[:CHOICES_MAX]]


def _id(typed: str) -> str:
    """What may stand in a ``custom_id``. Raises DarkroomError("no_such_job") for anything else: none is called that."""
    job_id = typed.strip()
    if not job_id or len(job_id) > JOB_ID_MAX or not job_id.isascii() or not job_id.isalnum():
        raise DarkroomError("no_such_job", job=job_id[:60])
    return job_id


def _line(job: Job, locale: str) -> str:
    """Plain text: a choice renders nothing."""
    order = job.order
    state, kind = say(f"state.{job.state}", locale), say(f"kind.{order.kind}", locale)
    return f"{job.id[-8:]} · {state} · {kind} · {order.model} · {person(job.user_id)}"[:VALUE_MAX]
