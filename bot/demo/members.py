"""Six members of the rehearsal who each want a picture of their own, and what became of each."""

import asyncio
import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from housemodel.checker import Verdict, judge, read
from rehearsal.client import NothingCame, Refused, RehearsalClient

WISHES = {
    "ada": "a red star in the center on a cyan background",
    "bruno": "tres lunas blancas sobre fondo azul",
    "chen": "a yellow circle in the center on a purple background",
    "dana": "two green hearts on a white background",
    "eli": "an orange square at the top left on a black background",
    "fay": "four pink crosses on a blue background",
}


@dataclass
class Wish:
    """One member's request and its way so far."""

    member: str
    prompt: str
    state: str = "asks"
    channel_id: str = ""
    channel: str = ""
    waited: float | None = None
    shared_with: int | None = None
    file: str = ""
    verdict: Verdict | None = None
    seen: str = ""
    faults: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether this member got one picture, of their own prompt, where nobody else looks."""
        return self.verdict is not None and self.verdict.tells_apart and not self.faults


async def ask_and_wait(discord: RehearsalClient, channel_id: str, wish: Wish, changed: Callable[[], None], *, patience: float) -> None:
    """``/imagine``, then wait for the picture in the private channel and read it back from its pixels."""
    started = time.monotonic()
    try:
        record = await discord.slash(wish.member, channel_id, "imagine", {"prompt": wish.prompt}, wait="answer")
        wish.channel_id = _mentioned_channel(record)
        wish.channel = f"#{(await discord.channel(wish.channel_id, wish.member))['name']}"
        wish.state = "waits"
        changed()
        message = await discord.wait_message(wish.member, wish.channel_id, has_picture, timeout_s=patience)
        wish.waited = time.monotonic() - started
        await _look(discord, wish, message)
        wish.state = "has it"
    except (Refused, NothingCame, TimeoutError) as failure:
        wish.faults.append(str(failure) or f"no answer within {patience:.0f} s")
    changed()


async def check_privacy(discord: RehearsalClient, wishes: list[Wish]) -> None:
    """Each private channel must be refused to every other member, and hold exactly one picture."""
    for wish in wishes:
        messages = (await discord.messages(wish.channel_id, wish.member)) if wish.channel_id else []
        pictures = sum(has_picture(message) for message in messages)
        if pictures != 1:
            wish.faults.append(f"{pictures} pictures in {wish.channel or 'no channel'}")
        for other in wishes:
            if other is not wish and wish.channel_id and await _can_read(discord, wish.channel_id, other.member):
                wish.faults.append(f"{other.member} can read {wish.channel}")


def has_picture(message: dict[str, Any]) -> bool:
    """Whether a message is a completion: it carries a finished picture, not a preview, and has no Cancel button."""
    text = str(message["components"])
    return bool(picture_url(message)) and ":cancel:" not in text


def picture_url(message: dict[str, Any]) -> str:
    """The address of the first picture of a message's galleries, or an empty text."""
    stack = list(message.get("components") or [])
    while stack:
        part = stack.pop(0)
        if part.get("type") == 12:  # a media gallery
            return part["items"][0]["media"]["url"]
        stack.extend(part.get("components") or [])
    return ""


async def _look(discord: RehearsalClient, wish: Wish, message: dict[str, Any]) -> None:
    url = picture_url(message)
    data = await discord.download(url)
    wish.file = url.partition("?")[0].rpartition("/")[2]
    shared = re.search(r"(?:shared with|compartida con) (\d+)", str(message["components"]))
    wish.shared_with = int(shared[1]) if shared else 0
    wish.verdict, wish.seen = await asyncio.to_thread(_judge, data, wish.prompt)


def _judge(data: bytes, prompt: str) -> tuple[Verdict, str]:
    image = Image.open(io.BytesIO(data), formats=["PNG"]).convert("RGB")
    return judge(image, prompt), read(image).describe()


def _mentioned_channel(record: dict[str, Any]) -> str:
    found = re.search(r"<#(\d+)>", str(record.get("original")))
    if found is None:
        raise Refused(0, "no_channel", f"the answer names no channel: {str(record.get('original'))[:200]}")
    return found[1]


async def _can_read(discord: RehearsalClient, channel_id: str, member: str) -> bool:
    try:
        await discord.messages(channel_id, member)
    except Refused:
        return False
    return True
