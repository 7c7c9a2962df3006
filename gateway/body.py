"""Reads a JSON body as if it were hostile, because it may be: strict, flat, one kind sentence for each fault."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from gateway.errors import Refusal
from jobs.errors import InvalidRequest
from jobs.offer import ModelOffer

_DEEPEST = 8
_WHOLE = {"width", "height", "steps", "seed"}


async def read_object(request: Request) -> dict[str, Any]:
    """The request's body, a JSON object. Raises Refusal (400, 413, 415, 422)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # also what keeps a foreign page's plain form out
        raise Refusal(415, "not_json")
    parsed = parse(await request.body())
    if not isinstance(parsed, dict):
        raise Refusal(422, "not_an_object")
    return parsed


def parse(body: bytes) -> Any:
    """Strict JSON: UTF-8 without a mark, no NaN, no name twice, not deep, no half characters. Raises Refusal."""
    try:
        parsed = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except Refusal:
        raise
    except (ValueError, RecursionError):  # json's own errors, bad UTF-8, a mark in front, an integer of 4,300 digits
        raise Refusal(400, "malformed_json") from None
    _check(parsed, depth=0, field="")
    return parsed


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise Refusal(400, "duplicate_field", field=shown(name))
        found[name] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise Refusal(400, "not_a_number", value=name)


def _check(value: Any, *, depth: int, field: str) -> None:
    if depth > _DEEPEST:
        raise Refusal(400, "malformed_json")
    if isinstance(value, str):
        _check_text(value, field)
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_text(name, shown(name))
            _check(inner, depth=depth + 1, field=name)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth=depth + 1, field=field)


def _check_text(text: str, field: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refusal(422, "broken_text", field=shown(field)) from None


def shown(name: str) -> str:
    """A name from outside as it may be repeated: short, printable, nothing that a terminal or page would act on."""
    return "".join(c if c.isprintable() else "?" for c in name[:40]) or "?"


def refused(
    error: ValidationError, body: Mapping[str, Any], offer: ModelOffer | None, limits: type[BaseModel]
) -> InvalidRequest:
    """The first fault that pydantic found, as this catalogue says it; ``offer`` knows the model's own limits."""
    fault = error.errors(include_url=False, include_context=True)[0]
    field = shown(str(fault["loc"][0])) if fault["loc"] else "?"
    kind = fault["type"]
    if kind == "extra_forbidden":
        return InvalidRequest("unknown_field", field=field, fields=sorted(limits.model_fields))
    if kind == "missing" or (field == "prompt" and kind in ("string_too_short", "value_error")):
        return InvalidRequest("empty_prompt", field=field)
    if kind == "string_too_long" and field in ("prompt", "negative"):
        longest = fault.get("ctx", {}).get("max_length", 0)
        return InvalidRequest("prompt_too_long", field=field, length=len(str(body[field])), max=longest)
    if kind in ("greater_than_equal", "less_than_equal", "finite_number"):
        return _out_of_limits(field, offer, fault)
    return InvalidRequest(_code_of(field, fault), field=field)


def _out_of_limits(field: str, offer: ModelOffer | None, fault: ErrorDetails) -> InvalidRequest:
    if field == "seed":
        return InvalidRequest("invalid_seed", field=field)
    if offer is not None and field == "steps":
        return InvalidRequest("invalid_steps", field=field, min=offer.steps_min, max=offer.steps_max)
    if offer is not None and field == "guidance":
        return InvalidRequest("invalid_guidance", field=field, max=offer.guidance_max)
    if offer is not None and field in ("width", "height"):
        return InvalidRequest("invalid_side", field=field, min=offer.side_min, max=offer.side_max)
    where = shown(".".join(str(part) for part in fault["loc"]))
    limits = fault.get("ctx", {})
    if "le" in limits:
        return InvalidRequest("too_high", field=where, max=limits["le"])
    if "ge" in limits:
        return InvalidRequest("too_low", field=where, min=limits["ge"])
    return InvalidRequest("not_accepted", field=where)


def _code_of(field: str, fault: ErrorDetails) -> str:
    if field in _WHOLE:
        return "not_whole"
    if field == "guidance":
        return "not_number"
    return "not_text" if fault["type"].startswith("string") else "not_accepted"
