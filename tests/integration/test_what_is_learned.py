"""What the dispatcher tells the estimate and the line of a run under way: when it ends, and what loading its model took."""

import asyncio

from database.figures import read_figures
from jobs.estimate import Estimator
from jobs.job import JobState
from tests.contract.looking import do
from tests.fake_worker import FakeWorker
from tests.integration.conftest import open_lab


async def test_whoever_waits_is_told_when_the_pass_under_way_ends(database, tmp_path):
    async with FakeWorker(max_batch=1, step_seconds=0.01).serve() as worker, open_lab(database, tmp_path, worker) as lab:
        await lab.ended((await lab.ask("ana")).id)  # now it is known what such a picture takes
        worker.gate.clear()
        running = await lab.ask("ana")
        await lab.until(running.id, lambda job: job.state is JobState.RUNNING)

        (view,) = lab.pool.views()

        assert view.free_in is not None
        assert view.free_in >= 0
        worker.gate.set()
        await lab.ended(running.id)
        async with asyncio.timeout(10):
            while lab.pool.views()[0].running:
                await asyncio.sleep(0.01)
        assert lab.pool.views()[0].free_in is None


class Heard(Estimator):
    """An estimate that keeps what it is told of swaps."""

    def __init__(self) -> None:
        super().__init__()
        self.swaps: list[tuple[str, str]] = []

    def observe_swap(self, worker: str, model: str, seconds: float) -> None:
        self.swaps.append((worker, model))
        super().observe_swap(worker, model, seconds)


async def test_the_loading_of_a_model_is_learned_once_what_drawing_takes_is_known(database, tmp_path, monkeypatch):
    heard = Heard()
    monkeypatch.setattr("tests.integration.conftest.Estimator", lambda: heard)
    async with FakeWorker(abilities={"loaded": False}).serve() as worker, open_lab(database, tmp_path, worker) as lab:
        await lab.ended((await lab.ask("ana")).id)
        assert heard.swaps == []
        await lab.ended((await lab.ask("ana")).id)
        assert heard.swaps == [("w0", "house")]
        worker.offer = {**worker.offer, "loaded": True}
        async with asyncio.timeout(10):
            while not lab.pool.views()[0].loaded:
                await asyncio.sleep(0.01)
        await lab.ended((await lab.ask("ana")).id)

    assert heard.swaps == [("w0", "house")]



async def test_a_job_set_aside_is_said_to_the_operator_and_counted(database, tmp_path, caplog):
    async with FakeWorker().serve() as worker, open_lab(database, tmp_path, worker) as lab:
        worker.gate.clear()
        poison = await lab.ask("ana")
        await lab.until(poison.id, lambda job: job.state is JobState.RUNNING)
        await do(database, f"UPDATE job SET suspect = 1, died_on = '[\"another\"]' WHERE id = '{poison.id}'")
        worker.restart()  # it died of it, and has forgotten everything
        worker.gate.set()

        ended = await lab.ended(poison.id)
        async with asyncio.timeout(10):  # the ledger has it a moment before the log
            while f"job {poison.id} is set aside" not in caplog.text:
                await asyncio.sleep(0.01)

    assert ended.state is JobState.QUARANTINED
    assert (await read_figures(database)).set_aside == 1
