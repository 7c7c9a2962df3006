"""The control API's reading half: state, messages, interactions, the record, and the stream of events."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from rehearsal.control import Ask, Refused, guarded, info
from rehearsal.errors import is_id

if TYPE_CHECKING:
    from rehearsal.twin import Twin

Json = dict[str, Any]
SHOWN_INTERACTIONS = 500
PING_S = 20.0


async def health(ask: Ask) -> Json:
    """GET /control/health."""
    return info(ask.twin)


async def state(ask: Ask) -> Json:
    """GET /control/state."""
    return ask.twin.view.state(ask.viewer())


async def channel(ask: Ask) -> Json:
    """GET /control/channels/{id}."""
    found, viewer = ask.channel("id"), ask.viewer()
    if viewer is not None:
        ask.visible_channel(ask.user("as"), "id")
    return ask.twin.view.channel(found, viewer)


async def channel_messages(ask: Ask) -> Json:
    """GET /control/channels/{id}/messages, oldest first."""
    viewer, world = ask.viewer(), ask.twin.world
    found = ask.channel("id") if viewer is None else ask.visible_channel(ask.user("as"), "id")
    hidden = [m for m in world.ephemerals.values() if m.channel_id == found.id and viewer in (None, m.ephemeral_for)]
    every = sorted([*found.messages.values(), *hidden], key=lambda m: m.id)
    if ask.get("before"):
        every = [m for m in every if m.id < ask.id("before")]
    limit = int(max(1, min(500, ask.number("limit", 50))))
    if ask.get("after"):
        every = [m for m in every if m.id > ask.id("after")][:limit]
    return {"messages": [ask.twin.view.message(m, viewer) for m in every[-limit:]]}


async def message(ask: Ask) -> Json:
    """GET /control/messages/{id}."""
    viewer = ask.viewer()
    return ask.twin.view.message(ask.message(viewer, "id"), viewer)


async def interaction(ask: Ask) -> Json:
    """GET /control/interactions/{id}."""
    found = ask.twin.interactions.get(ask.id("id"))
    if found is None:
        raise Refused(404, "not_found", "There is no such interaction.")
    return ask.twin.view.interaction(found)


async def interactions(ask: Ask) -> Json:
    """GET /control/interactions."""
    viewer, where = ask.viewer(), ask.get("channel_id")
    chosen = [i for i in ask.twin.interactions if viewer in (None, i.user_id) and where in (None, str(i.channel_id))]
    return {"interactions": [ask.twin.view.interaction(i) for i in chosen[-SHOWN_INTERACTIONS:]]}


async def faults(ask: Ask) -> Json:
    """GET /control/faults."""
    return {"faults": [f.as_json() for f in ask.twin.faults]}


async def clock(ask: Ask) -> Json:
    """GET /control/clock."""
    return {"now": ask.twin.clock.iso(), "offset_s": ask.twin.clock.offset}


async def limits(ask: Ask) -> Json:
    """GET /control/limits."""
    found = ask.twin.limits
    return {
        "invalid_requests": found.invalid_total,
        "rate_limited": found.limited_total,
        "requests": found.request_total,
        "unknown_routes": ask.twin.recorder.unknown_routes,
    }


ROUTES = [
    ("GET", "health", health),
    ("GET", "state", state),
    ("GET", "channels/{id}", channel),
    ("GET", "channels/{id}/messages", channel_messages),
    ("GET", "messages/{id}", message),
    ("GET", "interactions", interactions),
    ("GET", "interactions/{id}", interaction),
    ("GET", "faults", faults),
    ("GET", "clock", clock),
    ("GET", "limits", limits),
]


def serve(app: web.Application, twin: Twin) -> None:
    """Add what is not plain JSON in, JSON out."""

    async def recording(request: web.Request) -> web.StreamResponse:
        since = request.query.get("since", "0")
        if not is_id(since):
            raise Refused(400, "bad_request", "'since' must be a number.")
        text = twin.recorder.lines(kind=request.query.get("kind"), since=int(since))
        return web.Response(text=text, content_type="application/x-ndjson")

    async def events(request: web.Request) -> web.StreamResponse:
        return await _stream(twin, request, Ask(twin, dict(request.query)).viewer())

    app.router.add_get("/control/recording", guarded(recording))
    app.router.add_get("/control/events", guarded(events))


async def _stream(twin: Twin, request: web.Request, viewer: int | None) -> web.StreamResponse:
    socket = web.WebSocketResponse(heartbeat=PING_S, timeout=1.0)
    await socket.prepare(request)
    watcher = twin.watchers.open(viewer)

    async def write() -> None:
        while True:
            event = await watcher.queue.get()
            if event is None:
                await socket.close()
                return
            try:
                await socket.send_str(json.dumps(event, separators=(",", ":")))
            except ConnectionError:
                return

    try:
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(write())
            async for incoming in socket:
                if incoming.type is WSMsgType.ERROR:
                    break
            writer.cancel()
    finally:
        twin.watchers.close(watcher)
    return socket
