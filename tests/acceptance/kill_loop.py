"""The loop of asking and killing, for the test's ten moments and, as a script, for as many as one likes."""

import argparse
import asyncio
import random
import tempfile
from pathlib import Path

from rehearsal.config import RehearsalConfig
from tests.acceptance.books import Entry
from tests.acceptance.lab import MEMBERS, Json, Lab, Refused, button, eventually, is_failure, is_picture, open_lab, texts
from tests.fake_worker import FakeWorker


class Kills:
    """Asks as six members, kills the host, remembers what was promised."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.config = RehearsalConfig(seed="demo", message_limit=50, global_limit=200)
        self.promised: dict[str, bool] = {}
        """Each prompt, and whether the member was told that it was taken."""
        self.members = MEMBERS
        self.cancels = 0
        """How often somebody pressed Cancel."""
        self._count = 0

    @property
    def acknowledged(self) -> int:
        return sum(self.promised.values())

    async def ask(self, lab: Lab) -> None:
        """A handful of requests, not waited for: some are on the wire when the kill comes."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.random.randint(2, 5)):
                self._count += 1
                prompt = f"wish number {self._count:04d} of many"
                self.promised[prompt] = False
                group.create_task(self._one(lab, self.random.choice(MEMBERS), prompt))

    async def _one(self, lab: Lab, member: str, prompt: str) -> None:
        try:
            record = await lab.imagine(member, prompt)
        except Refused:  # the bot was not there, or not yet
            return
        self.promised[prompt] = record["state"] == "acked" and "<#" in str(record["original"])

    async def kill_somewhere(self, lab: Lab) -> None:
        await asyncio.sleep(self.random.uniform(0, 1.2))
        await lab.host.kill()
        await lab.host.start()
        await lab.up()
        if self.random.random() < 0.5:  # and once more while it takes up what it had
            await asyncio.sleep(self.random.uniform(0, 0.4))
            await lab.host.kill()
            await lab.host.start()
            await lab.up()

    async def judge(self, lab: Lab) -> None:
        """Each wish is one job at most, each promised one is there, and what each came to was told once, in pictures or words."""
        books = await lab.books()
        messages = {message["id"]: message for message in await lab.everything()}
        answers = [m for m in messages.values() if is_picture(m)]
        for prompt, was_promised in self.promised.items():
            jobs = [entry for entry in books if entry.prompt == prompt]
            assert len(jobs) in ((1,) if was_promised else (0, 1)), f"{prompt!r} is {len(jobs)} jobs, promised: {was_promised}"
            shown = [m["id"] for m in answers if prompt in texts(m)]
            assert shown == [told for job in jobs for told in _ending(job, "picture", messages)], f"{prompt!r}: {shown}, {jobs}"
        told = [told for job in books for told in _ending(job, "failure", messages)]
        assert sorted(told) == sorted(m["id"] for m in messages.values() if is_failure(m))
        assert sum(job.state == "cancelled" for job in books) <= self.cancels


_ENDINGS = {"done": ["picture"], "failed": ["failure"], "expired": ["failure"], "quarantined": ["failure"], "cancelled": []}


def _ending(job: Entry, kind: str, messages: Json) -> list[str]:
    """The messages of this kind that a job's end was told in; all of them are there, and no other kind tells of it."""
    endings = [told for told in job.told if told.kind in ("picture", "failure")]
    assert [told.kind for told in endings] == _ENDINGS[job.state], job
    assert all(told.state == "sent" and told.message_id in messages for told in job.told if told.kind != "close"), job
    return [str(told.message_id) for told in endings if told.kind == kind]


async def settle(lab: Lab, *, seconds: float = 90) -> None:
    """Wait until nobody waits, every card is closed and no message comes any more."""

    async def is_quiet() -> bool:
        before = await lab.everything()
        await asyncio.sleep(2)
        async with lab.web.get(f"{lab.studio}/health") as answer:
            health = await answer.json()
        after = await lab.everything()
        return not health["queue_length"] and len(after) == len(before) and not any(button(m, "cancel") for m in after)

    await eventually(is_quiet, seconds=seconds, what="quiet")


async def _loop(rounds: int, seed: int, database_url: str) -> None:
    kills = Kills(seed)
    with tempfile.TemporaryDirectory() as folder:
        async with FakeWorker(step_seconds=0.04).serve() as worker:
            async with open_lab(Path(folder), [worker.url], database_url=database_url, rehearsal=kills.config) as lab:
                for done in range(1, rounds + 1):
                    await kills.ask(lab)
                    await kills.kill_somewhere(lab)
                    print(f"{done}/{rounds} rounds, {kills.acknowledged} of {len(kills.promised)} requests acknowledged", flush=True)
                await settle(lab)
                await kills.judge(lab)
    print("nothing lost, nothing twice")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database-url", default="")
    options = parser.parse_args()
    asyncio.run(_loop(options.rounds, options.seed, options.database_url))
