"""Real processes over loopback: the rehearsal in this process, the host and (where wanted) a real worker in their own.

Judged from outside only: by the messages that the rehearsal stores, who may see them, and the bytes of their pictures.
"""

import asyncio
import io
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image

from rehearsal import app
from rehearsal.config import RehearsalConfig
from tests.acceptance.books import Entry, read_books
from tests.acceptance.history import Told, read_history

PAGE = 500
MEMBERS = ("ada", "bruno", "chen", "dana", "eli", "fay")
Json = dict[str, Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def eventually(ask: Callable[[], Awaitable[Any]], *, seconds: float = 30, pause: float = 0.05, what: str = "it") -> Any:
    """The first true answer of ``ask``; fails with ``what`` when none comes."""
    last = None
    try:
        async with asyncio.timeout(seconds):
            while not (last := await ask()):
                await asyncio.sleep(pause)
    except TimeoutError:
        raise AssertionError(f"{what} did not happen within {seconds} s; the last answer was {last!r}") from None
    return last


class Process:
    """One of our processes, started by its real entry point."""

    def __init__(self, arguments: list[str], env: dict[str, str], log: Path, *, module: str = "bot.cli") -> None:
        self._arguments = arguments
        self._module = module
        self._env = env
        self.log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, *, failpoint: str = "") -> None:
        """With a failpoint it kills itself there: see :mod:`tests.acceptance.failing_host`."""
        module = "tests.acceptance.failing_host" if failpoint else self._module
        clean = {k: v for k, v in os.environ.items() if k not in self._env}
        with self.log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", module, *self._arguments, env=clean | self._env | {"FAILPOINT": failpoint}, stdout=out, stderr=out
            )

    @property
    def status(self) -> int | None:
        """Its exit status; None while it lives."""
        return self._process.returncode if self._process is not None else None

    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        """SIGKILL: no chance to clean up."""
        await self._end(signal.SIGKILL)

    async def stop(self, *, seconds: float = 15) -> int:
        """SIGTERM; its exit status."""
        return await self._end(signal.SIGTERM, seconds)

    async def _end(self, how: int, seconds: float = 15) -> int:
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(how)
        async with asyncio.timeout(seconds):
            return await process.wait()


class Lab:
    """The rehearsal, the host, and what a test may do with them."""

    def __init__(
        self, rehearsal: app.RehearsalServer, host: Process, http_port: int, web: aiohttp.ClientSession, ledger: tuple[str, Path]
    ) -> None:
        self.rehearsal = rehearsal
        self._ledger = ledger
        self.host = host
        self.studio = f"http://127.0.0.1:{http_port}"
        self.web = web

    # ---- the host -------------------------------------------------------------------------------------------------

    async def up(self, *, workers: int = 1) -> None:
        """Wait until the host serves, its commands are there and its workers answer."""
        await eventually(lambda: self._ready(workers), seconds=90, what=f"the host ({self.host.log})")

    async def _ready(self, workers: int) -> bool:
        assert self.host.is_alive(), self.host.log.read_text()[-3000:]
        return await self.is_ready(workers)

    async def is_ready(self, workers: int = 1) -> bool:
        """Whether the host serves both its doors and has its workers."""
        try:
            async with self.web.get(f"{self.studio}/health") as answer:
                health = await answer.json()
        except (aiohttp.ClientError, ValueError):
            return False
        state = await self.get("/control/state", **{"as": "ada"})
        synced = any(command["name"] == "imagine" for command in state["commands"])
        return synced and state["application"]["connected"] and health["workers_online"] >= workers

    async def books(self) -> list[Entry]:
        """What the ledger says; the host need not live."""
        return await read_books(*self._ledger)

    async def history(self) -> list[Told]:
        """Every line of the ledger's log, in order; the host need not live."""
        return await read_history(*self._ledger)

    # ---- the rehearsal --------------------------------------------------------------------------------------------

    async def get(self, path: str, **query: str) -> Any:
        async with self.web.get(self.rehearsal.url + path, params=query) as answer:
            body = await answer.json()
            if answer.status >= 400:
                raise Refused(answer.status, body.get("code", ""), body.get("error", ""))
            return body

    async def post(self, path: str, body: Json, **query: str) -> Any:
        async with self.web.post(self.rehearsal.url + path, json=body, params=query) as answer:
            told = await answer.json()
            if answer.status >= 400:
                raise Refused(answer.status, told.get("code", ""), told.get("error", ""))
            return told

    async def channel_id(self, name: str) -> str:
        state = await self.get("/control/state")
        return next(c["id"] for guild in state["guilds"] for c in guild["channels"] if c["name"] == name)

    async def imagine(self, member: str, prompt: str, *, wait: str = "answer", **options: Any) -> Json:
        """The interaction's record after its acknowledgement (or its answer)."""
        lobby = await self.channel_id("welcome")
        body = {"as": member, "channel_id": lobby, "name": "imagine", "options": {"prompt": prompt, **options}}
        return await self.post("/control/slash", body, wait=wait, timeout_s="20")

    async def messages(self, channel_id: str, member: str | None = None) -> list[Json]:
        """All of them, oldest first, by pages."""
        query = {"as": member} if member else {}
        found: list[Json] = []
        while True:
            after = found[-1]["id"] if found else "1"
            page = await self.get(f"/control/channels/{channel_id}/messages", limit=str(PAGE), after=after, **query)
            found += page["messages"]
            if len(page["messages"]) < PAGE:
                return found

    async def studios(self) -> list[Json]:
        """Every private channel of a person, by the operator's view."""
        state = await self.get("/control/state")
        return [c for guild in state["guilds"] for c in guild["channels"] if c["type"] == 0 and "darkroom:" in (c["topic"] or "")]

    async def everything(self) -> list[Json]:
        """All messages in all studios, oldest first in each."""
        return [message for channel in await self.studios() for message in await self.messages(channel["id"])]

    async def picture(self, message: Json) -> Image.Image:
        async with self.web.get(picture_url(message)) as answer:
            assert answer.status == 200
            return Image.open(io.BytesIO(await answer.read()), formats=["PNG"]).convert("RGB")


class Refused(Exception):
    def __init__(self, status: int, code: str, sentence: str) -> None:
        self.status, self.code, self.sentence = status, code, sentence
        super().__init__(f"{status} {code}: {sentence}")


def channel_of(record: Json) -> str:
    """The channel that an answer to /imagine names."""
    found = re.search(r"<#(\d+)>", str(record["original"]))
    assert found, record
    return found[1]


def answer_text(record: Json) -> str:
    return texts(record["original"]) or str((record["original"] or {}).get("content"))


def parts(message: Json) -> list[Json]:
    """Every component of a message, nested ones too."""
    found, stack = [], list(message.get("components") or [])
    while stack:
        part = stack.pop(0)
        found.append(part)
        stack = [*(part.get("components") or []), *([part["accessory"]] if part.get("accessory") else []), *stack]
    return found


def texts(message: Json) -> str:
    return "\n".join([message.get("content") or "", *(part["content"] for part in parts(message) if part["type"] == 10)]).strip()


def button(message: Json, verb: str) -> str | None:
    return next((p["custom_id"] for p in parts(message) if p["type"] == 2 and f":{verb}:" in p.get("custom_id", "")), None)


def picture_url(message: Json) -> str:
    return next((item["media"]["url"] for p in parts(message) if p["type"] == 12 for item in p["items"]), "")


def is_picture(message: Json) -> bool:
    """A completion: a finished picture and no Cancel button."""
    return bool(picture_url(message)) and button(message, "cancel") is None


def is_failure(message: Json) -> bool:
    """The short new line that pings after a failure; the card itself is edited, not new."""
    return not picture_url(message) and bool(message.get("mentions")) and button(message, "cancel") is None


@asynccontextmanager
async def open_lab(
    folder: Path,
    worker_urls: list[str],
    *,
    database_url: str = "",
    rehearsal: RehearsalConfig | None = None,
    started: bool = True,
    **settings: str,
) -> AsyncIterator[Lab]:
    """A rehearsal and a host that serves (or, not ``started``, that waits for the test to start it); both end with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    config = rehearsal or RehearsalConfig(seed="demo")
    port = free_port()
    async with await app.start(config) as server, aiohttp.ClientSession() as web:
        info = server.info()
        env = {
            "DISCORD_TOKEN": info["token"], "ALLOWED_GUILD_ID": info["guild_ids"][0], "DISCORD_API_URL": info["url"],
            "DATABASE_URL": database_url, "STORAGE": str(folder / "storage"), "WORKER_URLS": ",".join(worker_urls),
            "HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(port), "API_KEYS": "", "COMFY_URLS": "", "LEASE_SECONDS": "4",
            "DARKROOM_WORKER_TOKEN": "", "SQLITE_SYNCHRONOUS": "NORMAL", **settings,
        }  # fmt: skip
        host = Process(["host"], env, folder / "host.log")
        lab = Lab(server, host, port, web, (database_url, folder / "storage"))
        try:
            if started:
                await host.start()
                await lab.up(workers=len(worker_urls))
            yield lab
        finally:
            if host.is_alive():
                await host.kill()


@asynccontextmanager
async def open_worker(folder: Path, *, port: int | None = None) -> AsyncIterator[tuple[Process, str]]:
    """A real ``darkroom worker`` with the house model on the CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    process = Process(["worker", "--port", str(port), "--threads", "1"], {"DARKROOM_WORKER_TOKEN": ""}, folder / "worker.log")
    url = f"http://127.0.0.1:{port}"
    await process.start()
    try:
        yield process, url
    finally:
        if process.is_alive():
            await process.kill()
