"""The studio page and its files. Public: what they show comes from the API, which asks who is there."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from gateway.door import Language
from gateway.errors import Refusal
from gateway.page import File

router = APIRouter(include_in_schema=False)


@router.get("/")
async def studio(request: Request, language: Language, lang: Annotated[str, Query(max_length=5)] = "") -> Response:
    """The page in the browser's language, or in the one that ``?lang=`` names."""
    files = _files(request)
    wanted = lang if f"/words/{lang}.json" in files else language
    return _served(request, files[f"/{wanted}"], {"Vary": "Accept-Language", "Content-Language": wanted})


@router.get("/web/{name}")
async def part(request: Request, name: str) -> Response:
    """A style, a module, the icon. Looked up among what was read at the start: no path is ever built."""
    return _found(request, f"/web/{name}")


@router.get("/words/{name}")
async def words(request: Request, name: str) -> Response:
    """The page's sentences: ``en.json``, ``es.json``."""
    return _found(request, f"/words/{name}")


@router.get("/favicon.ico")
async def icon(request: Request) -> Response:
    """Browsers ask for it unbidden."""
    return _found(request, "/web/icon.svg")


def _found(request: Request, path: str) -> Response:
    file = _files(request).get(path)
    if file is None:
        raise Refusal(404, "no_such_page")
    return _served(request, file, {})


def _served(request: Request, file: File, headers: Mapping[str, str]) -> Response:
    # Asked again each time, answered 304 while unchanged: an upgrade shows at the next reload.
    headers = {**headers, "ETag": file.etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.data, headers=headers, media_type=file.media_type)


def _files(request: Request) -> Mapping[str, File]:
    return request.app.state.files
