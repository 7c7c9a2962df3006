"""kill -9 at any moment: every acknowledged request still ends in exactly one picture or one failure.

``python -m tests.acceptance.kill_loop`` does the same for as long as one likes; here are ten moments.
"""

import asyncio

import pytest

from tests.acceptance.kill_loop import Kills, settle
from tests.acceptance.lab import channel_of, eventually, is_picture, open_lab, open_worker, texts
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
        for member in ("ada", "chen"):  # their studios are there before it counts, and the model is loaded
            await lab.imagine(member, "a white ring in the center on a red background")
        await eventually(lambda: _pictures(lab, 2), seconds=90, what="the first two pictures")
        wish = "a red star in the center on a white background"
        records = await asyncio.gather(*(lab.imagine(member, wish, steps=60) for member in ("ada", "chen")))
        await eventually(lambda: _is_running(lab, url), seconds=30, pause=0.005, what="a run under way")
        await process.kill()
        before = len(await _pictures(lab, 2))
        await process.start()
        await eventually(lambda: _pictures(lab, 4), seconds=120, what="all four pictures")
        assert before < 4  # else the kill came too late to test anything
        await asyncio.sleep(1)
        for record in records:
            assert sum(is_picture(m) and wish in texts(m) for m in await lab.messages(channel_of(record))) == 1


async def _pictures(lab, at_least):
    found = [m for m in await lab.everything() if is_picture(m)]
    return found if len(found) >= at_least else []


async def _is_running(lab, url):
    async with lab.web.get(f"{url}/v1/runs") as answer:
        return any(run["state"] == "running" for run in (await answer.json())["runs"])
