"""/queue, /status, /help."""

import discord
from discord import app_commands
from discord.ext import commands

from bot.cogs.house.cards import Speed, help_card, queue_card, status_card
from bot.cogs.imagine.localised import localised
from bot.cogs.interactions import Reply, answer_in_time, locale_of, user_of
from jobs.desk import Desk
from jobs.errors import InvalidRequest
from jobs.estimate import Eta
from jobs.job import JobState
from jobs.ports import Fleet, JobStore
from jobs.request import Request


class HouseCog(commands.Cog):
    """Answers for the asker only; from memory as far as possible."""

    def __init__(self, *, desk: Desk, store: JobStore, fleet: Fleet) -> None:
        self._desk = desk
        self._store = store
        self._fleet = fleet

    @app_commands.command(name=localised("command.queue"), description=localised("command.queue_about"))
    @app_commands.guild_only()
    async def queue(self, interaction: discord.Interaction) -> None:
        """One's own jobs with their places."""

        async def work() -> Reply:
            snapshot = await self._desk.snapshot()
            mine = [job for job in await self._store.recent(user_of(interaction), limit=40) if not job.state.is_terminal]
            known = [self._desk.outlook(job, snapshot) if job.state is JobState.QUEUED else self._desk.course(job) for job in mine]
            return Reply(card=queue_card(known, snapshot.waiting, locale_of(interaction)))

        await answer_in_time(interaction, work())

    @app_commands.command(name=localised("command.status"), description=localised("command.status_about"))
    @app_commands.guild_only()
    async def status(self, interaction: discord.Interaction) -> None:
        """The GPUs."""

        async def work() -> Reply:
            waiting = (await self._desk.snapshot()).waiting
            speed = Speed(model=self._fleet.default_model, eta=self._expected())
            resting = await self._store.look(lambda line: line.resting)
            return Reply(card=status_card(self._fleet.online(), waiting, speed, locale_of(interaction), resting=resting))

        await answer_in_time(interaction, work())

    def _expected(self) -> Eta | None:
        try:
            return self._desk.expect(Request(prompt="a photo"))
        except InvalidRequest:
            return None

    @app_commands.command(name=localised("command.help"), description=localised("command.help_about"))
    @app_commands.guild_only()
    async def help(self, interaction: discord.Interaction) -> None:
        """What one can do here."""

        async def work() -> Reply:
            tree = interaction.client.tree  # type: ignore[attr-defined]  # DarkroomBot's
            names = [command.name for command in tree.get_commands(guild=interaction.guild)]
            return Reply(card=help_card(locale_of(interaction), names=names))

        await answer_in_time(interaction, work())
