"""A judge between the worker and everybody's eyes: over the real ledger, dispatcher, driver and HTTP."""

import asyncio
import base64
import io

from PIL import Image

from database.conduct_store import SqlConductStore
from jobs.events import JobProgressed
from jobs.job import JobState
from jobs.judging import JudgeAway, Verdict
from tests.fake_worker import ABLE, colour_of
from tests.integration.conftest import open_lab


class Judge:
    """Lets pass what ``verdict`` says of the number of the picture in its set; None stays away."""

    def __init__(self, verdict=lambda index: True) -> None:
        self.verdict = verdict
        self.seen: list[bytes] = []

    async def judge(self, data, picture):
        self.seen.append(data)
        allowed = self.verdict(picture.index)
        if allowed is None:
            raise JudgeAway("gone")
        return Verdict(allowed=allowed, reason="" if allowed else "nudity")


async def knowing(lab) -> None:
    """Until the house knows what its worker can do."""
    async with asyncio.timeout(5):
        while lab.pool.members[0].report is None:
            await asyncio.sleep(0.01)


def files(folder) -> list:
    return [path for path in (folder / "pictures").rglob("*") if path.is_file()]


async def test_what_may_be_shown_is_judged_once_and_delivered(fakes, lab_of, tmp_path):
    (worker,) = await fakes(abilities=ABLE)
    judge = Judge()
    lab = await lab_of(worker, classifier=judge)
    await knowing(lab)
    job = await lab.ended((await lab.ask("a", count=3)).id)
    assert job.state is JobState.DONE
    assert len(job.pictures) == len(judge.seen) == len(files(tmp_path)) == 3


async def test_one_blocked_picture_keeps_all_of_its_set_back_and_costs_its_person_nothing(fakes, lab_of, tmp_path, monkeypatch):
    (worker,) = await fakes(abilities=ABLE)
    judge = Judge(lambda index: index != 1)
    lab = await lab_of(worker, classifier=judge)
    await knowing(lab)
    kept, fail = [], lab.store.fail

    async def noted(*order, executed: float):
        kept.append(executed)
        return await fail(*order, executed=executed)

    monkeypatch.setattr(lab.store, "fail", noted)
    job = await lab.ended((await lab.ask("a", count=3)).id)
    assert (job.state, job.failure.code, job.failure.details) == (JobState.FAILED, "picture_blocked", {"reason": "nudity"})
    assert (job.pictures, files(tmp_path)) == ((), [])
    assert kept == [0.0]  # the part of what its turn was charged that stays charged
    assert (await SqlConductStore(lab.database).load(job.user_id)).seconds == 0
    async with asyncio.timeout(5):
        while f"{job.id}.1" not in worker.acknowledged:
            await asyncio.sleep(0.01)
    # The worker did what it was told: it is at nobody's fault, and makes the next one.
    judge.verdict = lambda index: True
    assert lab.pool.members[0].breaker.circuit == "closed"
    assert (await lab.ended((await lab.ask("a")).id)).state is JobState.DONE
    assert (await SqlConductStore(lab.database).load(job.user_id)).seconds > 0


async def test_without_a_verdict_nothing_is_shown_and_asking_again_may_help(fakes, lab_of, tmp_path):
    (worker,) = await fakes(abilities=ABLE)
    judge = Judge(lambda index: None if index == 2 else True)
    lab = await lab_of(worker, classifier=judge)
    await knowing(lab)
    job = await lab.ended((await lab.ask("a", count=3)).id)
    assert (job.state, job.failure.code, files(tmp_path)) == (JobState.FAILED, "not_judged", [])
    judge.verdict = lambda index: True
    assert (await lab.ended((await lab.ask("a", count=3)).id)).state is JobState.DONE


async def test_a_run_that_a_restarted_host_takes_up_is_judged_too(fakes, database, tmp_path):
    (worker,) = await fakes(abilities=ABLE)
    worker.gate.clear()
    async with open_lab(database, tmp_path, worker) as lab:
        job = await lab.ask("a")
        await lab.until(job.id, lambda job: job.state is JobState.RUNNING)
    worker.gate.set()
    async with open_lab(database, tmp_path, worker, classifier=Judge(lambda index: False)) as lab:
        ended = await lab.ended(job.id)
    assert (ended.epoch, ended.state, ended.failure.code, files(tmp_path)) == (1, JobState.FAILED, "picture_blocked", [])


async def test_half_made_pictures_are_shown_only_where_nobody_judges(fakes, database, tmp_path):
    (worker,) = await fakes(abilities=ABLE)
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour_of("x")).save(out, "WEBP")
    worker.preview = base64.b64encode(out.getvalue()).decode()
    shown = {}
    for judge in (None, Judge()):
        async with open_lab(database, tmp_path, worker, classifier=judge) as lab:
            with lab.feed.subscribe() as heard:
                job = await lab.ask("a")
                while True:
                    async with asyncio.timeout(5):
                        event = await heard.next()
                    if isinstance(event, JobProgressed) and event.job_id == job.id:
                        break
            shown[judge is None] = event.preview
            await lab.ended(job.id)
    assert shown == {True: out.getvalue(), False: None}
