"""kill -9 at any moment: every acknowledged request still ends in exactly one picture or one failure.

``python -m tests.acceptance.kill_loop`` does the same for as long as one likes; here are twenty kills.
"""

import asyncio
from contextlib import ExitStack

import pytest

from tests.acceptance.kill_loop import Kills, arena, settle
from tests.acceptance.lab import channel_of, eventually, is_picture, open_lab, open_worker, texts
from tests.postgres import running_server


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_twenty_kills_of_host_worker_and_database_lose_nothing_and_tell_nothing_twice(tmp_path, store):
    with ExitStack() as stack:
        postgres = None if store == "sqlite" else await asyncio.to_thread(stack.enter_context, running_server(durable=True))
        kills = Kills(seed=20261121)
        async with arena(tmp_path, kills, postgres) as (lab, victims):
            while kills.killed.total() < 20:
                await kills.kill_something(lab, victims)
            await settle(lab, seconds=400)
            await kills.judge(lab)
        assert all(kills.killed[kind] for kind in victims.kinds)
        assert kills.acknowledged >= 10


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
