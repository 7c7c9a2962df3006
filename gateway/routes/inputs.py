"""Pictures to start from: sent once, named by their digest afterwards."""

from typing import Any

from fastapi import APIRouter, Request

from gateway.door import Person, TheDoor
from gateway.errors import ErrorView, Refusal
from gateway.views import InputView

PATH = "/api/v1/inputs"
_TYPES = ("image/png", "image/jpeg", "image/webp", "application/octet-stream")
_REFUSALS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorView} for status in (400, 401, 403, 408, 413, 415, 421, 422, 503)}
_FILE = {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _TYPES}, "required": True}

router = APIRouter(responses=_REFUSALS, tags=["jobs"])


@router.post(PATH, status_code=201, openapi_extra={"requestBody": _FILE})
async def take_in(request: Request, door: TheDoor, person: Person) -> InputView:
    """A PNG, JPEG or WebP as the body itself. It is yours alone, kept as long as pictures are, and sent twice is the same."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _TYPES:
        raise Refusal(415, "not_a_picture_type")
    async with door.uploads.take(person):
        taken = await door.desk.take_picture(await request.body(), user_id=person)
    return InputView(sha256=taken.sha256, width=taken.width, height=taken.height)
