"""A real worker process over loopback: real torch, real models, real signals."""

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

pytest.importorskip("diffusers", reason="a host without the worker's packages has no engine to test")

from PIL import Image, ImageChops

from workers.protocol import Capabilities, Finished, parse_event
from workers.server import cli

# Importing torch and diffusers takes 6 s on an idle core and a minute on a busy machine, in each process.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

TOKEN = "correct-horse-battery-staple"


@dataclass
class Process:
    """A worker process and how to speak to it."""

    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession

    async def put(self, key: str, **changes: Any) -> int:
        order = {
            "model": "kl", "prompt": "a red cat", "width": 16, "height": 16, "steps": 6, "guidance": 3.0, "seed": 7,
            "params_hash": key.ljust(8, "x").replace(".", "-"),
        } | changes  # fmt: skip
        async with self.session.put(f"/v1/runs/{key}", json=order) as response:
            return response.status

    async def picture(self, key: str) -> tuple[Finished, Image.Image]:
        async with self.session.get(f"/v1/runs/{key}/events") as response:
            events = [parse_event(line) async for line in response.content]
        assert isinstance(events[-1], Finished), events[-1]
        async with self.session.get(f"/v1/runs/{key}/pictures/0") as response:
            return events[-1], Image.open(io.BytesIO(await response.read()))


Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start(models_folder: Path) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def make() -> Process:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "workers.server", "--port", "0", "--models", str(models_folder),
                "--name", "test-worker", "--threads", "1", "--no-house-model",
                stdout=asyncio.subprocess.PIPE, env=os.environ | {"DARKROOM_WORKER_TOKEN": TOKEN},
            )  # fmt: skip
            stack.push_async_callback(_end, process)
            assert process.stdout is not None
            line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
            assert "listening on http://127.0.0.1:" in line
            assert TOKEN not in line
            session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    line.split()[-1],
                    headers={"Authorization": f"Bearer {TOKEN}"},
                    timeout=aiohttp.ClientTimeout(total=60),
                )
            )
            ready = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
            assert "ready: test-worker on cpu" in ready
            return Process(process, session)

        yield make


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def worst_difference(one: Image.Image, other: Image.Image) -> int:
    extrema = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getextrema()
    return max(high for _, high in extrema)  # type: ignore[misc]


async def test_pictures_made_in_company_by_a_real_process_equal_the_stock_pipelines(start: Start, models_folder: Path) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    worker = await start()
    can = Capabilities.model_validate_json(await (await worker.session.get("/v1/capabilities")).read())
    assert {model.name for model in can.models} == {"kl", "tiny"}
    wanted = {f"job{n}.1": {"seed": n, "steps": 6 + n, "guidance": (1.0, 3.0, 7.5)[n]} for n in range(3)}
    await asyncio.gather(*(worker.put(key, **changes) for key, changes in wanted.items()))
    await worker.put("gone.1", steps=60)
    assert (await worker.session.delete("/v1/runs/gone.1")).status == 200
    made = {key: await worker.picture(key) for key in wanted}
    assert max(finished.shared_with for finished, _ in made.values()) >= 2

    stock = StableDiffusionPipeline.from_pretrained(models_folder / "kl")
    stock.set_progress_bar_config(disable=True)
    for key, changes in wanted.items():
        reference = stock(
            "a red cat",
            width=16,
            height=16,
            num_inference_steps=changes["steps"],
            guidance_scale=changes["guidance"],
            generator=torch.Generator().manual_seed(changes["seed"]),
        ).images[0]
        assert worst_difference(made[key][1], reference) <= 1

    await worker.put("last.1")
    worker.process.send_signal(signal.SIGTERM)
    _, last = await worker.picture("last.1")
    assert last.size == (16, 16)
    for key in (*wanted, "last.1"):
        await worker.session.post(f"/v1/runs/{key}/ack")
    assert await asyncio.wait_for(worker.process.wait(), 30) == 0


async def test_the_second_signal_ends_a_busy_worker_at_once(start: Start) -> None:
    worker = await start()
    for number in range(8):
        await worker.put(f"job{number}.1", steps=60, model="tiny", width=64, height=64)
    worker.process.send_signal(signal.SIGINT)
    while (await worker.session.get("/health")).status != 503:
        await asyncio.sleep(0.01)
    worker.process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(worker.process.wait(), 10) == 128 + signal.SIGINT


def test_refusals_of_the_command_line_are_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--host", "0.0.0.0"], ["--max-batch", "0"], ["--port", "70000"], ["--threads", "0"]):
        assert cli.main([*argv, "--no-house-model"]) == 2
        assert capsys.readouterr().err.strip().endswith((".", "URL."))


def test_a_taken_port_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert cli.main(["--port", port, "--no-house-model", "--models", str(tmp_path)]) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_the_token_of_the_environment_is_taken_and_not_shown() -> None:
    environment = {"DARKROOM_WORKER_TOKEN": TOKEN}
    options = cli.parser(environment).parse_args([])
    settings = cli.settings_of(options, environment)
    assert settings.token == TOKEN
    assert TOKEN not in repr(settings)
    assert TOKEN not in json.dumps(cli.parser(environment).format_help())


def test_the_environment_gives_defaults_and_the_command_line_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_PORT", "7999")
    monkeypatch.delenv("WORKER_HOST", raising=False)
    (tmp_path / ".env").write_text("WORKER_PORT=1\nWORKER_HOST=::1\nMODELS=/m\nDISCORD_TOKEN=not-ours\n")
    environment = cli.read_environment(tmp_path / ".env")
    assert "DISCORD_TOKEN" not in environment
    settings = cli.settings_of(cli.parser(environment).parse_args(["--models", "here"]), environment)
    assert (settings.host, settings.port, settings.models) == ("::1", 7999, Path("here"))


async def test_a_device_that_is_not_there_is_said_in_a_sentence(models_folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.server", "--port", "0", "--models", str(models_folder), "--no-house-model",
        "--device", "mps", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 70
    assert b"There is no device 'mps' that this torch can use here" in out
