"""A simulated Discord behind ``discord.Client``, as far as the courier uses it: channels, nonces, history, and its bad days."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import aiohttp
import discord

from tests.simulation.loop import HOST, SimLoop
from tests.simulation.sqlite import EPOCH

NONCE_WINDOW = 300.0
"""Seconds in which a nonce finds its first message: "the past few minutes", so the shortest reading that has been used."""

DISCORD_EPOCH = 1_420_070_400_000
ME = 4242


@dataclass
class Message:
    """A message that somebody can see."""

    id: int
    at: float
    channel: int
    nonce: str | None
    markers: tuple[int, ...]
    files: tuple[bytes, ...]
    names: tuple[str, ...]
    deleted: bool = False
    edits: int = 0
    texts: str = ""
    sent_at: float = 0.0
    """When its request was begun: it may take effect much later."""

    @property
    def author(self) -> Any:
        return SimpleNamespace(id=ME)

    @property
    def components(self) -> list[Any]:
        return [SimpleNamespace(id=marker) for marker in self.markers]


@dataclass
class Chat:
    """What Discord holds, and how it behaves."""

    loop: SimLoop
    rng: random.Random
    messages: list[Message] = field(default_factory=list)
    nonces: dict[tuple[int, str], Message] = field(default_factory=dict)
    down_until: float = 0.0
    forbidden_until: float = 0.0
    loses: float = 0.0
    """How likely an answer is lost after its request took effect."""
    hang_seconds: tuple[float, float] = (46.0, 400.0)
    hangs: float = 0.0
    """How likely a POST takes minutes to take effect."""
    errors: float = 0.0
    """How likely a 500 comes, and half of those after the request took effect."""
    limits: float = 0.0
    requests: int = 0
    invalid: int = 0
    """401, 403 and 429 answered: 10,000 in ten minutes ban the address."""

    def next_id(self) -> int:
        now = int(EPOCH.timestamp() * 1000 + self.loop.time() * 1000) - DISCORD_EPOCH
        return (now << 22) | (len(self.messages) & 0x3FFFFF)

    def post(
        self, channel: int, nonce: str | None, markers: tuple[int, ...], files: tuple[bytes, ...], names: tuple[str, ...], texts: str, sent_at: float
    ) -> Message:
        """A POST takes effect: the nonce's message of the last minutes, or a new one."""
        known = self.nonces.get((channel, nonce)) if nonce else None
        if known is not None and self.loop.time() - known.at < NONCE_WINDOW:
            return known
        message = Message(self.next_id(), self.loop.time(), channel, nonce, markers, files, names, texts=texts, sent_at=sent_at)
        self.messages.append(message)
        if nonce:
            self.nonces[(channel, nonce)] = message
        return message


class SimClient:
    """One host's discord.Client."""

    def __init__(self, chat: Chat) -> None:
        self.user = SimpleNamespace(id=ME)
        self._chat = chat

    def get_guild(self, _: int) -> None:
        return None

    def get_partial_messageable(self, channel_id: int, *, guild_id: int | None = None) -> "SimChannel":
        return SimChannel(self._chat, channel_id)


class SimChannel:
    """A channel, and the way to it."""

    def __init__(self, chat: Chat, channel_id: int) -> None:
        self._chat = chat
        self._id = channel_id

    async def send(self, *, view: Any, files: list[Any], nonce: str | None = None, **_: Any) -> Message:
        chat, begun = self._chat, self._chat.loop.time()
        await self._go()
        effect = chat.loop.create_future()
        request = (
            self._id, nonce, tuple(_markers(view)), tuple(file.fp.read() for file in files), tuple(file.filename for file in files),
            _texts(view), begun,
        )  # fmt: skip
        if chat.rng.random() < chat.errors / 2:
            raise refused(500)
        _Post(chat, request, effect, HOST.get())
        message = await effect
        await self._answer()
        if chat.rng.random() < chat.errors / 2:
            raise refused(502)
        return message

    async def history(self, *, limit: int, after: Any, oldest_first: bool) -> AsyncIterator[Message]:
        await self._go()
        floor = after.id if isinstance(after, discord.Object) else snowflake(after)
        found = [m for m in self._chat.messages if m.channel == self._id and m.id > floor and not m.deleted]
        await self._answer()
        for message in found[:limit]:
            yield message

    def get_partial_message(self, message_id: int) -> Any:
        return SimpleNamespace(edit=lambda **what: self._edit(message_id, **what))

    async def _edit(self, message_id: int, *, view: Any, attachments: Any) -> None:
        await self._go()
        message = next((m for m in self._chat.messages if m.id == message_id and not m.deleted), None)
        if message is None:
            raise refused(404, 10008)
        message.edits += 1
        message.texts = _texts(view)
        await self._answer()

    async def _go(self) -> None:
        chat = self._chat
        chat.requests += 1
        await _sleep(chat, chat.rng.uniform(0.02, 0.3))
        if chat.loop.time() < chat.down_until:
            raise refused(503) if chat.rng.random() < 0.5 else aiohttp.ClientConnectionError("refused")
        if chat.loop.time() < chat.forbidden_until:
            chat.invalid += 1
            raise refused(403, 50013)
        if chat.rng.random() < chat.limits:
            chat.invalid += 1
            raise discord.RateLimited(chat.rng.uniform(0.5, 20))

    async def _answer(self) -> None:
        chat = self._chat
        await _sleep(chat, chat.rng.uniform(0.02, 0.2))
        if chat.rng.random() < chat.loses:
            if chat.rng.random() < 0.5:
                raise aiohttp.ClientOSError(104, "Connection reset by peer")
            await _sleep(chat, 1e5)  # silence: the caller's own timeout ends it


class _Post:
    """A request on the wire. It takes effect at Discord's own time, whether its sender still lives or not.

    A sender that closes the connection before that stops it half of the times; otherwise the bytes in flight still act, soon.
    """

    def __init__(self, chat: Chat, request: tuple, effect: Any, host: int) -> None:
        self._chat, self._request, self._effect, self._host = chat, request, effect, host
        self._done = False
        self._answered = False
        hang = chat.rng.random() < chat.hangs
        delay = chat.rng.uniform(*chat.hang_seconds) if hang else chat.rng.uniform(0.02, 0.6)
        chat.loop.outside(delay, self._act)
        chat.loop.outside(0.5, self._watch)

    def _watch(self) -> None:
        """Look every half second whether the sender is gone."""
        if self._done:
            return
        if self._effect.cancelled() or self._host in self._chat.loop.dead:
            if self._chat.rng.random() < 0.5:
                self._done = True
            else:
                self._chat.loop.outside(self._chat.rng.uniform(0, 20), self._act)
            return
        self._chat.loop.outside(0.5, self._watch)

    def _act(self) -> None:
        if self._done:
            return
        self._done = True
        message = self._chat.post(*self._request)
        if not self._effect.done():
            self._effect.set_result(message)


def refused(status: int, code: int = 0) -> discord.HTTPException:
    answer: Any = SimpleNamespace(status=status, reason="simulated")
    kind = {403: discord.Forbidden, 404: discord.NotFound}.get(
        status, discord.DiscordServerError if status >= 500 else discord.HTTPException
    )
    return kind(answer, {"code": code, "message": "simulated"})


def snowflake(moment: datetime) -> int:
    return int(moment.timestamp() * 1000 - DISCORD_EPOCH) << 22


async def _sleep(chat: Chat, seconds: float) -> None:
    future = chat.loop.create_future()
    timer = chat.loop.call_later(seconds, lambda: None if future.done() else future.set_result(None))
    try:
        await future
    finally:
        timer.cancel()


def _markers(view: Any) -> list[int]:
    return [item.id for item in view.children if item.id]


def _texts(view: Any) -> str:
    return "\n".join(item.content for item in view.walk_children() if isinstance(item, discord.ui.TextDisplay))
