"""Links to originals: signed, expiring, for one picture, and nothing beside it."""

import pytest

from bot.settings import SettingsError, read_settings
from gateway.links import LINK_SECONDS, LinkExpired, MediaLinks
from tests.gateway.studio import Studio


async def link_to_a_picture(studio: Studio, *, seconds: float = LINK_SECONDS) -> tuple[str, bytes]:
    job = await studio.ended((await studio.ask("discord:1")).id)
    return studio.app.state.door.links.link(job.id, 0, seconds=seconds), await studio.pictures.read(job.pictures[0].sha256)


async def test_whoever_holds_the_link_sees_the_original_without_a_key(studio):
    link, original = await link_to_a_picture(studio)
    async with studio.client() as client:
        answer = await client.get(link)
        assert (answer.status_code, answer.content) == (200, original)
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"].startswith('inline; filename="darkroom-')
        assert answer.headers["cache-control"].startswith("private")
        assert (await client.get(f"/api/v1/jobs/{link.split('/')[2]}/image")).status_code in (401, 404)


async def test_an_expired_link_says_so_and_shows_nothing(studio):
    link, _ = await link_to_a_picture(studio, seconds=-1)
    async with studio.client() as client:
        answer = await client.get(link)
        assert (answer.status_code, answer.json()["error"]["code"]) == (410, "link_expired")


async def test_what_was_not_signed_here_does_not_exist(studio):
    link, _ = await link_to_a_picture(studio)
    _, _, job, index, expires, signature = link.split("/")
    elsewhere = MediaLinks(b"another house").link(job, 0)
    bent = [
        f"/media/{job}/1/{expires}/{signature}", f"/media/{job}/{index}/{int(expires) + 1}/{signature}", elsewhere, "/media/", f"/media/{job}",
        f"/media/{job}/{index}/{expires}/{'0' * 64}", f"/media/{job}/{index}/{expires}/{signature}/", f"{link}/../../../session.secret",
        "/media/..%2f..%2fsession.secret/0/1/x", "/media/%2e%2e/%2e%2e/etc/passwd", f"/media/{job}/{index}/{expires}/{signature.upper()}",
        f"/media/{job}/\u0660/{expires}/{signature}", f"/media/{'x' * 5000}/0/1/2", "/media/a/0/1/%00",
    ]  # fmt: skip
    async with studio.client() as client:
        for path in bent:
            answer = await client.get(path)
            assert answer.status_code == 404, path
            assert not answer.headers["content-type"].startswith("image/")
        for method in ("POST", "PUT", "DELETE"):
            assert (await client.request(method, link)).status_code == 405


async def test_a_link_outlives_neither_its_job_nor_its_file(studio):
    link, _ = await link_to_a_picture(studio)
    unknown = studio.app.state.door.links.link("01hzzzzzzzzzzzzzzzzzzzzzzz", 0)
    more = studio.app.state.door.links.link(link.split("/")[2], 5)
    job = await studio.store.get(link.split("/")[2])
    next(studio.pictures._folder.rglob(f"*{job.pictures[0].sha256}*")).unlink()
    async with studio.client() as client:
        assert [(await client.get(path)).status_code for path in (unknown, more, link)] == [404, 404, 410]


def test_a_link_is_bound_to_its_secret_and_its_time():
    clock = [1000.0]
    links = MediaLinks(b"secret", base_url="https://photos.example.org", now=lambda: clock[0])
    link = links.link("01abc", 3, seconds=60)
    assert link.startswith("https://photos.example.org/media/01abc/3/1060/")
    path = link.partition("/media/")[2]
    assert links.read(path) == ("01abc", 3)
    assert MediaLinks(b"other", now=lambda: 1000.0).read(path) is None
    clock[0] = 1060.0
    with pytest.raises(LinkExpired):
        links.read(path)


def test_a_public_address_is_an_origin_and_lets_its_own_name_in():
    assert read_settings({"PUBLIC_URL": "https://photos.example.org/"}).host_names == ("photos.example.org",)
    assert read_settings({"PUBLIC_URL": "http://10.0.0.7:7860"}).public_url == "http://10.0.0.7:7860"
    for wrong in ("photos.example.org", "https://a:b@x.org", "https://x.org/path", "ftp://x.org", "https://x.org?y"):
        with pytest.raises(SettingsError):
            read_settings({"PUBLIC_URL": wrong})
