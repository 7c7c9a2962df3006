"""A door for the operator alone: a socket in the storage folder, which only its owner can open. One JSON line in, one out.

On SQLite the running host has the file to itself, so commands go through it; and only the host knows its workers.
"""

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

Command = Callable[[Mapping[str, Any]], Awaitable[Any]]
_LIMIT = 4 * 1024 * 1024
_PATIENCE = 30.0
_CONNECTING = 5.0


class NoHost(RuntimeError):
    """No host listens in this storage folder."""


class CommandFailed(RuntimeError):
    """The host could not do it; the sentence says why."""


def _address(storage: Path) -> str:
    return str(storage.absolute() / "operator.sock")


async def listen(storage: Path, commands: Mapping[str, Command]) -> None:
    """Answer until cancelled. A path too long for a socket is told once, and the host goes on without this door."""
    path = _address(storage)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108  left by a host that was killed: the folder's lock says that none lives
    before = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(lambda reader, writer: _answer(reader, writer, commands), path, limit=_LIMIT)
    except OSError as error:
        _log.warning("no operator's door at %s (%s): `darkroom queue` works without a running host only", path, error)
        return
    finally:
        os.umask(before)
    async with server:
        await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, commands: Mapping[str, Command]) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            told = json.loads(await reader.readline())
            command = commands.get(str(told.get("do")))
            answer = {"error": "this host does not know that command"} if command is None else {"answer": await command(told)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
    except Exception as error:  # noqa: BLE001  one bad command must not end the host
        _log.warning("an operator's command failed: %r", error)
        with contextlib.suppress(OSError):
            writer.write(json.dumps({"error": str(error) or type(error).__name__}).encode() + b"\n")
    finally:
        with contextlib.suppress(OSError):
            writer.close()


async def ask(storage: Path, **told: Any) -> Any:
    """The running host's answer. Raises NoHost, CommandFailed."""
    try:
        async with asyncio.timeout(_CONNECTING):
            reader, writer = await asyncio.open_unix_connection(_address(storage), limit=_LIMIT)
    except (OSError, TimeoutError) as error:
        raise NoHost(str(error)) from error
    try:
        async with asyncio.timeout(_PATIENCE + _CONNECTING):
            writer.write(json.dumps(told).encode() + b"\n")
            line = await reader.readline()
    except (OSError, ValueError, TimeoutError) as error:  # it has heard the command: nobody else may do it a second time
        raise CommandFailed("the host did not answer; look at `darkroom queue` before you ask again") from error
    finally:
        writer.close()
    answer = json.loads(line or b'{"error": "the host closed the door"}')
    if "error" in answer:
        raise CommandFailed(answer["error"])
    return answer["answer"]
