"""One aiohttp application on one loopback port: gateway and page at `/`, REST, CDN, control."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp import web

from rehearsal import (
    control,
    rest_application,
    rest_channels,
    rest_guilds,
    rest_messages,
    rest_webhooks,
    seed,
    threads,
)
from rehearsal.api import Api, Routes
from rehearsal.cdn import Cdn
from rehearsal.config import RehearsalConfig
from rehearsal.twin import Twin
from rehearsal.world import World

PAGE = Path(__file__).parent / "page"
MOST_BYTES = 256 << 20
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
CSP = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "connect", "font", "manifest", "worker")),
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".webp": "image/webp"}


def _hostname(netloc: str) -> str:
    if netloc.startswith("["):
        return netloc.partition("]")[0] + "]"
    return netloc.partition(":")[0].lower()


@web.middleware
async def only_loopback(request: web.Request, handler: Any) -> web.StreamResponse:
    """Refuse other hosts and other origins: a web page elsewhere must not reach in by DNS rebinding or by a form."""
    origin = request.headers.get("Origin")
    here = _hostname(request.host) in LOOPBACK
    if here and origin is not None:
        parts = urlsplit(origin)
        same_port = (parts.port or 80) == request.url.port
        here = parts.scheme == "http" and _hostname(parts.netloc) in LOOPBACK and same_port
    if not here:
        sentence = "This is a rehearsal on loopback: open it as http://127.0.0.1 or http://localhost."
        return web.json_response({"error": sentence, "code": "not_allowed"}, status=403)
    return await handler(request)


async def _root(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await request.app[TWIN].gateway.handle(request)
    raise web.HTTPFound("/page/" + (f"?{request.query_string}" if request.query_string else ""))


async def _page(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"] or "index.html"
    path = (PAGE / name).resolve()
    if not path.is_relative_to(PAGE) or not path.is_file():
        return web.Response(status=404, text="There is no such file.")
    headers = {
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": CSP,
    }
    if path.suffix in _TYPES:
        headers["Content-Type"] = _TYPES[path.suffix]
    return web.FileResponse(path, headers=headers)


TWIN = web.AppKey("twin", Twin)


def routes() -> Routes:
    """Every REST route served."""
    table = Routes()
    for module in (rest_application, rest_messages, rest_channels, threads, rest_guilds, rest_webhooks):
        module.serve(table)
    return table


def build(twin: Twin) -> web.Application:
    """The application, not yet listening."""
    app = web.Application(client_max_size=MOST_BYTES, middlewares=[only_loopback])
    app[TWIN] = twin
    cdn = Cdn(twin)
    app.router.add_get("/", _root)
    app.router.add_route("*", "/api/v10/{tail:.*}", Api(twin, routes()).handle)
    app.router.add_get(r"/attachments/{channel:\d+}/{attachment:\d{1,20}}/{name}", cdn.handle)
    app.router.add_get(r"/ephemeral-attachments/{channel:\d+}/{attachment:\d{1,20}}/{name}", cdn.handle)
    app.router.add_get(r"/page/{name:[A-Za-z0-9_\-./]*}", _page)
    control.serve(app, twin)
    return app


class RehearsalServer:
    """A running stand-in."""

    def __init__(self, twin: Twin, runner: web.AppRunner, port: int) -> None:
        self.twin = twin
        self.port = port
        self.url = f"http://{twin.config.host}:{port}"
        self._runner = runner

    @property
    def token(self) -> str:
        """The bot token it accepts."""
        return self.twin.world.application.token

    @property
    def world(self) -> World:
        """The state, for tests that judge by it."""
        return self.twin.world

    def info(self) -> dict[str, Any]:
        """What `GET /control/health` and the info file say."""
        return control.info(self.twin)

    async def close(self) -> None:
        """Stop listening and remove the stored files."""
        self.twin.close()
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


async def start(config: RehearsalConfig | None = None) -> RehearsalServer:
    """Start in this loop. Raises ValueError for a host that is not loopback, OSError when the port is taken."""
    config = config or RehearsalConfig()
    if config.host != "localhost" and not ipaddress.ip_address(config.host).is_loopback:
        raise ValueError(f"The rehearsal only listens on loopback, not on {config.host}.")
    twin = Twin(config)
    seed.plant(twin, config.seed)
    runner = web.AppRunner(build(twin), access_log=None, shutdown_timeout=1.0)
    try:
        await runner.setup()
        site = web.TCPSite(runner, config.host, config.port)
        await site.start()
        port = runner.addresses[0][1]
        twin.listen(config.host, port)
    except BaseException:
        twin.close()
        await runner.cleanup()
        raise
    return RehearsalServer(twin, runner, port)
