"""Puts the slash commands into the allowed guild, and only when they changed: each PUT counts against 200 a day."""

import asyncio
import hashlib
import json
import logging
from pathlib import Path

import discord
from discord import app_commands

_log = logging.getLogger(__name__)

REQUEST_TIMEOUT = 30.0


class CommandSync:
    """Compares a hash of the payload with that of the last time, and the names with those that Discord has."""

    def __init__(self, *, tree: app_commands.CommandTree, guild_id: int, memory: Path | None) -> None:
        self._tree = tree
        self._guild = discord.Object(guild_id)
        self._memory = memory

    async def on_change(self) -> bool:
        """Sync if need be; True when it was. Raises what discord.py raises.

        ``!sync global`` is remembered: then the global scope is what is kept up to date.
        """
        digest = await self._digest()
        scope, known = await asyncio.to_thread(self._recall)
        guild = None if scope == "global" else self._guild
        if known == digest:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                there = {command.name for command in await self._tree.fetch_commands(guild=guild)}
            if there == {command.name for command in self._tree.get_commands(guild=self._guild)}:
                return False
        await self._sync(guild)
        await asyncio.to_thread(self._remember, scope, digest)
        return True

    async def put(self, scope: str) -> int:
        """As an admin asked: into this ``guild``, ``global``, or away (``clear``); the other place is emptied.

        Returns how many commands there are. In both places at once people would see everything twice.
        """
        if scope == "clear":
            await self._empty(self._guild)
            await self._empty(None)
            await asyncio.to_thread(self._remember, "guild", "")
            return 0
        guild, other = (self._guild, None) if scope == "guild" else (None, self._guild)
        count = await self._sync(guild)
        await self._empty(other)
        await asyncio.to_thread(self._remember, scope, await self._digest())
        return count

    async def _sync(self, guild: discord.Object | None) -> int:
        async with asyncio.timeout(REQUEST_TIMEOUT):
            synced = await self._tree.sync(guild=guild)
        _log.info("%d commands synced, %s", len(synced), "here" if guild else "globally")
        return len(synced)

    async def _empty(self, guild: discord.Object | None) -> None:
        http, application = self._tree.client.http, self._tree.client.application_id
        assert application is not None  # known since the login
        async with asyncio.timeout(REQUEST_TIMEOUT):
            if guild is None:
                await http.bulk_upsert_global_commands(application, payload=[])
            else:
                await http.bulk_upsert_guild_commands(application, guild.id, payload=[])

    async def _digest(self) -> str:
        commands = self._tree.get_commands(guild=self._guild)
        translator = self._tree.translator
        payload = [
            await command.get_translated_payload(self._tree, translator) if translator else command.to_dict(self._tree)
            for command in commands
        ]
        text = json.dumps([self._tree.client.application_id, self._guild.id, payload], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _recall(self) -> tuple[str, str | None]:
        try:
            stored = json.loads(self._memory.read_text(encoding="utf-8")) if self._memory else {}
            return ("global" if stored.get("scope") == "global" else "guild"), stored.get("hash")
        except (OSError, ValueError, AttributeError):
            return "guild", None

    def _remember(self, scope: str, digest: str) -> None:
        if self._memory is None:
            return
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            self._memory.write_text(json.dumps({"scope": scope, "hash": digest}), encoding="utf-8")
        except OSError as error:  # only costs one more PUT at the next start
            _log.warning("the commands' hash was not stored: %s", error)
