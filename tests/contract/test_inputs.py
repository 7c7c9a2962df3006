import pytest

from database.engine import Database
from database.inputs import InputMemory
from database.job_store import SqlJobStore
from jobs.errors import InvalidRequest
from jobs.job import InputPicture
from tests.contract.asking import ANA, BEN, MAKING, ask, leased, order, picture
from tests.contract.looking import rows

GIVEN = InputPicture(sha256="a" * 64, width=64, height=64)


def from_picture(digest: str):
    return order(kind="image_to_image", image=digest, strength=0.5)


async def test_a_person_may_start_from_a_picture_they_gave_and_nobody_else_may(store: SqlJobStore, database: Database):
    inputs = InputMemory(database)
    await inputs.keep(ANA, GIVEN)
    await inputs.keep(ANA, GIVEN)

    assert await inputs.may_use(ANA, GIVEN.sha256)
    assert not await inputs.may_use(BEN, GIVEN.sha256)
    assert (await ask(store, ANA, order=from_picture(GIVEN.sha256))).order.image == GIVEN.sha256
    with pytest.raises(InvalidRequest) as refused:
        await ask(store, BEN, order=from_picture(GIVEN.sha256))
    assert (refused.value.code, refused.value.details["field"]) == ("missing_input", "image")
    assert len(await rows(database, "job")) == 1


async def test_a_person_may_start_from_what_was_made_for_them(store: SqlJobStore, database: Database):
    _, key = await leased(store, ANA)
    await store.finish(key, [picture(3)], MAKING)

    assert await InputMemory(database).may_use(ANA, picture(3).sha256)
    await ask(store, ANA, order=from_picture(picture(3).sha256))
    with pytest.raises(InvalidRequest):
        await ask(store, BEN, order=from_picture(picture(3).sha256))


async def test_a_mask_that_is_not_theirs_is_named(store: SqlJobStore, database: Database):
    await InputMemory(database).keep(ANA, GIVEN)

    with pytest.raises(InvalidRequest) as refused:
        await ask(store, ANA, order=order(kind="inpaint", image=GIVEN.sha256, mask="b" * 64, strength=1.0))
    assert refused.value.details["field"] == "mask"


async def test_hostile_digests_and_names_are_nobodys(database: Database):
    inputs = InputMemory(database)

    assert not await inputs.may_use(ANA, "\0' OR 1=1 --")
    assert not await inputs.may_use("\ud800", GIVEN.sha256)
