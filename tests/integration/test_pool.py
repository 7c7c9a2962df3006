"""From the desk to the right picture, over a real ledger and real HTTP, whatever the workers do."""

import asyncio
import io

import pytest
from PIL import Image

from jobs.errors import WaitingLimitReached
from jobs.job import JobState, UserId
from tests.fake_worker import colour_of
from tests.integration.conftest import open_lab


async def colour(lab, job) -> tuple[int, int, int]:
    return Image.open(io.BytesIO(await lab.pictures.read(job.pictures[0].sha256))).getpixel((3, 3))


async def test_six_people_at_once_each_get_their_own_picture(fakes, lab_of):
    lab = await lab_of(*await fakes(2))
    jobs = [await lab.ask(person, f"wish of {person}") for person in "abcdef"]
    for job in [await lab.ended(job.id) for job in jobs]:
        assert job.state is JobState.DONE
        assert await colour(lab, job) == colour_of(job.order.prompt)
        assert job.making.shared_with == 1


async def test_a_persons_third_request_waits_until_one_of_two_is_done(fakes, lab_of):
    (worker,) = await fakes(max_batch=8)
    worker.gate.clear()
    lab = await lab_of(worker)
    jobs = [await lab.ask("a", f"wish {i}") for i in range(4)]
    for job in jobs[:2]:
        await lab.until(job.id, lambda job: job.state is JobState.RUNNING)
    await asyncio.sleep(0.3)
    assert [(await lab.store.get(job.id)).state for job in jobs[2:]] == [JobState.QUEUED] * 2
    status = await lab.desk.status(jobs[2].id, user_id=UserId("web:a"))
    assert status.why.code == "cap"
    worker.gate.set()
    assert {(await lab.ended(job.id)).state for job in jobs} == {JobState.DONE}


@pytest.mark.parametrize("fault", ["500", "html", "hang", "truncated", "wrong_size", "wrong_digest", "drop_stream", "full"])
async def test_a_worker_that_fails_once_costs_nobody_their_picture(fakes, lab_of, fault):
    (worker,) = await fakes()
    worker.faults = [fault]
    lab = await lab_of(worker)
    job = await lab.ended((await lab.ask("a")).id)
    assert job.state is JobState.DONE
    assert await colour(lab, job) == colour_of(job.order.prompt)


@pytest.mark.parametrize("fault", ["truncated", "wrong_size", "hang"])
async def test_what_is_not_the_picture_is_never_delivered_and_the_failure_says_so(fakes, lab_of, fault):
    (worker,) = await fakes()
    worker.faults = [fault] * 3
    lab = await lab_of(worker)
    job = await lab.ended((await lab.ask("a")).id)
    assert job.state is JobState.FAILED
    assert job.failure.code == ("worker_unreachable" if fault == "hang" else "bad_picture")
    assert not job.pictures


async def test_an_order_that_the_worker_refuses_is_not_tried_again(fakes, lab_of):
    (worker,) = await fakes()
    worker.faults = ["refuse"]
    lab = await lab_of(worker)
    job = await lab.ended((await lab.ask("a")).id)
    assert (job.state, job.failure.code) == (JobState.FAILED, "run_refused")


async def test_the_breaker_opens_after_three_faults_and_closes_again(fakes, lab_of):
    (worker,) = await fakes()
    worker.faults = ["500"] * 3
    lab = await lab_of(worker)
    jobs = [await lab.ask(person) for person in "abc"]
    member = lab.pool.members[0]
    async with asyncio.timeout(5):
        while member.breaker.circuit != "open":
            await asyncio.sleep(0.005)
    assert not lab.pool.online()
    assert {(await lab.ended(job.id)).state for job in jobs} == {JobState.DONE}
    assert member.breaker.circuit == "closed"


async def test_a_broken_worker_beside_a_good_one_costs_nobody(fakes, lab_of):
    bad, good = await fakes(2)
    bad.always = "html"
    lab = await lab_of(bad, good)
    jobs = [await lab.ask(person) for person in "abcd"]
    for job in jobs:
        assert (await lab.ended(job.id)).making.worker == "w1"


class Startling:
    """A worker whose answer the host was not made for."""

    name = "w0"

    async def report(self):
        raise OverflowError("nobody thought of it")


async def test_a_worker_whose_answer_surprises_the_host_is_in_trouble_alone_and_told_of_once(fakes, lab_of, caplog):
    first, second = await fakes(2)
    lab = await lab_of(first, second)
    member = lab.pool.members[0]
    well, member.worker = member.worker, Startling()
    async with asyncio.timeout(5):
        while not member.trouble:
            await asyncio.sleep(0.005)
    for person in "abc":
        assert (await lab.ended((await lab.ask(person)).id)).making.worker == "w1"
    assert member.trouble == "its answer made the host stumble: OverflowError"
    assert len([record for record in caplog.records if record.exc_info and "stumble" in record.message]) == 1
    member.worker = well
    async with asyncio.timeout(5):
        while member.trouble:
            await asyncio.sleep(0.005)


class NeverThanked:
    """A worker that never answers when it is told that its result arrived."""

    def __init__(self, worker):
        self._worker = worker

    def __getattr__(self, name):
        return getattr(self._worker, name)

    async def acknowledge(self, key):
        await asyncio.Event().wait()


async def test_a_finished_run_takes_no_place_while_its_worker_has_still_to_hear_of_it(fakes, lab_of):
    (worker,) = await fakes(max_batch=1)
    lab = await lab_of(worker)
    member = lab.pool.members[0]
    member.worker = NeverThanked(member.worker)
    jobs = [await lab.ask(person) for person in "abc"]
    assert {(await lab.ended(job.id)).state for job in jobs} == {JobState.DONE}


async def test_cancel_while_waiting_and_while_running_leaves_the_neighbour_unharmed(fakes, lab_of):
    (worker,) = await fakes(max_batch=2)
    worker.gate.clear()
    lab = await lab_of(worker)
    mine, neighbour = await lab.ask("a", "mine"), await lab.ask("b", "neighbour")
    for job in (mine, neighbour):
        await lab.until(job.id, lambda job: job.state is JobState.RUNNING)
    waiting = await lab.ask("c", "waits")
    assert (await lab.desk.cancel(waiting.id, user_id=UserId("web:c"))).state is JobState.CANCELLED
    await lab.desk.cancel(mine.id, user_id=UserId("web:a"))
    assert (await lab.ended(mine.id)).state is JobState.CANCELLED
    worker.gate.set()
    done = await lab.ended(neighbour.id)
    assert done.state is JobState.DONE
    assert await colour(lab, done) == colour_of("neighbour")


async def test_a_worker_that_dies_with_runs_gives_them_back(fakes, lab_of):
    (worker,) = await fakes()
    worker.gate.clear()
    lab = await lab_of(worker)
    job = await lab.ask("a")
    await lab.until(job.id, lambda job: job.state is JobState.RUNNING)
    worker.alive = False
    await lab.until(job.id, lambda job: job.state is JobState.QUEUED)
    worker.restart()
    worker.gate.set()
    worker.alive = True
    assert (await lab.ended(job.id)).state is JobState.DONE


async def test_a_restarted_host_takes_its_runs_up_instead_of_making_them_again(fakes, database, tmp_path):
    (worker,) = await fakes()
    worker.gate.clear()
    async with open_lab(database, tmp_path, worker) as lab:
        job = await lab.ask("a")
        await lab.until(job.id, lambda job: job.state is JobState.RUNNING)
    worker.gate.set()
    async with open_lab(database, tmp_path, worker) as lab:
        done = await lab.ended(job.id)
    assert done.state is JobState.DONE
    assert done.epoch == 1
    assert worker.started == {f"{job.id}.1": 1}


async def test_requests_wait_unharmed_while_no_worker_is_there(fakes, lab_of):
    (worker,) = await fakes()
    worker.alive = False
    lab = await lab_of(worker)
    job = await lab.ask("a")
    await asyncio.sleep(0.3)
    status = await lab.desk.status(job.id, user_id=UserId("web:a"))
    assert (status.job.state, status.job.attempt, status.why.code) == (JobState.QUEUED, 0, "offline")
    worker.alive = True
    assert (await lab.ended(job.id)).state is JobState.DONE


async def test_the_waiting_limit_is_said_and_nothing_is_enqueued(lab_of):
    lab = await lab_of()
    for i in range(20):
        await lab.ask("a", f"wish {i}")
    with pytest.raises(WaitingLimitReached):
        await lab.ask("a", "one more")
    assert len(await lab.store.unfinished()) == 20
    await lab.ask("b", "somebody else's")
