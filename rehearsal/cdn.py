"""The CDN: attachments by signed url, without a token; 404 in plain text when expired or unsigned."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from rehearsal.model import Attachment

if TYPE_CHECKING:
    from rehearsal.twin import Twin

GONE = "This content is no longer available."


class Cdn:
    """Serves `/attachments/…` and `/ephemeral-attachments/…`."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin

    def _find(self, request: web.Request) -> Attachment | None:
        if not self._twin.links.valid(request.raw_path.partition("?")[0], dict(request.query)):
            return None
        return self._twin.world.attachments.get(int(request.match_info["attachment"]))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One file."""
        faults, path = self._twin.faults, request.path
        attachment = self._find(request)
        slow = faults.take("cdn_slow", request.method, path)
        if slow is not None:
            await asyncio.sleep(slow.number)
        broken = faults.take(("cdn_404", "cdn_expired"), request.method, path)
        self._record(request, attachment, missing=broken is not None)
        if attachment is None or broken is not None:
            return web.Response(status=404, text=GONE)
        data = await asyncio.to_thread(self._twin.store.read, attachment.digest)
        headers = {
            "Content-Type": attachment.content_type,
            "Content-Disposition": f'attachment; filename="{attachment.filename}"',
            "Cache-Control": "public, max-age=31536000",
            # Somebody's file is never a page of ours, whatever it says it is.
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        if faults.take("cdn_short", request.method, path):
            return await self._short(request, data, headers)
        return web.Response(body=data, headers=headers)

    async def _short(self, request: web.Request, data: bytes, headers: dict[str, str]) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        if request.transport is not None:
            request.transport.abort()
        return response

    def _record(self, request: web.Request, attachment: Attachment | None, *, missing: bool) -> None:
        status = 404 if missing or attachment is None else 200
        record = {"method": request.method, "path": request.path, "status": status, "at": self._twin.clock.iso()}
        record["size"] = 0 if attachment is None else attachment.size
        self._twin.recorder.add("cdn", record)
