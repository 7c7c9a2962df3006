"""The defects, as patches of the real code in this process. Each is a mistake that somebody could make.

Applied in a forked child only: nothing undoes them.
"""

import asyncio
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from sqlalchemy import delete, event, exists, insert, update

from bot import janitor
from bot.cogs.photos.courier import DiscordCourier
from bot.poster import Poster, TryLater
from database import endings, engine, fenced, history, job_store, line_keeper, member_store, outbox, picture_store, rows, submitting, tables
from database.engine import Database
from database.history import Move
from database.moments import now
from jobs import carrier, planner
from jobs.carrier import Carrier, UnderWay
from jobs.dispatcher import Dispatcher
from jobs.errors import LeaseLost, StoreUnavailable, WorkerBusy
from jobs.fairness import Changes
from jobs.job import Job, JobState
from jobs.line import Line
from jobs.ports import DeliveryKind
from workers import inspection
from workers.pool import Pool


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put ``make(original)`` in the original's place. A name that is gone fails loudly: the mutant must hit the code that runs."""
    original = getattr(owner, name)
    setattr(owner, name, make(original))


# ---- the ledger -------------------------------------------------------------------------------------------------------


def no_fence() -> None:
    """A write is taken whatever its epoch and owner."""

    def make(original: Any) -> Any:
        def apply(self: Any, write: fenced.Write) -> Any:
            before = self._rows.get(write.key.job_id)
            if before is not None:
                write = dataclasses.replace(write, key=dataclasses.replace(write.key, epoch=before["epoch"]))
                self._owner = before["owner"]
            return original(self, write)

        return apply

    replace(fenced._Work, "apply", make)


def no_idempotency_key() -> None:
    """The door's own id is not looked for, and not kept."""
    replace(rows, "values_of", lambda original: lambda new: original(new) | {"idempotency_key": new.id})
    job_store.values_of = rows.values_of
    replace(submitting, "_known_and_waiting", lambda original: lambda new: original(dataclasses.replace(new, idempotency_key=new.id)))


def acknowledged_before_the_commit() -> None:
    """The person is told "taken" although the ledger said that it cannot take it now."""

    def make(original: Any) -> Any:
        async def submit(self: Any, new: Any, *, waiting_limit: int) -> tuple[Job, bool]:
            try:
                return await original(self, new, waiting_limit=waiting_limit)
            except StoreUnavailable:
                return _imagined(new), True

        return submit

    replace(job_store.SqlJobStore, "submit", make)


def _imagined(new: Any) -> Job:
    from tests.simulation.sqlite import EPOCH

    return Job(
        id=new.id, user_id=new.user_id, door=new.door, order=new.order, state=JobState.QUEUED, generation=0, attempt=0, lost=0, epoch=0,
        version=0, created_at=EPOCH, place=new.place, idempotency_key=new.idempotency_key,
    )  # fmt: skip


def claim_in_two_transactions() -> None:
    """The planner chooses in one transaction, the lease is written in the next, and the slots are no constraint."""

    class Stale:
        def __init__(self, keeper: line_keeper.LineKeeper) -> None:
            self._keeper = keeper

        def __getattr__(self, name: str) -> Any:
            return getattr(self._keeper, name)

        async def catch_up(self, _tx: Any) -> Any:
            return self._keeper.line

    def make(original: Any) -> Any:
        async def write_once(self: Any, work: Any) -> Any:
            how = getattr(work, "keywords", {})
            decide = how.get("decide")
            if decide is None:
                return await original(self, work)
            chosen: list[Any] = []

            async def look(tx: Any) -> None:
                chosen.append(decide(await how["keeper"].catch_up(tx)))

            await original(self, look)
            late = functools.partial(work.func, **(how | {"keeper": Stale(how["keeper"]), "decide": lambda _: chosen[0]}))
            return await original(self, late)

        return write_once

    replace(Database, "write_once", make)


def slot_freed_when_cancel_is_asked() -> None:
    """A running job whose owner presses Cancel is cancelled there and then; its worker works on."""

    def make(original: Any) -> Any:
        async def request_cancel(tx: Any, *, job_id: Any, user_id: Any) -> Job:
            before = await job_store._locked(tx, job_id)
            if before is not None and before["slot"] is not None:
                values = {**fenced.FREED, "cancel_requested": True, "state": JobState.CANCELLED.value, "finished_at": now()}
                row = await job_store._change(tx, before, values)
                await history.record(tx, [Move(row=row, was=before["state"], actor=user_id)])
                return rows.job_of(row)
            return await original(tx, job_id=job_id, user_id=user_id)

        return request_cancel

    replace(job_store, "_request_cancel", make)


def cancel_undoes_what_is_done() -> None:
    """A cancel that comes after the end changes the end."""

    def make(original: Any) -> Any:
        async def request_cancel(tx: Any, *, job_id: Any, user_id: Any) -> Job:
            before = await job_store._locked(tx, job_id)
            if before is not None and before["state"] == "done":
                row = await job_store._change(tx, before, {"state": JobState.CANCELLED.value})
                await tx.execute(insert(tables.job_event), [history._line(Move(row=row, was=before["state"], actor=user_id))])
                return rows.job_of(row)
            return await original(tx, job_id=job_id, user_id=user_id)

        return request_cancel

    replace(job_store, "_request_cancel", make)


def retry_without_budget() -> None:
    """A fault is never counted, so a job that always fails is tried for ever."""
    replace(endings, "_again", lambda original: lambda row, at, **how: original(row, at, **(how | {"attempts_max": None, "died": False})))


def results_in_another_transaction() -> None:
    """The job is done in one commit, its pictures are written in the next."""

    def make(original: Any) -> Any:
        async def finish(self: Any, key: Any, pictures: Any, making: Any, **how: Any) -> Job:
            job = await original(self, key, (), making, **how)
            values = [{"job_id": key.job_id, "generation": job.generation, **vars(picture)} for picture in pictures]
            await self._database.write(lambda tx: tx.execute(insert(tables.result), values))
            return job

        return finish

    replace(job_store.SqlJobStore, "finish", make)


def no_outbox() -> None:
    """The picture's delivery is written after the commit that made the job done, as posting after commit would be."""
    owed: list[Any] = []

    def hold_back(original: Any) -> Any:
        def deliveries(self: Any) -> Any:
            kinds = original.fget(self)
            if self.row["state"] != "done" or self.was == "done":
                return kinds
            owed.extend((self.row, kind) for kind in kinds)
            return ()

        return property(deliveries)

    def make(original: Any) -> Any:
        async def finish(self: Any, *args: Any, **how: Any) -> Job:
            job = await original(self, *args, **how)
            mine = [history._delivery(row, kind) for row, kind in owed if row["id"] == job.id]
            owed[:] = [(row, kind) for row, kind in owed if row["id"] != job.id]
            if mine:
                await self._database.write(lambda tx: tx.execute(insert(tables.outbox), mine))
            return job

        return finish

    replace(Move, "deliveries", hold_back)
    replace(job_store.SqlJobStore, "finish", make)


def a_repeated_write_counts_as_lost() -> None:
    """A write whose answer was lost is not known again, so its holder believes that the lease is gone."""

    def make(original: Any) -> Any:
        def apply(self: Any, write: fenced.Write) -> Any:
            before = self._rows.get(write.key.job_id)
            if before is not None and before["slot"] is None:
                return LeaseLost(write.key.job_id, write.key.epoch)
            return original(self, write)

        return apply

    replace(fenced._Work, "apply", make)


# ---- dispatcher and carrier -------------------------------------------------------------------------------------------


def leases_are_never_renewed() -> None:
    """A lease lives as long as it was given for, whoever still follows its run."""

    async def keep_leases(self: Any) -> None:
        await self._clock.sleep(1e9)

    replace(Dispatcher, "keep_leases", lambda _: keep_leases)


def adoption_without_hash_check() -> None:
    """A run found on a worker is taken for the job's own because its key is."""
    replace(Carrier, "_check_order", lambda _: lambda self, run, event: None)


def pictures_are_not_looked_at() -> None:
    """What a worker sent is stored as it came."""
    replace(inspection, "redraw", lambda _: lambda data, order, *more: data)


# ---- delivery ---------------------------------------------------------------------------------------------------------


def no_nonce() -> None:
    """Discord is not told that a repeated POST is the same."""

    class Deaf:
        def __init__(self, channel: Any) -> None:
            self._channel = channel

        def __getattr__(self, name: str) -> Any:
            return getattr(self._channel, name)

        async def send(self, **what: Any) -> Any:
            return await self._channel.send(**(what | {"nonce": None}))

    replace(DiscordCourier, "_channel", lambda original: lambda self, place: Deaf(original(self, place)))


def one_nonce_for_a_job() -> None:
    """All messages of a job share a nonce, so the picture is taken for its card."""
    replace(outbox, "delivery_id", lambda original: lambda job_id, generation, _kind, _part: original(job_id, generation, "", 0))


def no_read_back() -> None:
    """After a doubt nobody looks whether the message is there."""

    async def find(self: Any, *_: Any) -> None:
        return None

    replace(DiscordCourier, "_find", lambda _: find)


def long_http_timeout() -> None:
    """A request may live longer than its lease and than any nonce."""

    async def deliver(self: Any, delivery: Any) -> Any:
        try:
            async with asyncio.timeout(600):
                return await self._courier.deliver(delivery)
        except TimeoutError:
            return TryLater(reason="timeout")

    replace(Poster, "_deliver", lambda _: deliver)


def sent_before_the_post() -> None:
    """The outbox is told before Discord is."""

    async def settle(self: Any, row: Any) -> None:
        try:
            await self._outbox.sent(row.delivery, "0")
            await self._deliver(row.delivery)
        except (LeaseLost, StoreUnavailable):
            return

    replace(Poster, "_settle", lambda _: settle)


def the_first_try_is_not_stamped() -> None:
    """Whoever takes a delivery over does not learn that somebody may have posted it."""
    replace(outbox, "_delivery", lambda original: lambda before: dataclasses.replace(original(before), first_try_at=None))


def somebody_elses_picture() -> None:
    """The courier reads the newest picture instead of this job's."""
    newest: list[str] = []

    def put(original: Any) -> Any:
        async def call(self: Any, data: bytes) -> str:
            sha256 = await original(self, data)
            newest[:] = [sha256]
            return sha256

        return call

    def read(original: Any) -> Any:
        async def call(self: Any, sha256: str) -> bytes:
            return await original(self, newest[0] if newest else sha256)

        return call

    replace(picture_store.FilePictureStore, "put", put)
    replace(picture_store.FilePictureStore, "read", read)


def cancelled_pictures_are_posted() -> None:
    """A cancelled job still owes its picture."""
    replace(history, "_DELIVERIES", lambda original: {**original, "cancelled": (DeliveryKind.PICTURE, DeliveryKind.CLOSE)})


def places_taken_are_not_counted() -> None:
    """The pool believes that what it leased since the last report took no place."""
    replace(Pool, "_rows", lambda _: lambda self, member: 0)


def a_refused_lease_is_kept() -> None:
    """Where a worker has no place, its job waits for the lease to lapse instead of going back at once."""

    def make(original: Any) -> Any:
        async def give_back(self: Any, run: Any, fault: Any, **how: Any) -> None:
            if not isinstance(fault, WorkerBusy):
                await original(self, run, fault, **how)

        return give_back

    replace(Carrier, "_give_back", make)


def nobody_is_woken() -> None:
    """What becomes possible is found by the polls alone."""
    replace(Pool, "look_again", lambda _: lambda self: None)


def nobody_polls() -> None:
    """A loop looks when it is woken, and never by itself."""

    def make(original: Any) -> Any:
        def init(self: Any, **how: Any) -> None:
            original(self, **(how | {"poll": 1e6}))

        return init

    replace(Pool, "__init__", make)


# ---- fairness ---------------------------------------------------------------------------------------------------------


def charges_of_other_hosts_unread() -> None:
    """Accounts that another host's claim has written are not read: this host plans on its own ones."""

    async def of_others(self: Any, _tx: Any, _line: Any, _stamp: int) -> Any:
        return Changes(), {}

    replace(line_keeper.LineKeeper, "_of_others", lambda _: of_others)


def riders_without_window() -> None:
    """Whoever shares the leader's key rides along, however much they had."""
    replace(
        planner._Draft,
        "_fill",
        lambda original: lambda self, worker, key, low, room, reason: original(self, worker, key, low + 1e6, room, reason),
    )


def who_comes_back_to_a_new_line_does_not_begin() -> None:
    """A line that is read anew has everybody's jobs in it already, so nobody is seen to begin to wait."""
    replace(Line, "begins", lambda _: lambda self, users: None)


# ---- what is deleted --------------------------------------------------------------------------------------------------


def log_numbers_begin_anew() -> None:
    """The lines of a deleted job go before the line that tells of it comes: SQLite gives their numbers out again."""

    async def erase_history(tx: Any, ids: Any) -> None:
        await tx.execute(delete(tables.job_event).where(tables.job_event.c.job_id.in_(ids)))
        gone = {"from_state": None, "to_state": "purged", "generation": 0, "epoch": 0, "actor": "operator"}
        for job_id in ids:
            await tx.execute(insert(tables.job_event), [{**gone, "job_id": job_id}])

    replace(member_store, "erase_history", lambda _: erase_history)


def _erases_only(which: Any) -> None:
    """A deletion that leaves the person's other jobs alone."""

    def make(original: Any) -> Any:
        async def erase(tx: Any, *, user_id: Any) -> int:
            kept = update(tables.job).where(tables.job.c.user_id == user_id, ~which()).values(user_id=f"kept {user_id}")
            await tx.execute(kept)
            count = await original(tx, user_id=user_id)
            back = update(tables.job).where(tables.job.c.user_id == f"kept {user_id}").values(user_id=user_id)
            await tx.execute(back)
            return count

        return erase

    replace(member_store, "_erase", make)


def deleted_jobs_go_on() -> None:
    """What is being made is made first, and is there afterwards."""
    _erases_only(lambda: tables.job.c.slot.is_(None))


def what_is_owed_is_posted_first() -> None:
    """Jobs of which something is still to be posted stay until it is."""
    _erases_only(
        lambda: ~exists().where(tables.outbox.c.job_id == tables.job.c.id, tables.outbox.c.state.in_(("pending", "sending")))
    )


def deleted_runs_go_on() -> None:
    """A host that finds its lease gone follows the run to its end all the same."""
    replace(UnderWay, "abandon", lambda _: lambda self: None)


def deleted_words_stay_in_the_wal() -> None:
    """The rows go, and what was written of them once is still in the WAL."""

    async def erase(self: Any, user_id: Any) -> int:
        return await self._database.write(functools.partial(member_store._erase, user_id=user_id))

    replace(member_store.SqlMemberStore, "erase", lambda _: erase)


def deleted_words_stay_in_free_pages() -> None:
    """What is deleted is forgotten, not overwritten."""

    def make(original: Any) -> Any:
        def sqlite_engine(*args: Any, **how: Any) -> Any:
            made = original(*args, **how)
            event.listen(made.sync_engine, "connect", lambda connection, _: connection.execute("PRAGMA secure_delete = OFF"))
            return made

        return sqlite_engine

    replace(engine, "sqlite_engine", make)


def files_of_the_deleted_stay() -> None:
    """The janitor takes every file for one that somebody still names."""

    async def still_named(_tx: Any, digests: set[str]) -> set[str]:
        return digests

    replace(janitor, "still_named", lambda _: still_named)


def prompts_are_logged() -> None:
    """A fault is told with the words of the order at which it came."""
    replace(carrier, "_said", lambda original: lambda run, fault: f"{original(run, fault)} (at {run.job.order.prompt})")
