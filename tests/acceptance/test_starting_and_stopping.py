"""F4: asked twice to stop, a host ends at once and loses nothing. F5: two hosts that start at once on an empty database."""

import asyncio
import os
import signal

from tests.acceptance.lab import Process, channel_of, eventually, free_port, is_picture, open_lab, texts
from tests.fake_worker import FakeWorker

AT_ONCE = 130


async def test_a_second_signal_ends_a_host_that_is_still_saying_good_bye_and_nothing_is_lost(tmp_path):
    async with FakeWorker(step_seconds=0.02).serve() as worker, open_lab(tmp_path, [worker.url]) as lab:
        channel = channel_of(await lab.imagine("ada", "a red star"))
        await eventually(lambda: _pictures(lab, channel, "a red star"), what="the first picture")
        hang = {"name": "hang", "method": "POST", "path": f"/channels/{channel}/messages", "count": 1}
        fault = await lab.post("/control/faults", hang)
        await lab.imagine("ada", "a blue ring")
        await eventually(lambda: _was_hit(lab, fault["id"]), what="a post without an answer")  # which a polite end waits for

        os.kill(lab.host.pid, signal.SIGTERM)
        await eventually(lambda: _says(lab.host, "SIGTERM: stopping"), seconds=10, what="its good-bye")
        assert lab.host.is_alive()
        os.kill(lab.host.pid, signal.SIGTERM)
        await eventually(lambda: _is_over(lab.host), seconds=5, what="its end")  # the polite one takes eight seconds

        assert lab.host.status == AT_ONCE
        await lab.post("/control/faults/clear", {})
        await lab.host.start()
        await lab.up()
        await eventually(lambda: _pictures(lab, channel, "a blue ring"), seconds=60, what="the second picture")
        await asyncio.sleep(2)
        assert len(await _pictures(lab, channel, "a blue ring")) == 1
        assert max(worker.started.values()) == 1


async def test_two_hosts_that_start_at_once_migrate_once_and_one_of_them_serves_discord(tmp_path, postgres_server):
    name = postgres_server.new_database()
    url = postgres_server.url(name)
    async with FakeWorker(step_seconds=0.02).serve() as worker, open_lab(tmp_path, [worker.url], database_url=url, started=False) as lab:
        other = Process(["host"], _another(lab, tmp_path, worker.url, url), tmp_path / "other.log")
        (tmp_path / "storage" / "pictures").mkdir(parents=True)
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "pictures").symlink_to(tmp_path / "storage" / "pictures")  # one folder, as docs/operating.md asks
        try:
            await asyncio.gather(lab.host.start(), other.start())
            await eventually(lambda: _one_serves(lab.host, other), seconds=90, what="one holds the gateway, one stands by")
            ((revision,),) = postgres_server.execute("SELECT version_num FROM alembic_version", database=name)
            assert revision["version_num"]
            migrated = [log for log in _logs(lab.host, other) if "the database went from revision none" in log]
            assert len(migrated) == 1
            await eventually(lambda: _commands_are_there(lab), seconds=60, what="the commands")
            record = await lab.imagine("ada", "a red star")
            await eventually(lambda: _pictures(lab, channel_of(record), "a red star"), seconds=60, what="the picture")
            assert (lab.host.is_alive(), other.is_alive()) == (True, True)
        finally:
            await other.kill()


def _another(lab, folder, worker_url, url) -> dict[str, str]:
    info = lab.rehearsal.info()
    return {
        "DISCORD_TOKEN": info["token"], "ALLOWED_GUILD_ID": info["guild_ids"][0], "DISCORD_API_URL": info["url"], "DATABASE_URL": url,
        "STORAGE": str(folder / "other"), "WORKER_URLS": worker_url, "HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(free_port()),
        "API_KEYS": "", "COMFY_URLS": "", "LEASE_SECONDS": "30", "DARKROOM_WORKER_TOKEN": "",
    }  # fmt: skip


def _logs(*hosts: Process) -> list[str]:
    return [host.log.read_text() for host in hosts]


async def _one_serves(*hosts: Process) -> bool:
    assert all(host.is_alive() for host in hosts), "\n".join(_logs(*hosts))[-3000:]
    holders = sum("this host holds the Discord gateway" in log for log in _logs(*hosts))
    standing_by = sum("standing by" in log for log in _logs(*hosts))
    assert holders < 2
    return holders == standing_by == 1


async def _commands_are_there(lab) -> bool:
    state = await lab.get("/control/state", **{"as": "ada"})
    return state["application"]["connected"] and any(command["name"] == "imagine" for command in state["commands"])


async def _pictures(lab, channel, wish) -> list:
    return [m for m in await lab.messages(channel) if is_picture(m) and wish in texts(m)]


async def _was_hit(lab, fault_id) -> bool:
    return any(f["id"] == fault_id and f["hits"] for f in (await lab.get("/control/faults"))["faults"])


async def _says(process: Process, words: str) -> bool:
    return words in process.log.read_text()


async def _is_over(process: Process) -> bool:
    return not process.is_alive()
