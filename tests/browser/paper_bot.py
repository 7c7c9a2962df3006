"""A bot made of raw frames and requests: what it sends is exactly what a test says, valid or hostile.

No library stands between it and the rehearsal, so the page is tried with messages no well-behaved bot would send.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp

GUILDS, MESSAGES = 1 << 0, 1 << 9
HELLO, HEARTBEAT, IDENTIFY = 10, 1, 2
V2, EPHEMERAL, SILENT = 1 << 15, 1 << 6, 1 << 12

Answer = Callable[[dict[str, Any]], Awaitable[None]]


class PaperBot:
    """Connected while its context lasts; `on(name, handler)` answers a command or a control."""

    def __init__(self, http: aiohttp.ClientSession, health: dict[str, Any]) -> None:
        self.http = http
        self.health = health
        self.handlers: dict[str, Answer] = {}
        self.seen: list[dict[str, Any]] = []
        self.ready = asyncio.Event()

    def on(self, name: str, handler: Answer) -> None:
        self.handlers[name] = handler

    async def rest(self, method: str, path: str, body: Any = None, files: dict[str, bytes] | None = None) -> Any:
        headers = {"Authorization": f"Bot {self.health['token']}"}
        data: Any = None
        if files:
            data = aiohttp.FormData()
            data.add_field("payload_json", json.dumps(body), content_type="application/json")
            for at, (name, content) in enumerate(files.items()):
                data.add_field(f"files[{at}]", content, filename=name, content_type="application/octet-stream")
        kind = {"data": data} if files else {"json": body} if body is not None else {}
        async with self.http.request(method, f"{self.health['api']}{path}", headers=headers, **kind) as answer:
            text = await answer.text()
            assert answer.status < 300, f"{method} {path}: {answer.status} {text}"
            return json.loads(text) if text else None

    async def sync(self, guild: str, commands: list[dict[str, Any]]) -> None:
        await self.rest("PUT", f"/applications/{self.health['application_id']}/guilds/{guild}/commands", commands)

    async def say(self, channel: str, body: dict[str, Any], files: dict[str, bytes] | None = None) -> dict[str, Any]:
        return await self.rest("POST", f"/channels/{channel}/messages", body, files)

    async def edit(
        self, message: dict[str, Any], body: dict[str, Any], files: dict[str, bytes] | None = None
    ) -> dict[str, Any]:
        return await self.rest("PATCH", f"/channels/{message['channel_id']}/messages/{message['id']}", body, files)

    async def answer(self, interaction: dict[str, Any], kind: int, data: dict[str, Any] | None = None) -> None:
        path = f"/interactions/{interaction['id']}/{interaction['token']}/callback"
        await self.rest("POST", path, {"type": kind, **({"data": data} if data is not None else {})})

    async def _live(self) -> None:
        async with (
            self.http.ws_connect(f"{self.health['gateway'].rstrip('/')}/?v=10&encoding=json") as socket,
            asyncio.TaskGroup() as group,
        ):
            hello = await socket.receive_json()
            assert hello["op"] == HELLO
            beat = group.create_task(self._beat(socket, hello["d"]["heartbeat_interval"] / 1000))
            identity = {"os": "linux", "browser": "paper", "device": "paper"}
            await socket.send_json(
                {
                    "op": IDENTIFY,
                    "d": {"token": self.health["token"], "intents": GUILDS | MESSAGES, "properties": identity},
                }
            )
            async for frame in socket:
                event = json.loads(frame.data)
                if event.get("t"):
                    group.create_task(self._event(event["t"], event["d"]))
            beat.cancel()

    async def _beat(self, socket: aiohttp.ClientWebSocketResponse, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            await socket.send_json({"op": HEARTBEAT, "d": None})

    async def _event(self, name: str, data: dict[str, Any]) -> None:
        if name == "GUILD_CREATE":
            self.ready.set()
        if name != "INTERACTION_CREATE":
            return
        self.seen.append(data)
        handler = self.handlers.get(data["data"].get("name") or data["data"].get("custom_id"))
        if handler:
            await handler(data)


@asynccontextmanager
async def paper_bot(url: str):
    """A connected bot of the rehearsal at `url`."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        async with http.get(f"{url}/control/health") as answer:
            health = await answer.json()
        bot = PaperBot(http, health)
        life = asyncio.create_task(bot._live())
        try:
            async with asyncio.timeout(10):
                await bot.ready.wait()
            yield bot
        finally:
            life.cancel()
            with suppress(asyncio.CancelledError):
                await life
