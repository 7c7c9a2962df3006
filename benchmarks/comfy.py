"""What driving ComfyUI costs the host, and what a shared pass of several people's prompts gains there.

The first three figures need no GPU: the stand-in of tests/comfy_server runs as a process of its own. The gains need a real server
(COMFY_TEST_URL, with our node pack and a checkpoint with sd15 in its name) and are null without one; their baseline, pictures made
one by one, is measured between them in the same run.
"""

import argparse
import asyncio
import io
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image

from database.picture_store import FilePictureStore
from flows.catalog import read_catalog
from jobs.job import JobId
from jobs.request import Order
from jobs.run import Run, RunFinished, RunKey
from workers.drivers.comfy.client import ComfyClient
from workers.drivers.comfy.fleet import keys_of, open_comfy
from workers.drivers.comfy.patience import Patience
from workers.drivers.comfy.worker import ComfyWorker
from workers.inspection import PictureInspector

FLOWS = read_catalog().comfy
SERVERS = 50
STEPS = 20


def order(prompt: str, **changes: Any) -> Order:
    """A small request."""
    plain = {"prompt": prompt, "model": "sd15", "width": 512, "height": 512, "steps": 1, "guidance": 7.0, "seed": 7}
    return Order.model_validate(plain | changes)


def run_of(wish: Order, *, dispatch: str = "", together: int = 1) -> Run:
    """A run that no server has seen."""
    return Run(key=RunKey(job_id=JobId(uuid.uuid4().hex), epoch=1), order=wish, dispatch=dispatch, together=together)


async def finished(worker: ComfyWorker, run: Run) -> RunFinished:
    """Its end."""
    end = [event async for event in worker.run(run)][-1]
    assert isinstance(end, RunFinished), end
    return end


async def nothing(_digest: str) -> bytes:
    raise FileNotFoundError


@asynccontextmanager
async def stand_in(step_seconds: float) -> AsyncIterator[str]:
    """The address of a stand-in in another process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.comfy_server", str(step_seconds), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            url = (await process.stdout.readline()).decode().strip()
        yield url
    finally:
        process.kill()
        await process.wait()


async def one_by_one(url: str, *, rounds: int) -> dict[str, float]:
    """Host's milliseconds beside the graph's own time, and from the last step to bytes in the store; medians of ``rounds``."""
    overheads: list[float] = []
    stores: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store, inspector = FilePictureStore(Path(folder)), PictureInspector()
        async with (
            open_comfy([url], flows=FLOWS, read_picture=nothing, keys={}) as (worker,),
            aiohttp.ClientSession() as session,
        ):
            await worker.report()
            client = ComfyClient(url=url, session=session, key=None, patience=Patience())
            for number in range(rounds + 2):
                run = run_of(order(f"wish {number}", steps=4, seed=number))
                started = time.time()
                end = await finished(worker, run)
                overhead = (time.time() - started - end.seconds) * 1000
                data, _ = await inspector.inspect(end.pictures[0], run.order)
                await store.put(data)
                stored = time.time()
                last_step = await _last_step(worker, client, run)
                await worker.acknowledge(run.key)
                if number >= 2:  # the first ones open connections and load Pillow
                    overheads.append(overhead)
                    stores.append((stored - last_step) * 1000)
    return {
        "dispatch_overhead_ms": round(statistics.median(overheads), 1),
        "dispatch_overhead_p90_ms": round(sorted(overheads)[int(0.9 * rounds)], 1),
        "store_ms": round(statistics.median(stores), 1),
    }  # fmt: skip


async def _last_step(worker: ComfyWorker, client: ComfyClient, run: Run) -> float:
    """When the stand-in made the prompt's last step; only it tells that."""
    (prompt,) = worker.prompts_of(run.key)
    entry = await client.history(prompt)
    assert entry is not None
    return entry["meta"]["last_step"]


async def idle_core_share(url: str, *, seconds: float) -> float:
    """CPU time of this process for fifty servers: asked how they are every two seconds, as the pool does, and read anew at their time."""
    urls = [url] * SERVERS  # one process answers for all: only our side is measured
    async with open_comfy(urls, flows=FLOWS, read_picture=nothing, keys={}) as workers:
        await asyncio.gather(*(worker.report() for worker in workers))
        before, started = time.process_time(), time.monotonic()
        await asyncio.gather(*(_asked(worker, number, until=started + seconds) for number, worker in enumerate(workers)))
        asking = (time.process_time() - before) / (time.monotonic() - started)
    async with open_comfy(urls, flows=FLOWS, read_picture=nothing, keys={}, patience=Patience(probe_every=0)) as workers:
        await asyncio.gather(*(worker.report() for worker in workers))
        before = time.process_time()
        await asyncio.gather(*(worker.report() for worker in workers))  # reads everything each time
        return round(asking + (time.process_time() - before) / Patience().probe_every, 4)


async def _asked(worker: ComfyWorker, number: int, *, until: float) -> None:
    await asyncio.sleep(2 * number / SERVERS)
    while time.monotonic() < until:
        await worker.report()
        await asyncio.sleep(2)


async def gains(url: str, *, rounds: int, people: int = 4) -> dict[str, float | None]:
    """How much sooner one pass serves four people than four passes: with their own prompts, and with one and the same."""
    keys = keys_of(os.environ.get("COMFY_TEST_KEY"), [url])
    mine_alone: list[float] = []
    mine_together: list[float] = []
    equals_alone: list[float] = []
    equals_together: list[float] = []
    async with open_comfy([url], flows=FLOWS, read_picture=nothing, keys=keys) as (worker,), aiohttp.ClientSession() as session:
        model = next(offer.name for offer in (await worker.report()).models if offer.family == "sd15")
        client = ComfyClient(url=url, session=session, key=keys[url], patience=Patience())
        size = {"model": model, "width": 64, "height": 64, "steps": STEPS}
        for number in range(rounds + 1):  # the first round loads the model
            wishes = [order(f"person {person} in round {number}", seed=100 * number + person, **size) for person in range(people)]
            one = [(await finished(worker, run_of(wish))).seconds for wish in wishes]
            dispatch = uuid.uuid4().hex
            many = await asyncio.gather(*(finished(worker, run_of(wish, dispatch=dispatch, together=people)) for wish in wishes))
            text = f"everybody in round {number}"
            equal_alone = [await _equal_prompts(client, model, 10 * number + person, 1, text=text) for person in range(people)]
            equal_together = await _equal_prompts(client, model, 10 * number + people, people, text=text)
            if number:
                mine_alone.append(sum(one))
                mine_together.append(many[0].seconds)
                equals_alone.append(sum(equal_alone))
                equals_together.append(equal_together)
    mine = statistics.median(mine_alone) / statistics.median(mine_together)
    theirs = statistics.median(equals_alone) / statistics.median(equals_together)
    return {"batch_gain": round(mine, 3), "equal_prompts_gain": round(theirs, 3), "batch_gain_share": round(mine / theirs, 3)}


async def _equal_prompts(client: ComfyClient, model: str, number: int, people: int, *, text: str) -> float:
    """Seconds of ComfyUI's own batch of one prompt: its nodes alone, one seed. It keeps a text that it has encoded."""
    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": f"{model}.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": text}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": ""}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": people}},
        "5": {"class_type": "KSampler", "inputs": {
            "model": ["1", 0], "seed": number + 5000, "steps": STEPS, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal",
            "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0], "denoise": 1.0,
        }},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "PreviewImage", "inputs": {"images": ["6", 0]}},
    }  # fmt: skip
    prompt = str(uuid.uuid4())
    await client.submit(graph, prompt, client_id=uuid.uuid4().hex, previews="none")
    while (entry := await client.history(prompt)) is None:  # noqa: ASYNC110  another process tells when, and only when asked
        await asyncio.sleep(0.05)
    times = [data["timestamp"] for _, data in entry["status"]["messages"]]
    files = entry["outputs"]["7"]["images"]
    pictures = [await client.view(filename=file["filename"], subfolder=file["subfolder"], kind=file["type"]) for file in files]
    assert len({Image.open(io.BytesIO(data)).tobytes() for data in pictures}) == people
    await client.forget([prompt])
    return (max(times) - min(times)) / 1000


async def measure(*, quick: bool) -> dict[str, float | None]:
    """All figures."""
    figures: dict[str, float | None] = {}
    async with stand_in(0.01) as url:
        figures |= await one_by_one(url, rounds=10 if quick else 40)
    async with stand_in(0.01) as url:
        figures["idle_core_share"] = await idle_core_share(url, seconds=8 if quick else 30)
    real = os.environ.get("COMFY_TEST_URL", "").rstrip("/")
    unmeasured: Sequence[str] = ("batch_gain", "equal_prompts_gain", "batch_gain_share")
    return figures | (await gains(real, rounds=2 if quick else 5) if real else dict.fromkeys(unmeasured))


def main() -> None:
    """Print the figures; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    figures = asyncio.run(measure(quick=parser.parse_args().quick))
    for name, figure in figures.items():
        print(f"{name:26} {figure}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
