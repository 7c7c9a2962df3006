"""Channels and their overwrites."""

from __future__ import annotations

from rehearsal import channels, permissions, threads
from rehearsal.api import Answer, Call, Limited, Routes
from rehearsal.errors import DiscordError, Form, snowflake
from rehearsal.model import Channel, Guild


async def create(call: Call) -> Answer:
    """POST /guilds/{g}/channels."""
    guild = call.twin.world.guild_for_bot(call.id("guild_id", 10004))
    call.twin.world.require_in_guild(guild, permissions.MANAGE_CHANNELS)
    channel = channels.create(call.twin, guild, call.form(), by_bot=True)
    return Answer(call.twin.render.channel(channel), 201)


async def listing(call: Call) -> Answer:
    """GET /guilds/{g}/channels."""
    guild = call.twin.world.guild_for_bot(call.id("guild_id", 10004))
    return Answer([call.twin.render.channel(c) for c in call.twin.world.guild_channels(guild.id)])


def _channel(call: Call) -> tuple[Channel, Guild]:
    world = call.twin.world
    channel = world.channel(call.id("channel_id", 10003))
    guild = world.guild_of(channel)
    if guild is None:
        raise DiscordError(50024)
    return channel, guild


async def fetch(call: Call) -> Answer:
    """GET /channels/{c}."""
    channel = call.twin.world.channel(call.id("channel_id", 10003))
    call.twin.world.require(channel)
    body = call.twin.render.thread_with_member(channel) if channel.is_thread else call.twin.render.channel(channel)
    return Answer(body)


async def edit(call: Call) -> Answer:
    """PATCH /channels/{c}."""
    channel, guild = _channel(call)
    if channel.is_thread:
        return Answer(call.twin.render.channel(threads.edit(call.twin, channel, call.form())))
    call.twin.world.require(channel, permissions.MANAGE_CHANNELS)
    payload = call.form()
    if payload.get("permission_overwrites") is not None:
        call.twin.world.require(channel, permissions.MANAGE_ROLES)
    _renaming(call, channel)
    return Answer(call.twin.render.channel(channels.edit(call.twin, guild, channel, payload, by_bot=True)))


def _renaming(call: Call, channel: Channel) -> None:
    payload = call.form()
    renames = payload.get("name") not in (None, channel.name)
    if renames or ("topic" in payload and payload["topic"] != channel.topic):
        refusal = call.twin.limits.rename(channel.id)
        if refusal is not None:
            raise Limited(refusal)


async def delete(call: Call) -> Answer:
    """DELETE /channels/{c}."""
    channel, _ = _channel(call)
    needed = permissions.MANAGE_THREADS if channel.is_thread else permissions.MANAGE_CHANNELS
    call.twin.world.require(channel, needed)
    body = call.twin.render.channel(channel)
    channels.delete(call.twin, channel)
    return Answer(body)


async def put_overwrite(call: Call) -> Answer:
    """PUT /channels/{c}/permissions/{o}."""
    channel, guild = _channel(call)
    if channel.is_thread:
        raise DiscordError(50024)
    call.twin.world.require(channel, permissions.MANAGE_ROLES)
    form = Form()
    entry = call.form() | {"id": call.params["overwrite_id"]}
    given = channels.overwrites(form, [entry])
    form.check()
    wanted = given[0]
    others = [o for o in channel.overwrites if o.id != wanted.id]
    if len(others) >= channels.MOST_OVERWRITES:
        raise DiscordError(30060)
    channels.may_grant(call.twin, guild, channel.overwrites, [*others, wanted])
    channels.overwrite(call.twin, channel, wanted)
    return Answer(status=204)


async def delete_overwrite(call: Call) -> Answer:
    """DELETE /channels/{c}/permissions/{o}."""
    channel, guild = _channel(call)
    call.twin.world.require(channel, permissions.MANAGE_ROLES)
    target = call.id("overwrite_id", 10009)
    others = [o for o in channel.overwrites if o.id != target]
    if len(others) == len(channel.overwrites):
        raise DiscordError(10009)
    channels.may_grant(call.twin, guild, channel.overwrites, others)
    channel.overwrites = others
    call.twin.announce.channel_updated(channel)
    return Answer(status=204)


async def open_dm(call: Call) -> Answer:
    """POST /users/@me/channels: the same DM each time."""
    world = call.twin.world
    user = world.user(snowflake(call.form().get("recipient_id"), 10013))
    if user.bot or user.id == world.bot.id:
        raise DiscordError(50007)
    return Answer(call.twin.render.channel(world.dm(user)))


def serve(routes: Routes) -> None:
    """Add the routes."""
    routes.add("POST", "/guilds/{guild_id}/channels", create)
    routes.add("GET", "/guilds/{guild_id}/channels", listing)
    routes.add("GET", "/channels/{channel_id}", fetch)
    routes.add("PATCH", "/channels/{channel_id}", edit)
    routes.add("DELETE", "/channels/{channel_id}", delete)
    routes.add("PUT", "/channels/{channel_id}/permissions/{overwrite_id}", put_overwrite)
    routes.add("DELETE", "/channels/{channel_id}/permissions/{overwrite_id}", delete_overwrite)
    routes.add("POST", "/users/@me/channels", open_dm)
