"""The event stream of a run: its present state first, then what changes, a heartbeat in silence, the end last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from workers.protocol import HEARTBEAT_SECONDS, Heartbeat, Message
from workers.server.ledger import Entry

#: A reader that takes nothing for so long is let go; it may come again and lose nothing.
_WRITE_SECONDS = 30.0


async def events(entry: Entry, *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> AsyncIterator[Message]:
    """The events of a run from now to its end. A slow consumer skips progress, never the end."""
    yield entry.accepted()
    seen = preview_seen = 0
    while True:
        if entry.sequence == seen:
            try:
                await asyncio.wait_for(entry.beyond(seen), heartbeat_seconds)
            except TimeoutError:
                yield Heartbeat()
            continue
        seen = entry.sequence
        if entry.end is not None:
            yield entry.end
            return
        progressed = entry.progressed(preview_after=preview_seen)
        if progressed is not None:
            preview_seen = entry.preview[0] if entry.preview else 0
            yield progressed


async def send_events(request: web.Request, entry: Entry) -> web.StreamResponse:
    """Answer with the stream as NDJSON."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
    await response.prepare(request)
    try:
        async for event in events(entry):
            async with asyncio.timeout(_WRITE_SECONDS):
                await response.write(event.model_dump_json(exclude_none=True).encode() + b"\n")
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise
    await response.write_eof()
    return response
