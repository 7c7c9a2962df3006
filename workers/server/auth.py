"""Who may speak to the worker: the bearer of the token, or on loopback without one any program but not a web page."""

from __future__ import annotations

import hmac
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from workers.server.problems import Refused
from workers.server.settings import is_loopback


def authorization(token: str | None) -> Middleware:
    """A middleware that lets the right ones through. ``/health`` is for all."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if token is None:
            _refuse_browsers(request)
        elif request.path != "/health":
            _refuse_strangers(request, token)
        return await handler(request)

    return check


def _refuse_strangers(request: web.Request, token: str) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Compared as bytes: compare_digest refuses text that is not ASCII. surrogateescape takes whatever a header holds.
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    if scheme.lower() != "bearer" or not same:
        raise Refused(
            HTTPStatus.UNAUTHORIZED,
            "unauthorized",
            "This worker needs its token: send it as `Authorization: Bearer <token>`.",
        )


def _refuse_browsers(request: web.Request) -> None:
    """A page on the internet can make a browser here post to loopback, or come under a name that it points there."""
    host = request.url.host or ""
    if "Origin" in request.headers or not is_loopback(host):
        detail = "Without a token this worker answers programs on its own machine, by a loopback address; no web pages."
        raise Refused(HTTPStatus.FORBIDDEN, "forbidden", detail)
