"""Guilds, members, roles and users."""

from __future__ import annotations

from rehearsal import permissions
from rehearsal.api import Answer, Call, Routes
from rehearsal.errors import DiscordError, Form
from rehearsal.model import Guild, Member


def _guild(call: Call) -> Guild:
    return call.twin.world.guild_for_bot(call.id("guild_id", 10004))


async def fetch(call: Call) -> Answer:
    """GET /guilds/{g}."""
    guild = _guild(call)
    body = call.twin.render.guild(guild)
    if call.query.get("with_counts", "").lower() in ("1", "true"):
        body |= {"approximate_member_count": len(guild.members), "approximate_presence_count": len(guild.members)}
    return Answer(body)


async def mine(call: Call) -> Answer:
    """GET /users/@me/guilds."""
    world = call.twin.world
    own = [g for g in world.guilds.values() if world.bot.id in g.members]
    keys = ("id", "name", "icon", "banner", "features")
    told = []
    for guild in own:
        body = call.twin.render.guild(guild)
        bits = permissions.in_guild(guild, guild.members[world.bot.id])
        told.append({k: body[k] for k in keys} | {"owner": False, "permissions": str(bits)})
    return Answer(told)


async def roles(call: Call) -> Answer:
    """GET /guilds/{g}/roles."""
    return Answer([call.twin.render.role(r) for r in _guild(call).roles.values()])


async def member(call: Call) -> Answer:
    """GET /guilds/{g}/members/{u}."""
    return Answer(call.twin.render.member(call.twin.world.member(_guild(call), call.id("user_id", 10013))))


async def members(call: Call) -> Answer:
    """GET /guilds/{g}/members: needs the members intent switched on."""
    guild = _guild(call)
    if not call.twin.world.application.members_intent:
        raise DiscordError(50001)
    form = Form()
    limit = form.number(("limit",), call.query.get("limit"), low=1, high=1000) or 1
    after = form.number(("after",), call.query.get("after"), low=0, high=1 << 63) or 0
    form.check()
    chosen = [guild.members[i] for i in sorted(guild.members) if i > after][:limit]
    return Answer([call.twin.render.member(m) for m in chosen])


def _role_target(call: Call) -> tuple[Guild, Member, int]:
    world, guild = call.twin.world, _guild(call)
    world.require_in_guild(guild, permissions.MANAGE_ROLES)
    target = world.member(guild, call.id("user_id", 10013))
    role_id = call.id("role_id", 10011)
    if role_id not in guild.roles:
        raise DiscordError(10011)
    role = guild.roles[role_id]
    if role.managed or role_id == guild.id or role.position >= permissions.highest_role(guild, guild.members[world.bot.id]):
        raise DiscordError(50013)
    return guild, target, role_id


async def add_role(call: Call) -> Answer:
    """PUT /guilds/{g}/members/{u}/roles/{r}."""
    guild, target, role_id = _role_target(call)
    if role_id not in target.roles:
        target.roles.append(role_id)
        call.twin.announce.member("GUILD_MEMBER_UPDATE", guild, target)
    return Answer(status=204)


async def remove_role(call: Call) -> Answer:
    """DELETE /guilds/{g}/members/{u}/roles/{r}."""
    guild, target, role_id = _role_target(call)
    if role_id in target.roles:
        target.roles.remove(role_id)
        call.twin.announce.member("GUILD_MEMBER_UPDATE", guild, target)
    return Answer(status=204)


async def user(call: Call) -> Answer:
    """GET /users/{u}."""
    return Answer(call.twin.render.user(call.twin.world.user(call.id("user_id", 10013))))


async def leave(call: Call) -> Answer:
    """DELETE /users/@me/guilds/{g}."""
    guild = _guild(call)
    guild.members.pop(call.twin.world.bot.id)
    call.twin.announce.guild_gone(guild, unavailable=False)
    return Answer(status=204)


def serve(routes: Routes) -> None:
    """Add the routes."""
    routes.add("GET", "/users/@me/guilds", mine)
    routes.add("DELETE", "/users/@me/guilds/{guild_id}", leave)
    routes.add("GET", "/guilds/{guild_id}", fetch)
    routes.add("GET", "/guilds/{guild_id}/roles", roles)
    routes.add("GET", "/guilds/{guild_id}/members", members)
    routes.add("GET", "/guilds/{guild_id}/members/{user_id}", member)
    routes.add("PUT", "/guilds/{guild_id}/members/{user_id}/roles/{role_id}", add_role)
    routes.add("DELETE", "/guilds/{guild_id}/members/{user_id}/roles/{role_id}", remove_role)
    routes.add("GET", "/users/{user_id}", user)
