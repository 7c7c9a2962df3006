"""Serves the app inside a loop that is somebody else's: no signal is caught, nothing outlives the stop."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from gateway.door import Door
from gateway.patience import PatientProtocol

_log = logging.getLogger(__name__)

_UNREAD_MS = 30_000
"""After so long without an acknowledgement the kernel gives a connection up: its reader has stopped reading."""


class PortTaken(OSError):
    """Nothing can listen there; the sentence says what to do."""


class _Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The host has its own idea of Ctrl-C."""
        yield


async def serve(
    app: FastAPI, host: str, port: int, stop: asyncio.Event, *, started: Callable[[int], None] | None = None
) -> None:
    """Serve until ``stop``, then end within about a second, open streams included.

    ``started`` is called once with the port, when it listens (``port`` 0 takes a free one). Raises PortTaken.
    """
    listener = await _listen(host, port)
    bound: int = listener.getsockname()[1]
    server = _Quiet(_config(app))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_serve(server, listener, stop), name="http")
            group.create_task(_close(server, app, stop), name="http stop")
            if started is not None:
                started(bound)
            _log.info("the studio page is at http://%s:%d", _shown(host), bound)
    finally:
        listener.close()


async def _serve(server: uvicorn.Server, listener: socket.socket, stop: asyncio.Event) -> None:
    try:
        await server.serve([listener])
    finally:
        if not stop.is_set():
            _log.error("the web server ended by itself, and the host with it")
        stop.set()  # a server that ended by itself ends the host: the page is not optional


async def _close(server: uvicorn.Server, app: FastAPI, stop: asyncio.Event) -> None:
    await stop.wait()
    door: Door = app.state.door
    door.closing.set()
    server.should_exit = True


async def _listen(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortTaken(f"{host} is no address of this machine ({error.strerror}). Set HTTP_HOST=127.0.0.1.") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # inherited by every connection it accepts (Linux)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
        listener.bind(address)
    except OSError as error:
        listener.close()
        how = "Stop what listens there, or set HTTP_PORT to another number."
        raise PortTaken(f"Nothing can listen on {host}:{port} ({error.strerror}). {how}") from error
    return listener


def _config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="websockets-sansio",
        loop="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        ws_max_size=4096,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        ws_per_message_deflate=False,
        limit_concurrency=512,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=2,
    )


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
