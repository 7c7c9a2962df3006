"""The driver for our own worker against a worker that misbehaves by name."""

import aiohttp
import pytest

from jobs.errors import BadPicture, RunForgotten, WorkerBusy, WorkerUnreachable
from jobs.job import JobId
from jobs.request import Order
from jobs.run import FaultKind, Run, RunAccepted, RunCancelled, RunFailed, RunFinished, RunKey, RunProgressed
from tests.fake_worker import LORAS, FakeWorker, picture
from workers.drivers.engine import EngineWorker, Patience

ORDER = Order(prompt="a red star", model="house", width=64, height=64, steps=3, guidance=3.0, seed=7)
KEY = RunKey(job_id=JobId("job1"), epoch=1)
RUN = Run(key=KEY, order=ORDER)


@pytest.fixture
async def fake():
    async with FakeWorker().serve() as worker:
        yield worker


@pytest.fixture
async def driver(fake):
    async with aiohttp.ClientSession() as session:
        yield EngineWorker(name="w", url=fake.url, session=session, patience=Patience(answer=2, silence=0.3, reconnects=2, pause=0.01))


async def followed(driver, *, resume=False):
    return [event async for event in driver.run(RUN, resume=resume)]


async def test_a_run_is_told_from_acceptance_to_its_picture(driver, fake):
    events = await followed(driver)
    assert isinstance(events[0], RunAccepted)
    assert [e.step for e in events if isinstance(e, RunProgressed)] == [1, 2, 3]
    assert isinstance(events[-1], RunFinished)
    assert events[-1].pictures[0].data == picture(fake.orders[str(KEY)])


async def test_the_same_run_starts_once_however_often_it_is_asked(driver, fake):
    await followed(driver)
    await followed(driver)
    assert fake.started[str(KEY)] == 1


async def test_a_dropped_stream_is_taken_up_again(driver, fake):
    fake.faults = ["drop_stream"]
    assert isinstance((await followed(driver))[-1], RunFinished)
    assert fake.started[str(KEY)] == 1


@pytest.mark.parametrize("fault", ["500", "html", "hang"])
async def test_a_broken_worker_is_unreachable(driver, fake, fault):
    fake.faults = [fault]
    with pytest.raises(WorkerUnreachable):
        await followed(driver)


@pytest.mark.parametrize("mood", ["500", "html"])
async def test_a_report_that_is_not_ours_is_unreachable(driver, fake, mood):
    fake.always = mood
    with pytest.raises(WorkerUnreachable):
        await driver.report()


async def test_a_worker_that_is_gone_is_unreachable(driver, fake):
    fake.alive = False
    with pytest.raises(WorkerUnreachable):
        await driver.report()


async def test_a_full_worker_is_busy_not_broken(driver, fake):
    fake.faults = ["full"]
    with pytest.raises(WorkerBusy):
        await followed(driver)


async def test_bytes_that_do_not_match_their_digest_are_no_picture(driver, fake):
    fake.faults = ["wrong_digest"]
    with pytest.raises(BadPicture):
        await followed(driver)


async def test_an_order_the_worker_refuses_fails_the_request_with_its_sentence(driver, fake):
    fake.faults = ["refuse"]
    (event,) = await followed(driver)
    assert isinstance(event, RunFailed)
    assert event.kind is FaultKind.JOB
    assert "bad_order" in event.detail


async def test_company_beyond_belief_is_clamped(driver, fake):
    fake.shared_with = 10**12
    assert (await followed(driver))[-1].shared_with == 255


async def test_out_of_memory_is_told_apart(driver, fake):
    fake.faults = ["oom"]
    assert (await followed(driver))[-1].kind is FaultKind.OUT_OF_MEMORY


async def test_cancel_ends_the_stream(driver, fake):
    fake.gate.clear()
    seen = []
    async for event in driver.run(RUN):
        seen.append(event)
        if isinstance(event, RunProgressed):
            await driver.cancel(KEY)
    assert isinstance(seen[-1], RunCancelled)


async def test_cancel_and_acknowledge_of_an_unknown_run_are_harmless(driver):
    await driver.cancel(KEY)
    await driver.acknowledge(KEY)


async def test_a_run_lost_in_a_restart_is_forgotten_when_resumed(driver, fake):
    await followed(driver)
    fake.restart()
    with pytest.raises(RunForgotten):
        await followed(driver, resume=True)


async def test_resume_attaches_without_starting(driver, fake):
    await followed(driver)
    assert isinstance((await followed(driver, resume=True))[-1], RunFinished)
    assert fake.started[str(KEY)] == 1


async def test_the_report_tells_what_the_worker_offers(driver):
    report = await driver.report()
    assert [offer.name for offer in report.models] == ["house"]
    assert report.loaded == {"house"}
    assert (report.room, report.max_batch) == (4, 4)


async def test_an_offer_beyond_our_limits_is_left_out_and_told_once_and_the_rest_of_its_worker_serves(driver, fake, caplog):
    long = [{"name": "x" * 110, "family": "sd15"}, {"name": "y", "family": "f" * 60}, {"name": "z", "family": "sd15", "title": "t" * 250}]
    fake.loras = [*LORAS, *long]
    fake.more_models = [{"name": "m" * 120}, {"name": "huge", "max_pixels": 2**40}]
    for _ in range(3):
        report = await driver.report()
    assert [lora.name for lora in report.loras] == [lora["name"] for lora in LORAS]
    assert [offer.name for offer in report.models] == ["house"]
    assert [record.message for record in caplog.records].count(f"worker w: 5 of its offers are left out, the first: {'m' * 60!r}: its ('name',)") == 1
