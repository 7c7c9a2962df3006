"""What a host does to a run whose lease it lost: it stops it, unless another host follows that very run now."""

from collections.abc import AsyncGenerator

import pytest

from bot.clock import SystemClock
from database.engine import Database
from database.host_leases import HostLeases
from database.job_store import SqlJobStore
from database.picture_store import FilePictureStore
from jobs.carrier import Carrier, Policy, UnderWay
from jobs.estimate import Estimator
from jobs.feed import Feed
from jobs.run import Run, RunAccepted, RunEvent, RunKey, WorkerReport
from tests.contract.asking import ask, claim
from workers.breaker import Breaker
from workers.inspection import PictureInspector


class Listening:
    """A worker that accepts, and notes what it is told to stop."""

    name = "gpu"

    def __init__(self) -> None:
        self.stopped: list[RunKey] = []

    async def report(self) -> WorkerReport:
        raise NotImplementedError

    async def run(self, run: Run, *, resume: bool = False) -> AsyncGenerator[RunEvent, None]:
        yield RunAccepted(key=run.key)

    async def cancel(self, key: RunKey) -> None:
        self.stopped.append(key)

    async def acknowledge(self, key: RunKey) -> None:
        pass


@pytest.mark.parametrize("taken_over", [True, False])
async def test_a_run_that_another_host_took_over_is_not_stopped_by_the_former_one(database: Database, tmp_path, taken_over: bool):
    former, clock, worker = SqlJobStore(database, owner="former"), SystemClock(), Listening()
    await HostLeases(database, owner="former").live(seconds=-1)
    await ask(former)
    (job,) = await claim(former, lease_seconds=60 if taken_over else -1)
    if taken_over:
        assert await SqlJobStore(database, owner="other").adopt("gpu", lease_seconds=60)
    else:
        await former.expire(lost_max=9)
    carrier = Carrier(
        store=former, pictures=FilePictureStore(tmp_path), inspector=PictureInspector(), sink=Feed(), estimator=Estimator(), clock=clock,
        policy=Policy(),
    )  # fmt: skip

    await carrier.carry(UnderWay(worker=worker, job=job), Breaker(now=clock.monotonic), resume=False)

    assert worker.stopped == ([] if taken_over else [Run.of(job).key])
