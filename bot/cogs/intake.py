"""Pictures that people bring: fetched at once (Discord's links die), checked, drawn anew, kept under their hash."""

import asyncio
from dataclasses import dataclass
from typing import Any

import discord

from bot.cogs.verbs.derive import Source
from jobs.errors import InvalidRequest
from jobs.ports import Inspector, PictureStore

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

    def __init__(self, *, client: discord.Client, inspector: Inspector, pictures: PictureStore) -> None:
        self._client = client
        self._inspector = inspector
        self._pictures = pictures
        self._places = asyncio.Semaphore(2)

    async def take(self, upload: Upload) -> Source:
        """The picture to start from. Raises InvalidRequest for what is none, and what discord.py raises."""
        if upload.size > BYTES_MAX:
            raise InvalidRequest("invalid_picture", field="image", megabytes=BYTES_MAX // 2**20, megapixels=40)
        async with self._places:
            async with asyncio.timeout(FETCH_TIMEOUT):
                data = await self._client.http.get_from_cdn(upload.url)
            clean, picture = await self._inspector.take_in(data)
            await self._pictures.put(clean)
        return Source(sha256=picture.sha256, width=picture.width, height=picture.height)
