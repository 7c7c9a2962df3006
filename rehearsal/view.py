"""What the control API tells of the world: for one member, or for the operator who sees all. Shapes: CONTROL.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rehearsal import commands, components, model, permissions
from rehearsal.clock import iso
from rehearsal.interactions import Interaction
from rehearsal.model import Channel, Guild, Member, Message, Role, User
from rehearsal.render import can

if TYPE_CHECKING:
    from rehearsal.twin import Twin

Json = dict[str, Any]


class View:
    """Renders for `/control`. `viewer` is a user id, or None for the operator."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin

    def user(self, user: User) -> Json:
        """User."""
        return {
            "id": str(user.id),
            "username": user.username,
            "global_name": user.global_name,
            "display_name": user.global_name or user.username,
            "bot": user.bot,
            "locale": user.locale,
            "avatar_url": None,
        }

    def role(self, role: Role) -> Json:
        """Role."""
        body: Json = {key: getattr(role, key) for key in ("name", "color", "position", "managed")}
        names = permissions.names(role.permissions)
        return body | {"id": str(role.id), "permissions": str(role.permissions), "names": names}

    def member(self, guild: Guild, member: Member) -> Json:
        """Member."""
        until = member.timed_out_until
        return {
            "user": self.user(member.user),
            "nick": member.nick,
            "roles": [str(role) for role in member.roles],
            "owner": guild.owner_id == member.user.id,
            "timed_out_until": None if until is None else iso(until),
        }

    def channel(self, channel: Channel, viewer: int | None) -> Json:
        """Channel."""
        world = self._twin.world
        viewers = world.viewers(channel)
        body: Json = {
            "id": str(channel.id),
            "guild_id": None if channel.guild_id is None else str(channel.guild_id),
            "type": channel.type,
            "name": channel.name,
            "topic": channel.topic,
            "parent_id": None if channel.parent_id is None else str(channel.parent_id),
            "position": channel.position,
            "private": self._private(channel),
            "nsfw": channel.nsfw,
            "overwrites": [{"id": str(o.id), "type": o.type, "allow": str(o.allow), "deny": str(o.deny)} for o in channel.overwrites],
            "viewers": [str(v) for v in viewers],
            "recipients": [str(u.id) for u in channel.recipients],
            "last_message_id": None if channel.last_message_id is None else str(channel.last_message_id),
            "thread": self._thread(channel) if channel.is_thread else None,
            "me": None,
        }
        if viewer is not None:
            bits = world.permissions(viewer, channel)
            body["me"] = {"permissions": str(bits), "can": can(bits)}
        return body

    def _private(self, channel: Channel) -> bool:
        guild = self._twin.world.guild_of(channel)
        if guild is None or channel.type == model.PRIVATE_THREAD:
            return True
        parent = self._twin.world.channels.get(channel.parent_id or 0) if channel.is_thread else None
        stranger = Member(user=User(id=0, username=""))
        now = self._twin.clock.now()
        bits = permissions.in_channel(guild, stranger, channel, parent=parent, now=now)
        return not bits & permissions.VIEW

    def _thread(self, channel: Channel) -> Json:
        members = [str(m) for m in channel.members]
        told = {"archived": channel.archived, "locked": channel.locked}
        return told | {"owner_id": str(channel.owner_id), "members": members}

    def guild(self, guild: Guild, viewer: int | None) -> Json:
        """Guild, with the channels `viewer` sees."""
        world = self._twin.world
        here = [c for c in world.channels.values() if c.guild_id == guild.id]
        seen = [c for c in here if viewer is None or world.sees(viewer, c)]
        me = None
        if viewer is not None and viewer in guild.members:
            bits = permissions.in_guild(guild, guild.members[viewer])
            powers = {
                "manage_guild": bool(bits & permissions.MANAGE_GUILD),
                "administrator": bool(bits & permissions.ADMINISTRATOR),
            }
            me = {"permissions": str(bits), "can": powers}
        return {
            "id": str(guild.id),
            "name": guild.name,
            "owner_id": str(guild.owner_id),
            "locale": guild.locale,
            "premium_tier": guild.premium_tier,
            "roles": [self.role(r) for r in guild.roles.values()],
            "members": [self.member(guild, m) for m in guild.members.values()],
            "channels": [self.channel(c, viewer) for c in sorted(seen, key=lambda c: (c.position, c.id))],
            "me": me,
        }

    def command(self, command: Json, *, usable: bool) -> Json:
        """Command."""
        keys = (
            "id", "name", "description", "type", "name_localizations", "description_localizations",
            "default_member_permissions", "nsfw", "contexts",
        )  # fmt: skip
        told = {key: command.get(key) for key in keys} | {"guild_id": command.get("guild_id"), "usable": usable}
        return told | {"options": [self.option(o) for o in command.get("options", [])]}

    def option(self, option: Json) -> Json:
        """Option, with every key present."""
        keys = (
            "type", "name", "description", "min_value", "max_value", "min_length", "max_length", "channel_types",
            "name_localizations", "description_localizations",
        )  # fmt: skip
        told: Json = {key: option.get(key) for key in keys}
        told |= {"required": option.get("required") is True, "autocomplete": option.get("autocomplete") is True}
        told["choices"] = option.get("choices") or []
        return told | {"options": [self.option(o) for o in option.get("options") or []]}

    def commands(self, viewer: int | None) -> list[Json]:
        """All synced commands."""
        known = self._twin.world.application.commands
        return [self.command(c, usable=self._usable(c, viewer)) for scope in known for c in known[scope]]

    def _usable(self, command: Json, viewer: int | None) -> bool:
        world = self._twin.world
        if viewer is None:
            return True
        scope = command.get("guild_id")
        guilds = [g for g in world.mutual_guilds(viewer) if scope in (None, str(g.id))]
        channels = [c for g in guilds for c in world.guild_channels(g.id) if c.type == model.TEXT]
        return any(commands.refusal(self._twin, command, viewer, c) is None for c in channels if world.sees(viewer, c))

    def message(self, message: Message, viewer: int | None) -> Json:
        """Message: the REST object and what the page wants beside it."""
        body = self._twin.render.message(message)
        owner = message.ephemeral_for
        record = message.interaction
        command = None
        if record is not None:
            command = {"name": record["name"], "user_id": str(record["user_id"]), "interaction_id": str(record["id"])}
            command = command if record["type"] == 2 else None
        count = sum(1 for _ in components.walk(message.components))
        text = len(message.content) + sum(len(t) for t in components.texts(message.components))
        return body | {
            "guild_id": None if message.guild_id is None else str(message.guild_id),
            "ephemeral_for": None if owner is None else str(owner),
            "loading": bool(message.flags & model.LOADING),
            "command": command,
            "nonce": message.nonce,
            "deleted": message.deleted,
            "files": [self._twin.render.attachment(a) for a in message.attachments],
            "counts": {"components": count, "text": text},
        }

    def interaction(self, interaction: Interaction) -> Json:
        """Interaction."""
        world = self._twin.world
        original = world.find_message(interaction.original_id or 0)
        follow = [world.find_message(i) for i in interaction.followups]
        keys = ("kind", "name", "state", "acked_after_ms", "callback_type", "ephemeral", "choices", "modal", "refused")
        told: Json = {key: getattr(interaction, key) for key in keys}
        for key in ("id", "user_id", "guild_id", "channel_id", "message_id"):
            value = getattr(interaction, key)
            told[key] = None if value is None else str(value)
        return told | {
            "created_at": iso(interaction.created_at),
            "original": None if original is None else self.message(original, interaction.user_id),
            "followups": [self.message(m, interaction.user_id) for m in follow if m is not None],
        }

    def state(self, viewer: int | None) -> Json:
        """State."""
        twin, world = self._twin, self._twin.world
        guilds = [g for g in world.guilds.values() if viewer is None or viewer in g.members]
        dms = [c for c in world.channels.values() if c.type == model.DM and (viewer is None or world.sees(viewer, c))]
        application = {
            "id": str(world.application.id),
            "name": world.application.name,
            "bot_user_id": str(world.bot.id),
            "connected": twin.gateway.connected,
        }
        return {
            "now": twin.clock.iso(),
            "me": None if viewer is None else self.user(world.users[viewer]),
            "users": [self.user(u) for u in world.users.values() if u.id != world.application.owner.id],
            "application": application,
            "guilds": [self.guild(g, viewer) for g in guilds],
            "dms": [self.channel(c, viewer) for c in dms],
            "commands": self.commands(viewer),
        }
