"""Permissions as Discord computes them (developer docs, topics/permissions).

Overwrites count only with the right type.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rehearsal.model import PRIVATE_THREAD, Channel, Guild, Member

NAMES = {
    "CREATE_INSTANT_INVITE": 0, "KICK_MEMBERS": 1, "BAN_MEMBERS": 2, "ADMINISTRATOR": 3, "MANAGE_CHANNELS": 4,
    "MANAGE_GUILD": 5, "ADD_REACTIONS": 6, "VIEW_AUDIT_LOG": 7, "PRIORITY_SPEAKER": 8, "STREAM": 9, "VIEW_CHANNEL": 10,
    "SEND_MESSAGES": 11, "SEND_TTS_MESSAGES": 12, "MANAGE_MESSAGES": 13, "EMBED_LINKS": 14, "ATTACH_FILES": 15,
    "READ_MESSAGE_HISTORY": 16, "MENTION_EVERYONE": 17, "USE_EXTERNAL_EMOJIS": 18, "VIEW_GUILD_INSIGHTS": 19,
    "CONNECT": 20, "SPEAK": 21, "MUTE_MEMBERS": 22, "DEAFEN_MEMBERS": 23, "MOVE_MEMBERS": 24, "USE_VAD": 25,
    "CHANGE_NICKNAME": 26, "MANAGE_NICKNAMES": 27, "MANAGE_ROLES": 28, "MANAGE_WEBHOOKS": 29,
    "MANAGE_GUILD_EXPRESSIONS": 30, "USE_APPLICATION_COMMANDS": 31, "REQUEST_TO_SPEAK": 32, "MANAGE_EVENTS": 33,
    "MANAGE_THREADS": 34, "CREATE_PUBLIC_THREADS": 35, "CREATE_PRIVATE_THREADS": 36, "USE_EXTERNAL_STICKERS": 37,
    "SEND_MESSAGES_IN_THREADS": 38, "USE_EMBEDDED_ACTIVITIES": 39, "MODERATE_MEMBERS": 40,
    "VIEW_CREATOR_MONETIZATION_ANALYTICS": 41, "USE_SOUNDBOARD": 42, "CREATE_GUILD_EXPRESSIONS": 43,
    "CREATE_EVENTS": 44, "USE_EXTERNAL_SOUNDS": 45, "SEND_VOICE_MESSAGES": 46, "SET_VOICE_CHANNEL_STATUS": 48,
    "SEND_POLLS": 49, "USE_EXTERNAL_APPS": 50, "PIN_MESSAGES": 51, "BYPASS_SLOWMODE": 52,
}  # fmt: skip
BITS = {name: 1 << bit for name, bit in NAMES.items()}
ALL = sum(BITS.values())

ADMINISTRATOR, VIEW, SEND, HISTORY = (BITS[n] for n in ("ADMINISTRATOR", "VIEW_CHANNEL", "SEND_MESSAGES", "READ_MESSAGE_HISTORY"))
ATTACH, EMBED, MENTION_EVERYONE = (BITS[n] for n in ("ATTACH_FILES", "EMBED_LINKS", "MENTION_EVERYONE"))
MANAGE_CHANNELS, MANAGE_ROLES, MANAGE_GUILD = (BITS[n] for n in ("MANAGE_CHANNELS", "MANAGE_ROLES", "MANAGE_GUILD"))
MANAGE_MESSAGES, MANAGE_WEBHOOKS, MANAGE_THREADS = (BITS[n] for n in ("MANAGE_MESSAGES", "MANAGE_WEBHOOKS", "MANAGE_THREADS"))
ADD_REACTIONS, USE_COMMANDS, PIN_MESSAGES = (BITS[n] for n in ("ADD_REACTIONS", "USE_APPLICATION_COMMANDS", "PIN_MESSAGES"))
SEND_IN_THREADS, PUBLIC_THREADS, PRIVATE_THREADS = (
    BITS[n] for n in ("SEND_MESSAGES_IN_THREADS", "CREATE_PUBLIC_THREADS", "CREATE_PRIVATE_THREADS")
)

EVERYONE_DEFAULT = sum(
    BITS[n]
    for n in (
        "CREATE_INSTANT_INVITE", "ADD_REACTIONS", "STREAM", "VIEW_CHANNEL", "SEND_MESSAGES", "EMBED_LINKS",
        "ATTACH_FILES", "READ_MESSAGE_HISTORY", "USE_EXTERNAL_EMOJIS", "CONNECT", "SPEAK", "USE_VAD", "CHANGE_NICKNAME",
        "USE_APPLICATION_COMMANDS", "CREATE_PUBLIC_THREADS", "CREATE_PRIVATE_THREADS", "SEND_MESSAGES_IN_THREADS",
        "USE_EXTERNAL_STICKERS", "SEND_POLLS", "USE_EXTERNAL_APPS",
    )
)  # fmt: skip
BOT_DEFAULT = (
    VIEW | SEND | EMBED | ATTACH | HISTORY | ADD_REACTIONS | USE_COMMANDS | MANAGE_CHANNELS | MANAGE_ROLES
    | MANAGE_MESSAGES | MANAGE_WEBHOOKS | MANAGE_THREADS | SEND_IN_THREADS | PUBLIC_THREADS | PRIVATE_THREADS
)  # fmt: skip
# A DM has no roles; these are what both sides can do there.
IN_DM = VIEW | SEND | EMBED | ATTACH | HISTORY | ADD_REACTIONS | USE_COMMANDS | PIN_MESSAGES | BITS["USE_EXTERNAL_EMOJIS"]


def parse(value: Any) -> int:
    """A number, a decimal string, or a list of names as bits. Raises ValueError."""
    if isinstance(value, list):
        unknown = [name for name in value if not isinstance(name, str) or name not in BITS]
        if unknown:
            raise ValueError(f"There is no permission called {unknown[0]!r}.")
        return sum({BITS[name] for name in value})
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).isdecimal():
        raise ValueError(f"{value!r} is not a permission number.")
    return int(value)


def names(bits: int) -> list[str]:
    """The names of the bits that are set."""
    return [name for name, bit in BITS.items() if bits & bit]


def in_guild(guild: Guild, member: Member) -> int:
    """What a member may do in the guild as a whole."""
    if guild.owner_id == member.user.id:
        return ALL
    bits = guild.roles[guild.id].permissions
    for role_id in member.roles:
        if role_id in guild.roles:
            bits |= guild.roles[role_id].permissions
    return ALL if bits & ADMINISTRATOR else bits


def _overwritten(bits: int, guild: Guild, member: Member, channel: Channel) -> int:
    everyone_deny = everyone_allow = deny = allow = own_deny = own_allow = 0
    for overwrite in channel.overwrites:
        if overwrite.type == 0 and overwrite.id == guild.id:
            everyone_deny, everyone_allow = overwrite.deny, overwrite.allow
        elif overwrite.type == 0 and overwrite.id in member.roles:
            deny |= overwrite.deny
            allow |= overwrite.allow
        elif overwrite.type == 1 and overwrite.id == member.user.id:
            own_deny, own_allow = overwrite.deny, overwrite.allow
    bits = bits & ~everyone_deny | everyone_allow
    bits = bits & ~deny | allow
    return bits & ~own_deny | own_allow


def _timed_out(guild: Guild, member: Member, now: float) -> bool:
    return member.timed_out_until is not None and member.timed_out_until > now and guild.owner_id != member.user.id


def in_channel(guild: Guild, member: Member, channel: Channel, *, parent: Channel | None, now: float) -> int:
    """What a member may do in a guild channel or thread. `parent` is the thread's parent."""
    base = in_guild(guild, member)
    if base & ADMINISTRATOR:
        return ALL
    bits = _overwritten(base, guild, member, parent if channel.is_thread and parent is not None else channel)
    if channel.is_thread:
        bits = bits | SEND if bits & SEND_IN_THREADS else bits & ~SEND
        if channel.type == PRIVATE_THREAD and not bits & MANAGE_THREADS and member.user.id not in channel.members:
            return 0
    if not bits & VIEW:
        return 0
    if not bits & SEND:
        bits &= ~(ATTACH | EMBED | MENTION_EVERYONE | BITS["SEND_TTS_MESSAGES"])
    if _timed_out(guild, member, now):
        bits &= VIEW | HISTORY
    return bits


def highest_role(guild: Guild, member: Member) -> int:
    """The position of a member's highest role; the owner stands above all."""
    if guild.owner_id == member.user.id:
        return 1 << 30
    positions: Iterable[int] = (guild.roles[r].position for r in member.roles if r in guild.roles)
    return max(positions, default=0)
