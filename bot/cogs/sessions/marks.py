"""How a studio is known: by its owner's mark, in a channel's topic or a thread's name, and by being private. Pure."""

import re

import discord

_MARK = re.compile(r"\[darkroom:(\d{1,20})\]")
_THREAD = re.compile(r"studio-.*-([0-9a-z]{2,13})", re.DOTALL)
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def marked_person(channel: discord.TextChannel) -> int | None:
    """Whose mark the topic carries: the last one, since the person's name comes before it."""
    marks = _MARK.findall(channel.topic or "")
    return int(marks[-1]) if marks else None


def topic_mark(person_id: int) -> str:
    """What a studio's topic ends with."""
    return f"[darkroom:{person_id}]"


def is_private_for(channel: discord.TextChannel, person_id: int) -> bool:
    """Whether @everyone, as a role, may not view it, and the person, as a member, may."""
    everyone = channel.overwrites_for(channel.guild.default_role)
    own = channel.overwrites_for(discord.Object(person_id, type=discord.Member))  # pyright: ignore[reportArgumentType]  matched by id and kind
    return everyone.view_channel is False and own.view_channel is True


def sees(channel: discord.TextChannel) -> bool:
    """Whether the bot itself may view it: what it cannot see it cannot post in, and nobody's photos come there."""
    return channel.permissions_for(channel.guild.me).view_channel


def studio_name(person: discord.abc.User) -> str:
    """``studio-`` and the person's name, as Discord takes channel names: lower case, no blanks, at most 100."""
    return f"studio-{_slug(person.display_name) or person.id}"


def channel_name(text: str) -> str:
    """A name as its person typed it, in the form that Discord gives it anyway; "" where nothing is left."""
    return _slug(text)


def _slug(text: str) -> str:
    return re.sub(r"[\W_]+", "-", text.lower()).strip("-")[:60]


def thread_name(person: discord.abc.User) -> str:
    """A thread has no topic: the mark is the end of its name, the person's id in base 36."""
    return f"{studio_name(person)}{thread_mark(person.id)}"


def thread_mark(person_id: int) -> str:
    """What a studio's name ends with where it is a thread."""
    number, digits = person_id, ""
    while number:
        number, last = divmod(number, 36)
        digits = _DIGITS[last] + digits
    return f"-{digits}"


def thread_person(thread: discord.Thread, *, me: int) -> int | None:
    """Whose studio a private thread of ours is."""
    match = _THREAD.fullmatch(thread.name)
    if match is None or thread.owner_id != me or thread.type is not discord.ChannelType.private_thread:
        return None
    return int(match[1], 36)
