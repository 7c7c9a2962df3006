"""The way of a REST request: body, token, faults, limits, handler, answer, record.

Routes are a table; a route that is not in it is an error, and is remembered as one.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import BodyPartReader, web

from rehearsal import faults
from rehearsal.errors import DiscordError, not_found, snowflake, unauthorized
from rehearsal.faults import Fault
from rehearsal.files import Upload
from rehearsal.gateway import Order, current_order
from rehearsal.ratelimits import Refusal, edge_ban, too_many
from rehearsal.recording import RawJson

if TYPE_CHECKING:
    from rehearsal.twin import Twin

PREFIX = "/api/v10"
_FILE_FIELD = re.compile(r"^files\[(\d+)\]$")
REASON_LIMIT = 512


@dataclass(slots=True)
class Call:
    """One request on its way."""

    twin: Twin
    method: str
    path: str
    query: dict[str, str]
    template: str = ""
    params: dict[str, str] = field(default_factory=dict)
    bot: bool = False
    body: Any = None
    raw: str = ""
    files: dict[int, Upload] = field(default_factory=dict)
    reason: str | None = None

    def id(self, name: str, code: int) -> int:
        """An id out of the path; anything else is the unknown thing of `code`."""
        return snowflake(self.params[name], code)

    def form(self) -> dict[str, Any]:
        """The body as an object."""
        if self.body is None:
            return {}
        if not isinstance(self.body, dict):
            error = {"_errors": [{"code": "MODEL_TYPE_CONVERT", "message": "Only dictionaries may be used in a ModelType"}]}
            raise DiscordError(50035, errors=error)
        return self.body


@dataclass(slots=True)
class Answer:
    """What goes back: JSON, or nothing with 204."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    text: str | None = None


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """A handler with its template. `token` routes carry their secret in the path and are sent without the bot's."""

    method: str
    template: str
    handler: Handler
    token: bool


class Routes:
    """The table of routes, by method and number of path parts."""

    def __init__(self) -> None:
        self._by_shape: dict[tuple[str, int], list[tuple[tuple[str, ...], Route]]] = {}

    def add(self, method: str, template: str, handler: Handler, *, token: bool = False) -> None:
        """Serve `template`, whose `{name}` parts match anything. Literal parts win: add them first."""
        parts = tuple(template.strip("/").split("/"))
        route = Route(method, template, handler, token)
        self._by_shape.setdefault((method, len(parts)), []).append((parts, route))

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route of a path, and its parameters."""
        given = path.strip("/").split("/")
        for parts, route in self._by_shape.get((method, len(given)), []):
            params: dict[str, str] = {}
            for part, value in zip(parts, given, strict=True):
                if part.startswith("{"):
                    params[part[1:-1]] = unquote(value)
                elif part != value:
                    break
            else:
                return route, params
        return None

    def table(self) -> list[tuple[str, str]]:
        """Every method and template served."""
        return [(route.method, route.template) for routes in self._by_shape.values() for _, route in routes]


class Api:
    """Serves `/api/v10`."""

    def __init__(self, twin: Twin, routes: Routes) -> None:
        self._twin = twin
        self.routes = routes

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        began = time.perf_counter()
        call = Call(self._twin, request.method, request.raw_path.partition("?")[0][len(PREFIX) :], dict(request.query))
        order = Order()
        current_order.set(order)
        answer, cut = await self._answer(call, request)
        response = self._response(answer)
        if order.before:
            await asyncio.sleep(0.05)
        self._record(call, request, response, time.perf_counter() - began)
        if cut is not None:
            return await self._cut(cut, request, response)
        if order.after:
            await response.prepare(request)
            await response.write_eof()
            for deliver in order.after:
                deliver()
        return response

    async def _answer(self, call: Call, request: web.Request) -> tuple[Answer, Fault | None]:
        twin = self._twin
        ban = twin.limits.banned()
        if ban is not None:
            return _refused(ban), None
        try:
            found = self._find(call, request)
            await read_body(call, request)
        except DiscordError as error:
            return self._error(error), None
        if twin.faults:
            self._kill("before", call)
            before = twin.faults.take(faults.BEFORE, call.method, call.path)
            if before is not None:
                answer, cut = await self._before(before)
                if answer is not None or cut is not None:
                    return answer or Answer(status=500), cut
        answer = await self._limited(call, found)
        return await self._after(call, answer) if twin.faults else (answer, None)

    def _find(self, call: Call, request: web.Request) -> Route:
        found = self.routes.find(call.method, call.path)
        if found is None:
            self._twin.recorder.unknown_routes.append(f"{call.method} {call.path}")
            raise not_found()
        route, call.params = found
        call.template = route.template
        header = request.headers.get("Authorization")
        call.bot = header == f"Bot {self._twin.world.application.token}"
        if not route.token and not call.bot:
            raise unauthorized()
        return route

    async def _limited(self, call: Call, route: Route) -> Answer:
        headers, refusal = self._twin.limits.ask(call.method, call.template, call.params, bot=not route.token)
        if refusal is not None:
            self._twin.limits.invalid()
            return _refused(refusal, headers)
        try:
            answer = await route.handler(call)
        except DiscordError as error:
            answer = self._error(error)
        answer.headers |= headers
        return answer

    def _error(self, error: DiscordError) -> Answer:
        if error.status in (401, 403):
            self._twin.limits.invalid()
        if isinstance(error, Limited):
            self._twin.limits.invalid()
            return _refused(error.refusal)
        return Answer(error.body(), error.status)

    async def _before(self, fault: Fault) -> tuple[Answer | None, Fault | None]:
        if fault.kind == "status":
            return _gateway_error(int(fault.number)), None
        if fault.kind == "html":
            return Answer(status=502, text="<html><body><h1>502 Bad Gateway</h1></body></html>"), None
        if fault.kind == "cf429":
            return _refused(edge_ban(fault.number or 600)), None
        if fault.kind in ("429", "global429", "shared429"):
            scope = {"429": "user", "global429": "global", "shared429": "shared"}[fault.kind]
            if scope != "shared":
                self._twin.limits.invalid()
            return _refused(too_many(fault.number, scope, is_global=scope == "global")), None
        if fault.kind == "drop":
            return None, fault
        await asyncio.sleep(fault.number if fault.kind == "slow" else 3600)
        return None, None

    async def _after(self, call: Call, answer: Answer) -> tuple[Answer, Fault | None]:
        self._kill("after", call)
        fault = self._twin.faults.take(faults.AFTER, call.method, call.path)
        if fault is None:
            return answer, None
        if fault.kind == "after_status":
            return _gateway_error(int(fault.number)), None
        if fault.kind == "after_slow":
            await asyncio.sleep(fault.number)
            return answer, None
        return answer, fault

    def _kill(self, when: str, call: Call) -> None:
        fault = self._twin.faults.take_kill(when, call.method, call.path)
        if fault is not None:
            os.kill(int(fault.args["pid"]), int(fault.args.get("signal", signal.SIGKILL)))

    async def _cut(self, fault: Fault, request: web.Request, response: web.Response) -> web.StreamResponse:
        """Break the connection: at once, or in the middle of the answer."""
        if fault.kind == "truncate" and isinstance(response.body, bytes):
            half = web.StreamResponse(status=response.status, headers={"Content-Type": "application/json"})
            half.content_length = len(response.body)
            await half.prepare(request)
            await half.write(response.body[: len(response.body) // 2])
        if request.transport is not None:
            request.transport.abort()
        return response

    def _response(self, answer: Answer) -> web.Response:
        if answer.text is not None:
            kind = {"Content-Type": "text/html; charset=UTF-8"}
            return web.Response(body=answer.text.encode(), status=answer.status, headers=answer.headers | kind)
        if answer.status == 204:
            return web.Response(status=204, headers=answer.headers)
        # Exactly this content type: with a charset the library takes the answer for text.
        headers = answer.headers | {"Content-Type": "application/json", "Via": "1.1 google"}
        body = json.dumps(answer.body, separators=(",", ":")).encode()
        return web.Response(body=body, status=answer.status, headers=headers)

    def _record(self, call: Call, request: web.Request, response: web.Response, seconds: float) -> None:
        text = response.body.decode() if isinstance(response.body, bytes) else ""
        record = {
            "method": call.method,
            "path": call.path,
            "template": call.template,
            "query": call.query,
            "auth": "Authorization" in request.headers,
            "reason": call.reason,
            "body": RawJson(call.raw),
            "files": [{"name": f.filename, "size": f.size, "sha256": f.digest} for f in call.files.values()],
            "status": response.status,
            "answer": RawJson(text),
            "ms": round(seconds * 1000, 2),
            "at": self._twin.clock.iso(),
        }
        self._twin.recorder.add("rest", record)


class Limited(DiscordError):
    """A handler found a limit that no header tells of."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(0, status=429)
        self.refusal = refusal


def _refused(refusal: Refusal, headers: dict[str, str] | None = None) -> Answer:
    text = refusal.body if isinstance(refusal.body, str) else None
    return Answer(refusal.body, refusal.status, (headers or {}) | refusal.headers, text)


def _gateway_error(status: int) -> Answer:
    return Answer({"message": f"{status}: a fault of the rehearsal", "code": 0}, status)


async def read_body(call: Call, request: web.Request) -> None:
    """Fill in body, files and reason. Raises 50109 for bad JSON, 40005 for too much, 50035 for a bad reason."""
    reason = request.headers.get("X-Audit-Log-Reason")
    if reason is not None:
        call.reason = unquote(reason)
        if not 1 <= len(call.reason) <= REASON_LIMIT:
            raise DiscordError(50035)
    limit = call.twin.request_limit()
    if (request.content_length or 0) > limit:
        raise DiscordError(40005)
    if request.content_type == "multipart/form-data":
        await _read_parts(call, request, limit)
        return
    data = await request.content.read(-1) if request.can_read_body else b""
    if len(data) > limit:
        raise DiscordError(40005)
    _parse(call, data)


def _parse(call: Call, data: bytes) -> None:
    if not data:
        return
    try:
        text = data.decode()
        call.body = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        call.raw = json.dumps(f"{len(data)} bytes that are no JSON")
        raise DiscordError(50109) from error
    call.raw = text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


async def _read_parts(call: Call, request: web.Request, limit: int) -> None:
    total = 0
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                continue
            data = bytes(await part.read())
            total += len(data)
            if total > limit:
                raise DiscordError(40005)
            await _part(call, part.name or "", part.filename or "unknown", data)
    except (ValueError, AssertionError) as error:
        raise DiscordError(50109) from error


async def _part(call: Call, name: str, filename: str, data: bytes) -> None:
    match = _FILE_FIELD.match(name)
    if name == "payload_json":
        _parse(call, data)
    elif match is not None:
        call.files[int(match[1])] = await call.twin.store.keep(filename, data)
