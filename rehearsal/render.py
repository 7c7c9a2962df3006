"""The JSON of things, as Discord sends it. Ids are strings; own files get a fresh signed url each time."""

from __future__ import annotations

from typing import Any

from rehearsal import model, permissions
from rehearsal.clock import Snowflakes, iso
from rehearsal.files import Links
from rehearsal.model import Attachment, Channel, Guild, Member, Message, Role, User, Webhook
from rehearsal.world import World

Json = dict[str, Any]

CHILD_KEYS = ("components", "items")
MEDIA_KEYS = ("media", "file")


REQUIRE_TAG = 1 << 4
"""Flag of a forum whose posts need a tag."""


class Renderer:
    """Turns the world's things into payloads."""

    def __init__(self, world: World, links: Links) -> None:
        self.world = world
        self.links = links

    def user(self, user: User) -> Json:
        """A user object."""
        body: Json = {
            "id": str(user.id),
            "username": user.username,
            "global_name": user.global_name,
            "discriminator": "0000" if user.bot else "0",
            "avatar": user.avatar,
            "avatar_decoration_data": None,
            "banner": None,
            "accent_color": None,
            "public_flags": 0,
            "flags": 0,
            "primary_guild": None,
            "clan": None,
        }
        if user.bot:
            body["bot"] = True
        return body

    def me(self) -> Json:
        """The bot's own user, with what only the owner of a token sees."""
        mine = {"bio": "", "locale": "en-US", "mfa_enabled": True, "email": None, "verified": True, "flags": 0}
        return self.user(self.world.bot) | mine

    def member(self, member: Member, *, with_user: bool = True) -> Json:
        """A guild member object."""
        until = member.timed_out_until
        body: Json = {
            "roles": [str(role) for role in member.roles],
            "nick": member.nick,
            "avatar": None,
            "banner": None,
            "joined_at": iso(member.joined_at),
            "premium_since": None,
            "deaf": False,
            "mute": False,
            "pending": False,
            "flags": 0,
            "communication_disabled_until": None if until is None else iso(until),
        }
        if with_user:
            body["user"] = self.user(member.user)
        return body

    def role(self, role: Role) -> Json:
        """A role object."""
        body: Json = {
            "id": str(role.id),
            "name": role.name,
            "description": None,
            "permissions": str(role.permissions),
            "position": role.position,
            "color": role.color,
            "colors": {"primary_color": role.color, "secondary_color": None, "tertiary_color": None},
            "hoist": False,
            "managed": role.managed,
            "mentionable": False,
            "icon": None,
            "unicode_emoji": None,
            "flags": 0,
        }
        if role.bot_id is not None:
            body["tags"] = {"bot_id": str(role.bot_id)}
        return body

    def channel(self, channel: Channel) -> Json:
        """A channel, thread or DM object."""
        last = channel.last_message_id
        body: Json = {"id": str(channel.id), "type": channel.type, "flags": 0, "last_message_id": last and str(last)}
        if channel.type == model.DM:
            body["recipients"] = [self.user(u) for u in channel.recipients if u.id != self.world.bot.id]
            return body
        body |= {
            "guild_id": str(channel.guild_id),
            "name": channel.name,
            "parent_id": None if channel.parent_id is None else str(channel.parent_id),
            "rate_limit_per_user": channel.rate_limit_per_user,
        }
        return body | (self._thread(channel) if channel.is_thread else self._guild_channel(channel))

    def _guild_channel(self, channel: Channel) -> Json:
        body: Json = {
            "position": channel.position,
            "nsfw": channel.nsfw,
            "topic": channel.topic,
            "permission_overwrites": [
                {"id": str(o.id), "type": o.type, "allow": str(o.allow), "deny": str(o.deny)} for o in channel.overwrites
            ],
        }
        if channel.type == model.FORUM:
            nothing = {"moderated": False, "emoji_id": None, "emoji_name": None}
            body["available_tags"] = [{"id": str(i), "name": name} | nothing for i, name in channel.tags.items()]
            body |= {"flags": REQUIRE_TAG if channel.requires_tag else 0, "default_forum_layout": 0, "default_reaction_emoji": None}
        if channel.type in (model.VOICE, model.STAGE):
            body |= {"bitrate": channel.bitrate, "user_limit": channel.user_limit, "rtc_region": None}
        return body

    def _thread(self, channel: Channel) -> Json:
        metadata: Json = {
            "archived": channel.archived,
            "archive_timestamp": iso(channel.archive_timestamp),
            "auto_archive_duration": channel.auto_archive_duration,
            "locked": channel.locked,
            "create_timestamp": iso(Snowflakes.seconds(channel.id)),
        }
        if channel.type == model.PRIVATE_THREAD:
            metadata["invitable"] = channel.invitable
        return {
            "owner_id": str(channel.owner_id),
            "message_count": channel.message_count,
            "total_message_sent": channel.message_count,
            "member_count": len(channel.members),
            "thread_metadata": metadata,
        } | ({"applied_tags": [str(i) for i in channel.applied_tags]} if channel.applied_tags else {})

    def thread_member(self, channel: Channel, user_id: int) -> Json:
        """A thread member object."""
        joined = iso(channel.members[user_id])
        return {"id": str(channel.id), "user_id": str(user_id), "join_timestamp": joined, "flags": 1}

    def guild(self, guild: Guild) -> Json:
        """A guild object, without what only GUILD_CREATE carries."""
        nothing = dict.fromkeys(
            ("icon", "splash", "banner", "description", "afk_channel_id", "system_channel_id", "rules_channel_id",
             "public_updates_channel_id", "safety_alerts_channel_id", "discovery_splash", "application_id",
             "vanity_url_code")
        )  # fmt: skip
        return nothing | {
            "id": str(guild.id),
            "name": guild.name,
            "owner_id": str(guild.owner_id),
            "region": "deprecated",
            "afk_timeout": 300,
            "verification_level": 0,
            "default_message_notifications": 1,
            "explicit_content_filter": 0,
            "roles": [self.role(role) for role in guild.roles.values()],
            "emojis": [],
            "stickers": [],
            "features": [],
            "mfa_level": 0,
            "system_channel_flags": 0,
            "premium_tier": guild.premium_tier,
            "premium_subscription_count": 0,
            "preferred_locale": guild.locale,
            "nsfw": False,
            "nsfw_level": 0,
            "premium_progress_bar_enabled": False,
            "max_members": 500_000,
            "max_presences": None,
            "max_video_channel_users": 25,
        }

    def guild_create(self, guild: Guild) -> Json:
        """The `d` of GUILD_CREATE: without the presences intent the bot is the only member in it."""
        bot = self.world.bot
        threads = [t for t in self.world.guild_threads(guild.id) if not t.archived and self.world.sees(bot.id, t)]
        return self.guild(guild) | {
            "joined_at": iso(guild.members[bot.id].joined_at),
            "large": len(guild.members) > 250,
            "unavailable": False,
            "member_count": len(guild.members),
            "voice_states": [],
            "members": [self.member(guild.members[bot.id])],
            "channels": [self.channel(c) for c in self.world.guild_channels(guild.id)],
            "threads": [self.thread_with_member(t) for t in threads],
            "presences": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
        }

    def thread_with_member(self, thread: Channel) -> Json:
        """A thread with the bot's own membership where it has one."""
        body = self.channel(thread)
        if self.world.bot.id in thread.members:
            body["member"] = self.thread_member(thread, self.world.bot.id)
        return body

    def attachment(self, attachment: Attachment) -> Json:
        """An attachment object with a fresh url."""
        url = self.links.url(attachment)
        body: Json = {
            "id": str(attachment.id),
            "filename": attachment.filename,
            "size": attachment.size,
            "url": url,
            "proxy_url": url,
            "content_type": attachment.content_type,
        }
        if attachment.width is not None:
            body |= {"width": attachment.width, "height": attachment.height}
            body |= {"placeholder": "", "placeholder_version": 1}
        if attachment.description:
            body["description"] = attachment.description
        if attachment.ephemeral:
            body["ephemeral"] = True
        if attachment.spoiler:
            body["flags"] = 8
        return body

    def media(self, attachment: Attachment) -> Json:
        """An unfurled media item of an own file."""
        url = self.links.url(attachment)
        body: Json = {"id": str(attachment.id), "url": url, "proxy_url": url, "attachment_id": str(attachment.id)}
        body |= {"flags": 0, "content_type": attachment.content_type, "loading_state": 2}
        if attachment.width is not None:
            body |= {
                "width": attachment.width,
                "height": attachment.height,
                "placeholder": "",
                "placeholder_version": 1,
            }
        return body

    def _component(self, node: Json, files: dict[int, Attachment]) -> Json:
        body = dict(node)
        for key in MEDIA_KEYS:
            if isinstance(body.get(key), dict) and "attachment_id" in body[key]:
                body[key] = self.media(files[body[key]["attachment_id"]])
        for key in CHILD_KEYS:
            if key in body:
                body[key] = [self._component(child, files) for child in body[key]]
        if isinstance(body.get("accessory"), dict):
            body["accessory"] = self._component(body["accessory"], files)
        return body

    def _embed(self, embed: Json, files: dict[int, Attachment]) -> Json:
        body = dict(embed)
        for key in ("image", "thumbnail", "video"):
            if isinstance(body.get(key), dict) and "attachment_id" in body[key]:
                body[key] = self.media(files[body[key]["attachment_id"]])
        return body

    def message(self, message: Message, *, nested: bool = False) -> Json:
        """A message object, as its author sees it; `nested` leaves the referenced message out."""
        files = {a.id: a for a in message.attachments}
        visible = [] if message.flags & model.V2 else message.attachments
        body: Json = {
            "id": str(message.id),
            "channel_id": str(message.channel_id),
            "author": self._author(message),
            "type": message.type,
            "content": message.content,
            "timestamp": iso(message.created_at),
            "edited_timestamp": None if message.edited_at is None else iso(message.edited_at),
            "tts": message.tts,
            "mention_everyone": message.mention_everyone,
            "mentions": [self.user(self.world.users[u]) for u in message.mentions if u in self.world.users],
            "mention_roles": [str(role) for role in message.mention_roles],
            "attachments": [self.attachment(a) for a in visible],
            "embeds": [self._embed(e, files) for e in message.embeds],
            "components": [self._component(c, files) for c in message.components],
            "pinned": message.pinned,
            "flags": message.flags,
        }
        return body | self._extras(message, nested=nested)

    def _author(self, message: Message) -> Json:
        if message.webhook_id is None or message.webhook_name is None:
            return self.user(message.author)
        return {
            "id": str(message.webhook_id),
            "username": message.webhook_name,
            "global_name": None,
            "discriminator": "0000",
            "avatar": message.webhook_avatar,
            "public_flags": 0,
            "flags": 0,
            "primary_guild": None,
            "bot": True,
        }

    def _extras(self, message: Message, *, nested: bool) -> Json:
        body: Json = {}
        if message.webhook_id is not None:
            body["webhook_id"] = str(message.webhook_id)
        if message.application_id is not None:
            body["application_id"] = str(message.application_id)
        if message.interaction is not None:
            body |= self._interaction(message.interaction)
        if message.reactions:
            body["reactions"] = [self._reaction(emoji, users) for emoji, users in message.reactions.items()]
        if message.reference is not None:
            body["message_reference"] = message.reference
            target = self.world.find_message(int(message.reference.get("message_id") or 0))
            if not nested and message.type in (19, 20, 23):
                body["referenced_message"] = None if target is None else self.message(target, nested=True)
        if message.thread_id in self.world.channels and not nested:
            body["thread"] = self.channel(self.world.channels[message.thread_id or 0])
        return body

    def _interaction(self, record: Json) -> Json:
        user = self.user(self.world.users[record["user_id"]])
        owners = {"0": str(record["guild_id"] or 0)}
        metadata: Json = {"id": str(record["id"]), "type": record["type"], "user": user}
        metadata["authorizing_integration_owners"] = owners
        body: Json = {"interaction_metadata": metadata}
        if record["type"] == 2:
            metadata |= {"name": record["name"], "command_type": record["command_type"]}
            body["interaction"] = {"id": str(record["id"]), "type": 2, "name": record["name"], "user": user}
        if record["type"] == 3:
            metadata["interacted_message_id"] = str(record["message_id"])
        if record["type"] == 5 and record.get("trigger"):
            metadata["triggering_interaction_metadata"] = self._interaction(record["trigger"])["interaction_metadata"]
        return body

    def _reaction(self, emoji: str, users: list[int]) -> Json:
        mine = self.world.bot.id in users
        details = {"burst": 0, "normal": len(users)}
        body: Json = {"emoji": {"id": None, "name": emoji}, "count": len(users), "count_details": details}
        return body | {"me": mine, "me_burst": False, "burst_colors": []}

    def webhook(self, webhook: Webhook) -> Json:
        """A webhook object with its token."""
        return {
            "id": str(webhook.id),
            "type": 1,
            "guild_id": str(webhook.guild_id),
            "channel_id": str(webhook.channel_id),
            "user": self.user(webhook.creator),
            "name": webhook.name,
            "avatar": webhook.avatar,
            "token": webhook.token,
            "application_id": str(self.world.application.id) if webhook.creator.id == self.world.bot.id else None,
        }

    def application(self) -> Json:
        """GET /oauth2/applications/@me."""
        app = self.world.application
        flags = (1 << 15) * app.members_intent | (1 << 19) * app.message_content_intent
        return {
            "id": str(app.id),
            "name": app.name,
            "icon": None,
            "description": "",
            "summary": "",
            "type": None,
            "bot": self.user(app.bot),
            "bot_public": True,
            "bot_require_code_grant": False,
            "verify_key": "0" * 64,
            "flags": flags,
            "flags_new": str(flags),
            "role_connections_verification_url": None,
            "explicit_content_filter": 0,
            "approximate_user_install_count": 0,
            "approximate_user_authorization_count": 0,
            "eligible_oauth2_scopes": [],
            "owner": self.user(app.owner),
            "team": None,
            "interactions_endpoint_url": None,
            "redirect_uris": [],
            "rpc_origins": [],
            "approximate_guild_count": len(self.world.guilds),
            "integration_types_config": {"0": {}},
        }

    def reads_content(self, message: Message, *, intent: bool) -> bool:
        """Whether the bot gets the content of a message: the intent, or one of its exceptions."""
        bot = self.world.bot.id
        if intent or message.guild_id is None or bot in message.mentions:
            return True
        return message.author.id == bot or message.application_id == self.world.application.id

    def for_bot(self, message: Message, *, intent: bool | None = None) -> Json:
        """A message as the bot gets it. REST goes by the portal's switch, a gateway session also by its `intent`."""
        switch = self.world.application.message_content_intent
        intent = switch if intent is None else intent and switch
        body = self.message(message)
        if not self.reads_content(message, intent=intent):
            body |= {"content": "", "embeds": [], "attachments": [], "components": []}
        target = body.get("referenced_message")
        if target is not None:
            original = self.world.find_message(int(target["id"]))
            if original is not None and not self.reads_content(original, intent=intent):
                target |= {"content": "", "embeds": [], "attachments": [], "components": []}
        return body

    def app_permissions(self, channel: Channel) -> str:
        """The bot's permissions in a channel, as text."""
        return str(self.world.permissions(self.world.bot.id, channel))

    def partial_channel(self, channel: Channel, user_id: int) -> Json:
        """The `channel` of an interaction, with the user's permissions."""
        return self.channel(channel) | {"permissions": str(self.world.permissions(user_id, channel))}


def can(bits: int) -> dict[str, bool]:
    """The plain questions a page asks about permissions."""
    asked = {
        "view": permissions.VIEW,
        "send": permissions.SEND,
        "attach": permissions.ATTACH,
        "embed": permissions.EMBED,
        "history": permissions.HISTORY,
        "commands": permissions.USE_COMMANDS,
        "manage": permissions.MANAGE_CHANNELS,
    }
    return {name: bool(bits & bit) for name, bit in asked.items()}
