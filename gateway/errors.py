"""What goes wrong at this door, as answers: ``{"error": {"code", "message", "field"?, "details"}}``.

The message is one kind sentence of the catalogue in the caller's language; the code is for programs.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.language import preferred
from jobs.errors import (
    DarkroomError,
    IdempotencyConflict,
    JobNotFound,
    RequestRefused,
    StoreUnavailable,
    WaitingLimitReached,
)
from jobs.words import explain

_log = logging.getLogger(__name__)


class Problem(BaseModel):
    """One problem, for people (``message``) and programs (``code``)."""

    code: str
    message: str
    field: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class ErrorView(BaseModel):
    """Every answer of 400 and above."""

    error: Problem


class Refusal(DarkroomError):
    """This door refuses; ``status`` is the HTTP status, ``details`` fill the sentence ``error.<code>``."""

    def __init__(self, status: int, code: str, *, headers: Mapping[str, str] | None = None, **details: Any) -> None:
        self.status = status
        self.headers = dict(headers or {})
        super().__init__(code, **details)


def status_of(error: DarkroomError) -> int:
    """The HTTP status of an error of the domain."""
    match error:
        case Refusal():
            return error.status
        case JobNotFound():
            return 404
        case IdempotencyConflict():
            return 409
        case WaitingLimitReached():
            return 429
        case RequestRefused():
            return 422
        case StoreUnavailable():
            return 503
        case _:
            return 500


def problem_of(error: DarkroomError, language: str) -> Problem:
    """The error as it is told; a store's reason stays in the log."""
    details = {} if isinstance(error, StoreUnavailable) else dict(error.details)
    field = details.pop("field", None)
    message = explain(error, language)
    return Problem(code=error.code, message=message, field=field, details=details)


def answer(error: DarkroomError, accept_language: str | None) -> Response:
    """The error as a response."""
    headers = {"Cache-Control": "no-store", "Content-Language": preferred(accept_language)}
    if isinstance(error, Refusal):
        headers |= error.headers
    if isinstance(error, StoreUnavailable | WaitingLimitReached):
        headers["Retry-After"] = "10"
    view = ErrorView(error=problem_of(error, preferred(accept_language)))
    # ASCII escapes: an echoed lone surrogate cannot be encoded in UTF-8.
    body = json.dumps(view.model_dump(exclude_none=True), ensure_ascii=True)
    return Response(body, status_of(error), headers, media_type="application/json")


def install(app: FastAPI) -> None:
    """Make every way to fail end in the same shape."""
    app.add_exception_handler(DarkroomError, _domain)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(Exception, _surprise)


async def _domain(request: Request, error: Exception) -> Response:
    assert isinstance(error, DarkroomError)
    if isinstance(error, StoreUnavailable):
        _log.warning("%s %s: %s", request.method, request.url.path, error)
    return answer(error, request.headers.get("accept-language"))


async def _http(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself: no such route, no such method."""
    assert isinstance(error, HTTPException)
    code = {404: "no_such_page", 405: "wrong_method"}.get(error.status_code, "malformed")
    refusal = Refusal(error.status_code, code, headers=error.headers)
    return answer(refusal, request.headers.get("accept-language"))


async def _parameters(request: Request, error: Exception) -> Response:
    """A query parameter out of its limits."""
    assert isinstance(error, RequestValidationError)
    field = str(error.errors()[0]["loc"][-1])
    return answer(Refusal(422, "invalid_parameter", field=field), request.headers.get("accept-language"))


async def _surprise(request: Request, _: Exception) -> Response:
    """A bug of ours. The framework logs it with its traceback; the caller learns nothing of it."""
    return answer(Refusal(500, "unknown"), request.headers.get("accept-language"))
