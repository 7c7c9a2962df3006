"""A fresh rehearsal for each test, and an unmodified discord.py client pointed at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import discord
import discord.gateway
import discord.http
import pytest
import yarl
from discord import app_commands

from rehearsal import app
from rehearsal.client import RehearsalClient
from rehearsal.config import RehearsalConfig


@dataclass
class Raw:
    """Plain HTTP with the bot's token: a second client, so that the twin is not tuned to one library."""

    session: aiohttp.ClientSession
    base: str
    token: str

    async def __call__(self, method: str, path: str, body: Any = None, **how: Any) -> tuple[int, Any, Any]:
        """Status, JSON (or text), headers."""
        headers = {"Authorization": f"Bot {self.token}"} | how.pop("headers", {})
        if body is not None:
            how["json"] = body
        async with self.session.request(method, self.base + path, headers=headers, **how) as response:
            if response.content_type == "application/json":
                return response.status, await response.json(), response.headers
            return response.status, await response.text(), response.headers


@dataclass
class Stage:
    """A running rehearsal with everything to poke it."""

    server: app.RehearsalServer
    play: RehearsalClient
    raw: Raw
    guild_id: int
    channels: dict[str, str]
    users: dict[str, str]


StartStage = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def start_stage() -> AsyncIterator[StartStage]:
    """Start a rehearsal with settings of its own."""
    opened: list[Any] = []

    async def start(**settings: Any) -> Stage:
        server = await app.start(RehearsalConfig(seed="demo", **settings))
        opened.append(server.close)
        play = RehearsalClient(server.url)
        opened.append(play.close)
        session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))
        opened.append(session.close)
        state = await play.state()
        guild = state["guilds"][0]
        return Stage(
            server=server,
            play=play,
            raw=Raw(session, f"{server.url}/api/v10", server.token),
            guild_id=int(guild["id"]),
            channels={c["name"]: c["id"] for c in guild["channels"]},
            users={u["username"]: u["id"] for u in state["users"]},
        )

    yield start
    for close in reversed(opened):
        await close()


@pytest.fixture
async def stage(start_stage: StartStage) -> Stage:
    """A rehearsal with Discord's own limits."""
    return await start_stage()


class Bot(discord.Client):
    """An unmodified client with a command tree."""

    def __init__(self, **options: Any) -> None:
        intents = options.pop("intents", discord.Intents(guilds=True, guild_messages=True, dm_messages=True))
        super().__init__(intents=intents, allowed_mentions=discord.AllowedMentions.none(), **options)
        self.tree = app_commands.CommandTree(self)
        self.heard: list[discord.Message] = []

    async def on_message(self, message: discord.Message) -> None:
        """Keep what was heard."""
        self.heard.append(message)


RunBot = Callable[..., Awaitable[None]]


@pytest.fixture
async def run_bot(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunBot]:
    """Connect a client to a stage and sync its tree; it is closed at the end."""
    running: list[tuple[discord.Client, asyncio.Task[None]]] = []

    async def run(bot: Any, stage: Stage, *, sync: bool = True) -> None:
        monkeypatch.setattr(discord.http.Route, "BASE", f"{stage.server.url}/api/v10")
        gateway = yarl.URL(stage.server.twin.gateway_url)
        monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", gateway)
        monkeypatch.setattr(discord.asset.Asset, "BASE", stage.server.url)
        await bot.login(stage.server.token)
        if sync:
            await bot.tree.sync()
        bot._connection.guild_ready_timeout = 0.05
        task = asyncio.create_task(bot.connect(reconnect=True))
        running.append((bot, task))
        ready = asyncio.create_task(bot.wait_until_ready())
        await asyncio.wait({ready, task}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
        if task.done():
            task.result()
        assert bot.is_ready()

    yield run
    for bot, task in running:
        await bot.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
