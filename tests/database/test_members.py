"""Choices, favourites, search, turns, publications, strikes, bans and the right to be forgotten, on both databases."""

from datetime import UTC, datetime

import pytest

from database.conduct_store import SqlConductStore
from database.engine import Database
from database.gallery_store import SqlGalleryStore
from database.job_store import SqlJobStore
from database.member_store import SqlMemberStore
from database.session_store import SqlSessionStore
from jobs.errors import InvalidRequest
from jobs.job import UserId
from tests.contract.asking import ANA, BEN, order, wish


@pytest.fixture
def members(database: Database) -> SqlMemberStore:
    return SqlMemberStore(database)


@pytest.fixture
def store(database: Database) -> SqlJobStore:
    return SqlJobStore(database)


async def asked(store: SqlJobStore, user: UserId = ANA, **changes):
    job, _ = await store.submit(wish(user, order=order(**changes)), waiting_limit=99)
    return job


async def found(members: SqlMemberStore, words: str = "", user: UserId = ANA, **how) -> list[str]:
    looked = {"model": None, "favourites": False, "with_pictures": False, "skip": 0, "limit": 9, **how}
    return [job.order.prompt for job in await members.search(user, words=words, **looked)]


async def test_choices_are_merged_and_taken_back(members: SqlMemberStore):
    assert await members.preferences(ANA) == {}
    await members.prefer(ANA, {"language": "es", "dm": True})
    assert await members.prefer(ANA, {"language": None, "model": "sdxl"}) == {"dm": True, "model": "sdxl"}
    assert await members.preferences(BEN) == {}
    with pytest.raises(InvalidRequest):
        await members.prefer(ANA, {"model": "nul\0"})


async def test_a_search_folds_case_and_accents_as_people_do_and_sees_ones_own_only(store, members):
    await asked(store, prompt="Ein GROSSER Ñandú im Schnee")
    await asked(store, prompt="a fox")
    await asked(store, BEN, prompt="a ñandú")
    assert await found(members, "ñandú groSSer") == ["Ein GROSSER Ñandú im Schnee"]
    assert await found(members, "nothing") == []
    assert await found(members) == ["a fox", "Ein GROSSER Ñandú im Schnee"]
    assert await found(members, skip=1, limit=1) == ["Ein GROSSER Ñandú im Schnee"]
    assert await found(members, with_pictures=True) == []


async def test_favourites_come_and_go(store, members):
    job = await asked(store, prompt="a fox")
    await asked(store, prompt="another")
    for _ in range(2):
        await members.favour(ANA, job.id, favourite=True)
    assert await members.is_favourite(ANA, job.id)
    assert not await members.is_favourite(BEN, job.id)
    assert await found(members, favourites=True) == ["a fox"]
    await members.favour(ANA, job.id, favourite=False)
    assert await found(members, favourites=True) == []


async def test_turns_count_the_persons_own_requests(store, members):
    jobs = [await asked(store), await asked(store, BEN), await asked(store)]
    assert [await members.turn_of(job.user_id, job.id, "done") for job in jobs] == [(0, 0), (0, 0), (1, 0)]


async def test_a_person_is_forgotten_whole_and_nobody_else(store, members, database: Database):
    mine, other = await asked(store, prompt="mine"), await asked(store, BEN, prompt="theirs")
    for job in (mine, other):
        await store.request_cancel(job.id, job.user_id)
        await members.favour(job.user_id, job.id, favourite=True)
    await members.prefer(ANA, {"dm": True})
    conduct = SqlConductStore(database)
    await conduct.strike(ANA, "gore", {"prompt": "mine"})
    assert (await members.export(ANA))["jobs"][0]["order"]["prompt"] == "mine"
    assert await members.erase(ANA) == 1
    left = await members.export(ANA)
    assert left["jobs"] == [] and left["choices"] == [] and left["favourites"] == []
    assert len(await conduct.standing(ANA, seconds=60)) == 1  # the strike stands, what was asked is gone
    assert left["strikes"][0]["wish"] == {}
    assert await found(members, user=BEN) == ["theirs"]


async def test_a_picture_is_published_once_and_its_votes_are_ones_own(database: Database):
    gallery = SqlGalleryStore(database)
    values = {"job_id": "j", "index": 0, "user_id": ANA, "guild_id": "1", "channel_id": "2", "show_prompt": True, "allow_remix": False}
    seq, before = await gallery.begin(values)
    assert (before, await gallery.begin(values)) == ("", (seq, "posting"))
    await gallery.posted(seq, "77")
    assert await gallery.begin(values) == (seq, "posted")
    assert [await gallery.vote(seq, user) for user in (ANA, BEN, ANA)] == [(1, True), (2, True), (1, False)]
    assert (await gallery.get(seq))["votes"] == 1
    assert [row["message_id"] for row in await gallery.of_job("j")] == ["77"]
    await gallery.undone(seq)
    assert await gallery.of_job("j") == []
    assert (await gallery.begin(values))[0] == seq


async def test_strikes_are_judged_once_and_bans_end(database: Database, store):
    conduct = SqlConductStore(database)
    seq = await conduct.strike(ANA, "gore", {"prompt": "x"})
    assert await conduct.settle_strike(seq, before=("standing",), after="appealed")
    assert await conduct.settle_strike(seq, before=("appealed",), after="lifted")
    assert not await conduct.settle_strike(seq, before=("appealed",), after="upheld")
    assert await conduct.standing(ANA, seconds=3600) == []
    await conduct.ban(ANA, by=BEN, reason="spam", seconds=3600)
    held = await conduct.ban_of(ANA)
    assert held["until"] > datetime.now(UTC)
    await conduct.ban(ANA, by=BEN, reason="spam", seconds=-1)
    assert await conduct.ban_of(ANA) is None
    await conduct.ban(ANA, by=BEN, reason="spam", seconds=None)
    assert (await conduct.ban_of(ANA))["until"] is None
    assert await conduct.unban(ANA) and not await conduct.unban(ANA)
    await conduct.note(BEN, "ban", "1", reason="spam")
    assert [line["action"] for line in await conduct.log(limit=5)] == ["ban"]
    await asked(store)
    load = await conduct.load(ANA)
    assert (load.waiting, load.active) == (1, 0)


async def test_a_session_remembers_what_was_chosen_and_when_it_was_used(database: Database):
    sessions = SqlSessionStore(database)
    await sessions.change(ANA, "1", {"persona": "shy"})  # there is none yet: harmless
    await sessions.put(ANA, "1", "10")
    await sessions.set_kind(ANA, "1", "thread")
    await sessions.change(ANA, "1", {"persona": "shy", "guests": ["5"]})
    await sessions.change(ANA, "1", {"persona": None})
    assert (await sessions.kind(ANA, "1"), await sessions.about(ANA, "1")) == ("thread", {"guests": ["5"]})
    assert await sessions.idle("1", seconds=3600) == []
    assert await sessions.idle("1", seconds=-1) == [(ANA, "10")]
    await sessions.rested(ANA, "1")
    assert await sessions.idle("1", seconds=-1) == []
    await sessions.used(ANA, "1")
    assert await sessions.idle("1", seconds=-1) == [(ANA, "10")]
