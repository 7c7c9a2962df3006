"""Two hundred wishes of twenty people through everything there is: ledger, planner, pool, HTTP, a worker process with the
house model and its LoRAs; other steps, seeds, guidance and LoRAs for each, some taken back. The checker, which reads
pixels, finds every picture to be its owner's; where the model itself errs, the same wish made alone settles it.
"""

import asyncio
import io
import os
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers", reason="a host without the worker's packages has no engine to test")

import numpy as np
from PIL import Image

from database.engine import Database
from housemodel.checker import Verdict
from housemodel.dataset import held_out
from housemodel.layout import Scene
from housemodel.styles import compare_styled
from jobs.carrier import Policy
from jobs.job import Job, JobState, UserId
from tests.integration.conftest import Lab, open_lab
from workers.drivers.engine import Patience
from workers.engine import parity
from workers.engine.backend import TorchBackend
from workers.engine.catalog import discover
from workers.engine.loras.library import LoraLibrary
from workers.engine.run import LoraUse, RunSpec
from workers.server.cli import builtin_loras, builtin_models

# A thousand passes of the house model: a minute on an idle core, several on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

PEOPLE = 20
WISHES = 200
CANCELLED = 0.15
SETS: tuple[tuple[tuple[str, float], ...], ...] = (
    (),
    (),
    (("night", 1.0),),
    (("outline", 1.0),),
    (("night", 1.0), ("outline", 1.0)),
    (("outline", 0.0),),
)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What somebody asks for, and what its picture must show."""

    person: str
    scene: Scene
    styles: tuple[str, ...]
    asked: dict[str, Any]
    changes_mind: bool


@dataclass(frozen=True)
class Address:
    """What the lab needs of a worker."""

    url: str


def wishes() -> list[Wish]:
    draw = random.Random(5)
    return [
        Wish(
            person=f"p{number % PEOPLE}",
            scene=scene,
            styles=tuple(name for name, weight in worn if weight > 0),
            asked={
                "prompt": caption, "width": 128, "height": 128, "steps": draw.randint(8, 20), "guidance": draw.choice([2.5, 3.0, 4.0]),
                "seed": draw.randrange(2**40), "loras": [{"name": f"house-{name}", "weight": weight} for name, weight in worn],
            },
            changes_mind=draw.random() < CANCELLED,
        )
        for number, (scene, caption) in enumerate(held_out(WISHES))
        for worn in [draw.choice(SETS)]
    ]  # fmt: skip


@pytest.fixture
async def worker() -> AsyncIterator[Address]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.server", "--port", "0", "--threads", "1", "--name", "house", "--max-batch", "8",
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 120)).decode()
    try:
        yield Address(line.split()[-1])
    finally:
        process.kill()
        await process.wait()


async def ask(lab: Lab, wish: Wish, draw: random.Random) -> Job:
    await asyncio.sleep(draw.uniform(0, 10))
    job = await lab.ask(wish.person, **wish.asked)
    if wish.changes_mind:
        await asyncio.sleep(draw.uniform(0, 20))
        await lab.desk.cancel(job.id, user_id=UserId(f"web:{wish.person}"))
    return job


async def end_of(lab: Lab, job: Job) -> Job:
    """Asked for once a second: two hundred who look all the time would keep the ledger busy with nothing else."""
    while (now := await lab.store.get(job.id)) is None or not now.state.is_terminal:
        await asyncio.sleep(1)
    return now


def shown(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


class Alone:
    """The same engine with nobody else in it."""

    def __init__(self) -> None:
        library = LoraLibrary(None, builtin_loras())
        library.look()
        self._family = TorchBackend(device="cpu", threads=1, find_lora=library.find).load(discover(None, builtin_models()).models["house"])

    def picture(self, wish: Wish) -> np.ndarray:
        given = {**wish.asked, "loras": tuple(LoraUse(**use) for use in wish.asked["loras"])}
        [pixels] = self._family.decode([parity.alone(self._family, RunSpec(model="house", **given))])
        return pixels


# One ledger is enough here: what differs between the two is not whose picture it is, and a round takes two minutes.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_every_picture_is_its_owners(worker: Address, database: Database, tmp_path: Path) -> None:
    draw, asked = random.Random(6), wishes()
    async with open_lab(database, tmp_path, worker, policy=Policy(), patience=Patience()) as lab:  # pyright: ignore[reportArgumentType]
        async with asyncio.timeout(300):
            while not {"house-night", "house-outline"} <= set(lab.pool.loras()):
                await asyncio.sleep(0.2)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(lab, wish, draw)) for wish in asked]
        ended = [await end_of(lab, task.result()) for task in tasks]
        made = [(wish, job) for wish, job in zip(asked, ended, strict=True) if job.state is JobState.DONE]
        images = [shown(await lab.pictures.read(job.pictures[0].sha256)) for _, job in made]
    for wish, job in zip(asked, ended, strict=True):
        assert job.state in ((JobState.DONE, JobState.CANCELLED) if wish.changes_mind else (JobState.DONE,)), job.failure
    verdicts = [compare_styled(image, wish.scene, wish.styles) for image, (wish, _) in zip(images, made, strict=True)]
    right = [verdict.exact for verdict in verdicts]
    others = [_of_the_next(images, made, index).exact for index in range(len(made))]
    assert sum(right) >= 0.85 * len(made), f"the checker finds only {sum(right)} of {len(made)} to be as asked"
    assert sum(others) <= 0.1 * len(made), "the checker would take a neighbour's picture for one's own"
    alone = Alone()
    unsettled = [index for index, is_right in enumerate(right) if not is_right]
    for index in [*unsettled, *draw.sample(range(len(made)), 10)]:
        gap = np.abs(np.asarray(images[index]).astype(int) - alone.picture(made[index][0]).astype(int)).max()
        assert gap <= 2, f"{made[index][0].asked} is not the picture that it is when it is made alone"
    assert sum(job.making is not None and job.making.shared_with > 0 for _, job in made) > 0.9 * len(made)


def _of_the_next(images: list[Image.Image], made: list[tuple[Wish, Job]], index: int) -> Verdict:
    wish = made[(index + 1) % len(made)][0]
    return compare_styled(images[index], wish.scene, wish.styles)
