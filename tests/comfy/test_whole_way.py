"""COMFY_URLS is all it takes: the host as it is put together, a real ledger, a ComfyUI server that misbehaves by name."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from PIL import Image

from bot.clock import new_job_id
from bot.host import open_lab
from bot.settings import read_settings
from jobs.job import JobState, UserId
from jobs.request import Request
from tests.comfy.conftest import colour
from tests.comfy_server import FakeComfy, colour_of


class House:
    """A host without doors, and its people."""

    def __init__(self, lab) -> None:
        self.lab = lab

    async def ask(self, person: str, prompt: str = "a red star", **wish):
        plain = {"prompt": prompt, "model": "sd15", "width": 64, "height": 64, "steps": 4, "seed": 5}
        return await self.lab.desk.submit(
            Request.model_validate(plain | wish), user_id=UserId(f"web:{person}"), door="http", idempotency_key=f"{person}{new_job_id()}"
        )

    async def until(self, job, is_so):
        async with asyncio.timeout(30):
            while not is_so(found := await self.lab.store.get(job.id)):
                await asyncio.sleep(0.02)
        return found

    async def ended(self, job):
        return await self.until(job, lambda job: job.state.is_terminal)

    async def running(self, job):
        return await self.until(job, lambda job: job.state is JobState.RUNNING)

    async def data(self, job) -> bytes:
        return await self.lab.pictures.read(job.pictures[0].sha256)

    async def together(self, wishes: dict[str, str]):
        """Asked while the only worker rests, so that one lease takes them all."""
        (worker,) = self.lab.pool.online()
        await self.lab.operator.rest(worker.name, "pause")
        jobs = [await self.ask(person, wish) for person, wish in wishes.items()]
        await self.lab.operator.rest(worker.name, "resume")
        return jobs

    async def online(self) -> None:
        async with asyncio.timeout(10):
            while not self.lab.pool.online():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def house(folder, *urls: str) -> AsyncIterator[House]:
    settings = read_settings({"STORAGE": str(folder), "COMFY_URLS": ",".join(urls), "LEASE_SECONDS": "6"})
    async with open_lab(settings) as lab:
        task = asyncio.create_task(lab.pool.run())
        made = House(lab)
        await made.online()
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def servers() -> AsyncIterator[Callable]:
    async with AsyncExitStack() as stack:

        async def make(**options) -> FakeComfy:
            return await stack.enter_async_context(FakeComfy(**options).serve())

        yield make


async def test_six_people_share_passes_and_each_gets_their_own_picture(servers, tmp_path):
    server = await servers()
    server.gate.clear()
    async with house(tmp_path, server.url) as home:
        first = await home.ask("first", "wish of first")
        await home.running(first)
        jobs = [await home.ask(person, f"wish of {person}", seed=index) for index, person in enumerate("abcdef")]
        server.gate.set()
        for job in [first, *jobs]:
            done = await home.ended(job)
            assert done.state is JobState.DONE
            assert colour(await home.data(done)) == colour_of(done.order.prompt, "", done.order.seed)
        sizes = [body["prompt"]["latent"]["inputs"]["batch_size"] for body in server.posted]
        assert sum(sizes) == 7
        assert max(sizes) == 6
        assert (await home.ended(jobs[0])).making.shared_with == 5


async def test_a_house_without_the_shipped_model_draws_with_what_it_has(servers, tmp_path):
    server = await servers(files={"unet_name": [], "model_name": []})
    async with house(tmp_path, server.url) as home:
        job = await home.ended(await home.ask("a", model=None))
    assert (job.state, job.order.model) == (JobState.DONE, "sd15")


async def test_a_server_killed_in_the_middle_costs_one_try(servers, tmp_path):
    server = await servers()
    server.faults = ["die"]
    async with house(tmp_path, server.url) as home:
        job = await home.ended(await home.ask("a", "wish"))
    assert (job.state, job.attempt) == (JobState.DONE, 1)  # a prompt that kills its server must not do so for ever
    assert job.epoch > 1


async def test_a_restarted_host_takes_its_prompt_up_again(servers, tmp_path):
    server = await servers()
    server.gate.clear()
    async with house(tmp_path, server.url) as home:
        jobs = await home.together({person: f"wish of {person}" for person in "ab"})
        for job in jobs:
            await home.running(job)
        assert len(server.posted) == 1
    server.gate.set()
    async with house(tmp_path, server.url) as home:
        for job in jobs:
            done = await home.ended(job)
            assert (done.state, done.epoch) == (JobState.DONE, 1)
            assert colour(await home.data(done)) == colour_of(done.order.prompt, "", 5)
    assert set(server.ran.values()) == {1}


async def test_a_picture_of_the_wrong_size_is_never_delivered(servers, tmp_path):
    server = await servers()
    server.faults = ["wrong_size"]
    async with house(tmp_path, server.url) as home:
        job = await home.ended(await home.ask("a"))
        assert job.state is JobState.DONE
        assert Image.open(io.BytesIO(await home.data(job))).size == (64, 64)
    assert len(server.posted) == 2


async def test_a_clip_comes_as_webp_without_the_graph(servers, tmp_path):
    server = await servers()
    async with house(tmp_path, server.url) as home:
        job = await home.ended(await home.ask("a", "a secret wish", kind="animate", model="animatediff", frames=8))
        assert job.state is JobState.DONE
        data = await home.data(job)
        clip = Image.open(io.BytesIO(data))
        assert (clip.format, clip.n_frames) == ("WEBP", 8)
        assert b"secret" not in data


async def test_a_persons_own_picture_is_enlarged(servers, tmp_path):
    server = await servers()
    out = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(out, "PNG")
    async with house(tmp_path, server.url) as home:
        taken = await home.lab.desk.take_picture(out.getvalue(), user_id=UserId("web:a"))
        wish = {"kind": "upscale", "model": "upscaler", "image": taken.sha256, "width": 64, "height": 48, "steps": None, "scale": 2}
        job = await home.ended(await home.ask("a", "", **wish))
        assert job.state is JobState.DONE
        assert Image.open(io.BytesIO(await home.data(job))).size == (128, 96)
    assert [name.partition("/")[0] for name in server.uploads] == ["darkroom"]


async def test_a_server_that_is_away_costs_nothing_and_is_used_when_it_comes(servers, tmp_path):
    server = await servers()
    server.moods = {"html_502"}
    good = await servers()
    async with house(tmp_path, server.url, good.url) as home:
        job = await home.ended(await home.ask("a"))
        assert job.making.worker == good.url.partition("://")[2]
    assert not server.posted


@pytest.mark.parametrize("fault", ["error", "oom", "oom_plain"])
async def test_an_error_that_quotes_prompts_is_told_to_its_person_and_never_logged(servers, tmp_path, caplog, fault):
    server = await servers()
    server.error_text = "cannot read 'the wish of somebody else' nor 'a private wish'"
    server.faults = [fault] * 9
    with caplog.at_level("INFO"), caplog.at_level("DEBUG", "jobs"), caplog.at_level("DEBUG", "workers"):
        async with house(tmp_path, server.url) as home:
            jobs = await home.together({"a": "a private wish", "b": "the wish of somebody else"})
            ended = [await home.ended(job) for job in jobs]

    assert {job.state for job in ended} == {JobState.FAILED}
    if fault == "error":
        assert all("somebody else" in job.failure.details["detail"] for job in ended)
    assert "run" in caplog.text
    assert "wish" not in caplog.text
