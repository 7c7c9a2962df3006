"""What people bring is fetched from Discord's file servers alone, without a redirect, and counted while it comes."""

import io
import resource
import types
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from discord.asset import Asset
from discord.components import _component_factory
from PIL import Image

from bot.cogs.intake import BYTES_MAX, Intake, Upload, address_of
from bot.cogs.verbs.menus import uploads_in
from jobs.errors import InvalidRequest
from jobs.job import UserId

USER = UserId("discord:1")


class Desk:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    async def take_picture(self, data: bytes, *, user_id: UserId):
        self.kept.append(data)
        return types.SimpleNamespace(sha256="a" * 64, width=1, height=1)


@pytest.fixture
async def server(monkeypatch) -> AsyncIterator[types.SimpleNamespace]:
    """A file server that stands in for Discord's, and notes who came to what it should not show."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "PNG")
    hits: list[str] = []

    async def secret(request: web.Request) -> web.Response:
        hits.append(request.path)
        return web.Response(body=out.getvalue())

    async def redirect(_: web.Request) -> web.Response:
        raise web.HTTPFound("/secret")

    async def gone(_: web.Request) -> web.Response:
        raise web.HTTPNotFound

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(400):
            await response.write(b"x" * 2**20)
        return response

    app = web.Application()
    app.add_routes([
        web.get("/good", lambda _: _good(out.getvalue())), web.get("/secret", secret), web.get("/r", redirect),
        web.get("/gone", gone), web.get("/endless", endless),
    ])  # fmt: skip
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    monkeypatch.setattr(Asset, "BASE", url)
    yield types.SimpleNamespace(url=url, hits=hits, png=out.getvalue())
    await runner.cleanup()


async def _good(data: bytes) -> web.Response:
    return web.Response(body=data)


async def test_a_file_of_discord_s_is_taken_in(server):
    desk = Desk()
    await Intake(desk=desk).take(Upload(url=f"{server.url}/good?ex=1&hm=%2F", size=9), user_id=USER)
    assert desk.kept == [server.png]


async def test_a_redirect_is_not_followed_and_what_is_gone_is_said(server):
    intake = Intake(desk=Desk())
    with pytest.raises(aiohttp.ClientError, match="302"):
        await intake.take(Upload(url=f"{server.url}/r", size=0), user_id=USER)
    with pytest.raises(InvalidRequest, match="source_gone"):
        await intake.take(Upload(url=f"{server.url}/gone", size=0), user_id=USER)
    assert server.hits == []


async def test_what_never_ends_is_cut_off_before_it_fills_the_memory(server):
    intake, before = Intake(desk=Desk()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for fetch in (intake.digest(Upload(url=f"{server.url}/endless", size=0)), intake.take(Upload(url=f"{server.url}/endless", size=0), user_id=USER)):
        with pytest.raises(InvalidRequest, match="invalid_picture"):
            await fetch
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 6 * BYTES_MAX / 1024  # of 400 MiB that were on their way


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data", "http://127.0.0.1:7870/v1/capabilities", "https://evil.example/x.png",
        "http://cdn.discordapp.com/attachments/1/2/x.png", "https://cdn.discordapp.com:8443/x", "https://cdn.discordapp.com.evil.example/x",
        "https://cdn.discordapp.com@evil.example/x", "https://u:p@cdn.discordapp.com/x", "https://evil.example/cdn.discordapp.com",
        "https://evil.example#@cdn.discordapp.com/", "https://evil.example\\@cdn.discordapp.com/", "file:///etc/passwd", "//cdn.discordapp.com/x",
        "attachment://x.png", "", "https://", "https://[", "https://cdn.discordapp.com:99999999/x",
    ],
)  # fmt: skip
async def test_nobody_else_is_asked(url):
    with pytest.raises(InvalidRequest, match="no_picture_there"):
        await Intake(desk=Desk()).take(Upload(url=url, size=1), user_id=USER)


@pytest.mark.parametrize("host", ["cdn.discordapp.com", "media.discordapp.net", "images-ext-1.discordapp.net"])
def test_discord_s_own_are_and_their_signature_stays_as_it_is(host):
    url = f"https://{host}/attachments/1/2/x%20y.png?ex=6a&is=7b&hm=%2Fc&"
    assert str(address_of(url)) == url


def test_beside_a_stand_in_discord_itself_is_not_asked(monkeypatch):
    monkeypatch.setattr(Asset, "BASE", "http://127.0.0.1:7861")
    assert address_of("https://media.discordapp.net/x") is None
    assert address_of("http://127.0.0.1:7862/x") is None
    assert address_of("http://127.0.0.1:7861/x") is not None


def shown(url: str, proxy: str) -> types.SimpleNamespace:
    raw = {"type": 12, "id": 1, "items": [{"media": {"url": url, "proxy_url": proxy}, "description": None, "spoiler": False}]}
    return types.SimpleNamespace(attachments=[], components=[_component_factory(raw)])


def test_of_a_picture_from_elsewhere_discord_s_copy_is_taken():
    copy = "https://images-ext-1.discordapp.net/external/abc/https/evil.example/x.png"
    assert [upload.url for upload in uploads_in(shown("http://10.0.0.1/x.png", copy))] == [copy]
    assert uploads_in(shown("http://10.0.0.1/x.png", "http://10.0.0.2/x.png")) == []
