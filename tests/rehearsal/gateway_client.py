"""A bare gateway client, so that the gateway too is tested by something that is not discord.py."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.rehearsal.conftest import Stage

INTENTS = 1 | 1 << 9 | 1 << 12


class Socket:
    """One connection, decompressed if need be."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, compress: str | None) -> None:
        self.socket = socket
        self._zlib = zlib.decompressobj() if compress else None

    async def send(self, op: int, data: Any) -> None:
        """One frame."""
        await self.socket.send_str(json.dumps({"op": op, "d": data}))

    async def next(self, timeout_s: float = 5) -> dict[str, Any]:
        """The next frame; `{"close": code}` at the end."""
        message = await self.socket.receive(timeout=timeout_s)
        if message.type is aiohttp.WSMsgType.TEXT:
            return json.loads(message.data)
        if message.type is aiohttp.WSMsgType.BINARY and self._zlib is not None:
            return json.loads(self._zlib.decompress(message.data))
        return {"close": self.socket.close_code, "op": None, "t": None}

    async def until(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = 5) -> list[dict[str, Any]]:
        """Frames up to the wanted one, or all that came in time."""
        frames: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    frames.append(await self.next())
                    if wanted(frames[-1]) or "close" in frames[-1]:
                        return frames
        except TimeoutError:
            return frames

    async def identify(self, stage: Stage, **more: Any) -> dict[str, Any]:
        """HELLO was read; identify and read READY."""
        await self.send(2, {"token": stage.server.token, "intents": INTENTS, "properties": {}} | more)
        return await self.next()


@asynccontextmanager
async def connect(
    stage: Stage, *, identify: bool = True, query: str = "v=10&encoding=json", compress: str | None = None
) -> AsyncIterator[Socket]:
    """A connection after HELLO, and after READY and GUILD_CREATE when it identifies."""
    url = f"{stage.server.url}/?{query}" + (f"&compress={compress}" if compress else "")
    async with stage.raw.session.ws_connect(url) as raw:
        socket = Socket(raw, compress)
        hello = await socket.next()
        assert hello.get("op") in (10, None)
        if identify:
            assert (await socket.identify(stage))["t"] == "READY"
            assert (await socket.next())["t"] == "GUILD_CREATE"
        yield socket
