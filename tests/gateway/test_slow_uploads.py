"""F27: pictures that come at 1 kB/s, or whose line is cut: bounded time, no half file, and others are served meanwhile and after."""

import asyncio

import httpx
import pytest

from tests.gateway.studio import Studio, served
from tests.gateway.test_inputs import AbleWorker, photo, send
from tests.tcp_proxy import BadLine


@pytest.fixture
async def studio(studio_of) -> Studio:
    return await studio_of(AbleWorker())


def files_of(studio: Studio, tmp_path) -> list:
    return [file for file in (tmp_path / "pictures").rglob("*") if file.is_file()]


async def test_pictures_that_drip_are_refused_and_give_their_places_back(studio: Studio, tmp_path):
    async with served(studio) as url, BadLine("127.0.0.1", httpx.URL(url).port or 0).serve() as line:
        line.bytes_per_second = 1000
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{line.port}", timeout=30) as slow, httpx.AsyncClient(base_url=url, timeout=30) as quick:
            large = photo() + bytes(200_000)
            async with asyncio.TaskGroup() as group:
                drips = [group.create_task(send(slow, large)) for _ in range(3)]  # one more than there are places
                await asyncio.sleep(0.3)
                other = group.create_task(send(quick, photo()))
            answers = [drip.result().status_code for drip in drips]

    assert answers == [408] * 3
    assert other.result().status_code == 201
    assert len(files_of(studio, tmp_path)) == 1


async def test_an_upload_that_is_cut_leaves_nothing_and_holds_nothing(studio: Studio, tmp_path):
    async with served(studio) as url, BadLine("127.0.0.1", httpx.URL(url).port or 0).serve() as line:
        line.bytes_per_second = 20_000
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{line.port}", timeout=30) as slow, httpx.AsyncClient(base_url=url, timeout=30) as quick:
            for _ in range(2):
                sending = asyncio.ensure_future(send(slow, photo() + bytes(200_000)))
                await asyncio.sleep(0.2)
                line.cut()
                with pytest.raises(httpx.TransportError):
                    await sending
            assert files_of(studio, tmp_path) == []
            assert (await send(quick, photo())).status_code == 201
