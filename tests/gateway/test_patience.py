"""Heads that never end and places that are held: the house stays open for everybody else."""

import asyncio
from contextlib import suppress

import pytest

from gateway import patience, uploads
from gateway.errors import Refusal
from gateway.uploads import UploadPlaces
from jobs.job import UserId
from tests.gateway.studio import Studio, served

ALICE, BOB = UserId("key:alice"), UserId("key:bob")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "HEAD_WITHIN", 0.3)


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


WHOLE = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize("begun", [b"", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "], ids=["nothing", "half a head"])
async def test_a_head_that_does_not_come_is_hung_up_on(studio: Studio, begun: bytes):
    async with served(studio) as url, asyncio.timeout(20):
        reader, writer = await connect(url)
        writer.write(begun)
        assert await reader.read() == b""
        await hang_up(writer)


async def test_a_head_that_trickles_is_hung_up_on_too(studio: Studio):
    async with served(studio) as url, asyncio.timeout(20):
        reader, writer = await connect(url)
        ended = asyncio.create_task(reader.read())
        for _ in range(200):
            if ended.done():
                break
            writer.write(b"X")
            await asyncio.sleep(0.05)
        assert await ended == b""
        await hang_up(writer)


async def test_the_second_head_of_a_connection_has_its_deadline_as_well(studio: Studio):
    async with served(studio) as url, asyncio.timeout(20):
        reader, writer = await connect(url)
        writer.write(WHOLE)
        assert b" 200 " in await reader.readline()
        writer.write(b"GET /hea")
        await reader.read()  # the first answer's rest, then the end
        await hang_up(writer)


async def test_a_stream_outlives_the_deadline(studio_of):
    studio = await studio_of()  # no worker: the job waits, and its stream stays open
    job = await studio.ask("web:local")
    async with served(studio) as url, asyncio.timeout(20):
        reader, writer = await connect(url)
        writer.write(f"GET /api/v1/jobs/{job.id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert b" 200 " in await reader.readline()
        await asyncio.sleep(1)
        still_open = studio.app.state.door.places.open_by("web:local")
        await hang_up(writer)
    assert still_open == 1


async def test_one_persons_uploads_leave_places_for_others():
    places = UploadPlaces(3, own=2)
    async with places.take(ALICE), places.take(ALICE):
        third = asyncio.create_task(places.take(ALICE).__aenter__())
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5), places.take(BOB):
            assert not third.done()
        third.cancel()


async def test_a_place_that_does_not_come_free_is_refused_in_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(uploads, "PATIENCE", 0.05)
    places = UploadPlaces(1, own=1)
    async with places.take(ALICE):
        with pytest.raises(Refusal) as refused:
            await places.take(BOB).__aenter__()
        assert refused.value.status == 503
    async with places.take(BOB):  # and nothing was kept by the one that gave up
        pass


async def test_a_timeout_of_the_work_itself_is_no_refusal():
    places = UploadPlaces(1, own=1)
    with pytest.raises(TimeoutError):
        async with places.take(ALICE):
            raise TimeoutError
