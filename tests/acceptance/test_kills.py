"""kill -9 at any moment: every acknowledged request still ends in exactly one picture or one failure.

``python -m tests.acceptance.kill_loop`` does the same for as long as one likes; here are ten moments.
"""

import asyncio

import pytest

from tests.acceptance.kill_loop import Kills, settle
from tests.acceptance.lab import channel_of, eventually, is_picture, open_lab, open_worker
from tests.fake_worker import FakeWorker


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_the_host_killed_at_ten_moments_loses_nothing_and_posts_nothing_twice(tmp_path, store, request):
    url = ""
    if store == "postgresql":
        server = request.getfixturevalue("postgres_server")
        url = server.url(server.new_database())
    async with FakeWorker(step_seconds=0.04, max_batch=4).serve() as worker:
        kills = Kills(seed=20261121)
        async with open_lab(tmp_path, [worker.url], database_url=url, rehearsal=kills.config) as lab:
            for _ in range(5):
                await kills.ask(lab)
                await kills.kill_somewhere(lab)
            await settle(lab)
            await kills.judge(lab)
        assert kills.acknowledged >= 5


async def test_a_killed_worker_has_its_jobs_taken_up_again(tmp_path):
    async with open_worker(tmp_path) as (process, url), open_lab(tmp_path, [url]) as lab:
        records = await asyncio.gather(*(lab.imagine(m, "a red star in the center on a white background", steps=40) for m in ("ada", "chen")))
        channels = [channel_of(record) for record in records]

        async def is_running():
            return any(" of 40" in str(m["components"]) for m in await lab.everything())

        await eventually(is_running, seconds=60, what="a running job")
        await process.kill()
        await process.start()

        async def done():
            return all([any(is_picture(m) for m in await lab.messages(c)) for c in channels])

        await eventually(done, seconds=120, what="both pictures")
        for channel in channels:
            assert sum(is_picture(m) for m in await lab.messages(channel)) == 1
