"""Pictures that people bring: fetched at once, since Discord's links die, and handed to the desk, which checks them.

A message's gallery may name any address (a webhook writes what it likes, and Discord keeps it beside its own copy's). Only Discord's own
file servers are asked, without a redirect, and what is read is counted while it comes: a size that was told, or none, proves nothing.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any

import aiohttp
import discord
import yarl
from discord.asset import Asset

from bot.cogs.verbs.derive import Source
from jobs.desk import Desk
from jobs.errors import InvalidRequest
from jobs.job import UserId

FETCH_TIMEOUT = 30.0
BYTES_MAX = 32 * 1024 * 1024
"""The whole file comes into memory: what is larger is not fetched at all."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file as Discord tells of it: its name and type are what somebody wrote, only the size is Discord's own."""

    url: str
    size: int

    @classmethod
    def of(cls, attachment: discord.Attachment) -> "Upload":
        """An attachment of a message or an option."""
        return cls(url=attachment.url, size=attachment.size)


def uploads_of(interaction: discord.Interaction) -> list[Upload]:
    """The files that came with a form."""
    data: Any = interaction.data or {}
    found = (data.get("resolved") or {}).get("attachments") or {}
    return [Upload(url=str(raw["url"]), size=int(raw["size"])) for raw in found.values()]


_DISCORD = "https://cdn.discordapp.com"
_ALSO = ("https://media.discordapp.net", "https://images-ext-1.discordapp.net", "https://images-ext-2.discordapp.net")
"""Discord's servers for resized files, and for its copies of what messages link to."""


def address_of(url: str) -> yarl.URL | None:
    """The address, where it is one of Discord's file servers (or of what stands in for it); else None."""
    try:
        read = yarl.URL(url, encoded=True)
        origin = str(read.origin())
    except ValueError:
        return None
    base = str(yarl.URL(Asset.BASE).origin())
    return read if read.user is None and origin in ((base, *_ALSO) if base == _DISCORD else (base,)) else None


class Intake:
    """Takes a file in. At most two at a time, so that memory stays bounded."""

    def __init__(self, *, desk: Desk) -> None:
        self._desk = desk
        self._places = asyncio.Semaphore(2)

    async def digest(self, upload: Upload) -> str:
        """SHA-256 (hex) of the file as it is: a copy of one of our pictures is known by it. Raises as :meth:`take`."""
        async with self._places:
            return hashlib.sha256(await _fetch(upload)).hexdigest()

    async def take(self, upload: Upload, *, user_id: UserId) -> Source:
        """The picture to start from. Raises InvalidRequest for what is none or is gone, and what aiohttp raises."""
        async with self._places:
            return await self.keep(await _fetch(upload), user_id=user_id)

    async def keep(self, data: bytes, *, user_id: UserId) -> Source:
        """Bytes that are here already, from now on also this person's to start from. Raises InvalidRequest."""
        picture = await self._desk.take_picture(data, user_id=user_id)
        return Source(sha256=picture.sha256, width=picture.width, height=picture.height)


async def _fetch(upload: Upload) -> bytes:
    """The whole file, at most BYTES_MAX. Raises InvalidRequest, aiohttp.ClientError, TimeoutError."""
    address = address_of(upload.url)
    if address is None:
        raise InvalidRequest("no_picture_there", field="image")
    _check_size(upload.size)
    async with (
        asyncio.timeout(FETCH_TIMEOUT),
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), headers={"Accept-Encoding": "identity"}) as session,
        session.get(address, allow_redirects=False) as answer,
    ):
        if answer.status in (403, 404):
            raise InvalidRequest("source_gone", field="image")
        if answer.status != 200:
            raise aiohttp.ClientConnectionError(f"the file's server answered {answer.status}")
        data = bytearray()
        async for chunk in answer.content.iter_chunked(64 * 1024):
            data += chunk
            _check_size(len(data))
        return bytes(data)


def _check_size(size: int) -> None:
    if size > BYTES_MAX:
        raise InvalidRequest("invalid_picture", field="image", megabytes=BYTES_MAX // 2**20, megapixels=40)
