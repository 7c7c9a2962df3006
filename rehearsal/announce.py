"""What happened, told to the bot over the gateway and to those who look on. Ephemeral things reach only their owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rehearsal import gateway, model
from rehearsal.model import Channel, Guild, Member, Message, Role

if TYPE_CHECKING:
    from rehearsal.interactions import Interaction
    from rehearsal.twin import Twin


def _guild_id(channel: Channel) -> dict[str, str]:
    return {} if channel.guild_id is None else {"guild_id": str(channel.guild_id)}


class Announcer:
    """One method for each thing that can happen."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin

    def _bot_sees(self, channel: Channel) -> bool:
        return self._twin.world.sees(self._twin.world.bot.id, channel)

    def _to_bot(self, name: str, data: dict[str, Any], intents: int, guild_id: int | None) -> None:
        guild = self._twin.world.guilds.get(guild_id or 0)
        if guild is None or self._twin.world.bot.id in guild.members:
            self._twin.gateway.dispatch(name, data, intents=intents, guild_id=guild_id)

    def message_created(self, message: Message) -> None:
        """MESSAGE_CREATE; the nonce only in the event of the bot's own message."""
        self._message("MESSAGE_CREATE", message)

    def message_updated(self, message: Message) -> None:
        """MESSAGE_UPDATE, whole."""
        self._message("MESSAGE_UPDATE", message)

    def _message(self, name: str, message: Message) -> None:
        world = self._twin.world
        channel = world.channels[message.channel_id]
        self._twin.watchers.tell(name, lambda viewer: self._twin.view.message(message, viewer), channel=channel, only=message.ephemeral_for)
        if message.ephemeral_for is not None or not self._bot_sees(channel):
            return
        body = self._twin.render.for_bot(message, intent=self._twin.gateway.content) | _guild_id(channel) | {"channel_type": channel.type}
        guild = world.guild_of(channel)
        if guild is not None and message.webhook_id is None and message.author.id in guild.members:
            body["member"] = self._twin.render.member(guild.members[message.author.id], with_user=False)
        if name == "MESSAGE_CREATE" and message.nonce is not None and message.author.id == world.bot.id:
            body["nonce"] = message.nonce
        wanted = gateway.DM_MESSAGES if channel.guild_id is None else gateway.GUILD_MESSAGES
        self._to_bot(name, body, wanted, channel.guild_id)

    def message_deleted(self, message: Message) -> None:
        """MESSAGE_DELETE."""
        channel = self._twin.world.channels[message.channel_id]
        body = {"id": str(message.id), "channel_id": str(channel.id)} | _guild_id(channel)
        self._twin.watchers.tell("MESSAGE_DELETE", lambda _: body, channel=channel, only=message.ephemeral_for)
        if message.ephemeral_for is None and self._bot_sees(channel):
            wanted = gateway.DM_MESSAGES if channel.guild_id is None else gateway.GUILD_MESSAGES
            self._to_bot("MESSAGE_DELETE", body, wanted, channel.guild_id)

    def bulk_deleted(self, channel: Channel, ids: list[int]) -> None:
        """MESSAGE_DELETE_BULK; those who look on get one event each."""
        for message_id in ids:
            one = {"id": str(message_id), "channel_id": str(channel.id)} | _guild_id(channel)
            self._twin.watchers.tell("MESSAGE_DELETE", lambda _, one=one: one, channel=channel)
        body = {"ids": [str(i) for i in ids], "channel_id": str(channel.id)} | _guild_id(channel)
        self._to_bot("MESSAGE_DELETE_BULK", body, gateway.GUILD_MESSAGES, channel.guild_id)

    def reaction(self, message: Message, user_id: int, emoji: str, *, added: bool) -> None:
        """MESSAGE_REACTION_ADD or _REMOVE."""
        channel = self._twin.world.channels[message.channel_id]
        self._twin.watchers.tell("REACTION", lambda viewer: self._twin.view.message(message, viewer), channel=channel)
        body: dict[str, Any] = {
            "user_id": str(user_id),
            "channel_id": str(channel.id),
            "message_id": str(message.id),
            "emoji": {"id": None, "name": emoji},
            "burst": False,
            "type": 0,
        } | _guild_id(channel)
        guild = self._twin.world.guild_of(channel)
        if added:
            body["message_author_id"] = str(message.author.id)
            if guild is not None and user_id in guild.members:
                body["member"] = self._twin.render.member(guild.members[user_id])
        if self._bot_sees(channel):
            wanted = gateway.DM_REACTIONS if guild is None else gateway.GUILD_REACTIONS
            self._to_bot(f"MESSAGE_REACTION_{'ADD' if added else 'REMOVE'}", body, wanted, channel.guild_id)

    def typing(self, channel: Channel, user_id: int) -> None:
        """TYPING_START."""
        told = {"channel_id": str(channel.id), "user_id": str(user_id)}
        self._twin.watchers.tell("TYPING_START", lambda _: told, channel=channel)
        body: dict[str, Any] = told | {"timestamp": int(self._twin.clock.now())} | _guild_id(channel)
        guild = self._twin.world.guild_of(channel)
        if guild is not None and user_id in guild.members:
            body["member"] = self._twin.render.member(guild.members[user_id])
        if self._bot_sees(channel):
            wanted = gateway.DM_TYPING if guild is None else gateway.GUILD_TYPING
            self._to_bot("TYPING_START", body, wanted, channel.guild_id)

    def channel_created(self, channel: Channel) -> None:
        """CHANNEL_CREATE or THREAD_CREATE; whoever may see it is told by the refresh."""
        self._twin.watchers.refresh()
        if channel.is_thread:
            if self._bot_sees(channel):
                body = self._twin.render.thread_with_member(channel) | {"newly_created": True}
                self._to_bot("THREAD_CREATE", body, gateway.GUILDS, channel.guild_id)
        elif channel.type != model.DM:
            self._to_bot("CHANNEL_CREATE", self._twin.render.channel(channel), gateway.GUILDS, channel.guild_id)

    def channel_updated(self, channel: Channel) -> None:
        """CHANNEL_UPDATE or THREAD_UPDATE."""
        name = "THREAD_UPDATE" if channel.is_thread else "CHANNEL_UPDATE"
        self._twin.watchers.refresh()
        self._twin.watchers.tell(name, lambda viewer: self._twin.view.channel(channel, viewer), channel=channel)
        if not channel.is_thread or self._bot_sees(channel):
            self._to_bot(name, self._twin.render.channel(channel), gateway.GUILDS, channel.guild_id)

    def channel_deleted(self, channel: Channel, *, bot_saw: bool = True) -> None:
        """CHANNEL_DELETE or THREAD_DELETE; the channel is already gone from the world."""
        self._twin.watchers.refresh()
        if channel.is_thread:
            body = {key: str(getattr(channel, key)) for key in ("id", "guild_id", "parent_id")} | {"type": channel.type}
            if bot_saw:
                self._to_bot("THREAD_DELETE", body, gateway.GUILDS, channel.guild_id)
        else:
            self._to_bot("CHANNEL_DELETE", self._twin.render.channel(channel), gateway.GUILDS, channel.guild_id)

    def thread_members(self, channel: Channel, *, added: list[int], removed: list[int]) -> None:
        """THREAD_MEMBERS_UPDATE, and THREAD_CREATE when the bot itself came in."""
        bot = self._twin.world.bot.id
        self._twin.watchers.refresh()
        self._twin.watchers.tell("THREAD_UPDATE", lambda viewer: self._twin.view.channel(channel, viewer), channel=channel)
        if bot in added and channel.type == model.PRIVATE_THREAD:
            body = self._twin.render.thread_with_member(channel)
            self._to_bot("THREAD_CREATE", body, gateway.GUILDS, channel.guild_id)
        body = {
            "id": str(channel.id),
            "guild_id": str(channel.guild_id),
            "member_count": len(channel.members),
            "added_members": [self._twin.render.thread_member(channel, user) for user in added],
            "removed_member_ids": [str(user) for user in removed],
        }
        wanted = gateway.GUILDS if bot in added + removed else gateway.MEMBERS
        if self._bot_sees(channel) or bot in removed:
            self._to_bot("THREAD_MEMBERS_UPDATE", body, wanted, channel.guild_id)

    def member(self, name: str, guild: Guild, member: Member) -> None:
        """GUILD_MEMBER_ADD, _UPDATE or _REMOVE; the bot's own update comes without the intent."""
        self._twin.watchers.refresh()
        self._twin.watchers.tell("MEMBER_UPDATE", lambda _: {"guild_id": str(guild.id)})
        own = member.user.id == self._twin.world.bot.id
        if name == "GUILD_MEMBER_REMOVE":
            body: dict[str, Any] = {"user": self._twin.render.user(member.user)}
        else:
            body = self._twin.render.member(member)
        wanted = gateway.ALWAYS if own and name == "GUILD_MEMBER_UPDATE" else gateway.MEMBERS
        self._to_bot(name, body | {"guild_id": str(guild.id)}, wanted, guild.id)

    def role(self, name: str, guild: Guild, role: Role) -> None:
        """GUILD_ROLE_CREATE, _UPDATE or _DELETE."""
        self._twin.watchers.refresh()
        self._twin.watchers.tell("GUILD_UPDATE", lambda _: {"guild_id": str(guild.id)})
        body: dict[str, Any] = {"guild_id": str(guild.id)}
        body |= {"role_id": str(role.id)} if name.endswith("DELETE") else {"role": self._twin.render.role(role)}
        self._to_bot(name, body, gateway.GUILDS, guild.id)

    def guild_updated(self, guild: Guild) -> None:
        """GUILD_UPDATE."""
        self._twin.watchers.tell("GUILD_UPDATE", lambda _: {"guild_id": str(guild.id)})
        self._to_bot("GUILD_UPDATE", self._twin.render.guild(guild), gateway.GUILDS, guild.id)

    def guild_available(self, guild: Guild) -> None:
        """GUILD_CREATE: the bot was invited, or the guild is back."""
        self._twin.watchers.refresh()
        self._twin.watchers.tell("GUILD_UPDATE", lambda _: {"guild_id": str(guild.id)})
        self._to_bot("GUILD_CREATE", self._twin.render.guild_create(guild), gateway.GUILDS, guild.id)

    def guild_gone(self, guild: Guild, *, unavailable: bool) -> None:
        """GUILD_DELETE: the bot was removed, or the guild is out of order for a while."""
        self._twin.watchers.tell("GUILD_UPDATE", lambda _: {"guild_id": str(guild.id)})
        body: dict[str, Any] = {"id": str(guild.id)}
        if unavailable:
            body["unavailable"] = True
        self._twin.gateway.dispatch("GUILD_DELETE", body, intents=gateway.GUILDS, guild_id=guild.id)

    def webhooks(self, channel: Channel) -> None:
        """WEBHOOKS_UPDATE."""
        body = {"guild_id": str(channel.guild_id), "channel_id": str(channel.id)}
        self._to_bot("WEBHOOKS_UPDATE", body, gateway.WEBHOOKS, channel.guild_id)

    def commands(self, guild_id: int | None) -> None:
        """Commands were synced; the gateway does not speak of that."""
        self._twin.watchers.tell("COMMANDS_UPDATE", lambda _: {"guild_id": None if guild_id is None else str(guild_id)})

    def interaction(self, name: str, interaction: Interaction) -> None:
        """INTERACTION_ACK, _UPDATE, _FAILED, or MODAL_OPEN, to the user who began it."""
        body = self._twin.view.interaction(interaction)
        self._twin.watchers.tell(name, lambda _: body, only=interaction.user_id)

    def bot_changed(self, *, connected: bool) -> None:
        """The bot came or went."""
        self._twin.watchers.tell("BOT", lambda _: {"connected": connected})

    def clock_changed(self) -> None:
        """Somebody pushed the clock."""
        body = {"now": self._twin.clock.iso(), "offset_s": self._twin.clock.offset}
        self._twin.watchers.tell("CLOCK", lambda _: body)
