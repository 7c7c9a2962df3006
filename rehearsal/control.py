"""The control API: people are played and the world is arranged through `/control`. CONTROL.md is its description."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from rehearsal.errors import DiscordError, is_id
from rehearsal.modals import BadAnswer
from rehearsal.model import Channel, Message, User

if TYPE_CHECKING:
    from rehearsal.twin import Twin

Json = dict[str, Any]
MOST_NUMBER = 1e9  # thirty years of seconds


class Refused(Exception):
    """What a person may not do: HTTP status, code word, plain sentence."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence


class Ask:
    """One control request: its fields, checked when they are read."""

    def __init__(self, twin: Twin, fields: Json) -> None:
        self.twin = twin
        self.fields = fields

    def get(self, name: str, default: Any = None) -> Any:
        """A field that may be missing."""
        value = self.fields.get(name)
        return default if value is None else value

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        value = self.get(name, default)
        if not isinstance(value, str):
            raise Refused(400, "bad_request", f"The field {name!r} must be text.")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A number."""
        value = self.get(name, default)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise Refused(400, "bad_request", f"The field {name!r} must be a number.") from error
        if not abs(number) <= MOST_NUMBER:
            raise Refused(400, "bad_request", f"The field {name!r} must be a number up to {MOST_NUMBER:.0f}.")
        return number

    def items(self, name: str) -> list[Any]:
        """A list; empty where it is missing."""
        value = self.get(name, [])
        if not isinstance(value, list):
            raise Refused(400, "bad_request", f"The field {name!r} must be a list.")
        return value

    def object(self, name: str) -> Json:
        """An object; empty where it is missing."""
        value = self.get(name, {})
        if not isinstance(value, dict):
            raise Refused(400, "bad_request", f"The field {name!r} must be an object.")
        return value

    def id(self, name: str) -> int:
        """An id."""
        value = self.get(name, "")
        if not is_id(value):
            raise Refused(400, "bad_request", f"The field {name!r} must be an id.")
        return int(value)

    def user(self, name: str = "user") -> User:
        """A user by id or name."""
        user = self.twin.world.find_user(self.get(name, ""))
        if user is None:
            raise Refused(404, "not_found", f"Nobody is called {self.get(name, '')!r}.")
        return user

    def actor(self) -> User:
        """Whoever acts; the bot cannot be played."""
        user = self.user("as")
        if user.bot:
            raise Refused(400, "not_allowed", "The bot plays itself; choose a member.")
        return user

    def viewer(self) -> int | None:
        """Who looks on; None is the operator."""
        return self.user("as").id if self.get("as") else None

    def channel(self, name: str = "channel_id") -> Channel:
        """A channel."""
        channel = self.twin.world.channels.get(self.id(name))
        if channel is None:
            raise Refused(404, "not_found", "There is no such channel.")
        return channel

    def visible_channel(self, user: User, name: str = "channel_id") -> Channel:
        """A channel that user sees."""
        channel = self.channel(name)
        if not self.twin.world.sees(user.id, channel):
            raise Refused(403, "not_visible", f"{user.username} cannot see that channel.")
        return channel

    def message(self, viewer: int | None, name: str = "message_id") -> Message:
        """A message that viewer sees."""
        world, message_id = self.twin.world, self.id(name)
        message = world.find_message(message_id)
        if message is None:
            if message_id in world.deleted:
                raise Refused(410, "gone", "That message was deleted.")
            raise Refused(404, "not_found", "There is no such message.")
        if viewer is not None:
            if message.ephemeral_for not in (None, viewer):
                raise Refused(403, "not_yours", "Only the person it was shown to can see that message.")
            if not world.sees(viewer, world.channels[message.channel_id]):
                raise Refused(403, "not_visible", "That channel cannot be seen from here.")
        return message

    def guild(self, name: str = "guild_id") -> Any:
        """A guild."""
        guild = self.twin.world.guilds.get(self.id(name))
        if guild is None:
            raise Refused(404, "not_found", "There is no such guild.")
        return guild


Handler = Callable[[Ask], Awaitable[Any]]


def info(twin: Twin) -> Json:
    """What `GET /control/health` says."""
    url = twin.links.origin
    return {
        "url": url,
        "api": f"{url}/api/v10",
        "gateway": twin.gateway_url,
        "token": twin.world.application.token,
        "application_id": str(twin.world.application.id),
        "bot_user_id": str(twin.world.bot.id),
        "bot_connected": twin.gateway.connected,
        "guild_ids": [str(g) for g in twin.world.guilds],
        "page": f"{url}/page/",
    }


async def _fields(request: web.Request) -> Json:
    fields: Json = dict(request.query) | dict(request.match_info)
    if request.method == "POST":
        # A form of another site cannot send this type without asking first, and asking is refused.
        if request.content_type != "application/json":
            raise Refused(415, "bad_request", "Send JSON, with Content-Type: application/json.")
        try:
            body = await request.json()
        except (ValueError, RecursionError) as error:
            raise Refused(400, "bad_request", "The body is not JSON.") from error
        if not isinstance(body, dict):
            raise Refused(400, "bad_request", "The body must be an object.")
        fields |= body
    return fields


def answer(body: Any, status: int = 200) -> web.Response:
    """JSON."""
    return web.json_response(body, status=status, dumps=lambda b: json.dumps(b, separators=(",", ":")))


def guarded(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """Turn every refusal into its sentence."""

    async def run(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as refused:
            return answer({"error": refused.sentence, "code": refused.code}, refused.status)
        except BadAnswer as bad:
            return answer({"error": str(bad), "code": "bad_option"}, 400)
        except DiscordError as error:
            body = {"error": f"Discord would refuse: {error.message}", "code": "not_allowed", "discord": error.body()}
            return answer(body, max(400, error.status))
        except ValueError as error:
            return answer({"error": str(error), "code": "bad_request"}, 400)

    return run


def asked(twin: Twin, handler: Handler) -> Any:
    """Serve a handler that takes the fields of a JSON request."""

    async def run(request: web.Request) -> web.StreamResponse:
        return answer(await handler(Ask(twin, await _fields(request))))

    return guarded(run)


def serve(app: web.Application, twin: Twin) -> None:
    """Add every `/control` route."""
    from rehearsal import control_look, control_play, control_world  # they import this module

    for module in (control_look, control_play, control_world):
        for method, path, handler in module.ROUTES:
            app.router.add_route(method, f"/control/{path}", asked(twin, handler))
    control_look.serve(app, twin)
    control_play.serve(app, twin)
