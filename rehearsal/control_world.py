"""The control API's arranging half: guilds, members, roles, channels, permissions, faults, the clock."""

from __future__ import annotations

from typing import Any

from rehearsal import channels, faults, messages, model, permissions
from rehearsal.control import Ask, Refused
from rehearsal.errors import is_id
from rehearsal.faults import Fault
from rehearsal.model import Channel, Guild, Overwrite, Role

Json = dict[str, Any]


async def users(ask: Ask) -> Json:
    """POST /control/users."""
    return ask.twin.view.user(_new_user(ask))


def _new_user(ask: Ask) -> Any:
    name = ask.text("username").strip()
    if not 1 <= len(name) <= 32:
        raise Refused(400, "bad_request", "A user name has 1 to 32 characters.")
    if any(u.username.lower() == name.lower() for u in ask.twin.world.users.values()):
        raise Refused(409, "busy", f"{name!r} is taken.")
    return ask.twin.world.add_user(name, global_name=ask.get("global_name"), locale=ask.text("locale", "en-US"))


async def guilds(ask: Ask) -> Json:
    """POST /control/guilds."""
    world = ask.twin.world
    guild = world.add_guild(
        ask.text("name"), ask.user("owner"), locale=ask.text("locale", "en-US"),
        premium_tier=int(ask.number("premium_tier", 0)),
    )  # fmt: skip
    for name in ask.items("members"):
        world.join(guild, Ask(ask.twin, {"user": name}).user())
    general = Channel(id=ask.twin.ids.next(), type=model.TEXT, guild_id=guild.id, name="general")
    world.channels[general.id] = general
    if ask.get("bot", True):
        world.invite_bot(guild, permissions.parse(ask.get("bot_permissions", str(permissions.BOT_DEFAULT))))
        ask.twin.announce.guild_available(guild)
    return ask.twin.view.guild(guild, None)


async def members(ask: Ask) -> Json:
    """POST /control/members."""
    guild: Guild = ask.guild()
    known = ask.twin.world.find_user(ask.get("user") or ask.get("username"))
    if known is None and ask.get("user"):
        raise Refused(404, "not_found", f"Nobody is called {ask.get('user')!r}.")
    user = known or _new_user(ask)
    if user.id in guild.members:
        raise Refused(409, "busy", f"{user.username} is a member already.")
    if user.id == ask.twin.world.bot.id:
        member = ask.twin.world.invite_bot(guild, permissions.BOT_DEFAULT)
        ask.twin.announce.guild_available(guild)
    else:
        member = ask.twin.world.join(guild, user, _roles(ask, guild), ask.get("nick"))
        ask.twin.announce.member("GUILD_MEMBER_ADD", guild, member)
    return ask.twin.view.member(guild, member)


def _roles(ask: Ask, guild: Guild) -> list[int]:
    ids = [int(r) if is_id(r) else 0 for r in ask.items("roles")]
    if any(r not in guild.roles for r in ids):
        raise Refused(404, "not_found", "There is no such role in that guild.")
    return ids


async def edit_member(ask: Ask) -> Json:
    """POST /control/members/edit."""
    guild: Guild = ask.guild()
    member = ask.twin.world.member(guild, ask.user().id)
    if ask.get("roles") is not None:
        member.roles = _roles(ask, guild)
    if ask.get("nick") is not None:
        member.nick = ask.text("nick") or None
    if ask.get("timeout_s") is not None:
        member.timed_out_until = ask.twin.clock.now() + ask.number("timeout_s")
    ask.twin.announce.member("GUILD_MEMBER_UPDATE", guild, member)
    return ask.twin.view.member(guild, member)


async def kick(ask: Ask) -> Json:
    """POST /control/kick."""
    guild: Guild = ask.guild()
    user = ask.user()
    member = ask.twin.world.member(guild, user.id)
    if guild.owner_id == user.id:
        raise Refused(400, "not_allowed", "The owner cannot be kicked.")
    del guild.members[user.id]
    if user.id == ask.twin.world.bot.id:
        for role in [r for r in guild.roles.values() if r.bot_id == user.id]:
            del guild.roles[role.id]
        ask.twin.announce.guild_gone(guild, unavailable=False)
        ask.twin.watchers.refresh()
    else:
        ask.twin.announce.member("GUILD_MEMBER_REMOVE", guild, member)
    return {}


def _bits(entry: Any) -> Json:
    if not isinstance(entry, dict):
        raise Refused(400, "bad_request", "An overwrite is an object with id, type, allow and deny.")
    return entry | {key: permissions.parse(entry.get(key, 0)) for key in ("allow", "deny")}


def _channel_fields(ask: Ask) -> Json:
    payload = {k: ask.fields[k] for k in ("name", "type", "parent_id", "topic", "nsfw", "position") if k in ask.fields}
    if ask.get("overwrites") is not None:
        payload["permission_overwrites"] = [_bits(entry) for entry in ask.items("overwrites")]
    return payload


async def make_channel(ask: Ask) -> Json:
    """POST /control/channels."""
    tags, needed = [str(name) for name in ask.items("tags")], ask.get("requires_tag", False) is True
    made = channels.create(ask.twin, ask.guild(), _channel_fields(ask), by_bot=False, tags=tags, requires_tag=needed)
    return ask.twin.view.channel(made, None)


async def edit_channel(ask: Ask) -> Json:
    """POST /control/channels/edit."""
    channel = ask.channel()
    guild = ask.twin.world.guild_of(channel)
    if guild is None or channel.is_thread:
        raise Refused(400, "not_allowed", "Only channels of a guild can be edited here.")
    channels.edit(ask.twin, guild, channel, _channel_fields(ask), by_bot=False)
    return ask.twin.view.channel(channel, None)


async def delete_channel(ask: Ask) -> Json:
    """POST /control/channels/delete."""
    channels.delete(ask.twin, ask.channel())
    return {}


async def roles(ask: Ask) -> Json:
    """POST /control/roles."""
    guild: Guild = ask.guild()
    place = ask.get("position")
    role = ask.twin.world.add_role(
        guild, ask.text("name"), permissions.parse(ask.get("permissions", 0)),
        color=int(ask.number("color", 0)), position=None if place is None else int(ask.number("position")),
    )  # fmt: skip
    ask.twin.announce.role("GUILD_ROLE_CREATE", guild, role)
    return ask.twin.view.role(role)


def _role(ask: Ask, guild: Guild) -> Role:
    role = guild.roles.get(ask.id("role_id"))
    if role is None:
        raise Refused(404, "not_found", "There is no such role.")
    return role


async def delete_role(ask: Ask) -> Json:
    """POST /control/roles/delete."""
    guild: Guild = ask.guild()
    role = _role(ask, guild)
    if role.id == guild.id:
        raise Refused(400, "not_allowed", "@everyone stays.")
    del guild.roles[role.id]
    for member in guild.members.values():
        if role.id in member.roles:
            member.roles.remove(role.id)
    ask.twin.announce.role("GUILD_ROLE_DELETE", guild, role)
    return {}


async def set_permissions(ask: Ask) -> Json:
    """POST /control/permissions: of a role, or one overwrite of a channel."""
    if ask.get("channel_id"):
        channel, entry = ask.channel(), ask.object("overwrite")
        bits = {key: permissions.parse(entry.get(key, 0)) for key in ("allow", "deny")}
        wanted = Overwrite(id=Ask(ask.twin, entry).id("id"), type=_overwrite_type(entry), **bits)
        if not wanted.allow and not wanted.deny:
            channel.overwrites = [o for o in channel.overwrites if o.id != wanted.id]
            ask.twin.announce.channel_updated(channel)
        else:
            channels.overwrite(ask.twin, channel, wanted)
        return ask.twin.view.channel(channel, None)
    guild: Guild = ask.guild()
    role = _role(ask, guild)
    role.permissions = permissions.parse(ask.get("permissions"))
    ask.twin.announce.role("GUILD_ROLE_UPDATE", guild, role)
    return ask.twin.view.role(role)


def _overwrite_type(entry: Json) -> int:
    kind = entry.get("type")
    if kind not in (0, 1) or isinstance(kind, bool):
        raise Refused(400, "bad_request", "An overwrite's type is 0 for a role or 1 for a member.")
    return kind


async def delete_message(ask: Ask) -> Json:
    """POST /control/messages/delete."""
    messages.remove(ask.twin, ask.message(None))
    return {}


async def locale(ask: Ask) -> Json:
    """POST /control/locale."""
    if ask.get("guild_id"):
        guild: Guild = ask.guild()
        guild.locale = ask.text("locale")
        ask.twin.announce.guild_updated(guild)
        return ask.twin.view.guild(guild, None)
    user = ask.user()
    user.locale = ask.text("locale")
    for guild in ask.twin.world.mutual_guilds(user.id):
        ask.twin.watchers.tell("MEMBER_UPDATE", lambda _, guild=guild: {"guild_id": str(guild.id)})
    return ask.twin.view.user(user)


async def advance(ask: Ask) -> Json:
    """POST /control/clock/advance."""
    ask.twin.clock.advance(ask.number("seconds"))
    ask.twin.announce.clock_changed()
    return {"now": ask.twin.clock.iso(), "offset_s": ask.twin.clock.offset}


async def bot(ask: Ask) -> Json:
    """POST /control/bot: the portal's switches."""
    switches = ask.object("intents")
    application = ask.twin.world.application
    if "members" in switches:
        application.members_intent = switches["members"] is True
    if "message_content" in switches:
        application.message_content_intent = switches["message_content"] is True
    return {}


async def arm(ask: Ask) -> Json:
    """POST /control/faults."""
    fault = ask.twin.faults.arm(
        ask.text("name"), method=ask.text("method", "") or None, path=ask.text("path", "") or None, count=int(ask.number("count", 1)),
        skip=int(ask.number("skip", 0)), args=ask.object("args"),
    )  # fmt: skip
    try:
        _at_once(ask, fault)
    except BaseException:
        fault.cleared = True
        raise
    return fault.as_json()


def _at_once(ask: Ask, fault: Fault) -> None:
    if fault.kind in faults.AT_ONCE:
        fault.hits = ask.twin.gateway.strike(fault.kind, fault.number)
        fault.cleared = True
    elif fault.kind == "bucket_change":
        ask.twin.limits.change_buckets()
        fault.hits = 1
    elif fault.kind in faults.WORLD:
        fault.hits = 1
        _world_fault(Ask(ask.twin, fault.args), fault)
    elif fault.kind == "kill_bot" and not is_id(fault.args.get("pid", "")):
        raise Refused(400, "bad_request", "kill_bot needs args.pid.")


def _world_fault(args: Ask, fault: Fault) -> None:
    twin = args.twin
    if fault.kind == "channel_deleted":
        channels.delete(twin, args.channel())
    elif fault.kind == "message_deleted":
        messages.remove(twin, args.message(None))
    else:
        _guild_fault(args, fault.kind, args.guild())


def _guild_fault(args: Ask, kind: str, guild: Guild) -> None:
    twin = args.twin
    bot = twin.world.bot.id
    if kind == "guild_unavailable":
        guild.unavailable = True
        twin.announce.guild_gone(guild, unavailable=True)

        def back() -> None:
            guild.unavailable = False
            twin.announce.guild_available(guild)

        twin.clock.call_later(args.number("seconds", 1), back)
    elif kind == "kicked":
        guild.members.pop(bot, None)
        twin.announce.guild_gone(guild, unavailable=False)
    elif kind == "role_removed":
        member = twin.world.member(guild, bot)
        member.roles.clear()
        twin.announce.member("GUILD_MEMBER_UPDATE", guild, member)
    else:
        lost = permissions.parse(args.get("permissions", str(permissions.ALL)))
        for role in [r for r in guild.roles.values() if r.bot_id == bot]:
            role.permissions &= ~lost
            twin.announce.role("GUILD_ROLE_UPDATE", guild, role)


async def clear(ask: Ask) -> Json:
    """POST /control/faults/clear."""
    ask.twin.faults.clear(ask.id("id") if ask.get("id") else None)
    return {}


ROUTES = [
    ("POST", "users", users),
    ("POST", "guilds", guilds),
    ("POST", "members", members),
    ("POST", "members/edit", edit_member),
    ("POST", "kick", kick),
    ("POST", "channels", make_channel),
    ("POST", "channels/edit", edit_channel),
    ("POST", "channels/delete", delete_channel),
    ("POST", "roles", roles),
    ("POST", "roles/delete", delete_role),
    ("POST", "permissions", set_permissions),
    ("POST", "messages/delete", delete_message),
    ("POST", "locale", locale),
    ("POST", "clock/advance", advance),
    ("POST", "bot", bot),
    ("POST", "faults", arm),
    ("POST", "faults/clear", clear),
]
