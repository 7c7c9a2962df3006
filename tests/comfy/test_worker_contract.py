"""What every driver owes the pool, whatever is behind its URL: the same tests for our own worker and for ComfyUI."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import pytest

from jobs.errors import RunForgotten, WorkerBusy, WorkerUnreachable
from jobs.job import JobId
from jobs.request import Order
from jobs.run import FaultKind, Run, RunAccepted, RunCancelled, RunFailed, RunFinished, RunKey, RunProgressed
from tests.comfy.conftest import FLOWS, QUICK, colour
from tests.comfy_server import FakeComfy, colour_of
from tests.fake_worker import FakeWorker
from tests.fake_worker import colour_of as engine_colour
from workers.drivers.comfy.worker import ComfyWorker
from workers.drivers.engine import EngineWorker, Patience


@dataclass
class Seat:
    """A driver, what it drives, and how to make that misbehave."""

    driver: object
    server: object
    model: str
    expected: Callable[[Order], tuple]
    faults: dict[str, str]
    again: Callable[[], object]

    def run(self, job: str = "job1", **changes: object) -> Run:
        plain = {"prompt": f"wish of {job}", "model": self.model, "width": 64, "height": 64, "steps": 3, "guidance": 3.0, "seed": 7}
        return Run(key=RunKey(job_id=JobId(job), epoch=1), order=Order.model_validate(plain | changes))

    def fault(self, name: str) -> None:
        self.server.faults.append(self.faults[name])

    async def follow(self, run: Run, *, resume: bool = False, driver: object = None) -> list:
        async with asyncio.timeout(10):
            return [event async for event in (driver or self.driver).run(run, resume=resume)]

    @property
    def starts(self) -> int:
        told = self.server.started if isinstance(self.server, FakeWorker) else self.server.ran
        return sum(told.values())

    async def restart(self) -> None:
        made = self.server.restart()
        if made is not None:
            await made


async def engine_seat(stack: AsyncExitStack) -> Seat:
    server = await stack.enter_async_context(FakeWorker().serve())
    session = await stack.enter_async_context(aiohttp.ClientSession())

    async def make() -> EngineWorker:
        return EngineWorker(name="w", url=server.url, session=session, patience=Patience(answer=2, silence=0.3, reconnects=2, pause=0.01))

    names = {name: name for name in ("oom", "refuse", "truncated")} | {"drop": "drop_stream"}
    return Seat(await make(), server, "house", lambda order: engine_colour(order.prompt), names, make)


async def comfy_seat(stack: AsyncExitStack) -> Seat:
    server = await stack.enter_async_context(FakeComfy().serve())
    session = await stack.enter_async_context(aiohttp.ClientSession())

    async def make() -> ComfyWorker:
        return await stack.enter_async_context(
            ComfyWorker(name="w", url=server.url, session=session, flows=FLOWS, read_picture=_no_pictures, patience=QUICK)
        )

    def expected(order: Order) -> tuple:
        return colour_of(order.prompt, order.negative, order.seed)

    return Seat(await make(), server, "sd15", expected, {"oom": "oom", "refuse": "error", "drop": "drop", "truncated": "truncated"}, make)


async def _no_pictures(digest: str) -> bytes:
    raise FileNotFoundError(digest)


@pytest.fixture(params=[engine_seat, comfy_seat], ids=["engine", "comfy"])
async def seat(request) -> AsyncIterator[Seat]:
    async with AsyncExitStack() as stack:
        yield await request.param(stack)


async def test_a_run_is_told_from_acceptance_to_its_picture(seat):
    run = seat.run()
    events = await seat.follow(run)
    assert isinstance(events[0], RunAccepted)
    steps = [event.step for event in events if isinstance(event, RunProgressed)]
    assert steps == sorted(steps)
    assert steps
    assert {event.total_steps for event in events if isinstance(event, RunProgressed)} == {3}
    end = events[-1]
    assert isinstance(end, RunFinished)
    assert [(made.index, made.seed, colour(made.data)) for made in end.pictures] == [(0, 7, seat.expected(run.order))]


async def test_the_same_run_starts_once_however_often_it_is_asked(seat):
    run = seat.run()
    first = await seat.follow(run)
    assert (await seat.follow(run))[-1] == first[-1]
    assert (await seat.follow(run, resume=True))[-1] == first[-1]
    assert seat.starts == 1


async def test_two_streams_of_one_run_both_hear_its_end(seat):
    run = seat.run()
    first, second = await asyncio.gather(seat.follow(run), seat.follow(run))
    assert first[-1] == second[-1]
    assert seat.starts == 1


async def test_a_broken_connection_costs_no_second_start(seat):
    seat.fault("drop")
    assert isinstance((await seat.follow(seat.run()))[-1], RunFinished)
    assert seat.starts == 1


async def test_a_restarted_host_attaches_to_what_runs_instead_of_starting_it_again(seat):
    seat.server.gate.clear()
    run = seat.run()
    stream = seat.driver.run(run)
    async with asyncio.timeout(5):
        assert isinstance(await anext(stream), RunAccepted)
    other = await seat.again()
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(seat.follow(run, resume=True, driver=other))
        await asyncio.sleep(0.05)
        seat.server.gate.set()
    await stream.aclose()
    end = following.result()[-1]
    assert isinstance(end, RunFinished)
    assert colour(end.pictures[0].data) == seat.expected(run.order)
    assert seat.starts == 1


async def test_a_restarted_host_fetches_what_was_finished_meanwhile(seat):
    run = seat.run()
    made = (await seat.follow(run))[-1]
    again = (await seat.follow(run, resume=True, driver=await seat.again()))[-1]
    assert again.pictures == made.pictures
    assert seat.starts == 1


async def test_a_run_that_the_worker_never_heard_of_is_forgotten(seat):
    with pytest.raises(RunForgotten):
        await seat.follow(seat.run("never"), resume=True)


async def test_a_run_lost_in_a_restart_of_the_worker_is_forgotten_when_resumed(seat):
    await seat.follow(seat.run())
    await seat.restart()
    with pytest.raises(RunForgotten):
        await seat.follow(seat.run(), resume=True, driver=await seat.again())


async def test_cancel_ends_the_stream_as_cancelled(seat):
    seat.server.gate.clear()
    run = seat.run()
    seen = []
    async with asyncio.timeout(10):
        async for event in seat.driver.run(run):
            seen.append(event)
            if isinstance(event, RunProgressed) and event.step:
                await seat.driver.cancel(run.key)
    assert isinstance(seen[-1], RunCancelled)


async def test_cancel_and_acknowledge_of_an_unknown_run_are_harmless(seat):
    await seat.driver.cancel(seat.run("never").key)
    await seat.driver.acknowledge(seat.run("never").key)


async def test_out_of_memory_is_told_apart(seat):
    seat.fault("oom")
    end = (await seat.follow(seat.run()))[-1]
    assert isinstance(end, RunFailed)
    assert end.kind is FaultKind.OUT_OF_MEMORY


async def test_an_order_that_cannot_be_done_blames_the_request(seat):
    seat.fault("refuse")
    end = (await seat.follow(seat.run()))[-1]
    assert isinstance(end, RunFailed)
    assert end.kind is FaultKind.JOB


async def test_a_model_that_is_not_there_blames_nobody(seat):
    if isinstance(seat.server, FakeWorker):
        pytest.skip("its stand-in takes any model")
    with pytest.raises(WorkerBusy):
        await seat.follow(seat.run(model="another"))


async def test_an_acknowledged_run_may_be_forgotten(seat):
    run = seat.run()
    await seat.follow(run)
    await seat.driver.acknowledge(run.key)
    if isinstance(seat.server, FakeWorker):
        assert str(run.key) in seat.server.acknowledged
    else:
        assert not seat.server.history


async def test_the_report_tells_models_room_and_live_runs(seat):
    idle = await seat.driver.report()
    assert seat.model in {offer.name for offer in idle.models}
    assert idle.room > 0
    seat.server.gate.clear()
    run = seat.run()
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(seat.follow(run))
        async with asyncio.timeout(5):
            while (await seat.driver.report()).running != (run.key,):
                await asyncio.sleep(0.01)
        assert (await seat.driver.report()).room < idle.room
        seat.server.gate.set()
    assert isinstance(following.result()[-1], RunFinished)
    after = await seat.driver.report()
    assert (after.running, after.instance) == ((), idle.instance)


@pytest.mark.parametrize("mood", ["html", "500"])
async def test_an_answer_that_is_not_the_workers_is_its_fault(seat, mood):
    if isinstance(seat.server, FakeWorker):
        seat.server.always = mood
    else:
        seat.server.moods = {"html" if mood == "html" else "html_502"}
    with pytest.raises(WorkerUnreachable):
        await seat.driver.report()
