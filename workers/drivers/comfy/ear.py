"""The socket of one ComfyUI server: a hint beside HTTP, which is the truth.

A fresh ``clientId`` at every connection: a reconnect under the same one can stay deaf for good, since the old handler's end
removes the new socket. Nothing is awaited between two frames: one client that does not read silences the sockets of all.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Callable

import aiohttp

from workers.drivers.comfy.client import ComfyClient
from workers.drivers.comfy.messages import Told, read_binary, read_text
from workers.drivers.comfy.patience import Patience

_log = logging.getLogger(__name__)

_FRAME_MAX = 16 * 1024 * 1024
"""``executed`` repeats outputs; aiohttp's own limit of 4 MiB would drop the connection."""
_FLAGS = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})


class Ear:
    """Listens while somebody needs it; who listens to a prompt hears its events, or nothing when the socket is gone."""

    def __init__(self, client: ComfyClient, patience: Patience) -> None:
        self._client = client
        self._patience = patience
        self._listeners: dict[str, Callable[[Told], None]] = {}
        self._wanted = asyncio.Event()
        self._open = asyncio.Event()
        self.client_id = ""
        """Of the present connection; empty while there is none."""
        self.connections = 0

    def listen(self, prompt_id: str, hear: Callable[[Told], None]) -> None:
        """Call ``hear`` for every event of this prompt, on the loop, until `stop`."""
        self._listeners[prompt_id] = hear
        self._wanted.set()

    def stop(self, prompt_id: str) -> None:
        """No longer."""
        self._listeners.pop(prompt_id, None)

    async def connected(self) -> str:
        """The client id to post with. Without a socket in time: one that nobody listens under, and HTTP must do."""
        self._wanted.set()
        try:
            async with asyncio.timeout(self._patience.socket):
                await self._open.wait()
        except TimeoutError:
            return uuid.uuid4().hex
        return self.client_id or uuid.uuid4().hex

    async def run(self) -> None:
        """Connect while wanted, for ever."""
        pause = 0.1
        while True:
            await self._wanted.wait()
            try:
                await self._listen()
                pause = 0.1
            except Exception as error:  # noqa: BLE001  task boundary: without a socket everything still works, only slower
                _log.info("no socket to %s: %s", self._client.url.host, error)
                pause = min(pause * 2, 10)
            finally:
                self._open.clear()
                self.client_id = ""
            await asyncio.sleep(pause)

    async def _listen(self) -> None:
        name = uuid.uuid4().hex
        url = (self._client.url / "ws").with_query(clientId=name)
        async with asyncio.timeout(self._patience.answer):
            socket = await self._client.session.ws_connect(
                url, headers=self._client.headers, heartbeat=self._patience.ping, max_msg_size=_FRAME_MAX
            )
        try:
            await socket.send_str(_FLAGS)
            await self._read(socket, name)
        finally:
            await asyncio.shield(socket.close())

    async def _read(self, socket: aiohttp.ClientWebSocketResponse, name: str) -> None:
        while True:
            try:
                message = await socket.receive(self._patience.linger)
            except TimeoutError:
                if self._listeners:  # a quiet server, not an unused socket
                    continue
                self._wanted.clear()
                return
            if message.type is aiohttp.WSMsgType.TEXT:
                if not self._open.is_set():  # its first word says that it registered us
                    self.client_id = name
                    self.connections += 1
                    self._open.set()
                self._tell(read_text(message.data))
            elif message.type is aiohttp.WSMsgType.BINARY:
                self._tell(read_binary(message.data))
            else:
                return

    def _tell(self, told: Told | None) -> None:
        hear = self._listeners.get(told.prompt_id) if told is not None else None
        if hear is not None and told is not None:
            hear(told)
