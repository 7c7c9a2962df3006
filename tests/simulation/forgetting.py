"""I17: people who have everything deleted at a random moment, and the judge of what is left of them.

Who deletes what and when comes from a random source of its own, so that a seed in which nobody does tells the story it always told.
"""

import asyncio
import logging
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bot.cogs.photos.memory import marker_of
from bot.poster import SEND_TIMEOUT
from jobs.errors import StoreUnavailable
from jobs.job import JobId, UserId
from jobs.ports import DeliveryKind
from tests.simulation.host import POLICY, SimHost

if TYPE_CHECKING:
    from tests.simulation.world import Plan, Wish, World

KEPT_OF_A_PERSON = frozenset({"account", "session", "strike", "ban", "audit", "person"})
"""Tables in which their name stays on purpose: what they were served (deleting must not wipe a debt out), and what house rules need."""

PACKAGES = ("bot", "database", "jobs", "workers")


@dataclass(frozen=True, kw_only=True)
class Erasing:
    """What a seed drew: after so many of their wishes, so many seconds later."""

    person: int
    after: int
    delay: float


@dataclass
class Try:
    """One request of theirs to a host. It may take effect until it ended there, whoever still waits for its answer."""

    host: int
    begun: float
    ended: float | None = None


@dataclass
class Deletion:
    """What somebody asked for and was told."""

    person: int
    asked_at: float
    tries: list[Try] = field(default_factory=list)
    acked_at: float | None = None
    count: int = 0


def draw_erasings(rng: random.Random, plan: "Plan") -> list[Erasing]:
    """In a third of the seeds one person or two."""
    if rng.random() > 0.33:
        return []
    most = max(1, plan.wishes // plan.people)
    people = rng.sample(range(plan.people), k=rng.choice((1, 1, 2)))
    return [Erasing(person=number, after=rng.randint(1, most), delay=rng.expovariate(1 / 10)) for number in people]


class LogEar(logging.Handler):
    """Hears everything that the code logs, as the least quiet host would write it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def begin(self) -> None:
        for name in PACKAGES:
            logging.getLogger(name).setLevel(logging.DEBUG)
            logging.getLogger(name).addHandler(self)

    def end(self) -> None:
        for name in PACKAGES:
            logging.getLogger(name).removeHandler(self)


# ---- the person ------------------------------------------------------------------------------------------------------


async def have_everything_deleted(world: "World", number: int, user: UserId, rng: random.Random) -> None:
    """Ask until answered, as for a picture."""
    deletion = Deletion(number, world.loop.time())
    world.deletions.append(deletion)
    while deletion.acked_at is None:
        able = [host for host in world.alive() if host.number not in world.loop.stopped]
        if not able:
            await asyncio.sleep(1.0)
            continue
        host = rng.choice(able)
        attempt = Try(host.number, world.loop.time())
        deletion.tries.append(attempt)
        try:
            await _ask(world, host, user, deletion, attempt)
        except (ConnectionResetError, StoreUnavailable, TimeoutError):
            await asyncio.sleep(rng.uniform(0.1, 3.0))
        except Exception as error:  # noqa: BLE001  nobody may ever be answered with that
            world.complaints.append(f"a person who had everything deleted was answered {error!r}")
            return


async def _ask(world: "World", host: SimHost, user: UserId, deletion: Deletion, attempt: Try) -> None:
    async def work() -> int:
        host.ledger.flushed = None
        try:
            count = await host.members.erase(user)
        finally:  # a killed host never comes here: then the time of its death counts
            attempt.ended = world.loop.time()
        if host.ledger.flushed is not False:  # no other host came between: nothing was awaited since
            world.left_in_files += [f"{where}, after a deletion" for where in words_in_files(world, deletion)]
        return count

    async with asyncio.timeout(60):
        deletion.count = await host.ask(work)
    deletion.acked_at = world.loop.time()
    world.note(f"person {deletion.person} had everything deleted ({deletion.count} jobs) at try {len(deletion.tries)}")


async def clear_files_away(world: "World") -> None:
    """A day later: the real janitor of a host that lives takes the files that nobody names."""
    for file in picture_files(world):
        os.utime(file, (time.time() - 90_000, time.time() - 90_000))
    while True:
        able = world.alive()
        if able:  # else all are still to come back
            with suppress(StoreUnavailable, ConnectionResetError, TimeoutError):
                async with asyncio.timeout(60):
                    await able[0].ask(able[0].janitor.sweep)
                return
        await asyncio.sleep(5.0)


def picture_files(world: "World") -> list[Any]:
    return [file for file in (world.folder / "pictures").rglob("*") if file.is_file()]


# ---- which wishes a deletion took ------------------------------------------------------------------------------------


def taken(world: "World", wish: "Wish") -> Deletion | None:
    """The acknowledged deletion before which this wish was acknowledged, if there is one: nothing of it may be left."""
    return next((one for one in world.deletions if one.acked_at is not None and taken_by(one, wish)), None)


def may_be_gone(world: "World", wish: "Wish") -> bool:
    """Whether some try of a deletion, maybe one nobody waited for any more, may have come after it."""
    return any(
        deletion.person == wish.person and wish.acked_at is not None and wish.acked_at <= _until(world, attempt)
        for deletion in world.deletions
        for attempt in deletion.tries
    )


def _until(world: "World", attempt: Try) -> float:
    return attempt.ended if attempt.ended is not None else world.died.get(attempt.host, float("inf"))


def words_in_files(world: "World", deletion: Deletion) -> Iterator[str]:
    """Prompts of theirs that are in the bytes of the database, deleted rows, free pages and the WAL included."""
    words = [wish.prompt for wish in world.wishes if taken_by(deletion, wish)]
    for file in (world.database.file, world.database.file.with_name(world.database.file.name + "-wal")):
        data = file.read_bytes() if file.exists() else b""
        for prompt in words:
            if _is_in(prompt, data):
                yield f"{prompt!r} is in the bytes of {file.name}"


def taken_by(deletion: Deletion, wish: "Wish") -> bool:
    return deletion.person == wish.person and wish.acked_at is not None and wish.acked_at <= deletion.asked_at


def _is_in(prompt: str, data: bytes) -> bool:
    return prompt.encode() in data


# ---- the judge -------------------------------------------------------------------------------------------------------


def i17_no_table_tells_of_a_deleted_person(world: "World", records: Any) -> Iterator[str]:
    gone = [wish for wish in world.wishes if taken(world, wish) and wish.prompt not in records.late]
    if not gone:
        return
    rows = list(_everything(world))
    for wish in gone:
        for table, row in rows:
            if wish.prompt in row:
                yield f"{wish.prompt!r} was deleted and is in {table}"
            if table not in ("job_event", "claim_clock") and wish.acked is not None and wish.acked.id in row:
                yield f"job {wish.acked.id} was deleted and is in {table}"
    for deletion in world.deletions:
        user = f"discord:{deletion.person}"
        if any(job["user_id"] == user for job in records.jobs):
            continue  # they asked again since
        for table, row in rows:
            if repr(user) in row and table not in KEPT_OF_A_PERSON and deletion.acked_at is not None:
                yield f"{user} had everything deleted and stands in {table}: {row[:120]}"


def _everything(world: "World") -> Iterator[tuple[str, str]]:
    raw = sqlite3.connect(world.database.file)
    names = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in names:
        for row in raw.execute(f'SELECT * FROM "{name}"'):
            yield name, str(row)
    raw.close()


def i17_no_byte_of_a_deleted_prompt_is_left(world: "World", records: Any) -> Iterator[str]:
    """After each deletion whose checkpoint succeeded, and at the end, once a checkpoint did."""
    yield from world.left_in_files
    if not world.deletions:
        return
    raw = sqlite3.connect(world.database.file)
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    for deletion in world.deletions:
        for found in words_in_files(world, deletion) if deletion.acked_at is not None else ():
            if not any(prompt in found for prompt in records.late):
                yield found


def i17_no_picture_file_of_a_deleted_person_is_left(world: "World", records: Any) -> Iterator[str]:
    if not world.deletions:
        return
    named = {row["sha256"] for row in records.results}
    for file in picture_files(world):
        if file.name not in named:
            yield f"picture {file.name[:12]} belongs to nobody and is still there"


def i17_nothing_is_posted_after_a_deletion(world: "World", _: Any) -> Iterator[str]:
    """What a host was just delivering goes out: such a request is begun within the time that a delivery has, or that its host stood still."""
    kinds = (DeliveryKind.CARD, DeliveryKind.PICTURE, DeliveryKind.FAILURE)
    for wish in world.wishes:
        deletion = taken(world, wish)
        if deletion is None or deletion.acked_at is None or wish.acked is None:
            continue
        last = max([deletion.acked_at, *(end for begun, end in world.stops if begun < deletion.acked_at + SEND_TIMEOUT)]) + SEND_TIMEOUT
        marks = {marker_of(JobId(wish.acked.id), 0, kind): kind for kind in kinds}
        for message in world.chat.messages:
            for mark in set(message.markers) & marks.keys():
                if message.channel == 100 + wish.person and message.sent_at > last:
                    late = message.sent_at - deletion.acked_at
                    yield f"the {marks[mark]} of {wish.prompt!r} was sent off {late:.0f} s after its deletion"


def i17_what_was_being_made_is_stopped(world: "World", _: Any) -> Iterator[str]:
    """Where nothing else goes wrong: the next renewal finds the lease gone, and tells the worker."""
    if not world.is_calm:
        return
    runs = [(worker, told) for worker in world.workers for told in worker.log]
    for wish in world.wishes:
        deletion = taken(world, wish)
        if deletion is None or deletion.acked_at is None or wish.acked is None:
            continue
        for worker, told in runs:
            last = deletion.acked_at + POLICY.renew_every + worker.step + 2.0 + 100 * world.database.latency
            if told.key.job_id == wish.acked.id and (told.ended or float("inf")) > last:
                yield f"{worker.name} worked on for {wish.prompt!r}, which was deleted at {deletion.acked_at:.1f}, until {told.ended}"


def i17_no_prompt_is_logged(world: "World", _: Any) -> Iterator[str]:
    """Nobody knows today whose words are to be deleted tomorrow: no line repeats anybody's, none names a person."""
    for line in world.ear.lines:
        for wish in world.wishes:
            if wish.prompt in line or f"discord:{wish.person}" in line:
                yield f"a log line tells of person {wish.person}: {line[:200]}"
                break
