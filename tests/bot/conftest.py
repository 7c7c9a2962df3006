"""The real bot over a real ledger (SQLite), a worker without a GPU, and the rehearsal as its Discord, in one loop."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from discord.asset import Asset
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bot.client import DarkroomBot, DoorOptions, DoorParts
from bot.clock import SystemClock
from bot.discord_address import apply_discord_address
from bot.flow_reload import FlowReload
from bot.operate import Operator
from database.conduct_store import SqlConductStore
from database.engine import open_database
from database.gallery_store import SqlGalleryStore
from database.member_store import SqlMemberStore
from database.operating import Operating
from database.session_store import SqlSessionStore
from jobs.carrier import Policy
from rehearsal import app
from rehearsal.client import RehearsalClient
from rehearsal.config import RehearsalConfig
from tests.databases import sqlite_url
from tests.fake_worker import FakeWorker
from tests.integration.conftest import Lab, open_lab
from workers.drivers.engine import Patience

PATIENT = {"seed": "demo", "interaction_deadline": 12.0, "message_limit": 50}
"""A busy machine must not fail tests: bot, rehearsal and worker share one loop here. Real deadlines are measured elsewhere.

And Discord's five messages in five seconds would make every test wait that asks for more than two pictures: the acceptance tests keep to them.
"""


CALM = Policy(renew_every=0.5, expire_every=1, first_step=60, between_steps=60, backoff=0.02, backoff_max=0.1)
UNHURRIED = Patience(answer=20, silence=60, reconnects=1, pause=0.01, cancel=20)
"""Workers that stand still at a test's wish are not given up."""


@dataclass
class Scene:
    """One rehearsal, one bot, one worker, and what tests poke."""

    server: app.RehearsalServer
    play: RehearsalClient
    worker: FakeWorker
    lab: Lab
    sessions: SqlSessionStore
    members: SqlMemberStore
    bot: DarkroomBot
    guild_id: int
    welcome: str
    users: dict[str, str]
    restart: Callable[..., Awaitable["Scene"]]
    """Stop the bot and start a new one over the same ledger; takes changed DoorOptions."""
    stop: Callable[[], Awaitable[None]]

    async def imagine(self, who: str, prompt: str = "a red fox", *, channel: str | None = None, **options: Any) -> dict:
        return await self.play.slash(
            who, channel or self.welcome, "imagine", {"prompt": prompt, **options}, wait="answer"
        )

    async def said(self, who: str, prompt: str = "a red fox", **options: Any) -> str:
        """What /imagine answers."""
        return (await self.imagine(who, prompt, **options))["original"]["content"]

    async def fault(self, name: str, *, path: str | None = None, method: str | None = None, **how: Any) -> None:
        """Arm a fault; one that is never met fails the test."""
        await self.play.post("faults", {"name": name, "path": path, "method": method, **how})

    async def studio_of(self, who: str) -> dict:
        """The person's one studio, as the operator sees it."""
        (found,) = await self.studios_of(who)
        return found

    async def studios_of(self, who: str) -> list[dict]:
        state = await self.play.state()
        mark = f"[darkroom:{self.users[who]}]"
        return [c for guild in state["guilds"] for c in guild["channels"] if mark in (c["topic"] or "")]

    async def messages_of(self, who: str) -> list[dict]:
        """What stays in the person's studio: ephemeral answers do not."""
        messages = await self.play.messages((await self.studio_of(who))["id"], limit=100)
        return [message for message in messages if not message["ephemeral_for"]]

    async def card_of(self, who: str, text: str, *, seconds: float = 40) -> dict:
        """The first message of the person's studio whose components hold ``text``."""
        async with asyncio.timeout(seconds):
            while not await self.studios_of(who):
                await asyncio.sleep(0.02)
        studio = await self.studio_of(who)
        return await self.play.wait_message(who, studio["id"], lambda m: text in texts(m), timeout_s=seconds)

    async def picture_of(self, who: str, *, seconds: float = 40) -> dict:
        return await self.card_of(who, "Here is your photo", seconds=seconds)


def parts_of(message: dict) -> list[dict]:
    """Every component of a message, nested ones too."""
    found: list[dict] = []
    stack = list(message["components"])
    while stack:
        part = stack.pop(0)
        found.append(part)
        stack = [*part.get("components", []), *stack]
    return found


def texts(message: dict) -> str:
    return "\n".join(part["content"] for part in parts_of(message) if part["type"] == 10)


def gallery(message: dict) -> list[str]:
    return [item["media"]["url"] for part in parts_of(message) if part["type"] == 12 for item in part["items"]]


def buttons(message: dict) -> list[str]:
    return [part["custom_id"] for part in parts_of(message) if part["type"] == 2]


OpenScene = Callable[..., Awaitable[Scene]]


@pytest.fixture
def restored_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test sets the library's constants to, the next one finds them as they were."""
    for holder, name in ((Route, "BASE"), (DiscordWebSocket, "DEFAULT_GATEWAY"), (Asset, "BASE")):
        monkeypatch.setattr(holder, name, getattr(holder, name))


@pytest.fixture
async def open_scene(migrated_file: Path, tmp_path: Path, restored_addresses: None) -> AsyncIterator[OpenScene]:
    """Open a scene; options: ``rehearsal`` (settings), ``worker`` (settings), ``door`` (DoorOptions), ``ready``."""
    async with AsyncExitStack() as stack:

        async def open_(**how: Any) -> Scene:
            return await stack.enter_async_context(scene_at(migrated_file, tmp_path, **how))

        yield open_


class BotRuns:
    """Starts and stops bots over one ledger, one at a time."""

    def __init__(self, parts: DoorParts, play: RehearsalClient, token: str, **usual: Any) -> None:
        self._parts, self._play, self._token, self._usual = parts, play, token, usual
        self._running: list[tuple[asyncio.Event, asyncio.Task[None]]] = []

    async def start(self, *, ready: bool = True, **more: Any) -> DarkroomBot:
        bot, stop = DarkroomBot(self._parts, DoorOptions(**self._usual, **more)), asyncio.Event()
        self._running.append((stop, asyncio.create_task(bot.serve(self._token, stop))))
        if ready:
            await self._play.wait_bot(timeout_s=10)
            await until(lambda: (known := bot.get_guild(bot.allowed_guild_id)) is not None and not known.unavailable)
        return bot

    async def stop(self) -> None:
        while self._running:
            stop, task = self._running.pop()
            stop.set()
            async with asyncio.timeout(15):
                await task


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def scene_at(
    template: Path, folder: Path, *, rehearsal: dict | None = None, worker: dict | None = None, door: dict | None = None,
    ready: bool = True, flows: Path | None = None,
) -> AsyncIterator[Scene]:  # fmt: skip
    file = folder / "darkroom.sqlite3"
    shutil.copyfile(template, file)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await app.start(RehearsalConfig(**(PATIENT | (rehearsal or {})))))
        play = await stack.enter_async_context(RehearsalClient(server.url))
        fake = await stack.enter_async_context(FakeWorker(**(worker or {})).serve())
        database = await stack.enter_async_context(open_database(sqlite_url(file), sqlite_synchronous="NORMAL"))
        lab = await stack.enter_async_context(open_lab(database, folder, fake, policy=CALM, patience=UNHURRIED))
        await until(lambda: bool(lab.pool.online()))
        sessions, members = SqlSessionStore(database), SqlMemberStore(database)
        apply_discord_address(server.url, server.token)
        state = await play.state()
        guild = state["guilds"][0]
        parts = DoorParts(
            desk=lab.desk, store=lab.store, outbox=lab.outbox, pictures=lab.pictures, sessions=sessions,
            fleet=lab.pool, feed=lab.feed, clock=SystemClock(), members=members,
            gallery=SqlGalleryStore(database), conduct=SqlConductStore(database),
            operator=Operator(Operating(database), lab.feed),
            reload_flows=FlowReload(folder=flows, pool=lab.pool, comfy=[]),
        )  # fmt: skip
        usual = {"guild_id": int(guild["id"]), "commands_file": folder / "commands.json", **(door or {})}
        bots = BotRuns(parts, play, server.token, **usual)
        stack.push_async_callback(bots.stop)

        async def restart(**more: Any) -> Scene:
            await bots.stop()
            scene.bot = await bots.start(ready=ready, **more)
            return scene

        scene = Scene(
            server=server, play=play, worker=fake, lab=lab, sessions=sessions, members=members, bot=await bots.start(ready=ready),
            guild_id=int(guild["id"]),
            welcome=next(c["id"] for c in guild["channels"] if c["name"] == "welcome"),
            users={user["username"]: user["id"] for user in state["users"]}, restart=restart, stop=bots.stop,
        )  # fmt: skip
        yield scene
        await bots.stop()
        for fault in await play.faults():
            assert fault["hits"], f"the fault {fault['name']} was never met: the test shows nothing"


@pytest.fixture
async def scene(open_scene: OpenScene) -> Scene:
    """The usual one."""
    return await open_scene()
