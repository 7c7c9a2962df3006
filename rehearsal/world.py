"""The state of the stand-in: who exists, where, and who may do what. No payloads, no sockets."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from rehearsal import model, permissions
from rehearsal.clock import Clock, Snowflakes
from rehearsal.errors import DiscordError, is_id
from rehearsal.model import Application, Attachment, Channel, Guild, Member, Message, Role, User, Webhook

TOMBSTONES = 20_000


class World:
    """Everything there is, by id."""

    def __init__(self, clock: Clock, ids: Snowflakes, application: Application) -> None:
        self.clock = clock
        self.ids = ids
        self.application = application
        self.users: dict[int, User] = {application.bot.id: application.bot, application.owner.id: application.owner}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        self.webhooks: dict[int, Webhook] = {}
        self.ephemerals: OrderedDict[int, Message] = OrderedDict()
        self.deleted: OrderedDict[int, int] = OrderedDict()
        self.message_channel: dict[int, int] = {}
        self.attachments: dict[int, Attachment] = {}

    @property
    def bot(self) -> User:
        """The bot's user."""
        return self.application.bot

    def guild(self, guild_id: int) -> Guild:
        """A guild, or 10004."""
        if guild_id not in self.guilds:
            raise DiscordError(10004)
        return self.guilds[guild_id]

    def guild_for_bot(self, guild_id: int) -> Guild:
        """A guild the bot is in; others do not exist for it."""
        guild = self.guild(guild_id)
        if self.bot.id not in guild.members:
            raise DiscordError(10004)
        return guild

    def channel(self, channel_id: int) -> Channel:
        """A channel, or 10003."""
        if channel_id not in self.channels:
            raise DiscordError(10003)
        return self.channels[channel_id]

    def user(self, user_id: int) -> User:
        """A user, or 10013."""
        if user_id not in self.users:
            raise DiscordError(10013)
        return self.users[user_id]

    def member(self, guild: Guild, user_id: int) -> Member:
        """A member, or 10007."""
        if user_id not in guild.members:
            raise DiscordError(10007)
        return guild.members[user_id]

    def guild_of(self, channel: Channel) -> Guild | None:
        """The guild a channel belongs to; None for a DM."""
        return None if channel.guild_id is None else self.guilds.get(channel.guild_id)

    def guild_channels(self, guild_id: int) -> list[Channel]:
        """Channels and categories of a guild, threads not among them."""
        return [c for c in self.channels.values() if c.guild_id == guild_id and not c.is_thread]

    def guild_threads(self, guild_id: int) -> list[Channel]:
        """Threads of a guild."""
        return [c for c in self.channels.values() if c.guild_id == guild_id and c.is_thread]

    def permissions(self, user_id: int, channel: Channel) -> int:
        """What a user may do in a channel; 0 where they have no business."""
        guild = self.guild_of(channel)
        if guild is None:
            return permissions.IN_DM if any(u.id == user_id for u in channel.recipients) else 0
        member = guild.members.get(user_id)
        if member is None:
            return 0
        parent = self.channels.get(channel.parent_id) if channel.parent_id else None
        return permissions.in_channel(guild, member, channel, parent=parent, now=self.clock.now())

    def sees(self, user_id: int, channel: Channel) -> bool:
        """Whether a user may view a channel."""
        return bool(self.permissions(user_id, channel) & permissions.VIEW)

    def viewers(self, channel: Channel) -> list[int]:
        """Everyone who may view a channel."""
        guild = self.guild_of(channel)
        users = [u.id for u in channel.recipients] if guild is None else list(guild.members)
        return [user_id for user_id in users if self.sees(user_id, channel)]

    def require(self, channel: Channel, *bits: int) -> int:
        """The bot's permissions in a channel; 50001 when it cannot see it, 50013 when a bit is missing."""
        mine = self.permissions(self.bot.id, channel)
        if not mine & permissions.VIEW:
            raise DiscordError(50001)
        if any(not mine & bit for bit in bits):
            raise DiscordError(50013)
        return mine

    def require_in_guild(self, guild: Guild, *bits: int) -> int:
        """The bot's permissions in a guild; 50013 when a bit is missing."""
        mine = permissions.in_guild(guild, self.member(guild, self.bot.id))
        if any(not mine & bit for bit in bits):
            raise DiscordError(50013)
        return mine

    def message(self, channel: Channel, message_id: int) -> Message:
        """A message of a channel's history, or 10008."""
        if message_id not in channel.messages:
            raise DiscordError(10008)
        return channel.messages[message_id]

    def find_message(self, message_id: int) -> Message | None:
        """A message wherever it is, ephemeral ones too."""
        if message_id in self.ephemerals:
            return self.ephemerals[message_id]
        channel = self.channels.get(self.message_channel.get(message_id, 0))
        return channel.messages.get(message_id) if channel else None

    def store(self, channel: Channel, message: Message) -> None:
        """Put a new message where it belongs."""
        if message.ephemeral_for is not None:
            self.ephemerals[message.id] = message
            while len(self.ephemerals) > TOMBSTONES:
                self.ephemerals.popitem(last=False)
            return
        channel.messages[message.id] = message
        channel.last_message_id = message.id
        self.message_channel[message.id] = channel.id
        if channel.is_thread:
            channel.message_count += 1
            channel.archived = False

    def discard(self, message: Message) -> None:
        """Take a message away; its id stays known as deleted."""
        message.deleted = True
        self.ephemerals.pop(message.id, None)
        channel = self.channels.get(message.channel_id)
        if channel is not None:
            channel.messages.pop(message.id, None)
        self.message_channel.pop(message.id, None)
        self.deleted[message.id] = message.channel_id
        while len(self.deleted) > TOMBSTONES:
            self.deleted.popitem(last=False)

    def add_user(self, username: str, *, global_name: str | None = None, locale: str = "en-US", bot: bool = False) -> User:
        """A new person (or a foreign bot)."""
        user = User(id=self.ids.next(), username=username, global_name=global_name, locale=locale, bot=bot)
        self.users[user.id] = user
        return user

    def add_guild(self, name: str, owner: User, *, locale: str = "en-US", premium_tier: int = 0) -> Guild:
        """A new guild with @everyone and its owner."""
        guild = Guild(id=self.ids.next(), name=name, owner_id=owner.id, locale=locale, premium_tier=premium_tier)
        everyone = Role(id=guild.id, name="@everyone", position=0, permissions=permissions.EVERYONE_DEFAULT)
        guild.roles[guild.id] = everyone
        self.guilds[guild.id] = guild
        self.join(guild, owner)
        return guild

    def join(self, guild: Guild, user: User, roles: list[int] | None = None, nick: str | None = None) -> Member:
        """Make a user a member."""
        member = Member(user=user, roles=list(roles or []), nick=nick, joined_at=self.clock.now())
        guild.members[user.id] = member
        return member

    def invite_bot(self, guild: Guild, bits: int) -> Member:
        """Let the bot in, with a managed role that holds what it asked for."""
        role = self.add_role(guild, self.application.name, bits)
        role.managed = True
        role.bot_id = self.bot.id
        return self.join(guild, self.bot, [role.id])

    def add_role(self, guild: Guild, name: str, bits: int = 0, *, color: int = 0, position: int | None = None) -> Role:
        """A new role, below all others unless a position is given."""
        position = max(1, position or 1)
        for role in guild.roles.values():
            if role.position >= position:
                role.position += 1
        role = Role(id=self.ids.next(), name=name, permissions=bits, color=color, position=position)
        guild.roles[role.id] = role
        return role

    def dm(self, user: User) -> Channel:
        """The DM of a user and the bot, always the same."""
        for channel in self.channels.values():
            if channel.type == model.DM and any(u.id == user.id for u in channel.recipients):
                return channel
        channel = Channel(id=self.ids.next(), type=model.DM, recipients=[user, self.bot])
        self.channels[channel.id] = channel
        return channel

    def mutual_guilds(self, user_id: int) -> Iterator[Guild]:
        """Guilds the bot shares with a user."""
        for guild in self.guilds.values():
            if user_id in guild.members and self.bot.id in guild.members:
                yield guild

    def file_limit(self, guild_id: int | None, default: int) -> int:
        """Bytes one file may have in that guild (boosts: tier 2 50 MiB, tier 3 100 MiB)."""
        guild = self.guilds.get(guild_id or 0)
        boosted = {2: 50 << 20, 3: 100 << 20}.get(guild.premium_tier, 0) if guild else 0
        return max(default, boosted)

    def find_user(self, name: Any) -> User | None:
        """A user by id or by name, any case."""
        text = str(name).strip().lower()
        if is_id(text) and int(text) in self.users:
            return self.users[int(text)]
        for user in self.users.values():
            if user.username.lower() == text or (user.global_name or "").lower() == text:
                return user
        return None
