"""How long a worker takes from its start until it serves the house model, and how much memory it holds then.

The baseline is a bare interpreter that imports torch and diffusers' pipeline, in the same run: all above it is ours.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.processes import rss_mib

ROOT = Path(__file__).resolve().parent.parent
_BARE = (
    "import torch, diffusers; from diffusers import StableDiffusionPipeline, UNet2DConditionModel; from transformers import CLIPTextModel"
)


def bare_s() -> float:
    """The baseline: importing what any worker needs."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _BARE], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.monotonic() - began


async def start(folder: Path) -> dict[str, float]:
    """One start: seconds to ready, to the model in memory, and the memory of the idle worker."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.server", "--port", "0", "--models", str(folder), "--device", "cpu",
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=dict(os.environ),
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(600):
            url = (await process.stdout.readline()).decode().split()[-1]
            while b"ready:" not in await process.stdout.readline():
                pass
            ready, cpu = time.monotonic() - began, cpu_s(process.pid)
            loaded = await _until_loaded(url, began)
            return {"ready_s": ready, "ready_cpu_s": cpu, "loaded_s": loaded, "rss_mib": rss_mib(process.pid)}
    finally:
        process.terminate()
        await process.wait()


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used: what the wall clock shows where nothing else runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _until_loaded(url: str, began: float) -> float:
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/v1/capabilities") as answer:
                told: dict[str, Any] = await answer.json()
            if any(model["loaded"] for model in told["models"]):
                return time.monotonic() - began
            await asyncio.sleep(0.02)


async def measure(rounds: int) -> dict[str, float]:
    """Medians of several rounds, baseline and worker in turns."""
    bare: list[float] = []
    starts: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            bare.append(bare_s())
            starts.append(await start(Path(folder)))
    found = {name: round(statistics.median(one[name] for one in starts), 2) for name in starts[0]}
    base = statistics.median(bare)
    return found | {"imports_s": round(base, 2), "loaded_over_imports": round(found["loaded_s"] / base, 2)}


def main() -> None:
    """Print the figures; the last line is one JSON object."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--quick", action="store_true", help="one round instead of five")
    found = asyncio.run(measure(1 if reader.parse_args().quick else 5))
    print(f"ready to take runs {found['ready_s']} s after its start ({found['ready_cpu_s']} s of processor time)")
    print(f"the house model in memory after {found['loaded_s']} s")
    print(f"(importing torch and diffusers alone: {found['imports_s']} s); idle with the model {found['rss_mib']} MiB")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
