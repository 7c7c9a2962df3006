"""Worker processes are started again when their engine died, one for each GPU, and end together."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from workers.server import supervisor
from workers.server.serve import ENGINE_DIED
from workers.server.supervisor import Child, Supervisor, children_of, find_gpus


def child(folder: Path, program: str, name: str = "w") -> Child:
    """A process that runs a few lines of Python; `started` counts how often."""
    count = f"open(r'{folder}/{name}.starts', 'a').write('x')\nimport os, sys, time, signal\n"
    return Child(name=name, command=[sys.executable, "-S", "-c", count + program], environment=dict(os.environ))


def starts(folder: Path, name: str = "w") -> int:
    path = folder / f"{name}.starts"
    return len(path.read_text()) if path.exists() else 0


async def kept(*children: Child) -> tuple[int, list[str]]:
    said: list[str] = []
    async with asyncio.timeout(30):
        status = await Supervisor(children, announce=said.append, pauses=(0.01,)).run()
    return status, said


async def test_a_worker_whose_engine_died_is_started_again_until_it_ends_well(tmp_path: Path) -> None:
    program = f"sys.exit({ENGINE_DIED} if len(open(r'{tmp_path}/w.starts').read()) < 3 else 0)"
    status, said = await kept(child(tmp_path, program))
    assert (status, starts(tmp_path)) == (0, 3)
    assert len(said) == 2
    assert "started again" in said[0]


async def test_a_worker_that_was_killed_is_started_again(tmp_path: Path) -> None:
    program = f"len(open(r'{tmp_path}/w.starts').read()) < 2 and os.kill(os.getpid(), signal.SIGSEGV)"
    assert (await kept(child(tmp_path, program)))[0] == 0
    assert starts(tmp_path) == 2


async def test_one_that_dies_over_and_over_is_given_up(tmp_path: Path) -> None:
    status, said = await kept(child(tmp_path, f"sys.exit({ENGINE_DIED})"))
    assert status == ENGINE_DIED
    assert starts(tmp_path) == 6
    assert "given up" in said[-1]


@pytest.mark.parametrize("status", [0, 1, 2])
async def test_refused_settings_are_not_tried_again(tmp_path: Path, status: int) -> None:
    assert (await kept(child(tmp_path, f"sys.exit({status})")))[0] == status
    assert starts(tmp_path) == 1


async def test_the_death_of_one_leaves_its_neighbour_and_a_signal_ends_all(tmp_path: Path) -> None:
    waits = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nopen(r'{0}/{1}.up', 'w').close()\nwhile True: time.sleep(0.02)"
    dies = f"len(open(r'{tmp_path}/a.starts').read()) < 3 and sys.exit({ENGINE_DIED})\n" + waits.format(tmp_path, "a")
    running = Supervisor(
        [child(tmp_path, dies, "a"), child(tmp_path, waits.format(tmp_path, "b"), "b")], announce=lambda _: None, pauses=(0.01,)
    )
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        run = tasks.create_task(running.run())
        while not ((tmp_path / "a.up").exists() and (tmp_path / "b.up").exists()):
            await asyncio.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)
    assert run.result() == 0
    assert (starts(tmp_path, "a"), starts(tmp_path, "b")) == (3, 1)


def test_each_gpu_has_a_worker_of_its_own() -> None:
    made = children_of(
        ["--models", "m"], name="box", port=7870, variable="CUDA_VISIBLE_DEVICES", gpus=["0", "GPU-f00"], environment={"A": "b"}
    )
    assert [one.name for one in made] == ["box-0", "box-1"]
    assert [one.environment for one in made] == [{"A": "b", "CUDA_VISIBLE_DEVICES": gpu} for gpu in ("0", "GPU-f00")]
    assert made[1].command[-4:] == ["--port", "7871", "--name", "box-1"]
    [alone] = children_of([], name="box", port=7870, variable="", gpus=[], environment={})
    assert alone.name == "box"


async def test_cards_are_counted_by_torch_and_only_those_that_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_PROBE", "print('cuda 2')")
    assert await find_gpus({}) == ("CUDA_VISIBLE_DEVICES", ["0", "1"])
    assert await find_gpus({"CUDA_VISIBLE_DEVICES": "3,GPU-f00"}) == ("CUDA_VISIBLE_DEVICES", ["3", "GPU-f00"])
    monkeypatch.setattr(supervisor, "_PROBE", "print('hip 1')")
    assert await find_gpus({}) == ("HIP_VISIBLE_DEVICES", ["0"])
    monkeypatch.setattr(supervisor, "_PROBE", "raise SystemExit(1)")
    assert (await find_gpus({}))[1] == []
