"""Play seeds: one here, or many in forked children, which end without cleaning up after killed hosts."""

import asyncio
import gc
import json
import os
import random
import select
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from database.migrate import migrate
from tests.simulation.judge import judge
from tests.simulation.world import Plan, World

Draw = Callable[[random.Random], Plan]

CHUNK = 25
"""Seeds a child: what killed hosts leave in memory goes with it."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a seed."""

    seed: int
    broken: list[str]
    story: list[str]
    virtual_seconds: float
    digest: str = ""


def make_template(folder: Path) -> Path:
    """A migrated database to copy for each seed."""
    file = folder / "template.sqlite3"
    asyncio.run(migrate(f"sqlite:///{file}"))
    return file


def play(seed: int, template: Path, *, draw: Draw | None = None) -> Verdict:
    """One seed, here. The process should end soon after: tasks of killed hosts are kept alive on purpose."""
    if not KEPT:
        _warm_up(template)
    world = World(seed, template, draw=draw)
    KEPT.append(world)
    try:
        world.play()
        broken = judge(world)
    except Exception as error:  # noqa: BLE001  one broken seed must not hide the others
        broken = [f"the simulation broke: {error!r}", *traceback.format_exc().splitlines()[-6:]]
    finally:
        world.clean()
    story = [f"{at:8.3f} {text}" for at, text in sorted(world.told(), key=lambda line: line[0])]
    return Verdict(seed=seed, broken=broken, story=story, virtual_seconds=world.loop.time(), digest=world.digest())


KEPT: list[World] = []
"""Killed hosts' coroutines must not be collected: their ``finally`` blocks would run."""


def _warm_up(template: Path) -> None:
    """An engine's first connection of a process asks more than later ones: not in a seed that must be the same each time."""
    calm = Plan(seats=2, people=1, wishes=1, models=("alpha",), workers=[{"models": ("alpha",), "max_batch": 1, "step": 0.1}], loses=0.0, erasings=[])
    world = World(0, template, draw=lambda _: calm)
    KEPT.append(world)
    world.play()
    world.clean()


def play_many(
    seeds: Iterable[int],
    template: Path,
    jobs: int,
    *,
    chunk: int = CHUNK,
    draw: Draw | None = None,
    prepare: Callable[[], None] | None = None,
) -> Iterator[Verdict]:
    """Seeds in ``jobs`` forked children at a time. ``prepare`` runs in each child first: a mutant patches the code there."""
    todo = list(seeds)
    chunks = [todo[start : start + chunk] for start in range(0, len(todo), chunk)]
    running: dict[int, tuple[int, bytes]] = {}
    try:
        while chunks or running:
            while chunks and len(running) < jobs:
                pid, pipe = _fork(chunks.pop(0), template, draw, prepare)
                running[pipe] = (pid, b"")
            for pipe in select.select(list(running), [], [])[0]:
                pid, data = running[pipe]
                more = os.read(pipe, 1 << 16)
                if not more:
                    os.close(pipe)
                    os.waitpid(pid, 0)
                    del running[pipe]
                    continue
                *lines, rest = (data + more).split(b"\n")
                running[pipe] = (pid, rest)
                for line in lines:
                    yield Verdict(**json.loads(line))
    finally:
        for pipe, (pid, _) in running.items():
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            os.close(pipe)


def _fork(seeds: list[int], template: Path, draw: Draw | None, prepare: Callable[[], None] | None) -> tuple[int, int]:
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    status = 1
    try:
        gc.disable()
        if prepare is not None:
            prepare()
        with os.fdopen(writing, "wb") as out:
            for seed in seeds:
                out.write(json.dumps(asdict(play(seed, template, draw=draw))).encode() + b"\n")
                out.flush()
        status = 0
    except BaseException:  # noqa: BLE001  a forked child ends here, whatever happened
        traceback.print_exc()
    finally:
        os._exit(status)
