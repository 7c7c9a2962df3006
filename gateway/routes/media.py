"""Originals by signed link: no key, no listing; what was not signed here does not exist."""

from fastapi import APIRouter
from starlette.responses import Response

from gateway.door import TheDoor
from gateway.errors import ErrorView, Refusal
from gateway.links import LinkExpired
from gateway.routes.jobs import file_name
from jobs.errors import JobNotFound
from jobs.job import JobId

router = APIRouter(prefix="/media", tags=["media"])


@router.get("/{path:path}", response_class=Response, responses={404: {"model": ErrorView}, 410: {"model": ErrorView}})
async def original(path: str, door: TheDoor) -> Response:
    """The picture that a link of ours names, exactly as it is stored."""
    try:
        named = door.links.read(path)
    except LinkExpired:
        raise Refusal(410, "link_expired") from None
    if named is None:
        raise Refusal(404, "link_unknown")
    try:
        job = (await door.desk.status(JobId(named[0]), user_id=None)).job
    except JobNotFound:  # deleted since
        raise Refusal(404, "link_unknown") from None
    picture = next((picture for picture in job.pictures if picture.index == named[1]), None)
    if picture is None:
        raise Refusal(404, "link_unknown")
    try:
        data = await door.pictures.read(picture.sha256)
    except FileNotFoundError:
        raise Refusal(410, "picture_gone") from None
    headers = {
        "Cache-Control": "private, max-age=3600",
        "Content-Disposition": f'inline; filename="{file_name(job, picture)}"',
        "X-Robots-Tag": "noindex",
    }
    return Response(data, headers=headers, media_type=picture.content_type)
