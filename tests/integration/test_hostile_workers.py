"""Whatever one worker answers, the host lives, its figures stay figures, and nobody waits for ever."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from bot.readings import MetricsReader
from jobs.estimate import Estimator
from jobs.job import JobState, UserId
from tests.contract.asking import order
from tests.contract.looking import rows
from tests.fake_worker import FakeWorker
from tests.integration.conftest import QUICK, open_lab
from workers.guarded import Guarded


class Liar(FakeWorker):
    """Says of its time what it was made with; with ``endless`` it tells of steps for ever, in rising numbers; ``deaf`` says that it stops, and goes on."""

    def __init__(self, *, seconds: float = 0.1, endless: bool = False, deaf: bool = False) -> None:
        super().__init__(step_seconds=0.03)
        self.seconds, self.endless, self.deaf = seconds, endless, deaf

    async def _delete(self, request):
        answer = await super()._delete(request)
        if self.deaf:
            self.cancelled.clear()
        return answer

    async def _story(self, key: str) -> AsyncIterator[dict]:
        n = 0
        async for event in super()._story(key):
            if event["type"] == "finished":
                event["seconds"] = self.seconds
            while self.endless and event["type"] == "progressed":
                if key not in self.cancelled:
                    n += 1
                    yield {**event, "sequence": n, "step": n, "total_steps": n + 5}
                    await asyncio.sleep(0.01)
                else:
                    yield {"type": "cancelled", "sequence": n, "reason": "requested"}
                    return
            yield event


@pytest.fixture
def heard(monkeypatch) -> Estimator:
    """The estimate of the lab that is opened next."""
    estimator = Estimator()
    monkeypatch.setattr("tests.integration.conftest.Estimator", lambda: estimator)
    return estimator


@asynccontextmanager
async def lab_with(worker: FakeWorker, database, tmp_path, **policy):
    async with worker.serve(), open_lab(database, tmp_path, worker, policy=replace(QUICK, **policy)) as lab:
        yield lab


def all_figures(value) -> list[float]:
    if isinstance(value, dict):
        return [figure for inner in value.values() for figure in all_figures(inner)]
    if isinstance(value, list | tuple):
        return [figure for inner in value for figure in all_figures(inner)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.parametrize("seconds", [1e300, 1.7e308, 86_400.0, 0.0, -7.0, 5e-324])
async def test_a_workers_word_on_its_time_moves_no_figure_beyond_what_passed_here(database, tmp_path, heard, seconds):
    async with lab_with(Liar(seconds=seconds), database, tmp_path) as lab:
        begun = asyncio.get_running_loop().time()
        jobs = [await lab.ended((await lab.ask("ana", f"wish {n}")).id) for n in range(3)]
        passed = asyncio.get_running_loop().time() - begun
        readings = await MetricsReader(database=lab.database, store=lab.store, fleet=lab.pool).read()

    assert [job.state for job in jobs] == [JobState.DONE] * 3
    assert all(0.05 <= job.making.seconds <= passed for job in jobs)  # three steps of 0.03 s lie between the first and the last
    assert all(math.isfinite(figure) for figure in all_figures(heard.dump()))
    assert all(value is None or math.isfinite(value) for _, value in readings.values())
    assert readings["slowdown_p50"][1] >= 1
    accounts = await rows(database, "account")
    assert accounts
    assert all(math.isfinite(account["v"]) and 0 < account["v"] < 600 for account in accounts)


@pytest.mark.parametrize("seconds", [math.inf, -math.inf, math.nan])
async def test_an_end_with_a_number_that_is_none_is_the_workers_fault(database, tmp_path, heard, seconds):
    async with lab_with(Liar(seconds=seconds), database, tmp_path) as lab:
        job = await lab.ended((await lab.ask("ana")).id)

    assert (job.state, job.failure.code) == (JobState.FAILED, "worker_unreachable")
    assert heard.dump()["rates"] == []


async def test_a_run_that_tells_of_steps_for_ever_ends_by_a_deadline(database, tmp_path):
    worker = Liar(endless=True)
    async with lab_with(worker, database, tmp_path, run_least=0.2, run_most=0.4) as lab:
        job = await lab.ended((await lab.ask("ana")).id)

    assert (job.state, job.failure.code) == (JobState.FAILED, "worker_unreachable")
    assert set(worker.orders) == worker.cancelled == {f"{job.id}.{epoch}" for epoch in (1, 2, 3)}


async def test_what_is_known_to_be_quick_gets_less_time_than_what_is_not(database, tmp_path, heard):
    worker = Liar(endless=True)
    async with lab_with(worker, database, tmp_path, run_least=0.2, run_most=3600) as lab:
        for _ in range(5):
            heard.observe("w0", order(width=64, height=64, steps=4), 0.01)
        job = await lab.ended((await lab.ask("ana")).id)

    assert job.failure.code == "worker_unreachable"


async def test_a_worker_that_does_not_stop_frees_its_persons_place_all_the_same(database, tmp_path):
    worker = Liar(endless=True, deaf=True)
    async with lab_with(worker, database, tmp_path, stopping=0.2) as lab:
        job = await lab.ask("ana")
        await lab.until(job.id, lambda job: job.state is JobState.RUNNING)
        await lab.desk.cancel(job.id, user_id=UserId("web:ana"))
        assert (await lab.ended(job.id)).state is JobState.CANCELLED


PRIVATE = "a very private prompt"


class Startling:
    """A driver that one kind of answer makes stumble over what nobody thought of."""

    def __init__(self, worker, where: str) -> None:
        self._worker, self._where = worker, where
        self.name = worker.name

    def _look(self, where: str) -> None:
        if where == self._where:
            raise OverflowError(PRIVATE)

    async def report(self):
        self._look("report")
        return await self._worker.report()

    async def run(self, run, *, resume=False):
        async for event in self._worker.run(run, resume=resume):
            self._look("run")
            yield event

    async def cancel(self, key):
        self._look("cancel")
        await self._worker.cancel(key)

    async def acknowledge(self, key):
        self._look("acknowledge")
        await self._worker.acknowledge(key)


@pytest.mark.parametrize("where", ["report", "run", "cancel", "acknowledge"])
async def test_the_host_outlives_a_driver_that_stumbles_anywhere(fakes, lab_of, caplog, where):
    (worker,) = await fakes()
    worker.gate.clear()
    lab = await lab_of(worker)
    (member,) = lab.pool.members
    well, member.worker = member.worker, Guarded(Startling(member.worker, where))

    job = await lab.ask("ana")
    async with asyncio.timeout(10):
        while "OverflowError" not in caplog.text and (await lab.store.get(job.id)).state is not JobState.RUNNING:
            await asyncio.sleep(0.01)
    await lab.desk.cancel(job.id, user_id=UserId("web:ana"))
    assert (await lab.ended(job.id)).state in (JobState.CANCELLED, JobState.FAILED)
    async with asyncio.timeout(10):
        while "OverflowError" not in caplog.text:
            await asyncio.sleep(0.01)

    member.worker = well
    worker.gate.set()
    assert (await lab.ended((await lab.ask("ana")).id)).state is JobState.DONE
    assert PRIVATE not in caplog.text


async def test_a_job_that_cannot_even_be_given_back_waits_for_its_lease_to_lapse(fakes, lab_of, monkeypatch, caplog):
    (worker,) = await fakes()
    worker.faults = ["hang"]
    lab = await lab_of(worker, policy=replace(QUICK, lease=0.6))
    giving_back = lab.store.retry

    async def stumble(*_, **__):
        monkeypatch.setattr(lab.store, "retry", giving_back)
        raise RuntimeError("nobody thought of it")

    monkeypatch.setattr(lab.store, "retry", stumble)
    job = await lab.ended((await lab.ask("ana")).id)

    assert (job.state, job.lost) == (JobState.DONE, 1)
    assert "left until its lease lapses" in caplog.text


async def test_what_surprises_the_planning_is_the_trouble_of_one_worker(fakes, lab_of, monkeypatch, caplog):
    bad, good = await fakes(2)
    lab = await lab_of(bad, good)
    dispatcher = lab.pool._dispatcher
    fill = dispatcher.fill

    async def stumbling(worker, *rest, **more):
        if worker.name == "w0":
            raise ZeroDivisionError
        return await fill(worker, *rest, **more)

    monkeypatch.setattr(dispatcher, "fill", stumbling)
    for n in range(4):
        assert (await lab.ended((await lab.ask("ana", f"wish {n}")).id)).making.worker == "w1"

    assert len([record for record in caplog.records if "ZeroDivisionError" in record.message]) == 1


async def test_words_of_a_worker_that_quote_the_prompt_stay_out_of_the_log(fakes, lab_of, caplog):
    (worker,) = await fakes()
    worker.faults = ["refuse"]
    worker.sentence = 'could not parse "The Secret  Garden at night, oil"'
    lab = await lab_of(worker)
    job = await lab.ended((await lab.ask("ana", "the secret garden at night, oil on canvas")).id)

    assert job.failure.code == "run_refused"
    assert "ecret" not in caplog.text.casefold().replace("secrets", "")
    assert json.dumps(job.failure.details).count("Secret") == 1  # its person is told
