"""A server that dies, lies, stalls or forgets: nothing is lost, nothing is made twice, nobody gets somebody else's picture."""

import asyncio

import pytest

from jobs.errors import BadPicture, RunForgotten, WorkerBusy, WorkerFault, WorkerUnreachable
from jobs.run import FaultKind, RunCancelled, RunFailed, RunFinished, RunProgressed
from tests.comfy.conftest import colour, lease, own_colours, run_of, until


def is_own(run, events) -> bool:
    end = events[-1]
    return isinstance(end, RunFinished) and [colour(made.data) for made in end.pictures] == own_colours(run)


# ---- it is followed whatever its socket does ------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["", "drop", "late", "success_first"])
@pytest.mark.parametrize("mood", ["", "deaf", "no_socket", "noise", "slow_history", "no_jobs"])
async def test_a_prompt_is_followed_to_its_end(pair, fault, mood):
    pair.server.faults = [fault]
    pair.server.moods = {mood}
    run = run_of("a")
    assert is_own(run, await pair.follow(run))
    assert set(pair.server.ran.values()) == {1}


async def test_every_connection_has_a_client_id_of_its_own(pair):
    pair.server.faults = ["drop", ""]
    await pair.follow(run_of("a"))
    await until(lambda: len(pair.server.sockets) == 1)
    await pair.follow(run_of("b"))
    assert pair.server.posted[0]["client_id"] != pair.server.posted[1]["client_id"]


async def test_progress_comes_by_the_socket_and_a_nameless_preview_is_dropped(pair):
    events = await pair.follow(run_of("a", steps=8))
    steps = [event.step for event in events if isinstance(event, RunProgressed)]
    assert steps == sorted(steps)
    assert len(set(steps)) > 2
    previews = {event.preview for event in events if isinstance(event, RunProgressed)} - {None}
    assert previews == {b"\xff\xd8preview of wish of a"}


# ---- doubt about a posting ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["lost_answer", "500"])
async def test_a_posting_whose_answer_was_lost_is_looked_for_and_not_repeated(pair, fault):
    pair.server.faults = [fault]
    run = run_of("a")
    assert is_own(run, await pair.follow(run))
    assert len(pair.server.posted) == 1
    assert set(pair.server.ran.values()) == {1}


async def test_a_posting_that_never_arrived_is_made_again_under_another_id(pair):
    pair.server.faults = ["lost_post"]
    run = run_of("a")
    assert is_own(run, await pair.follow(run))
    first, second = (body["prompt_id"] for body in pair.server.posted)
    assert first != second
    assert first in pair.server.cancels
    assert set(pair.server.ran.values()) == {1}


async def test_the_prompts_id_follows_from_the_lease(pair_with):
    one, other = await pair_with(), await pair_with()
    for pair in (one, other):
        await pair.follow_all(lease("a", "b", dispatch="the-lease"))
    assert one.server.posted[0]["prompt_id"] == other.server.posted[0]["prompt_id"]
    await one.follow_all(lease("c", "d", dispatch="another"))
    assert one.server.posted[1]["prompt_id"] != one.server.posted[0]["prompt_id"]


async def test_half_a_yes_is_a_no_and_what_was_queued_is_stopped(pair):
    pair.server.faults = ["half"]
    pair.server.gate.clear()
    with pytest.raises(WorkerUnreachable):
        await pair.follow(run_of("a"))
    assert pair.server.cancels == [pair.server.posted[0]["prompt_id"]]


async def test_a_server_that_makes_its_own_ids_is_too_old(pair):
    pair.server.moods = {"old_ids"}
    with pytest.raises(WorkerUnreachable, match="too old"):
        await pair.follow(run_of("a"))


# ---- it dies, or forgets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["die", "restart"])
async def test_a_prompt_that_its_server_forgot_is_lost_and_never_called_done(pair, fault):
    pair.server.faults = [fault]
    before = (await pair.driver.report()).instance
    with pytest.raises(RunForgotten):
        await pair.follow(run_of("a"))
    assert (await pair.driver.report()).instance != before
    again = run_of("a", epoch=2)
    assert is_own(again, await pair.follow(again))


@pytest.mark.parametrize("mood", ["reset", "html_502", "garbage"])
async def test_a_blink_of_the_network_costs_nobody_their_picture(pair, mood):
    pair.server.gate.clear()
    run = run_of("a")
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(pair.follow(run))
        await until(lambda: pair.server.running is not None)
        pair.server.moods = {mood, "deaf"}
        await asyncio.sleep(0.5)
        pair.server.moods = set()
        pair.server.gate.set()
    assert is_own(run, following.result())
    assert set(pair.server.ran.values()) == {1}


async def test_a_server_that_stays_away_is_given_up(pair):
    pair.server.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(asyncio.wait_for(_refused(pair, run_of("a")), 10))
        await until(lambda: pair.server.running is not None)
        pair.server.moods = {"reset"}
    assert following.result()


async def _refused(pair, run) -> bool:
    with pytest.raises(WorkerUnreachable):
        await pair.follow(run)
    return True


async def test_a_server_that_answers_but_never_moves_is_found_out(pair):
    pair.server.moods = {"zombie"}
    with pytest.raises(WorkerUnreachable, match="does not move"):
        await pair.follow(run_of("a"))
    assert pair.server.cancels


async def test_waiting_behind_others_prompts_is_not_standing_still(pair):
    pair.server.moods = {"zombie"}
    foreign = [pair.server.queue_foreign() for _ in range(4)]
    run = run_of("a")
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(pair.follow(run))
        for name in foreign:  # the queue gets shorter, slower in all than a dead server would be given
            await asyncio.sleep(0.6)
            pair.server.pending = [one for one in pair.server.pending if one["id"] != name]
        pair.server.moods = set()
        pair.server._work.set()
    assert is_own(run, following.result())


async def test_a_batch_is_taken_up_again_after_a_restart_of_the_host(pair):
    pair.server.gate.clear()
    runs = lease("a", "b", "c", count=2)
    streams = [pair.driver.run(run) for run in runs]
    for stream in streams:
        streams_first = anext(stream)
        if stream is not streams[-1]:
            tasks_first = asyncio.ensure_future(streams_first)
            await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await streams_first
        await tasks_first
    other = await pair.another()
    async with asyncio.TaskGroup() as tasks:
        following = [tasks.create_task(pair.follow(run, resume=True, driver=other)) for run in runs[1:]]
        await asyncio.sleep(0.05)
        pair.server.gate.set()
    for run, one in zip(runs[1:], following, strict=True):
        assert is_own(run, one.result())
    assert len(pair.server.posted) == 1
    for stream in streams:
        await stream.aclose()


async def test_a_cancel_while_it_waits_is_a_cancel_and_not_a_loss(pair):
    pair.server.moods = {"zombie"}
    run = run_of("a")
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(pair.follow(run))
        await until(lambda: bool(pair.server.pending))
        await pair.driver.cancel(run.key)
    assert isinstance(following.result()[-1], RunCancelled)
    assert not pair.server.pending


async def test_a_cancel_is_confirmed_by_the_server_before_it_counts(pair):
    pair.server.faults = ["stubborn"]
    pair.server.gate.clear()
    run = run_of("a")
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(pair.follow(run))
        await until(lambda: pair.server.running is not None)
        await pair.driver.cancel(run.key)
        await asyncio.sleep(0.05)
        assert not following.done()
        pair.server.gate.set()
    assert isinstance(following.result()[-1], RunCancelled)


async def test_an_old_server_is_cancelled_by_id_too(pair):
    pair.server.moods = {"no_jobs"}
    pair.server.gate.clear()
    run = run_of("a")
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(pair.follow(run))
        await until(lambda: pair.server.running is not None)
        await pair.driver.cancel(run.key)
    assert isinstance(following.result()[-1], RunCancelled)


async def test_somebody_elses_interruption_blames_nobodys_request(pair):
    pair.server.faults = ["interrupted"]
    with pytest.raises(WorkerUnreachable, match="interrupted"):
        await pair.follow(run_of("a"))


async def test_one_lost_lease_does_not_take_the_neighbours_picture_along(pair):
    pair.server.gate.clear()
    runs = lease("a", "b")
    async with asyncio.TaskGroup() as tasks:
        first, second = (tasks.create_task(pair.follow(run)) for run in runs)
        await until(lambda: pair.server.running is not None)
        first.cancel()
        await asyncio.sleep(0.02)
        pair.server.gate.set()
    assert is_own(runs[1], second.result())


# ---- several hosts on one server ------------------------------------------------------------------------------------


async def test_another_hosts_prompts_are_neither_stopped_nor_taken_for_ours(pair):
    pair.server.gate.clear()
    other = await pair.another(name="other-host")
    mine, theirs = run_of("mine"), run_of("theirs")
    async with asyncio.TaskGroup() as tasks:
        their_stream = tasks.create_task(pair.follow(theirs, driver=other))
        await until(lambda: pair.server.running is not None)
        my_stream = tasks.create_task(pair.follow(mine))
        await until(lambda: len(pair.server.pending) == 1)
        await pair.driver.cancel(mine.key)
        assert isinstance((await my_stream)[-1], RunCancelled)
        pair.server.gate.set()
    assert is_own(theirs, their_stream.result())
    assert set(pair.server.cancels) == {pair.server.posted[1]["prompt_id"]}


# ---- hostile answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["swapped", "extra", "missing"])
async def test_results_that_are_not_exactly_the_batchs_are_nobodys(pair, fault):
    pair.server.faults = [fault]
    told = await asyncio.gather(*(pair.follow(run) for run in lease("a", "b")), return_exceptions=True)
    assert all(isinstance(one, BadPicture) for one in told)


@pytest.mark.parametrize("fault", ["extra", "missing"])
async def test_one_request_has_one_result(pair, fault):
    pair.server.faults = [fault]
    with pytest.raises(BadPicture):
        await pair.follow(run_of("a"))


@pytest.mark.parametrize("fault", ["traversal", "gone"])
async def test_a_result_that_cannot_be_fetched_is_the_servers_fault(pair, fault):
    pair.server.faults = [fault]
    with pytest.raises(WorkerUnreachable, match="could not be fetched"):
        await pair.follow(run_of("a"))


async def test_a_file_without_end_is_cut_off(pair, monkeypatch):
    monkeypatch.setattr("workers.drivers.comfy.client._FILE_MAX", 3 * 2**20)
    pair.server.faults = ["huge"]
    with pytest.raises(BadPicture, match="too large"):
        await pair.follow(run_of("a"))


async def test_an_answer_without_end_is_cut_off(pair, monkeypatch):
    monkeypatch.setattr("workers.drivers.comfy.client._JSON_MAX", 3 * 2**20)
    pair.server.moods = {"bomb"}
    with pytest.raises(WorkerFault, match="too large"):
        await pair.driver.report()


@pytest.mark.parametrize(("mood", "word"), [("html", "web page"), ("html_502", "502"), ("garbage", "broken JSON"), ("redirect", "redirects")])
async def test_what_is_not_comfyuis_answer_is_named(pair, mood, word):
    pair.server.moods = {mood}
    with pytest.raises(WorkerUnreachable, match=word):
        await pair.driver.report()
    assert all("169.254" not in headers.get("Host", "") for headers in pair.server.seen_headers)


async def test_a_node_error_blames_the_request_without_a_neighbours_words(pair):
    pair.server.faults = ["error"]
    end = (await pair.follow(run_of("a")))[-1]
    assert isinstance(end, RunFailed)
    assert (end.kind, "SECRET" in end.detail) == (FaultKind.JOB, False)


async def test_a_file_that_vanished_from_the_server_makes_it_look_again(pair):
    await pair.driver.report()
    pair.server.files["ckpt_name"] = ["sd_xl_base_1.0.safetensors"]
    with pytest.raises(WorkerUnreachable, match="value_not_in_list"):
        await pair.follow(run_of("a"))
    assert "sd15" not in {offer.name for offer in (await pair.driver.report()).models}
    with pytest.raises(WorkerBusy):
        await pair.follow(run_of("b"))


async def test_a_server_that_was_away_is_read_anew(pair):
    await pair.driver.report()
    pair.server.moods = {"reset"}
    with pytest.raises(WorkerUnreachable):
        await pair.driver.report()
    pair.server.moods = set()
    pair.server.files["ckpt_name"] = ["sd15-other.safetensors"]
    assert "sd15-other" in {offer.name for offer in (await pair.driver.report()).models}


# ---- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "header"), [("a-secret", "Bearer a-secret"), ("user:pass", "Basic dXNlcjpwYXNz")], ids=["bearer", "basic"]
)
async def test_the_key_goes_with_every_call_and_with_the_socket(pair_with, key, header):
    pair = await pair_with(driver={"key": key})
    pair.server.key = header
    run = run_of("a")
    assert is_own(run, await pair.follow(run))
    assert {headers.get("Authorization") for headers in pair.server.seen_headers} == {header}
    assert all("ngrok-skip-browser-warning" in headers for headers in pair.server.seen_headers)
    assert pair.server.sockets


async def test_a_wrong_key_is_named(pair):
    pair.server.key = "Bearer right"
    with pytest.raises(WorkerUnreachable, match="COMFY_API_KEY"):
        await pair.driver.report()
