import asyncio
import base64
import hashlib
import re

import pytest

from database.engine import Database
from database.job_store import SqlJobStore
from database.outbox import SqlOutbox, delivery_id
from jobs.errors import LeaseLost
from jobs.job import Failure
from jobs.ports import Delivery, DeliveryKind
from tests.contract.asking import ANA, BEN, HERE, MAKING, ask, leased, picture
from tests.contract.looking import do, rows


async def take(outbox: SqlOutbox, *, limit: int = 10, lease_seconds: float = 90) -> list[Delivery]:
    return await outbox.take(limit=limit, lease_seconds=lease_seconds)


async def finished(store: SqlJobStore) -> str:
    job, key = await leased(store, place=HERE)
    await store.finish(key, [picture()], MAKING)
    return job.id


async def test_a_card_waits_to_be_posted_from_the_moment_a_job_is_asked(store: SqlJobStore, outbox: SqlOutbox):
    job = await ask(store, place=HERE)

    (card,) = await take(outbox)

    assert (card.job_id, card.kind, card.part, card.place) == (job.id, DeliveryKind.CARD, 0, HERE)
    assert (card.epoch, card.attempts, card.first_try_at) == (1, 1, None)


async def test_a_delivery_has_one_name_for_good(store: SqlJobStore, outbox: SqlOutbox):
    await ask(store, place=HERE)
    (card,) = await take(outbox)
    await outbox.later(card, delay_seconds=0, reason="429")

    (again,) = await take(outbox)

    assert again.id == card.id == delivery_id(card.job_id, 0, "card", 0)
    assert re.fullmatch("[a-z2-7]{20}", card.id)


def test_each_part_of_each_generation_has_another_name():
    names = [("j", 0, "card", 0), ("j", 1, "card", 0), ("j", 0, "close", 0), ("j", 0, "card", 1)]

    digest = hashlib.sha256(b"j|0|card|0").digest()

    assert delivery_id("j", 0, "card", 0) == base64.b32encode(digest).decode().lower()[:20]
    assert len({delivery_id(*name) for name in names}) == 4


async def test_the_rows_of_a_job_are_posted_in_order(store: SqlJobStore, outbox: SqlOutbox):
    await finished(store)

    kinds: list[str] = []
    while batch := await take(outbox):
        (delivery,) = batch
        assert await take(outbox) == []  # the next one waits until this one is posted
        kinds.append(delivery.kind)
        await outbox.sent(delivery, f"message-{delivery.kind}")

    assert kinds == ["card", "picture", "close"]
    assert await outbox.pending() == 0


async def test_a_failure_is_told_before_the_card_closes(store: SqlJobStore, outbox: SqlOutbox):
    _, key = await leased(store, place=HERE)
    await store.fail(key, Failure(code="run_refused"))

    kinds: list[str] = []
    while batch := await take(outbox):
        kinds.append(batch[0].kind)
        await outbox.sent(batch[0], "1")

    assert kinds == ["card", "failure", "close"]


async def test_a_card_that_cannot_be_posted_does_not_hold_up_the_picture(store: SqlJobStore, outbox: SqlOutbox):
    await finished(store)
    (card,) = await take(outbox)

    await outbox.dead(card, "403")

    assert [delivery.kind for delivery in await take(outbox)] == [DeliveryKind.PICTURE]


async def test_jobs_do_not_wait_for_each_other_and_the_oldest_goes_first(store: SqlJobStore, outbox: SqlOutbox):
    asked = [await ask(store, user, place=HERE) for user in (ANA, BEN, ANA)]

    assert [delivery.job_id for delivery in await take(outbox, limit=2)] == [job.id for job in asked[:2]]
    assert [delivery.job_id for delivery in await take(outbox)] == [asked[2].id]
    assert await outbox.pending() == 3


async def test_a_row_is_in_one_posters_hands(store: SqlJobStore, outbox: SqlOutbox):
    for _ in range(30):
        await ask(store, place=HERE)

    async with asyncio.TaskGroup() as group:
        takers = [group.create_task(take(outbox, limit=7)) for _ in range(8)]
    taken = [delivery.job_id for taker in takers for delivery in taker.result()]

    assert len(taken) == len(set(taken))
    taken += [delivery.job_id for delivery in await take(outbox, limit=99)]
    assert len(taken) == len(set(taken)) == 30


async def test_a_row_whose_poster_died_is_taken_over_in_doubt(store: SqlJobStore, outbox: SqlOutbox):
    job = await ask(store, place=HERE)
    (lost,) = await take(outbox, lease_seconds=-1)

    (taken,) = await take(outbox)

    assert (lost.first_try_at, taken.epoch, taken.attempts) == (None, 2, 2)
    assert taken.first_try_at is not None
    assert abs((taken.first_try_at - job.created_at).total_seconds()) < 60
    for write in (
        outbox.sent(lost, "1"), outbox.later(lost, delay_seconds=0, reason="x"), outbox.dead(lost, "x"),
    ):  # fmt: skip
        with pytest.raises(LeaseLost):
            await write
    await outbox.sent(taken, "2")
    assert await outbox.message_of(job.id, 0, DeliveryKind.CARD) == "2"


async def test_the_first_try_is_stamped_once(store: SqlJobStore, outbox: SqlOutbox, database: Database):
    await ask(store, place=HERE)
    await take(outbox, lease_seconds=-1)
    (second,) = await take(outbox, lease_seconds=-1)
    (third,) = await take(outbox)

    assert second.first_try_at == third.first_try_at == (await rows(database, "outbox"))[0]["first_try_at"]


async def test_a_row_put_off_comes_back_when_its_time_has_come(store: SqlJobStore, outbox: SqlOutbox):
    await ask(store, place=HERE)
    (card,) = await take(outbox)
    await outbox.later(card, delay_seconds=60, reason="429 \0 \ud800")
    assert await take(outbox) == []
    assert await outbox.pending() == 1


async def test_a_report_whose_answer_was_lost_may_be_repeated(store: SqlJobStore, outbox: SqlOutbox):
    await ask(store, place=HERE)
    (card,) = await take(outbox)
    await outbox.later(card, delay_seconds=0, reason="500")
    await outbox.later(card, delay_seconds=0, reason="500")
    (card,) = await take(outbox)
    await outbox.sent(card, "1")
    await outbox.sent(card, "1")

    with pytest.raises(LeaseLost):
        await outbox.dead(card, "403")


async def test_only_a_posted_message_has_an_id(store: SqlJobStore, outbox: SqlOutbox):
    job = await ask(store, place=HERE)
    await take(outbox)

    assert await outbox.message_of(job.id, 0, DeliveryKind.CARD) is None
    assert await outbox.message_of("\0", 0, DeliveryKind.CARD) is None


async def test_a_kind_of_a_newer_darkroom_is_left_to_it(store: SqlJobStore, outbox: SqlOutbox, database: Database):
    await ask(store, place=HERE)
    await do(database, "UPDATE outbox SET kind = 'hologram'")

    assert await take(outbox) == []
    assert await outbox.pending() == 1
