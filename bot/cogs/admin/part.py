"""What every part of /admin stands on: the group, who may, and the house's own use cases behind ports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import discord
from discord import app_commands

from bot.cogs.admin.audit import Audit
from bot.cogs.imagine.localised import localised
from bot.cogs.interactions import locale_of
from bot.cogs.safety.gates import Conduct, Gates
from jobs.desk import Desk
from jobs.errors import DarkroomError
from jobs.job import Job, JobId
from jobs.ports import Fleet, JobStore


class NotAdmin(DarkroomError):
    """The person may not use the admin commands here."""

    def __init__(self) -> None:
        super().__init__("not_admin")


class Refund(Protocol):
    """What a person got back for a job (:class:`database.corrections.Refund`)."""

    @property
    def job(self) -> Job:
        """Which job."""
        ...

    @property
    def gpu_seconds(self) -> float:
        """Of the day's quota."""
        ...


class Steering(Protocol):
    """What operators do to workers and jobs (:class:`bot.operate.Operator`). All methods raise StoreUnavailable."""

    async def workers(self) -> Mapping[str, str]:
        """The state of every worker ever heard of: active, paused, draining."""
        ...

    async def rest(self, name: str, verb: str) -> None:
        """``pause``, ``resume`` or ``drain`` a worker. Raises DarkroomError("no_such_worker")."""
        ...

    async def jobs(self, *, ended: bool, limit: int = 200) -> Sequence[Job]:
        """The newest jobs of everybody, those that have ended or those that have not."""
        ...

    async def requeue(self, job_id: JobId, *, actor: str = "operator") -> Job:
        """An ended job waits again. Raises JobNotFound."""
        ...

    async def move(self, job_id: JobId, *, lane: str | None, only_on: str | None, actor: str = "operator") -> Job:
        """A waiting job waits in another lane, or for one worker ("" for any). Raises JobNotFound, DarkroomError("not_waiting")."""
        ...

    async def refund(self, job_id: JobId, *, actor: str = "operator") -> Refund:
        """Give back what an ended job cost. Raises JobNotFound, DarkroomError."""
        ...


class CommandScopes(Protocol):
    """Where slash commands can be put (:class:`bot.cogs.admin.scopes.CommandSync`)."""

    async def put(self, scope: str) -> int:
        """Put them there and nowhere else; how many there are. Scopes: guild, global, clear."""
        ...


class Permits(Protocol):
    """What the parts need of the client."""

    allowed_guild_id: int

    def may_administer(self, person: discord.User | discord.Member) -> bool:
        """Whether this person may use the admin commands."""
        ...


@dataclass(frozen=True, kw_only=True)
class AdminParts:
    """The house's own objects, built by the host."""

    desk: Desk
    store: JobStore
    fleet: Fleet
    operator: Steering
    conduct: Conduct
    gates: Gates
    scopes: CommandScopes
    permits: Permits
    audit: Audit


ADMIN = app_commands.Group(
    name=localised("command.admin"),
    description=localised("command.admin_about"),
    guild_only=True,
    default_permissions=discord.Permissions(manage_guild=True),
)
"""Every cog has a copy of its own."""


class AdminPart:
    """Judges at each use; hiding a command is no guard."""

    def __init__(self, parts: AdminParts) -> None:
        self.parts = parts

    def check(self, interaction: discord.Interaction) -> str:
        """The admin's language. Raises NotAdmin."""
        if not self.parts.permits.may_administer(interaction.user):
            raise NotAdmin
        return locale_of(interaction)
