"""Two real hosts on one PostgreSQL: one holds Discord, the other stands by, and takes over what a kill leaves."""

import asyncio

from tests.acceptance.lab import Process, channel_of, eventually, free_port, is_picture, open_lab
from tests.fake_worker import FakeWorker


async def test_the_standby_takes_gateway_and_runs_over_and_nothing_is_lost_or_posted_twice(tmp_path, postgres_server):
    url = postgres_server.url(postgres_server.new_database())
    async with FakeWorker(step_seconds=0.3, max_batch=4).serve() as worker, open_lab(tmp_path, [worker.url], database_url=url) as lab:
        other = Process(["host"], _other_host(lab, tmp_path, worker.url, url), tmp_path / "other.log")
        await other.start()
        try:
            await eventually(lambda: _says(other, "standing by"), seconds=60, what="the second host stands by")
            records = [await lab.imagine(member, "a red star", steps=40) for member in ("ada", "chen")]
            await eventually(lambda: _until(len(worker.started) >= 2), seconds=30, what="both runs under way")
            await lab.host.kill()
            await eventually(lambda: _says(other, "this host holds the Discord gateway"), seconds=60, what="the takeover")
            for record in records:
                await eventually(lambda record=record: _pictures(lab, record), seconds=120, what="the picture")
            await asyncio.sleep(3)
            assert [len(await _pictures(lab, record)) for record in records] == [1, 1]
            assert max(worker.started.values()) == 1  # taken over, not made again
        finally:
            await other.kill()


def _other_host(lab, folder, worker_url, url) -> dict[str, str]:
    info = lab.rehearsal.info()
    return {
        "DISCORD_TOKEN": info["token"], "ALLOWED_GUILD_ID": info["guild_ids"][0], "DISCORD_API_URL": info["url"], "DATABASE_URL": url,
        "STORAGE": str(folder / "other"), "WORKER_URLS": worker_url, "HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(free_port()),
        "API_KEYS": "", "COMFY_URLS": "", "LEASE_SECONDS": "30", "DARKROOM_WORKER_TOKEN": "",
    }  # fmt: skip


async def _says(process: Process, words: str) -> bool:
    return words in process.log.read_text()


async def _until(is_so: bool) -> bool:
    return is_so


async def _pictures(lab, record) -> list:
    return [message for message in await lab.messages(channel_of(record)) if is_picture(message)]
