"""Jobs: ask, look, cancel, fetch the picture."""

import hashlib
import json
import mimetypes
import re
import secrets
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from gateway.body import read_object, refused
from gateway.door import Door, Language, Person, TheDoor
from gateway.errors import ErrorView, Refusal
from gateway.views import JobList, JobView
from jobs.job import Job, JobId, Picture, UserId
from jobs.offer import ModelOffer
from jobs.request import Request as Wish

_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_PREVIEW_MAX = 256 * 1024
_KINDS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))

_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": Wish.model_json_schema()}}}}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorView} for status in (400, 401, 403, 404, 408, 409, 413, 415, 421, 422, 429, 503)
}

router = APIRouter(prefix="/api/v1/jobs", responses=_REFUSALS, tags=["jobs"])


@router.post("", status_code=201, responses={200: {"model": JobView}}, openapi_extra=_BODY)
async def submit(request: Request, response: Response, door: TheDoor, person: Person, language: Language) -> JobView:
    """Ask for a picture. 201 with a new job; 200 with the job that this Idempotency-Key has asked for before."""
    key = _key_of(request, person)
    body = await read_object(request)
    job, created = await door.desk.submit_or_find(_wish(body, door), user_id=person, door="http", idempotency_key=key)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return door.view(await door.watch.status_of(job), language)


@router.get("")
async def recent(
    door: TheDoor, person: Person, language: Language, limit: Annotated[int, Query(ge=1, le=100)] = 12
) -> JobList:
    """Your newest jobs first."""
    jobs = await door.desk.recent(person, limit=limit)
    return JobList(jobs=[door.view(await door.watch.status_of(job), language) for job in jobs])


@router.get("/{job_id}")
async def look(job_id: str, door: TheDoor, person: Person, language: Language) -> JobView:
    """One job of yours; anybody else's does not exist."""
    return door.view(await door.desk.status(JobId(job_id), user_id=person), language)


@router.delete("/{job_id}")
async def cancel(job_id: str, door: TheDoor, person: Person, language: Language) -> JobView:
    """Stop it: at once while it waits, after the worker's word while it runs. A job that has ended stays as it is."""
    job = await door.desk.cancel(JobId(job_id), user_id=person)
    return door.view(await door.watch.status_of(job), language)


@router.get("/{job_id}/image", response_class=Response, responses={200: {"content": {"image/png": {}}}, 304: {}})
async def image(
    request: Request, job_id: str, door: TheDoor, person: Person, index: Annotated[int, Query(ge=0, le=99)] = 0
) -> Response:
    """The picture, exactly as it was checked and stored. It never changes, so it may be cached for good."""
    job = (await door.desk.status(JobId(job_id), user_id=person)).job
    if not job.state.is_terminal:
        raise Refusal(409, "not_ready", state=job.state.value)
    picture = next((picture for picture in job.pictures if picture.index == index), None)
    if picture is None:
        raise Refusal(404, "no_picture")
    headers = {
        "ETag": f'"{picture.sha256}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Disposition": f'inline; filename="{file_name(job, picture)}"',
        "Vary": "Authorization, Cookie",
    }
    if _has(request.headers.getlist("if-none-match"), picture.sha256):
        return Response(status_code=304, headers=headers)
    return Response(await _bytes(door, picture.sha256), headers=headers, media_type=picture.content_type)


@router.get("/{job_id}/preview", response_class=Response, responses={200: {"content": {"image/webp": {}}}})
async def preview(job_id: str, door: TheDoor, person: Person) -> Response:
    """The newest unfinished picture. Unchecked bytes of a worker, so only what looks like a picture leaves."""
    await door.desk.status(JobId(job_id), user_id=person)
    progress = door.feed.progress_of(JobId(job_id))
    data = progress.preview if progress is not None else None
    kind = picture_type(data) if data and len(data) <= _PREVIEW_MAX else None
    if data is None or kind is None:
        raise Refusal(404, "no_preview")
    return Response(data, headers={"Cache-Control": "no-store"}, media_type=kind)


def picture_type(data: bytes) -> str | None:
    """The media type of a WebP, PNG or JPEG by its first bytes; None for all else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _KINDS if data.startswith(magic)), None)


def _key_of(request: Request, person: UserId) -> str:
    """The ledger's key: one person's choice of words can never meet another's."""
    given = request.headers.getlist("idempotency-key")
    if len(given) > 1 or (given and not _KEY.fullmatch(given[0])):
        raise Refusal(400, "bad_idempotency_key")
    key = given[0] if given else secrets.token_urlsafe(24)
    return "http:" + hashlib.sha256(json.dumps([person, key]).encode()).hexdigest()


def _wish(body: dict[str, Any], door: Door) -> Wish:
    try:
        return Wish.model_validate(body)
    except ValidationError as error:
        raise refused(error, body, _offer(body, door), Wish) from None


def _offer(body: dict[str, Any], door: Door) -> ModelOffer | None:
    name = body.get("model")
    return door.fleet.offers().get(name if isinstance(name, str) else door.fleet.default_model)


def file_name(job: Job, picture: Picture) -> str:
    """Nothing that a person typed: file systems and headers disagree about too many characters."""
    part = f"-{picture.index}" if len(job.pictures) > 1 else ""
    kind = mimetypes.guess_extension(picture.content_type) or ".png"
    return f"darkroom-{job.order.seed}-{job.id[-6:]}{part}{kind}"


def _has(headers: Sequence[str], sha256: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for header in headers for tag in header.split(",")}
    return f'"{sha256}"' in tags or "*" in tags


async def _bytes(door: Door, sha256: str) -> bytes:
    try:
        return await door.pictures.read(sha256)
    except FileNotFoundError:
        raise Refusal(410, "picture_gone") from None
