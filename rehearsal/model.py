"""The things of the twin's world. Mutable on purpose: this is the state of a server, not a message between modules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TEXT, DM, VOICE, CATEGORY, NEWS = 0, 1, 2, 4, 5
NEWS_THREAD, PUBLIC_THREAD, PRIVATE_THREAD = 10, 11, 12
STAGE, FORUM = 13, 15
THREADS = frozenset({NEWS_THREAD, PUBLIC_THREAD, PRIVATE_THREAD})
WRITABLE = frozenset({TEXT, DM, VOICE, NEWS, STAGE}) | THREADS

SUPPRESS_EMBEDS, EPHEMERAL, LOADING, SILENT, V2 = 4, 64, 128, 4096, 32768


@dataclass(kw_only=True, slots=True)
class User:
    """A person or a bot."""

    id: int
    username: str
    global_name: str | None = None
    bot: bool = False
    locale: str = "en-US"
    avatar: str | None = None


@dataclass(kw_only=True, slots=True)
class Role:
    """A role; the one with the guild's id is @everyone."""

    id: int
    name: str
    permissions: int = 0
    position: int = 1
    color: int = 0
    managed: bool = False
    bot_id: int | None = None


@dataclass(kw_only=True, slots=True)
class Member:
    """A user in a guild."""

    user: User
    roles: list[int] = field(default_factory=list)
    nick: str | None = None
    joined_at: float = 0.0
    timed_out_until: float | None = None


@dataclass(kw_only=True, slots=True, frozen=True)
class Overwrite:
    """What one role (type 0) or one member (type 1) may or may not do in a channel."""

    id: int
    type: int
    allow: int = 0
    deny: int = 0


@dataclass(kw_only=True, slots=True)
class Attachment:
    """A stored file; the bytes lie in the file store under `digest`."""

    id: int
    channel_id: int
    filename: str
    size: int
    content_type: str
    digest: str
    width: int | None = None
    height: int | None = None
    description: str | None = None
    spoiler: bool = False
    ephemeral: bool = False


@dataclass(kw_only=True, slots=True)
class Message:
    """A message. `ephemeral_for` makes it visible to one user alone and keeps it out of every history and event."""

    id: int
    channel_id: int
    guild_id: int | None
    author: User
    created_at: float
    type: int = 0
    content: str = ""
    embeds: list[dict[str, Any]] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    components: list[dict[str, Any]] = field(default_factory=list)
    flags: int = 0
    edited_at: float | None = None
    nonce: str | int | None = None
    tts: bool = False
    mentions: list[int] = field(default_factory=list)
    mention_roles: list[int] = field(default_factory=list)
    mention_everyone: bool = False
    reference: dict[str, Any] | None = None
    reactions: dict[str, list[int]] = field(default_factory=dict)
    webhook_id: int | None = None
    webhook_name: str | None = None
    webhook_avatar: str | None = None
    application_id: int | None = None
    interaction: dict[str, Any] | None = None
    ephemeral_for: int | None = None
    thread_id: int | None = None
    pinned: bool = False
    deleted: bool = False


@dataclass(kw_only=True, slots=True)
class Channel:
    """A guild channel, a thread, or a DM."""

    id: int
    type: int
    guild_id: int | None = None
    name: str = ""
    topic: str | None = None
    parent_id: int | None = None
    position: int = 0
    nsfw: bool = False
    rate_limit_per_user: int = 0
    overwrites: list[Overwrite] = field(default_factory=list)
    recipients: list[User] = field(default_factory=list)
    messages: dict[int, Message] = field(default_factory=dict)
    last_message_id: int | None = None
    owner_id: int | None = None
    members: dict[int, float] = field(default_factory=dict)
    archived: bool = False
    locked: bool = False
    invitable: bool = True
    auto_archive_duration: int = 4320
    archive_timestamp: float = 0.0
    message_count: int = 0
    bitrate: int = 64000
    user_limit: int = 0
    tags: dict[int, str] = field(default_factory=dict)
    """Of a forum: what its posts can be tagged with."""
    requires_tag: bool = False
    applied_tags: list[int] = field(default_factory=list)
    """Of a forum's post."""

    @property
    def is_thread(self) -> bool:
        """Whether this is a thread."""
        return self.type in THREADS


@dataclass(kw_only=True, slots=True)
class Guild:
    """A server."""

    id: int
    name: str
    owner_id: int
    locale: str = "en-US"
    premium_tier: int = 0
    roles: dict[int, Role] = field(default_factory=dict)
    members: dict[int, Member] = field(default_factory=dict)
    unavailable: bool = False
    command_creates: list[float] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class Webhook:
    """An incoming webhook of a channel."""

    id: int
    channel_id: int
    guild_id: int
    name: str
    token: str
    creator: User
    avatar: str | None = None


@dataclass(kw_only=True, slots=True)
class Application:
    """The application under test, with the switches of its portal page."""

    id: int
    name: str
    bot: User
    token: str
    owner: User
    members_intent: bool = False
    message_content_intent: bool = False
    commands: dict[int | None, list[dict[str, Any]]] = field(default_factory=dict)
