"""What every request passes before any route: its host, its origin, its body's size; and the headers of every answer.

Plain ASGI, so that it holds for streams and WebSockets too and never buffers.
"""

import asyncio
import ipaddress
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.auth import is_loopback
from gateway.errors import Refusal, answer
from gateway.routes import inputs
from gateway.settings import GatewaySettings

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""Of the page and everything it loads; answers of the API are never rendered and lose nothing by it."""

_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_SLOWEST = 50_000
"""Bytes a second that a body has to come at, on average, once its first seconds are over."""
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 4 * 1024 * 1024


class Guard:
    """Refuses rebound hosts, foreign origins and large or slow bodies."""

    def __init__(self, app: ASGIApp, settings: GatewaySettings) -> None:
        self._app = app
        self._settings = settings
        self._names = {name.strip("[]").lower() for name in settings.allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._judge(scope)
        if scope["type"] == "websocket":
            if refusal is not None:
                await send({"type": "websocket.close", "code": 4403})  # before accept: the handshake ends in 403
                return
            await self._app(scope, receive, send)
            return
        outward = _dressed(send)
        if refusal is not None:
            await _refuse(refusal, scope, receive, outward)
            return
        await self._with_limited_body(scope, receive, outward)

    def _judge(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return Refusal(421, "wrong_host")
        if _is_foreign(scope, headers, hosts[0]):
            return Refusal(403, "foreign_origin")
        return None

    def _is_ours(self, host: str) -> bool:
        """A name that is rebound to this machine is neither loopback's nor configured; an address cannot be rebound."""
        name = _hostname(host)
        if name is None:
            return False
        if is_loopback(name) or name in self._names:
            return True
        return not is_loopback(self._settings.host) and _is_address(name)

    async def _with_limited_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._settings.picture_max if scope["path"] == inputs.PATH else self._settings.body_max
        length = Headers(scope=scope).get("content-length", "0")
        if not (length.isascii() and length.isdecimal()):
            await _refuse(Refusal(400, "malformed"), scope, receive, send)
            return
        if len(length) > 18 or int(length) > limit:
            await _refuse(Refusal(413, "body_too_large", max=limit), scope, receive, send)
            return
        await self._app(scope, _Limited(receive, limit, self._settings.body_seconds), send)


class _Limited:
    """``receive`` that counts, bytes and time: chunked bodies have no length to judge beforehand."""

    def __init__(self, receive: Receive, limit: int, patience: float) -> None:
        self._receive = receive
        self._limit = limit
        self._patience = patience
        self._seen = 0
        self._begun: float | None = None
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:  # what follows the body is the disconnect, which may take as long as it likes
            return await self._receive()
        now = asyncio.get_running_loop().time()
        self._begun = now if self._begun is None else self._begun
        try:
            # Judged by the whole, not by the pause: a byte now and then would hold a place for hours.
            async with asyncio.timeout_at(self._begun + self._patience + self._seen / _SLOWEST):
                message = await self._receive()
        except TimeoutError:
            raise Refusal(408, "body_too_slow", headers={"Connection": "close"}) from None
        self._seen += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._seen > self._limit:
            await _linger(self._receive)
            raise Refusal(413, "body_too_large", headers={"Connection": "close"}, max=self._limit)
        return message


async def _refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without reading the body first, then linger a little."""
    refusal.headers["Connection"] = "close"
    response = answer(refusal, Headers(scope=scope).get("accept-language"))
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    await _linger(receive)
    await send({"type": "http.response.body", "body": b""})


async def _linger(receive: Receive) -> None:
    """Take in more of a refused body: a socket closed with unread data is reset, which may overtake the answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            await _discard(receive)


async def _discard(receive: Receive) -> None:
    seen, more = 0, True
    while more and seen < _LINGER_BYTES:
        message = await receive()
        seen += len(message.get("body", b""))
        more = message.get("more_body", False)


def _dressed(send: Send) -> Send:
    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return dressed


def _is_foreign(scope: Scope, headers: Headers, host: str) -> bool:
    """Whether another site's page sent this. Programs send neither header; browsers cannot leave them out."""
    origins = headers.getlist("origin")
    if origins:
        return len(origins) > 1 or urlsplit(origins[0]).netloc.lower() != host.lower()
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return False
    opened_by_a_link = headers.get("sec-fetch-mode") == "navigate" and scope.get("method") in ("GET", "HEAD")
    return not opened_by_a_link


def _hostname(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises for what is no port
    except ValueError:
        return None
    if parts.netloc != host or "@" in host or parts.path or parts.query or parts.fragment:
        return None
    return (parts.hostname or "").rstrip(".").lower() or None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
