"""What every interaction of ours has in common: one server, no doubles, an answer within Discord's three seconds.

An interaction whose first answer is later than 3 s is lost for ever (10062), and one that is handled twice is answered
twice (40060): events may be delivered twice and nothing in the library filters them.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import aiohttp
import discord
from discord import app_commands

from bot.cogs.preferring import Choices
from jobs.errors import DarkroomError
from jobs.job import UserId
from jobs.words import explain, say

_log = logging.getLogger(__name__)

ANSWER_BUDGET = 0.1
"""Seconds a handler may take before the answer is deferred: people see at once that they were heard, well within Discord's 3 s."""

_DEFERRED = "darkroom: deferred"

CALL_TIMEOUT = 15.0
"""Seconds for one answer. Longer than the 3 s it has, since the library retries inside it."""

NETWORK_FAULTS = (discord.HTTPException, discord.RateLimited, aiohttp.ClientError, OSError, TimeoutError)
"""What a call to Discord raises when it was refused, or when its outcome is unknown."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer that is more than a sentence: a card (components V2), files, or words with files. Files serve one try."""

    words: str | None = None
    card: discord.ui.LayoutView | None = None
    files: Sequence[discord.File] = ()


Answer = str | Reply


class ToldError(DarkroomError):
    """An error whose answer is more than a sentence: it offers what to do."""

    def reply(self, locale: str | None) -> Reply:
        """What the person sees."""
        raise NotImplementedError


def user_of_person(person: discord.abc.User) -> UserId:
    """A member, as the ledger names them."""
    return UserId(f"discord:{person.id}")


def user_of(interaction: discord.Interaction) -> UserId:
    """Who acts, as the ledger names them."""
    return UserId(f"discord:{interaction.user.id}")


def locale_of(interaction: discord.Interaction) -> str:
    """The language to answer in: the one chosen in /settings, else that of the person's Discord."""
    door = cast("Door", interaction.client)
    return door.choices.language_of(user_of(interaction)) or str(interaction.locale)


class Door(Protocol):
    """What interactions need of the client."""

    allowed_guild_id: int
    seen: "SeenOnce"
    choices: Choices


class SeenOnce:
    """Remembers the newest ids, so that an event which comes twice is handled once."""

    def __init__(self, capacity: int = 4096) -> None:
        self._ids: OrderedDict[int, None] = OrderedDict()
        self._capacity = capacity

    def first_time(self, snowflake: int) -> bool:
        """True once for each id (within the newest ``capacity`` of them)."""
        if snowflake in self._ids:
            return False
        self._ids[snowflake] = None
        if len(self._ids) > self._capacity:
            self._ids.popitem(last=False)
        return True


async def admit(interaction: discord.Interaction) -> bool:
    """Whether to handle it: the first event of its id, from the one server that is served. Says so if it is not."""
    door = cast("Door", interaction.client)
    if not door.seen.first_time(interaction.id):
        return False
    if interaction.guild_id == door.allowed_guild_id:
        if interaction.type is not discord.InteractionType.autocomplete:
            await door.choices.of(user_of(interaction))  # so that every later sentence knows the language
        return True
    if interaction.type is discord.InteractionType.autocomplete:
        await quietly(interaction.response.autocomplete([]))
    else:
        key = "limit.no_dm" if interaction.guild_id is None else "limit.other_server"
        await tell(interaction, say(key, locale_of(interaction)))
    return False


async def answer_in_time(interaction: discord.Interaction, work: Coroutine[Any, Any, Answer]) -> None:
    """Await ``work`` and tell its answer; when it is slow, defer first and tell later.

    Never gives ``work`` up: a commit that was asked for is waited for, since its outcome would be unknown.
    Domain errors become their sentence; others go to the caller.
    """
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_explained(work, locale_of(interaction)))
        await asyncio.wait({task}, timeout=ANSWER_BUDGET)
        if not task.done():
            await defer(interaction)
    await tell(interaction, task.result())


async def defer(interaction: discord.Interaction) -> None:
    """The answer comes later. Once, whoever says so first: the work that knows it will take long, or whoever waits for it."""
    if interaction.response.is_done() or interaction.extras.get(_DEFERRED):
        return
    interaction.extras[_DEFERRED] = True  # while the request is on its way, the response is not done yet
    await quietly(interaction.response.defer(ephemeral=True, thinking=True))


async def _explained(work: Coroutine[Any, Any, Answer], locale: str) -> Answer:
    try:
        return await work
    except ToldError as error:
        return error.reply(locale)
    except DarkroomError as error:
        return explain(error, locale)


async def tell(interaction: discord.Interaction, answer: Answer) -> None:
    """An ephemeral answer, by whichever way is still open. A lost one is logged: the job goes on without it."""
    reply = Reply(words=answer) if isinstance(answer, str) else answer
    if interaction.response.is_done():
        given = _given(reply)
        await quietly(interaction.edit_original_response(**given, attachments=list(reply.files)))
    else:
        given = _given(reply)
        if reply.files:
            given["files"] = list(reply.files)
        await quietly(interaction.response.send_message(**given, ephemeral=True))


async def turn_into(interaction: discord.Interaction, work: Coroutine[Any, Any, Reply]) -> None:
    """Let the message of a pressed button become another card: for answers that only the presser sees, such as pages."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        await asyncio.wait({task}, timeout=ANSWER_BUDGET)
        if not task.done():
            await quietly(interaction.response.defer())
    reply = task.result()
    given = {**_given(reply), "attachments": list(reply.files)}
    if interaction.response.is_done():
        await quietly(interaction.edit_original_response(**given))
    else:
        await quietly(interaction.response.edit_message(**given))


async def open_form(interaction: discord.Interaction, form: discord.ui.Modal) -> None:
    """Show a form. Only as the very first answer: Discord takes none after a deferral."""
    await quietly(interaction.response.send_modal(form))


def _given(reply: Reply) -> dict[str, Any]:
    return {name: value for name, value in (("content", reply.words), ("view", reply.card)) if value is not None}


async def quietly(call: Coroutine[Any, Any, Any]) -> None:
    """Make a call whose failure changes nothing here: too late (10062), done before (40060), or the network's fault."""
    try:
        async with asyncio.timeout(CALL_TIMEOUT):
            await call
    except NETWORK_FAULTS as error:
        _log.warning("an interaction could not be answered: %s: %s", type(error).__name__, error)


def sentence_of(error: BaseException, locale: str | None) -> str:
    """The one table from exceptions to sentences. What has no row is logged by the caller and told as unknown."""
    cause = _root(error)
    match cause:
        case DarkroomError():
            return explain(cause, locale)
        case app_commands.CommandNotFound() | app_commands.CommandSignatureMismatch():
            return say("limit.old_command", locale)
        case app_commands.NoPrivateMessage():
            return say("limit.no_dm", locale)
        case app_commands.MissingPermissions():
            return say("limit.not_allowed", locale)
        case discord.DiscordServerError() | aiohttp.ClientError() | TimeoutError() | ConnectionError():
            return say("error.discord_away", locale)
        case _:
            return say("error.unknown", locale)


def is_expected(error: BaseException) -> bool:
    """Whether the table has a row for it, so that no traceback is needed."""
    return sentence_of(error, None) != say("error.unknown", None)


def _root(error: BaseException) -> BaseException:
    """Inside the library's wrapper and a TaskGroup's."""
    while True:
        if isinstance(error, app_commands.CommandInvokeError):
            error = error.original
        elif isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        else:
            return error
