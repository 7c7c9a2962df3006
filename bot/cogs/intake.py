"""Pictures that people bring: fetched at once, since Discord's links die, and handed to the desk, which checks them."""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any

import discord

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


class Intake:
    """Takes a file in. At most two at a time, so that memory stays bounded."""

    def __init__(self, *, client: discord.Client, desk: Desk) -> None:
        self._client = client
        self._desk = desk
        self._places = asyncio.Semaphore(2)

    async def digest(self, upload: Upload) -> str:
        """SHA-256 (hex) of the file as it is: a copy of one of our pictures is known by it."""
        if upload.size > BYTES_MAX:
            raise InvalidRequest("invalid_picture", field="image", megabytes=BYTES_MAX // 2**20, megapixels=40)
        async with self._places, asyncio.timeout(FETCH_TIMEOUT):
            return hashlib.sha256(await self._client.http.get_from_cdn(upload.url)).hexdigest()

    async def take(self, upload: Upload, *, user_id: UserId) -> Source:
        """The picture to start from. Raises InvalidRequest for what is none, and what discord.py raises."""
        if upload.size > BYTES_MAX:
            raise InvalidRequest("invalid_picture", field="image", megabytes=BYTES_MAX // 2**20, megapixels=40)
        async with self._places:
            async with asyncio.timeout(FETCH_TIMEOUT):
                data = await self._client.http.get_from_cdn(upload.url)
            return await self.keep(data, user_id=user_id)

    async def keep(self, data: bytes, *, user_id: UserId) -> Source:
        """Bytes that are here already, from now on also this person's to start from. Raises InvalidRequest."""
        picture = await self._desk.take_picture(data, user_id=user_id)
        return Source(sha256=picture.sha256, width=picture.width, height=picture.height)
