"""Puts the door together."""

import asyncio

from fastapi import FastAPI

from gateway import errors
from gateway.auth import Keyring, check_binding
from gateway.door import Door
from gateway.guard import Guard
from gateway.links import MediaLinks
from gateway.page import read_files
from gateway.routes import house, inputs, jobs, media, metrics, page, progress, session
from gateway.settings import GatewaySettings
from gateway.uploads import UploadPlaces
from gateway.watch import QueueBoard, Sequence, StreamPlaces, Watch
from jobs.desk import Desk
from jobs.feed import Feed
from jobs.ports import Fleet, PictureStore


def create_app(
    *,
    desk: Desk,
    feed: Feed,
    pictures: PictureStore,
    fleet: Fleet,
    settings: GatewaySettings,
    read_metrics: metrics.ReadMetrics | None = None,
) -> FastAPI:
    """The HTTP door over a desk; without ``read_metrics`` /metrics is not there.

    Raises BindingRefused when strangers could come in without a key.
    """
    check_binding(settings.host, settings.keys, settings.allowed_hosts)
    board = QueueBoard(desk, fresh=settings.look_again)
    app = FastAPI(title="darkroom", version=settings.version, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.door = Door(
        desk=desk,
        feed=feed,
        pictures=pictures,
        fleet=fleet,
        settings=settings,
        keyring=Keyring(settings.keys, settings.session_secret),
        links=MediaLinks(settings.session_secret),
        board=board,
        watch=Watch(desk=desk, feed=feed, board=board, look_again=settings.look_again),
        places=StreamPlaces(settings.streams_per_person),
        sequence=Sequence(),
        uploads=UploadPlaces(6, own=2),
        closing=asyncio.Event(),
    )
    app.state.files = read_files()
    app.state.metrics = read_metrics
    errors.install(app)
    for module in (jobs, inputs, progress, house, metrics, session, media, page):
        app.include_router(module.router)
    app.add_middleware(Guard, settings=settings)
    return app
