"""F17: the ledger is replaced by an older copy of itself. What was posted since is not posted again, and the house goes on."""

import sqlite3
from contextlib import closing

from rehearsal.config import RehearsalConfig
from tests.acceptance.lab import channel_of, eventually, is_picture, open_lab, texts
from tests.fake_worker import FakeWorker

WISHES = {"before": "a red star", "between": "a blue ring", "since": "a green square"}


async def test_what_was_posted_since_the_copy_was_made_is_not_posted_again(tmp_path):
    no_nonce = RehearsalConfig(seed="demo", message_limit=50, nonce_window=0.0)  # as hours later
    ledger, copy = tmp_path / "storage" / "darkroom.sqlite3", tmp_path / "copy.sqlite3"
    async with FakeWorker(step_seconds=0.02).serve() as worker, open_lab(tmp_path, [worker.url], rehearsal=no_nonce) as lab:
        channel = channel_of(await lab.imagine("ada", WISHES["before"]))
        await eventually(lambda: _shown(lab, channel, "before"), what="the first picture")
        worker.gate.clear()
        await lab.imagine("ada", WISHES["between"])
        await eventually(lambda: _runs(worker, 2), what="its run")
        with closing(sqlite3.connect(ledger)) as live:
            live.execute("VACUUM INTO ?", (str(copy),))
        worker.gate.set()
        await eventually(lambda: _shown(lab, channel, "between"), what="the second picture")
        await lab.imagine("ada", WISHES["since"])
        await eventually(lambda: _shown(lab, channel, "since"), what="the third picture")
        before = {m["id"] for m in await lab.messages(channel) if is_picture(m)}

        await lab.host.kill()
        for file in ledger.parent.glob("darkroom.sqlite3*"):
            file.unlink()
        copy.rename(ledger)
        await lab.host.start()
        await lab.up()

        await eventually(lambda: _all_told(lab), seconds=60, what="everything told")
        await lab.imagine("ada", "a white moon")
        after = await eventually(lambda: _new_pictures(lab, channel, before), seconds=60, what="the next picture")
        assert [texts(m) for m in after if "a white moon" not in texts(m)] == []
        told = {told.message_id for job in await lab.books() if job.prompt == WISHES["between"] for told in job.told if told.kind == "picture"}
        assert told <= before


async def _shown(lab, channel, wish) -> list:
    return [m for m in await lab.messages(channel) if is_picture(m) and WISHES[wish] in texts(m)]


async def _new_pictures(lab, channel, before) -> list:
    return [m for m in await lab.messages(channel) if is_picture(m) and m["id"] not in before]


async def _runs(worker, number) -> bool:
    return len(worker.started) >= number


async def _all_told(lab) -> bool:
    books = await lab.books()
    return all(job.state == "done" and all(told.state == "sent" for told in job.told) for job in books)
