"""Refusals: every 4xx and 5xx of the worker is a `Problem` with a stable code and one kind sentence."""

from __future__ import annotations

import logging
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from workers.protocol import BODY_BYTES_MAX, Message, Problem, ProblemField

_log = logging.getLogger(__name__)


class Refused(Exception):
    """A request that is answered with a problem."""

    def __init__(self, status: HTTPStatus, code: str, detail: str, *, fields: tuple[ProblemField, ...] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.problem = Problem(code=code, detail=detail, fields=fields)


def answer(message: Message, *, status: int = 200) -> web.Response:
    """A message as a JSON answer."""
    return web.Response(text=message.model_dump_json(), content_type="application/json", status=status)


_WORDS = {
    404: ("not_found", "There is nothing at this address. The addresses are in workers/protocol.py."),
    405: ("method_not_allowed", "This address does not take that method."),
    413: ("too_large", f"The body is larger than {BODY_BYTES_MAX} bytes; an order is much smaller."),
}


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals, aiohttp's own errors and surprises into problems."""
    try:
        return await handler(request)
    except Refused as refused:
        return answer(refused.problem, status=refused.status)
    except web.HTTPException as error:
        code, detail = _WORDS.get(error.status, ("malformed", "The request cannot be understood."))
        return answer(Problem(code=code, detail=detail), status=error.status)
    except (ConnectionError, TimeoutError):
        # The other side went away; there is nobody to tell.
        raise
    except Exception:  # noqa: BLE001 - a bug in one answer must not look like a broken worker
        _log.exception("A request failed: %s %s", request.method, request.path)
        problem = Problem(code="internal", detail="The worker failed to answer this request; its log says why.")
        return answer(problem, status=HTTPStatus.INTERNAL_SERVER_ERROR)
