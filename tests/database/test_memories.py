import pytest

from database.engine import Database
from database.fleet_memory import FleetMemory
from database.session_store import SqlSessionStore
from jobs.errors import InvalidRequest
from jobs.offer import ModelOffer
from tests.contract.asking import ANA, BEN
from tests.contract.looking import do

OFFER = ModelOffer(
    name="house", family="sd15", default_width=128, default_height=128, size_multiple=8, side_min=64, side_max=256,
    max_pixels=65536, default_steps=8, default_guidance=2.5,
)  # fmt: skip


@pytest.fixture
def sessions(database: Database) -> SqlSessionStore:
    return SqlSessionStore(database)


async def test_a_session_is_remembered_both_ways(sessions: SqlSessionStore):
    await sessions.put(ANA, "g", "c1")

    assert await sessions.get(ANA, "g") == "c1"
    assert await sessions.owner_of("c1") == ANA
    assert await sessions.get(ANA, "other") is None
    assert await sessions.get(BEN, "g") is None
    assert await sessions.owner_of("c2") is None


async def test_a_new_channel_replaces_the_old_one(sessions: SqlSessionStore):
    await sessions.put(ANA, "g", "c1")
    await sessions.put(ANA, "g", "c2")
    await sessions.put(ANA, "g", "c2")

    assert await sessions.get(ANA, "g") == "c2"
    assert await sessions.owner_of("c1") is None


async def test_a_channel_has_one_owner(sessions: SqlSessionStore):
    await sessions.put(ANA, "g", "c1")
    await sessions.put(BEN, "g", "c1")

    assert await sessions.owner_of("c1") == BEN
    assert await sessions.get(ANA, "g") is None


async def test_a_forgotten_session_is_gone(sessions: SqlSessionStore):
    await sessions.put(ANA, "g", "c1")
    await sessions.forget(ANA, "g")
    await sessions.forget(ANA, "g")

    assert await sessions.get(ANA, "g") is None


async def test_ids_no_database_takes_are_nobodys(sessions: SqlSessionStore):
    assert await sessions.get(ANA, "\0") is None
    assert await sessions.owner_of("\ud800") is None
    await sessions.forget(ANA, "\0")
    with pytest.raises(InvalidRequest):
        await sessions.put(ANA, "g", "\0")


async def test_what_workers_offered_last_is_recalled(database: Database):
    memory = FleetMemory(database)
    await memory.remember("gpu-1", [OFFER])
    await memory.remember("gpu-2", [])
    other = OFFER.model_copy(update={"title": "Casa 🏠 \0", "name": "other"})
    await memory.remember("gpu-1", [OFFER, other])

    recalled = await FleetMemory(database).recall()

    assert {name: [offer.name for offer in offers] for name, offers in recalled.items()} == {
        "gpu-1": ["house", "other"], "gpu-2": [],
    }  # fmt: skip
    assert recalled["gpu-1"][0] == OFFER


async def test_an_offer_of_another_version_is_left_out(database: Database, caplog):
    memory = FleetMemory(database)
    await memory.remember("gpu", [OFFER])
    await do(database, """UPDATE worker SET offers = '[{"name": 3}]'""")

    assert await memory.recall() == {"gpu": ()}
    assert "of another version" in caplog.text


async def test_a_worker_with_an_impossible_name_is_not_remembered(database: Database):
    memory = FleetMemory(database)
    await memory.remember("\0", [OFFER])

    assert await memory.recall() == {}
