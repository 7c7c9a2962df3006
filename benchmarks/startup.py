"""How long `make demo` takes from an empty and from a warm start, and how large an idle host is.

Cold means: a fresh clone with a new virtual environment and an empty pip cache, until the table is full. It is measured only
without --quick. The baseline for the warm start is a bare interpreter that imports torch and diffusers, in the same run.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.processes import host_alone, rss_mib

ROOT = Path(__file__).resolve().parent.parent


def cold_s() -> float:
    """Seconds of `make demo ONCE=1` in a fresh clone with nothing cached."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "darkroom"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        env = {**os.environ, "HOME": folder, "PIP_CACHE_DIR": f"{folder}/pip", "PIP_NO_CACHE_DIR": "1"}
        env.pop("VIRTUAL_ENV", None)
        return _timed(["make", "demo", "ONCE=1"], cwd=clone, env=env)


def warm_s() -> float:
    """Seconds of a second demo in this checkout, until its table is full."""
    return _timed([sys.executable, "-m", "bot.cli", "demo", "--once", "--folder", tempfile.mkdtemp()], cwd=ROOT, env=dict(os.environ))


def imports_s() -> float:
    """The baseline: what loading torch and diffusers alone takes here and now."""
    return _timed(
        [sys.executable, "-W", "ignore", "-c", "import torch, diffusers; diffusers.StableDiffusionPipeline"], cwd=ROOT, env=dict(os.environ)
    )


def _timed(command: list[str], *, cwd: Path, env: dict[str, str]) -> float:
    started = time.monotonic()
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")
    return round(time.monotonic() - started, 1)


async def host_rss_mib() -> float:
    """Memory of a host that has served its first page and waits."""
    async with host_alone() as (process, _):
        await asyncio.sleep(5)
        return rss_mib(process.pid)


def main() -> None:
    """Print the figures; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave the cold start out")
    options = parser.parse_args()
    figures = {"imports_s": imports_s(), "demo_warm_s": warm_s(), "host_rss_mib": asyncio.run(host_rss_mib())}
    figures["demo_cold_s"] = None if options.quick else cold_s()
    for name, figure in figures.items():
        print(f"{name:16} {figure}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
