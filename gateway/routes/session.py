"""Signing in to the page: an API key becomes a cookie, since pictures, streams and sockets cannot send headers."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.auth import SESSION_SECONDS
from gateway.body import read_object
from gateway.door import COOKIE, TheDoor
from gateway.errors import ErrorView, Refusal

router = APIRouter(prefix="/session", tags=["session"])


@router.post("", status_code=204, responses={status: {"model": ErrorView} for status in (400, 401, 404, 413, 415)})
async def sign_in(request: Request, door: TheDoor) -> Response:
    """``{"key": "dk_…"}`` → a cookie that scripts cannot read and other sites cannot send."""
    if not door.keyring:
        raise Refusal(404, "no_keys_here")
    body = await read_object(request)
    secret = body.get("key")
    key = door.keyring.recognise(secret.strip()) if isinstance(secret, str) and set(body) == {"key"} else None
    if key is None:
        raise Refusal(401, "wrong_key", headers={"WWW-Authenticate": 'Bearer realm="darkroom"'})
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE,
        door.keyring.open_session(key),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.headers.get("origin", "").startswith("https://"),  # behind a proxy we speak http ourselves
    )
    return response


@router.delete("", status_code=204)
async def sign_out() -> Response:
    """Forget the cookie on this device."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response
