"""`make demo` is a promise: it shows six right pictures and leaves nothing running."""

import asyncio
import os
import signal
import sys

import psutil


async def test_the_demo_shows_six_right_pictures_and_ends_with_nothing_left_behind(tmp_path):
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot.cli", "demo", "--once", "--folder", str(tmp_path),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={**os.environ, "COLUMNS": "160"},
    )  # fmt: skip
    children: set[psutil.Process] = set()
    watch = asyncio.create_task(_collect(demo.pid, children))
    async with asyncio.timeout(300):
        said = (await demo.communicate())[0].decode()
    watch.cancel()
    assert demo.returncode == 0, said
    assert "6 of 6 members" in said
    assert len(children) >= 3
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


async def test_ctrl_c_stops_the_demo_and_its_processes(tmp_path):
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot.cli", "demo", "--folder", str(tmp_path), stdout=asyncio.subprocess.DEVNULL, start_new_session=True
    )
    async with asyncio.timeout(60):
        while len(children := psutil.Process(demo.pid).children()) < 2:
            await asyncio.sleep(0.05)
    demo.send_signal(signal.SIGINT)
    async with asyncio.timeout(60):
        assert await demo.wait() == 0
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


async def _collect(pid: int, children: set[psutil.Process]) -> None:
    while True:
        children.update(psutil.Process(pid).children())
        await asyncio.sleep(0.1)
