"""The application: who am I, where is the gateway, and the commands it syncs."""

from __future__ import annotations

from typing import Any

from rehearsal import commands
from rehearsal.api import Answer, Call, Routes
from rehearsal.errors import DiscordError


async def me(call: Call) -> Answer:
    """GET /users/@me."""
    return Answer(call.twin.render.me())


async def application(call: Call) -> Answer:
    """GET /oauth2/applications/@me and /applications/@me."""
    return Answer(call.twin.render.application())


async def gateway(call: Call) -> Answer:
    """GET /gateway."""
    return Answer({"url": call.twin.gateway_url})


async def gateway_bot(call: Call) -> Answer:
    """GET /gateway/bot."""
    left = max(0, 1000 - call.twin.gateway.identifies)
    limits = {"total": 1000, "remaining": left, "reset_after": 86_400_000, "max_concurrency": 1}
    return Answer({"url": call.twin.gateway_url, "shards": 1, "session_start_limit": limits})


def _scope(call: Call) -> int | None:
    world = call.twin.world
    if call.id("application_id", 10002) != world.application.id:
        raise DiscordError(20012, status=403, message="You are not authorized to perform this action on this application")
    if "guild_id" not in call.params:
        return None
    guild_id = call.id("guild_id", 10004)
    if guild_id not in world.guilds or world.bot.id not in world.guilds[guild_id].members:
        raise DiscordError(50001)
    return guild_id


async def listing(call: Call) -> Answer:
    """GET .../commands."""
    return Answer(call.twin.world.application.commands.get(_scope(call), []))


async def overwrite(call: Call) -> Answer:
    """PUT .../commands: replaces everything in the scope; a name that stays keeps its id."""
    scope = _scope(call)
    if not isinstance(call.body, list):
        raise DiscordError(50035)
    return Answer(commands.sync(call.twin, scope, call.body))


async def create(call: Call) -> Answer:
    """POST .../commands: adds or replaces one."""
    scope = _scope(call)
    wanted = call.form()
    kept: list[Any] = [c for c in call.twin.world.application.commands.get(scope, []) if not _same(c, wanted)]
    stored = commands.sync(call.twin, scope, [*kept, wanted])
    return Answer(stored[-1], 201)


def _same(known: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return known["name"] == wanted.get("name") and known["type"] == wanted.get("type", 1)


async def delete(call: Call) -> Answer:
    """DELETE .../commands/{id}."""
    scope = _scope(call)
    known = call.twin.world.application.commands.get(scope, [])
    left = [c for c in known if c["id"] != call.params["command_id"]]
    if len(left) == len(known):
        raise DiscordError(10063)
    call.twin.world.application.commands[scope] = left
    call.twin.announce.commands(scope)
    return Answer(status=204)


def serve(routes: Routes) -> None:
    """Add the routes."""
    routes.add("GET", "/users/@me", me)
    routes.add("GET", "/oauth2/applications/@me", application)
    routes.add("GET", "/applications/@me", application)
    routes.add("GET", "/gateway", gateway, token=True)
    routes.add("GET", "/gateway/bot", gateway_bot)
    for scope in ("", "/guilds/{guild_id}"):
        base = "/applications/{application_id}" + scope + "/commands"
        routes.add("GET", base, listing)
        routes.add("PUT", base, overwrite)
        routes.add("POST", base, create)
        routes.add("DELETE", base + "/{command_id}", delete)
