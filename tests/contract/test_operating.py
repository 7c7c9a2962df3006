"""The operator's hand: workers that rest, jobs asked again, people and old things removed."""

import os
from pathlib import Path

import pytest

from bot.clock import SystemClock
from bot.janitor import Janitor
from database.conduct_store import SqlConductStore
from database.engine import Database
from database.figures import read_figures
from database.fleet_memory import FleetMemory
from database.gallery_store import ERASED, SqlGalleryStore
from database.host_leases import HostLeases
from database.inputs import InputMemory
from database.job_store import SqlJobStore
from database.member_store import SqlMemberStore
from database.operating import Operating
from database.outbox import SqlOutbox
from database.picture_store import FilePictureStore
from database.retention import Ages, sweep
from database.session_store import SqlSessionStore
from database.tables import metadata
from jobs.errors import JobNotFound, LeaseLost
from jobs.job import Failure, InputPicture, Job, JobState, Picture
from jobs.line import Line
from jobs.run import Run, RunKey
from tests.contract.asking import ANA, BEN, EVA, HERE, MAKING, ask, by_turns, claim, leased, order, waits
from tests.contract.looking import do, rows

DAYS_AGO = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-{} days')",
    "postgresql": "now() - interval '{} days'",
}


def made(digest: str) -> Picture:
    return Picture(index=0, sha256=digest, content_type="image/png", size=9, width=128, height=128, seed=1)


async def done(store: SqlJobStore, user=ANA, digest: str = "a" * 64, **changes) -> Job:
    _, key = await leased(store, user, **changes)
    return await store.finish(key, [made(digest)], MAKING)


async def age(database: Database, job_id: str, days: int) -> None:
    moment = DAYS_AGO["postgresql" if database.is_postgresql else "sqlite"].format(days)
    await do(database, f"UPDATE job SET finished_at = {moment} WHERE id = '{job_id}'")


async def test_a_resting_worker_gets_nothing_until_it_is_told_to_work(store: SqlJobStore, database: Database):
    await FleetMemory(database).remember("gpu", [])
    operating = Operating(database)
    await ask(store)
    for state in ("paused", "draining"):
        assert await operating.set_worker("gpu", state)
        assert await store.claim("gpu", by_turns(1), lease_seconds=30) == []
    assert await operating.workers() == {"gpu": "draining"}
    await operating.set_worker("gpu", "active")

    assert len(await store.claim("gpu", by_turns(1), lease_seconds=30)) == 1
    assert not await operating.set_worker("never heard of", "paused")


async def test_a_job_asked_again_is_a_new_generation_that_is_posted_anew(store: SqlJobStore, database: Database):
    first = await done(store, place=HERE)
    again = await Operating(database).requeue(first.id)
    (job,) = await claim(store)
    second = await store.finish(Run.of(job).key, [made("b" * 64)], MAKING)

    assert (again.state, again.generation, again.attempt) == (JobState.QUEUED, 1, 0)
    assert again.epoch > first.epoch
    assert [picture.sha256 for picture in second.pictures] == ["b" * 64]
    kinds = [(row["generation"], row["kind"]) for row in await rows(database, "outbox")]
    assert kinds == [(0, "card"), (0, "picture"), (0, "close"), (1, "card"), (1, "picture"), (1, "close")]
    delivery = (await SqlOutbox(database).take(limit=1, lease_seconds=30))[0]
    assert delivery.generation == 0
    with pytest.raises(LeaseLost):
        await store.finish(RunKey(job_id=first.id, epoch=first.epoch), [made("c" * 64)], MAKING)


async def test_only_an_ended_job_can_be_asked_again(store: SqlJobStore, database: Database):
    job = await ask(store)

    for wrong in (job.id, "no-such-job", "\0"):
        with pytest.raises(JobNotFound):
            await Operating(database).requeue(wrong)


async def test_a_purge_leaves_nothing_of_a_person_and_everything_of_others(store: SqlJobStore, database: Database):
    shared, own = "a" * 64, "b" * 64
    await done(store, ANA, shared, place=HERE)
    await done(store, ANA, own)
    await done(store, BEN, shared)
    await InputMemory(database).keep(ANA, InputPicture(sha256="c" * 64, width=8, height=8))
    running, key = await leased(store, ANA)
    await ask(store, ANA)
    await ask(store, BEN)

    purged = await Operating(database).purge(ANA)

    assert (purged.jobs, purged.digests) == (4, (own, "c" * 64))
    everything = {table: await rows(database, table) for table in ("job", "result", "outbox", "job_event", "account", "input_picture")}
    assert ANA not in str(everything)
    assert running.order.prompt not in str(everything["job_event"])
    assert {row["user_id"] for row in everything["job"]} == {BEN}
    with pytest.raises(LeaseLost):
        await store.finish(key, [made(own)], MAKING)
    assert [job.user_id for job in await waits(store)] == [BEN]
    assert await store.look(lambda line: line.person(ANA).active, fresh=0) == 0


BY_PURGE, BY_ERASURE = (lambda database: Operating(database).purge(ANA)), (lambda database: SqlMemberStore(database).erase(ANA))


@pytest.mark.parametrize("remove", [BY_PURGE, BY_ERASURE])
async def test_what_a_removed_person_published_is_to_be_taken_down_and_is_forgotten_only_then(store: SqlJobStore, database: Database, remove):
    gallery = SqlGalleryStore(database)
    here = {"guild_id": "10", "channel_id": "30", "show_prompt": True, "allow_remix": True}
    seqs = {}
    for name, user_id in (("hangs", ANA), ("begun", ANA), ("back", ANA), ("other", BEN)):
        job = await done(store, user_id, "a" * 64)
        seqs[name], _ = await gallery.begin({"job_id": job.id, "index": 0, "user_id": user_id, **here})
        if name != "begun":
            await gallery.posted(seqs[name], "77")
    await gallery.undone(seqs["back"])
    await gallery.vote(seqs["hangs"], BEN)
    await gallery.vote(seqs["other"], ANA)

    await remove(database)
    await Operating(database).purge(ERASED)  # a person of that name there is not: these rows are what is still to be done

    assert [(row["seq"], row["state"], row["user_id"], row["show_prompt"]) for row in await gallery.unfinished()] == [
        (seqs["hangs"], "taking", "erased", False), (seqs["begun"], "taking", "erased", False)
    ]  # fmt: skip
    assert not await gallery.posted(seqs["begun"], "78")  # whoever was just hanging it takes it down again
    assert ANA not in str(await rows(database, "publication")) + str(await rows(database, "vote"))
    for row in await gallery.unfinished():
        await gallery.undone(row["seq"])
    assert [row["seq"] for row in await rows(database, "publication")] == [seqs["other"]]
    assert await rows(database, "vote") == []


async def test_who_has_everything_deleted_gets_nothing_made_any_more(store: SqlJobStore, database: Database):
    await done(store, ANA, "a" * 64, place=HERE)
    running, key = await leased(store, ANA)
    await ask(store, ANA, place=HERE)
    await ask(store, BEN)
    another = SqlJobStore(database, owner="another host")
    assert len(await waits(another)) == 2

    assert await SqlMemberStore(database).erase(ANA) == 3

    assert {row["user_id"] for row in await rows(database, "job")} == {BEN}
    everything = {table: await rows(database, table) for table in ("job", "result", "outbox", "job_event")}
    assert ANA not in str(everything)
    assert running.order.prompt not in str(everything["job_event"])
    with pytest.raises(LeaseLost):
        await store.finish(key, [made("a" * 64)], MAKING)
    for host in (store, another):
        assert [job.user_id for job in await waits(host)] == [BEN]
        assert await host.look(lambda line: line.person(ANA).active, fresh=0) == 0
    assert [job.user_id for job in await claim(another)] == [BEN]


@pytest.mark.parametrize("remove", [BY_PURGE, BY_ERASURE])
async def test_removing_somebody_whose_job_wrote_the_newest_lines_hides_nothing_from_who_read_them(store: SqlJobStore, database: Database, remove):
    await leased(store, ANA)
    assert await store.look(lambda line: line.person(ANA).active, fresh=0) == 1  # the line knows the log to its end

    await remove(database)
    await ask(store, BEN)

    assert [job.user_id for job in await waits(store)] == [BEN]
    assert await store.look(lambda line: line.person(ANA).active, fresh=0) == 0


async def test_old_pictures_go_and_later_their_jobs(store: SqlJobStore, database: Database):
    old, young = await done(store, ANA, "a" * 64), await done(store, BEN, "b" * 64)
    await age(database, old.id, 8)

    swept = await sweep(database, Ages(pictures=7, jobs=30))
    assert (swept.pictures, swept.jobs, swept.digests) == (1, 0, ("a" * 64,))
    assert (await sweep(database, Ages(pictures=7, jobs=30))).pictures == 0

    await age(database, old.id, 31)
    assert (await sweep(database, Ages(pictures=7, jobs=30))).jobs == 1
    assert [row["id"] for row in await rows(database, "job")] == [young.id]
    assert {row["job_id"] for row in await rows(database, "job_event")} == {young.id}


async def lived_in(store: SqlJobStore, database: Database) -> None:
    """ANA has left a trace in every table that can hold one, and so has BEN."""
    members, conduct, gallery = SqlMemberStore(database), SqlConductStore(database), SqlGalleryStore(database)
    for user, other in ((ANA, BEN), (BEN, ANA)):
        job = await done(store, user, "a" * 64, place=HERE)
        await served(store, user, times=1, cost=1.0)
        await InputMemory(database).keep(user, InputPicture(sha256="c" * 64, width=8, height=8))
        await members.prefer(user, {"model": "house"})
        await members.favour(user, job.id, favourite=True)
        await conduct.strike(user, "rule-1", {"prompt": f"words of {user}"})
        await conduct.ban(user, by="discord:9", reason="a reason", seconds=None)
        await conduct.note("discord:9", "ban", user)
        hung = {"job_id": job.id, "index": 0, "user_id": user, "guild_id": "1", "channel_id": "2", "show_prompt": True, "allow_remix": True}
        seq, _ = await gallery.begin(hung)
        await gallery.vote(seq, other)
    for user in (ANA, BEN):
        await SqlSessionStore(database).put(user, "1", f"channel of {user}")
        await do(database, f"INSERT INTO person (user_id, served) VALUES ('{user}', 1)")


async def traces(database: Database, user: str) -> set[str]:
    """The tables in which somebody's name or words stand."""
    return {name for name in metadata.tables if user in str(await rows(database, name))}


async def test_a_purge_leaves_no_trace_but_the_admins_own_log_and_takes_nobody_elses(store: SqlJobStore, database: Database):
    await lived_in(store, database)
    everywhere = await traces(database, ANA)
    theirs = {table.name for table in metadata.sorted_tables if "user_id" in table.c}
    assert everywhere >= theirs  # whoever adds a table about people adds a trace here
    before = {name: [row for row in await rows(database, name) if row["user_id"] == BEN] for name in theirs - {"vote"}}

    await Operating(database).purge(ANA)

    assert await traces(database, ANA) == {"audit"}
    assert {name: [row for row in await rows(database, name) if row["user_id"] == BEN] for name in theirs - {"vote"}} == before


async def test_who_asks_to_be_forgotten_keeps_strikes_and_bans_without_the_words(store: SqlJobStore, database: Database):
    await lived_in(store, database)

    await SqlMemberStore(database).erase(ANA)

    assert not {"preference", "favourite", "job", "result", "outbox", "input_picture", "publication", "vote"} & await traces(database, ANA)
    (struck,) = [row for row in await rows(database, "strike") if row["user_id"] == ANA]
    assert (struck["rule"], struck["wish"]) == ("rule-1", {})
    assert (await SqlConductStore(database).ban_of(ANA))["reason"] == "a reason"
    assert f"words of {ANA}" not in str([await rows(database, name) for name in metadata.tables])


async def served(store: SqlJobStore, user, *, times: int, cost: float) -> list[str]:
    """Asked, charged by the real planner, made."""
    for _ in range(times):
        await ask(store, user, cost=cost)
    made_of: list[str] = []
    while jobs := await store.claim("gpu", by_turns(1), lease_seconds=30):
        made_of.append((await store.finish(Run.of(jobs[0]).key, [], MAKING)).id)
    return made_of


async def test_who_comes_back_while_a_host_begins_anew_has_no_credit_for_the_time_away(store: SqlJobStore, database: Database):
    await served(store, ANA, times=1, cost=1.0)
    await served(store, BEN, times=6, cost=40.0)  # the clock goes on without her
    await ask(store, ANA)
    await ask(store, BEN)

    for host in (SqlJobStore(database, owner="begins anew"), store):
        assert await stands_at_the_clock(host, ANA)


async def stands_at_the_clock(host: SqlJobStore, user) -> bool:
    """And not below it, which only moves while others are served."""

    def standing(line: Line) -> tuple[float, float]:
        (pool,) = line.books.pools.values()
        return line.books.v(user, pool.id), pool.clock

    v, clock = await host.look(standing, fresh=0)
    assert clock > 100
    return v >= clock


async def test_a_back_off_whose_end_no_host_saw_gives_no_credit_for_its_time(store: SqlJobStore, database: Database):
    await served(store, ANA, times=1, cost=1.0)
    later = SqlJobStore(database, owner="looks only later")
    await waits(later)
    job = await ask(store, ANA)
    (held,) = await store.claim("gpu", by_turns(1), lease_seconds=30)
    await store.retry(Run.of(held).key, Failure(code="worker_unreachable"), delay_seconds=3600, attempts_max=3)
    await served(store, BEN, times=6, cost=40.0)
    await do(database, f"UPDATE job SET not_before = created_at WHERE id = '{job.id}'")

    for host in (SqlJobStore(database, owner="begins anew"), later):
        assert [found.id for found in await waits(host)] == [job.id]
        assert await stands_at_the_clock(host, ANA)


async def test_the_account_of_somebody_long_gone_goes_once_it_says_nothing(store: SqlJobStore, database: Database):
    gone = await served(store, ANA, times=1, cost=1.0)
    heavy = await served(store, EVA, times=6, cost=500.0)
    await served(store, BEN, times=3, cost=40.0)  # the clock goes on without them, not as far as the one with six
    assert {row["user_id"] for row in await rows(database, "account")} == {ANA, BEN, EVA}
    assert (await sweep(database, Ages())).accounts == 0
    for job_id in (*gone, *heavy):
        await age(database, job_id, 90)

    swept = await sweep(database, Ages())

    assert (swept.jobs, swept.accounts) == (7, 1)
    # Whoever has jobs keeps the account, and whoever had more than the others keeps the debt.
    assert {row["user_id"] for row in await rows(database, "account")} == {BEN, EVA}
    assert (await sweep(database, Ages())).accounts == 0
    for host in (store, SqlJobStore(database, owner="another")):
        job = await ask(host, ANA, cost=1.0)
        assert [leased.id for leased in await host.claim("gpu", by_turns(1), lease_seconds=30)] == [job.id]
        await host.finish(Run.of(await host.get(job.id)).key, [], MAKING)


async def test_what_is_still_to_be_posted_used_or_shared_is_not_swept(store: SqlJobStore, database: Database):
    posting = await done(store, ANA, "a" * 64, place=HERE)
    parent = await done(store, ANA, "b" * 64)
    twin = await done(store, BEN, "c" * 64)
    await done(store, ANA, "c" * 64)
    await ask(store, ANA, order=order(kind="image_to_image", image="b" * 64, strength=0.5))
    for job in (posting, parent, twin):
        await age(database, job.id, 90)

    swept = await sweep(database, Ages(pictures=7, jobs=30))

    assert swept.digests == ()
    assert posting.id in [row["id"] for row in await rows(database, "job")]


async def test_favourites_and_what_hangs_in_the_gallery_are_not_swept(store: SqlJobStore, database: Database):
    liked, hanging, undone = await done(store, ANA, "a" * 64), await done(store, ANA, "b" * 64), await done(store, ANA, "c" * 64)
    await SqlMemberStore(database).favour(ANA, liked.id, favourite=True)
    gallery = SqlGalleryStore(database)
    for job in (hanging, undone):
        values = {"job_id": job.id, "index": 0, "user_id": ANA, "guild_id": "1", "channel_id": "2"}
        seq, _ = await gallery.begin({**values, "show_prompt": True, "allow_remix": True})
        await gallery.posted(seq, "3")
    await gallery.undone(seq)
    for job in (liked, hanging, undone):
        await age(database, job.id, 90)

    assert (await sweep(database, Ages(pictures=7, jobs=30))).digests == ("c" * 64,)
    assert [row["id"] for row in await rows(database, "job")] == [liked.id, hanging.id]


async def test_keeping_for_ever_sweeps_nothing(store: SqlJobStore, database: Database):
    await age(database, (await done(store)).id, 900)

    assert await sweep(database, Ages(pictures=0, jobs=0)) == await sweep(database, Ages(pictures=0, jobs=0))
    assert len(await rows(database, "result")) == 1


async def test_the_log_keeps_its_last_line_so_that_its_numbers_never_begin_anew(store: SqlJobStore, database: Database):
    await age(database, (await done(store)).id, 90)
    newest = max(row["seq"] for row in await rows(database, "job_event"))
    for _ in range(2):
        await sweep(database, Ages(pictures=7, jobs=30))

    await ask(store, BEN)

    assert min(row["seq"] for row in await rows(database, "job_event")) == newest
    assert [job.user_id for job in await waits(store)] == [BEN]


async def test_the_janitor_removes_files_after_their_rows_and_never_one_just_put(
    store: SqlJobStore, database: Database, tmp_path: Path
):
    pictures = FilePictureStore(tmp_path / "pictures")
    swept, orphan, fresh = [await pictures.put(bytes([n]) * 9) for n in range(3)]
    await age(database, (await done(store, ANA, swept)).id, 9)
    for digest in (swept, orphan):
        os.utime(tmp_path / "pictures" / digest[:2] / digest, (0, 0))
    janitor = Janitor(
        database=database, pictures=pictures, leases=HostLeases(database, owner="x"), clock=SystemClock(), ages=Ages()
    )

    assert await janitor.sweep() == (1, 0)

    assert await pictures.read(fresh) == bytes([2]) * 9
    for gone in (swept, orphan):
        with pytest.raises(FileNotFoundError):
            await pictures.read(gone)


async def test_a_put_of_bytes_that_are_there_makes_them_young_again(tmp_path: Path):
    pictures = FilePictureStore(tmp_path)
    digest = await pictures.put(b"x")
    os.utime(tmp_path / digest[:2] / digest, (0, 0))

    await pictures.put(b"x")

    assert await pictures.remove([digest], unused_for=600) == 0
    assert await pictures.old(seconds=600, limit=9) == []


async def test_figures_tell_how_equal_the_last_hour_was(store: SqlJobStore, database: Database):
    for user, times in ((ANA, 3), (BEN, 1)):
        for _ in range(times):
            await ask(store, user, cost=10.0)
    while jobs := await store.claim("gpu", by_turns(1), lease_seconds=30):
        await store.accept(Run.of(jobs[0]).key)
        await store.finish(Run.of(jobs[0]).key, [made("d" * 64)], MAKING)

    figures = await read_figures(database)

    assert (figures.people, figures.done, figures.mean_batch) == (2, 4, 1.0)
    assert figures.jain == pytest.approx(40**2 / (2 * (30**2 + 10**2)))
    assert figures.least_over_most == pytest.approx(1 / 3)
    assert figures.wait_p95 is not None
