"""Several hosts on one ledger: who lives, who holds what only one may, and whose runs may be taken over."""

import pytest

from database.engine import Database
from database.host_leases import HostLeases
from database.job_store import SqlJobStore
from jobs.errors import LeaseLost
from jobs.job import JobState
from jobs.run import Run
from tests.contract.asking import ANA, BEN, MAKING, ask, by_turns, claim, order, picture
from tests.contract.looking import events


def store_of(database: Database, owner: str) -> SqlJobStore:
    return SqlJobStore(database, owner=owner)


async def test_a_lease_has_one_holder_until_it_lapses(database: Database):
    one, two = HostLeases(database, owner="one"), HostLeases(database, owner="two")

    assert await one.take("discord", seconds=30) == 1
    assert await two.take("discord", seconds=30) is None
    assert await one.take("discord", seconds=-1) == 1
    assert await two.take("discord", seconds=30) == 2
    assert await one.take("discord", seconds=30) is None


async def test_a_lease_that_lapsed_comes_back_with_another_epoch(database: Database):
    one = HostLeases(database, owner="one")
    await one.take("discord", seconds=-1)

    assert await one.take("discord", seconds=30) == 2  # somebody may have seen it free


async def test_a_lease_given_back_is_free_at_once(database: Database):
    one, two = HostLeases(database, owner="one"), HostLeases(database, owner="two")
    await one.take("discord", seconds=30)
    await two.give_back("discord")
    assert await two.take("discord", seconds=30) is None

    await one.give_back("discord")

    assert await two.take("discord", seconds=30) == 2
    assert [(lease.name, lease.owner, lease.lives) for lease in await one.all()] == [("discord", "two", True)]


async def test_the_runs_of_a_living_host_are_its_own(database: Database):
    await HostLeases(database, owner="one").live(seconds=30)
    await ask(store_of(database, "one"))
    await claim(store_of(database, "one"))

    assert await store_of(database, "two").adopt("gpu", lease_seconds=30) == []


async def test_the_runs_of_a_host_that_is_gone_go_on_under_their_epoch_and_the_former_host_writes_nothing(database: Database):
    one, two = store_of(database, "one"), store_of(database, "two")
    await HostLeases(database, owner="one").live(seconds=-1)
    await ask(one)
    (leased,) = await claim(one)

    (adopted,) = await two.adopt("gpu", lease_seconds=30)

    assert (adopted.id, adopted.epoch) == (leased.id, leased.epoch)
    for write in (one.accept(Run.of(leased).key), one.finish(Run.of(leased).key, [picture()], MAKING)):
        with pytest.raises(LeaseLost):
            await write
    assert await one.renew([Run.of(leased).key], lease_seconds=30) == (set(), set())
    assert (await two.finish(Run.of(adopted).key, [picture()], MAKING)).state is JobState.DONE
    assert ("leased", "leased", 1, "two") in await events(database, leased.id)


async def test_a_restarted_host_takes_its_own_runs_up_but_not_those_it_follows(database: Database):
    store = store_of(database, "one")
    await HostLeases(database, owner="one").live(seconds=30)
    for user in (ANA, BEN):
        await ask(store, user)
    first, second = await claim(store)

    taken = await store_of(database, "one").adopt("gpu", lease_seconds=30, but=[Run.of(first).key])

    assert [job.id for job in taken] == [second.id]


async def test_two_hosts_share_one_line_and_one_set_of_accounts(database: Database):
    """Each claims in turn; whoever claims knows what the other charged, leased and saw end."""
    stores = [store_of(database, "one"), store_of(database, "two")]
    for _ in range(6):
        for user in (ANA, BEN):
            await ask(stores[0], user, order=order(), cost=10.0)
    served: list[str] = []
    for turn in range(12):
        store = stores[turn % 2]
        (job,) = await store.claim("gpu", one_by_one, lease_seconds=30)
        served.append(job.user_id)
        await stores[(turn + 1) % 2 if turn % 3 else turn % 2].look(len_waiting, fresh=0)
        await store.finish(Run.of(job).key, [picture()], MAKING)

    assert abs(served[:6].count(ANA) - served[:6].count(BEN)) <= 1
    assert sorted(served) == [ANA] * 6 + [BEN] * 6
    views = [await store.look(accounts, fresh=0) for store in stores]
    assert views[0] == views[1]


def len_waiting(line) -> int:
    return len(line.waiting)


def accounts(line) -> dict:
    return {(user, pool): round(line.books.v(user, pool), 6) for user in (ANA, BEN) for pool in line.books.pools}


def one_by_one(line):
    return by_turns(1)(line)
