"""/admin pause, resume, drain: workers that rest."""

import hashlib
from collections.abc import Callable, Mapping

import discord
from discord import app_commands

from bot.cogs.admin.deeds import Deed, Deeds, Done
from bot.cogs.admin.part import ADMIN, AdminPart, AdminParts, Steering
from bot.cogs.imagine.localised import localised
from bot.cogs.imagine.suggest import VALUE_MAX
from bot.cogs.interactions import Answer, answer_in_time
from bot.cogs.photos.text import shown
from bot.cogs.verbs.commands import named
from jobs.errors import DarkroomError
from jobs.line import Line
from jobs.ports import JobStore
from jobs.words import say

CHOICES_MAX = 25
Choices = list[app_commands.Choice[str]]


def mark_of(name: str) -> str:
    """A worker's name in a ``custom_id``, which takes few characters."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


async def name_behind(operator: Steering, mark: str) -> str:
    """The worker of a mark. Raises DarkroomError("no_such_worker")."""
    known = await operator.workers()
    for name in known:
        if mark_of(name) == mark:
            return name
    raise no_such_worker(mark, known)


def no_such_worker(name: str, known: Mapping[str, str]) -> DarkroomError:
    """Names those that there are."""
    return DarkroomError("no_such_worker", worker=name[:100], known=", ".join(known)[:500] or "-")


def only_there(name: str) -> Callable[[Line], int]:
    """How many waiting jobs nobody else could take. A question for the line: pure and quick."""

    def count(line: Line) -> int:
        here = frozenset({name})
        able = (line.abilities.need(job.key, job.exclude)[1] - (line.resting - here) for job in line.waiting.values())
        return sum(workers == here for workers in able)

    return count


class Rest:
    """Gives a worker nothing new: for a while (pause), or because it will be taken away (drain)."""

    def __init__(self, *, operator: Steering, store: JobStore) -> None:
        self._operator = operator
        self._store = store

    async def foretell(self, deed: Deed, locale: str) -> str:
        """How much goes on there, and how much would wait for it."""
        name = await name_behind(self._operator, deed.subject)
        here = len(await self._store.held_by(name))
        waiting = await self._store.look(only_there(name), fresh=0)
        lines = [f"**{say(f'would.{deed.verb}', locale, worker=shown(name, limit=60))}**"]
        if here:
            lines.append(say("admin.goes_on", locale, n=here))
        if waiting:
            lines.append(say("admin.only_there", locale, n=waiting))
        return "\n".join(lines)

    async def do(self, deed: Deed, locale: str) -> Done:
        """Store it: the next claim of any host knows."""
        name = await name_behind(self._operator, deed.subject)
        await self._operator.rest(name, deed.verb)
        return Done(words=say(f"did.{deed.verb}", locale, worker=shown(name, limit=60)), subject=name)


class WorkerPart(AdminPart):
    """The commands."""

    def __init__(self, parts: AdminParts, deeds: Deeds) -> None:
        super().__init__(parts)
        self.deeds = deeds

    async def _rest(self, interaction: discord.Interaction, verb: str, worker: str, *, sure: bool) -> None:
        async def work() -> Answer:
            self.check(interaction)
            known = await self.parts.operator.workers()
            if worker not in known:
                raise no_such_worker(worker, known)
            return await self.deeds.answer(interaction, Deed(verb=verb, subject=mark_of(worker)), sure=sure)

        await answer_in_time(interaction, work())

    @ADMIN.command(name=localised("command.pause"), description=localised("command.pause_about"))
    @named("worker", "sure")
    async def pause(self, interaction: discord.Interaction, worker: str, sure: bool = False) -> None:
        """Nothing new for a worker."""
        await self._rest(interaction, "pause", worker, sure=sure)

    @ADMIN.command(name=localised("command.drain"), description=localised("command.drain_about"))
    @named("worker", "sure")
    async def drain(self, interaction: discord.Interaction, worker: str, sure: bool = False) -> None:
        """Nothing new for a worker that will be taken away."""
        await self._rest(interaction, "drain", worker, sure=sure)

    @ADMIN.command(name=localised("command.resume"), description=localised("command.resume_about"))
    @named("worker")
    async def resume(self, interaction: discord.Interaction, worker: str) -> None:
        """It works again; that takes nothing from anybody, so nothing is asked."""
        await self._rest(interaction, "resume", worker, sure=True)

    @pause.autocomplete("worker")
    @drain.autocomplete("worker")
    @resume.autocomplete("worker")
    async def complete_worker(self, interaction: discord.Interaction, typed: str) -> Choices:
        """Every worker ever heard of, with its state."""
        return await worker_choices(self, interaction, typed)


async def worker_choices(part: AdminPart, interaction: discord.Interaction, typed: str) -> Choices:
    """Names with their states; nothing for whoever is no admin, nor while the ledger is away."""
    try:
        locale = part.check(interaction)
        known = await part.parts.operator.workers()
    except DarkroomError:
        return []
    found = [(name, state) for name, state in known.items() if typed.lower() in name.lower() and len(name) <= VALUE_MAX]
    named_so = [(f"{name} ({say(f'resting.{state}', locale)})", name) for name, state in found[:CHOICES_MAX]]
    return [app_commands.Choice(name=shown_as[:VALUE_MAX], value=name) for shown_as, name in named_so]
