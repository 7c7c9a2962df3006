"""The terminal's commands over a ledger: the same use cases as Discord's, refusals as sentences."""

import pytest

from bot.board import BoardMaker
from bot.operate import NotPossible, Operator, commands
from database.operating import Operating
from jobs.events import JobQueued
from jobs.job import JobState
from tests.fake_worker import FakeWorker
from tests.integration.conftest import Lab


@pytest.fixture
async def lab(lab_of, fakes) -> tuple[Lab, FakeWorker]:
    (worker,) = await fakes()
    return await lab_of(worker), worker


def known(lab: Lab):
    operating = Operating(lab.database)
    return commands(BoardMaker(database=lab.database, store=lab.store), operating, Operator(operating, lab.feed), lab.pictures)


async def test_what_has_ended_is_refunded_once_and_asked_again_with_everybody_told(lab: tuple[Lab, FakeWorker]):
    host, _ = lab
    job = await host.ended((await host.ask("ana")).id)
    told = await known(host)["refund"]({"job": job.id})
    assert (told["person"], told["gpu_seconds"]) == ("web:ana", job.making.seconds)
    assert job.making.seconds > 0
    with pytest.raises(NotPossible, match="given back already"):
        await known(host)["refund"]({"job": job.id})
    with host.feed.subscribe(job.id) as events:
        assert await known(host)["requeue"]({"job": job.id}) == {"generation": job.generation + 1}
        heard = await events.next()
    assert isinstance(heard, JobQueued) and heard.job.generation == job.generation + 1
    again = await host.until(job.id, lambda found: found.state is JobState.DONE and found.generation > job.generation)
    assert again.making is not None and not again.making.refunded


async def test_a_waiting_job_is_moved_and_nothing_else_is(lab: tuple[Lab, FakeWorker]):
    host, worker = lab
    worker.gate.clear()
    running = await host.ask("ana")
    await host.until(running.id, lambda found: found.state is JobState.RUNNING)
    await known(host)["worker"]({"name": "w0", "to": "pause"})
    waiting = await host.ask("ben")
    await known(host)["move"]({"job": waiting.id, "lane": "bulk", "worker": None})
    assert await host.store.look(lambda line: line.waiting[waiting.id].lane, fresh=0) == "bulk"
    for job_id, sentence in ((running.id, "Only a job that waits"), ("nobody", "no job of the name nobody")):
        with pytest.raises(NotPossible, match=sentence):
            await known(host)["move"]({"job": job_id, "lane": "quick", "worker": None})
    with pytest.raises(NotPossible, match="Known: w0"):
        await known(host)["worker"]({"name": "w9", "to": "drain"})
    worker.gate.set()
