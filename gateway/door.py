"""What the routes share, and who is calling. Built once by the host; routes find it on the app."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from starlette.requests import HTTPConnection

from gateway.auth import ApiKey, Keyring
from gateway.errors import Refusal
from gateway.language import preferred
from gateway.links import MediaLinks
from gateway.settings import GatewaySettings
from gateway.uploads import UploadPlaces
from gateway.views import JobView, job_view
from gateway.watch import QueueBoard, Sequence, StreamPlaces, Watch
from jobs.desk import Desk, JobStatus
from jobs.feed import Feed
from jobs.job import UserId
from jobs.ports import Fleet, PictureStore

COOKIE = "darkroom_session"
EVERYBODY = UserId("web:local")
"""Who calls when no key is configured: whoever sits at this machine."""


@dataclass(frozen=True, kw_only=True)
class Door:
    """Everything behind the routes."""

    desk: Desk
    feed: Feed
    pictures: PictureStore
    fleet: Fleet
    settings: GatewaySettings
    keyring: Keyring
    links: MediaLinks
    board: QueueBoard
    watch: Watch
    places: StreamPlaces
    sequence: Sequence
    uploads: UploadPlaces
    """Pictures that are taken in at once."""
    closing: asyncio.Event
    """Set when the host stops: open streams end, so that a page left open never holds the shutdown up."""

    def view(self, status: JobStatus, language: str) -> JobView:
        """A numbered view."""
        return job_view(status, seq=self.sequence.next(), language=language)


def door_of(connection: HTTPConnection) -> Door:
    """The door that serves this request or socket."""
    app: FastAPI = connection.app
    return app.state.door


def key_of(connection: HTTPConnection) -> ApiKey | None:
    """The key or session that came along, or None."""
    keyring = door_of(connection).keyring
    scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
    if scheme:  # whoever names a key means it: a cookie does not stand in for a wrong one
        return keyring.recognise(secret.strip()) if scheme.lower() == "bearer" else None
    return keyring.session(connection.cookies.get(COOKIE, ""))


def person_of(connection: HTTPConnection) -> UserId:
    """Who is served and charged. Raises Refusal (401)."""
    if not door_of(connection).keyring:
        return EVERYBODY
    key = key_of(connection)
    if key is None:
        raise Refusal(401, "no_key", headers={"WWW-Authenticate": 'Bearer realm="darkroom"'})
    return UserId(f"web:{key.name}")


def language_of_request(connection: HTTPConnection) -> str:
    """The caller's language: ``en`` or ``es``."""
    return preferred(connection.headers.get("accept-language"))


async def _door(request: Request) -> Door:
    return door_of(request)


async def _person(request: Request) -> UserId:
    return person_of(request)


async def _language(request: Request) -> str:
    return language_of_request(request)


TheDoor = Annotated[Door, Depends(_door)]
Person = Annotated[UserId, Depends(_person)]
Language = Annotated[str, Depends(_language)]
