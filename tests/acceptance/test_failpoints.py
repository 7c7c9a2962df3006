"""kill -9 at every crash point that docs/reliability.md names: between any two of them nothing is lost and nothing is made or told twice.

One lab dies at one point after the other, each time recovering under the next one, and is judged at the end as a whole.
"""

import asyncio

import pytest

from tests.acceptance.failing_host import names
from tests.acceptance.kill_loop import Kills, settle
from tests.acceptance.lab import Lab, Refused, button, eventually, open_lab
from tests.fake_worker import FakeWorker

BY_THEMSELVES = ("migrating",)
POINTS = [name for name in names() if name not in BY_THEMSELVES]
KILLED = -9
GATED = ("renew", "cancelled", "request_cancel")
"""Here runs stand still, so more requests would only pile up."""

class Stirring:
    """Makes happen what passes a failpoint."""

    def __init__(self, lab: Lab, kills: Kills, worker: FakeWorker) -> None:
        self.lab, self.kills, self.worker = lab, kills, worker
        self._asked = 0

    async def until_death(self, point: str) -> None:
        """Ask, and do what the point needs besides, until the host has killed itself."""
        self._asked = 0
        try:
            async with asyncio.timeout(60):
                while self.lab.host.is_alive():
                    await self._stir(point.partition(":")[2] or point)
                    await asyncio.sleep(0.3)
        except TimeoutError:
            raise AssertionError(f"the host never passed {point}") from None
        finally:
            self.worker.gate.set()
        assert self.lab.host.status == KILLED, f"{point}: the host ended with {self.lab.host.status}, see {self.lab.host.log}"

    async def _stir(self, what: str) -> None:
        match what:
            case "retry":
                self.worker.faults[:] = ["oom"] * 2
            case "fail":
                self.worker.faults[:] = ["refuse"] * 2
            case "renew" | "cancelled" | "request_cancel":
                assert what in GATED
                self.worker.gate.clear()  # runs stand still, so that there is something to renew and to cancel
            case "later":
                await self.lab.post("/control/faults", {"name": "status:500", "method": "POST", "path": "/messages", "count": 4})
            case "draining":
                await self.lab.host.stop()
                return
        if self._asked < (1 if what in GATED else 5):
            self._asked += 1
            await self.kills.ask(self.lab)
        if what in ("cancelled", "request_cancel"):
            await self._cancel_something()

    async def _cancel_something(self) -> None:
        for message in reversed(await self.lab.everything()):
            pressed = button(message, "cancel")
            if pressed is None:
                continue
            owners = [member for member in self.kills.members if await self._sees(member, message)]
            for owner in owners:
                self.kills.cancels += 1
                click = {"as": owner, "message_id": message["id"], "custom_id": pressed}
                try:
                    await self.lab.post("/control/click", click, wait="ack", timeout_s="5")
                except Refused:  # the bot died under the click
                    return
                return

    async def _sees(self, member: str, message: dict) -> bool:
        try:
            return any(m["id"] == message["id"] for m in await self.lab.messages(message["channel_id"], member))
        except Refused:
            return False


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_the_host_killed_at_each_named_moment_loses_nothing_and_tells_nothing_twice(tmp_path, store, request):
    url = ""
    if store == "postgresql":
        server = request.getfixturevalue("postgres_server")
        url = server.url(server.new_database())
    async with FakeWorker(step_seconds=0.02, max_batch=4).serve() as worker:
        kills = Kills(seed=4)
        async with open_lab(tmp_path, [worker.url], database_url=url, rehearsal=kills.config) as lab:
            await kills.ask(lab)
            await lab.host.kill()
            stirring = Stirring(lab, kills, worker)
            for point in POINTS:
                await lab.host.start(failpoint=point)
                await _up_or_dead(lab)
                await stirring.until_death(point)
                await lab.post("/control/faults/clear", {})
                worker.faults.clear()
            await lab.host.start()
            await lab.up()
            await settle(lab, seconds=400)  # retries beyond their budget come back after two minutes
            await kills.judge(lab)
        assert kills.acknowledged >= len(POINTS) // 2
        assert not [key for key, times in worker.started.items() if times > 1]


async def _up_or_dead(lab: Lab) -> None:
    async def either() -> bool:
        return not lab.host.is_alive() or await lab.is_ready()

    await eventually(either, seconds=90, what=f"the host ({lab.host.log})")


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_a_migration_killed_before_its_commit_is_begun_anew(tmp_path, store, request):
    url = ""
    if store == "postgresql":
        server = request.getfixturevalue("postgres_server")
        url = server.url(server.new_database())
    async with FakeWorker().serve() as worker, open_lab(tmp_path, [worker.url], database_url=url, started=False) as lab:
        await lab.host.start(failpoint="migrating")
        await eventually(lambda: _is_dead(lab), seconds=60, what="the death in its migration")
        assert lab.host.status == KILLED
        await lab.host.start()
        await lab.up()


async def _is_dead(lab: Lab) -> bool:
    return not lab.host.is_alive()


async def test_a_failpoint_that_does_not_exist_is_refused(tmp_path):
    async with FakeWorker().serve() as worker, open_lab(tmp_path, [worker.url], started=False) as lab:
        await lab.host.start(failpoint="after_commit:nonsense")
        await eventually(lambda: _is_dead(lab), seconds=30, what="its refusal")
        assert lab.host.status == 3
