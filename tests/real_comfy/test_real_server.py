"""What the stand-in in tests/comfy_server promises, on a real server: COMFY_TEST_URL=http://127.0.0.1:8188 pytest tests/real_comfy."""

import asyncio
import json
import shlex
from dataclasses import replace

import aiohttp
import pytest

from flows.catalog import read_catalog
from jobs.errors import RunForgotten, WorkerUnreachable
from jobs.run import RunAccepted, RunCancelled, RunFinished, RunProgressed
from tests.real_comfy.conftest import RESTART, URL, difference, follow, follow_all, pixels
from workers.drivers.comfy.check import check_flows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LONG = " ".join(f"word{number}" for number in range(60))
"""More than one chunk of 77 tokens."""


def alone(run, name):
    return replace(run, key=replace(run.key, job_id=f"{name}-{run.key.job_id}"), dispatch="", together=1)


@pytest.mark.parametrize("scheduler", ["euler", "euler_a", "dpmpp_2m_sde", "dpmpp_2m_karras", "lcm"])
async def test_a_picture_made_in_company_equals_the_picture_made_alone(bench, scheduler, record_property):
    worker = await bench.driver()
    model = await bench.model(worker)
    wishes = [("a red star", "", 1), (f"a blue house {LONG}", "ugly", 2), ("a cat", f"bad {LONG} {LONG}", 3)]
    runs = [
        bench.run(f"{index}", dispatch="d", together=3, model=model, prompt=prompt, negative=negative, seed=seed, scheduler=scheduler)
        for index, (prompt, negative, seed) in enumerate(wishes)
    ]
    together = await follow_all(worker, runs)
    assert {events[-1].shared_with for events in together} == {2}
    for run, events in zip(runs, together, strict=True):
        single = await follow(worker, alone(run, "alone"))
        largest, share = difference(pixels(events)[0], pixels(single)[0])
        record_property(f"{scheduler} {run.order.seed}", f"{largest} {share:.5f}")
        print(f"{scheduler}: at most {largest} of 255, {share:.4%} of the bytes")
        assert largest <= 2
        assert share < 0.01
    assert difference(pixels(together[0])[0], pixels(together[2])[0])[0] > 20  # else the test would prove nothing


async def test_several_pictures_of_one_request_have_their_own_seeds(bench):
    worker = await bench.driver()
    model = await bench.model(worker)
    run = bench.run("many", model=model, count=3, seed=40)
    made = pixels(await follow(worker, run))
    second = pixels(await follow(worker, alone(replace(run, order=run.order.model_copy(update={"count": 1, "seed": 41})), "second")))[0]
    assert difference(made[1], second)[0] <= 2
    assert difference(made[0], made[1])[0] > 20


async def test_everybodys_input_picture_is_changed_by_its_own_words(bench):
    worker = await bench.driver()
    model = await bench.model(worker)
    inputs = [bench.picture(lambda x, y: (4 * x, 4 * y, 0)), bench.picture(lambda x, y: (0, 255 - 4 * x, 2 * y))]
    runs = [
        bench.run(f"i{index}", dispatch="i", together=2, model=model, kind="image_to_image", image=image, strength=0.5, seed=5)
        for index, image in enumerate(inputs)
    ]
    together = await follow_all(worker, runs)
    for run, events in zip(runs, together, strict=True):
        single = await follow(worker, alone(run, "alone"))
        assert difference(pixels(events)[0], pixels(single)[0])[0] <= 2
    assert difference(pixels(together[0])[0], pixels(together[1])[0])[0] > 5  # a checkpoint of random weights sees little of its input


async def test_inpainting_leaves_what_the_mask_leaves(bench):
    worker = await bench.driver()
    model = await bench.model(worker)
    image = bench.picture(lambda x, y: (4 * x, 4 * y, 90))
    mask = bench.picture(lambda x, _: (255, 255, 255) if x >= 32 else (0, 0, 0))
    run = bench.run("paint", model=model, kind="inpaint", image=image, mask=mask, strength=1.0)
    made = pixels(await follow(worker, run))[0]
    before = [channel for y in range(64) for x in range(64) for channel in (4 * x, 4 * y, 90)]
    gaps = [abs(a - b) for a, b in zip(made, before, strict=True)]
    columns = [max(gaps[(y * 64 + x) * 3 + c] for y in range(64) for c in range(3)) for x in range(64)]
    assert max(columns[:32]) <= 1
    assert max(columns[32:]) > 20


async def test_each_person_sees_a_preview_of_their_own(bench):
    worker = await bench.driver()
    model = await bench.model(worker)
    runs = [bench.run(f"p{index}", dispatch="p", together=2, model=model, steps=12, seed=index) for index in range(2)]
    told = await follow_all(worker, runs)
    shown = [{event.preview for event in events if isinstance(event, RunProgressed) and event.preview} for events in told]
    assert all(previews and all(preview.startswith(b"\xff\xd8") for preview in previews) for previews in shown)
    assert not shown[0] & shown[1]


async def test_nothing_that_is_saved_for_several_people_carries_a_prompt(bench):
    worker = await bench.driver()
    model = await bench.model(worker)
    runs = [bench.run(f"s{index}", dispatch="s", together=2, model=model, prompt=f"secret{index}", seed=index) for index in range(2)]
    for events in await follow_all(worker, runs):
        assert b"secret" not in events[-1].pictures[0].data


async def test_a_cancelled_run_stops_and_the_next_one_runs(bench):
    worker = await bench.driver()
    model = await bench.model(worker)
    run = bench.run("cancelled", model=model, steps=60, width=128, height=128)
    events = []
    async with asyncio.timeout(300):
        async for event in worker.run(run):
            events.append(event)
            if isinstance(event, RunProgressed) and event.step:
                await worker.cancel(run.key)
    assert isinstance(events[-1], RunCancelled)
    assert isinstance((await follow(worker, bench.run("next", model=model)))[-1], RunFinished)


async def test_a_prompt_that_the_server_lost_is_found_out(bench):
    worker = await bench.driver()
    model = await bench.model(worker)
    first = bench.run("first", model=model, steps=40, width=128, height=128)
    lost = bench.run("lost", model=model)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(follow(worker, first))
        await asyncio.sleep(1)
        losing = tasks.create_task(_forgotten(worker, lost))
        async with aiohttp.ClientSession() as session:
            await _drop_pending(session)
        assert await losing
        await worker.cancel(first.key)
    assert isinstance(running.result()[-1], RunCancelled)


async def _forgotten(worker, run) -> bool:
    try:
        await follow(worker, run)
    except RunForgotten:
        return True
    return False


async def _last(events) -> None:
    async with asyncio.timeout(300):
        async for _ in events:
            pass


async def _drop_pending(session) -> None:
    """Take what waits out of the queue, as a restart of the server would."""
    async with asyncio.timeout(60):
        while True:
            async with session.get(f"{URL}/queue") as response:
                waiting = [item[1] for item in (await response.json())["queue_pending"]]
            if waiting:
                await session.post(f"{URL}/queue", json={"delete": waiting})
                return
            await asyncio.sleep(0.1)


async def test_a_restarted_host_takes_its_batch_up_again(bench):
    first, second = await bench.driver(), await bench.driver()
    model = await bench.model(first)
    runs = [bench.run(f"h{index}", dispatch="h", together=2, model=model, steps=8, seed=index) for index in range(2)]
    streams = [first.run(run) for run in runs]
    async with asyncio.timeout(60):
        assert all(isinstance(event, RunAccepted) for event in await asyncio.gather(*(anext(stream) for stream in streams)))
    told = await asyncio.gather(*(follow(second, run, resume=True) for run in runs))
    assert all(isinstance(events[-1], RunFinished) for events in told)
    for stream in streams:
        await stream.aclose()


@pytest.mark.skipif(not RESTART, reason="COMFY_TEST_RESTART is not set: a command that kills the server and starts it again")
async def test_a_server_that_was_killed_in_the_middle_is_found_out_and_serves_again(bench):
    worker = await bench.driver()
    model = await bench.model(worker)
    run = bench.run("killed", model=model, steps=60, width=128, height=128)
    events = worker.run(run)
    async with asyncio.timeout(300):
        while not isinstance(event := await anext(events), RunProgressed) or not event.step:
            pass
    killer = await asyncio.create_subprocess_exec(*shlex.split(RESTART or ""))
    with pytest.raises((RunForgotten, WorkerUnreachable)):
        await _last(events)
    await killer.wait()
    async with asyncio.timeout(120):
        while True:
            try:
                await worker.report()
                break
            except WorkerUnreachable:
                await asyncio.sleep(1)
    await worker.acknowledge(run.key)
    with pytest.raises(RunForgotten):
        await follow(worker, run, resume=True)
    assert isinstance((await follow(worker, bench.run("after", model=model)))[-1], RunFinished)


async def test_flows_check_finds_no_fault_in_the_graphs_themselves(bench):
    lines = [line async for _, line in check_flows([URL], read_catalog().comfy, {})]
    print("\n".join(lines))
    assert lines[0].startswith(f"{URL}: ComfyUI")
    assert any(line.startswith("  + sd15") for line in lines)
    wrong = [line for line in lines if line.startswith("  - ") and "no file for" not in line and "no node" not in line]
    assert not wrong, json.dumps(wrong)
