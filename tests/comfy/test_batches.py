"""What is leased together is made in one pass, and everybody gets their own picture."""

import asyncio

import pytest

from jobs.run import FaultKind, RunCancelled, RunFailed, RunFinished, RunProgressed
from tests.comfy.conftest import QUICK, colour, lease, own_colours, run_of, until


def ends(told):
    return [events[-1] for events in told]


async def test_runs_of_one_lease_are_one_prompt_and_each_gets_its_own_picture(pair):
    runs = lease("a", "b", "c")
    told = await pair.follow_all(runs)
    assert len(pair.server.posted) == 1
    for run, end in zip(runs, ends(told), strict=True):
        assert isinstance(end, RunFinished)
        assert [colour(made.data) for made in end.pictures] == own_colours(run)
        assert end.shared_with == 2


async def test_runs_that_come_in_another_order_get_their_own_pictures_too(pair):
    runs = lease("a", "b", "c", "d")
    told = await pair.follow_all(runs[::-1])
    for run, end in zip(runs[::-1], ends(told), strict=True):
        assert [colour(made.data) for made in end.pictures] == own_colours(run)


async def test_a_run_of_several_pictures_takes_several_rows(pair):
    runs = lease("a", "b", count=3)
    told = await pair.follow_all(runs)
    assert len(pair.server.posted) == 1
    for run, end in zip(runs, ends(told), strict=True):
        assert [made.index for made in end.pictures] == [0, 1, 2]
        assert [made.seed for made in end.pictures] == list(run.order.seeds)
        assert [colour(made.data) for made in end.pictures] == own_colours(run)


async def test_more_rows_than_a_flow_takes_go_in_portions(pair):
    runs = lease("a", "b", "c", count=4)
    told = await pair.follow_all(runs)
    assert [body["prompt"]["latent"]["inputs"]["batch_size"] for body in pair.server.posted] == [8, 4]
    assert [[colour(made.data) for made in end.pictures] for end in ends(told)] == [own_colours(run) for run in runs]


@pytest.mark.parametrize("pack", [False, 1])
async def test_without_the_pack_or_with_an_old_one_people_are_served_one_by_one_and_the_operator_is_told(pair_with, pack):
    pair = await pair_with(pack=pack)
    runs = lease("a", "b")
    told = await pair.follow_all(runs)
    assert [body["prompt"]["latent"]["inputs"]["batch_size"] for body in pair.server.posted] == [1, 1]
    assert [[colour(made.data) for made in end.pictures] for end in ends(told)] == [own_colours(run) for run in runs]
    report = await pair.driver.report()
    assert "one by one" in report.notes[0]
    assert ("too old" in report.notes[0]) is bool(pack)
    assert {offer.best_batch for offer in report.models} == {1}


async def test_a_batch_that_the_pack_refuses_is_made_one_by_one(pair):
    runs = lease("a", "b", model="flux-dev", guidance=3.5)
    long = run_of("c", dispatch="lease-1", together=3, model="flux-dev", guidance=3.5, prompt="word " * 70)
    runs = [run_of(run.key.job_id, dispatch="lease-1", together=3, model="flux-dev", guidance=3.5) for run in runs]
    told = await pair.follow_all([*runs, long])
    assert [body["prompt"]["latent"]["inputs"]["batch_size"] for body in pair.server.posted] == [3, 1, 1, 1]
    assert all(isinstance(end, RunFinished) for end in ends(told))


async def test_a_batch_too_large_for_memory_is_halved_remembered_and_costs_nobody(pair):
    pair.server.oom_above = 2
    runs = lease("a", "b", "c", "d")
    told = await pair.follow_all(runs)
    assert all(isinstance(end, RunFinished) for end in ends(told))
    sizes = [body["prompt"]["latent"]["inputs"]["batch_size"] for body in pair.server.posted]
    assert sizes == [4, 2, 2]
    offer = next(offer for offer in (await pair.driver.report()).models if offer.name == "sd15")
    assert offer.best_batch == 2
    await pair.follow_all(lease("e", "f", "g", dispatch="lease-2"))
    assert [body["prompt"]["latent"]["inputs"]["batch_size"] for body in pair.server.posted[3:]] == [2, 1]


@pytest.mark.parametrize("fault", ["oom", "oom_plain"])
async def test_out_of_memory_alone_is_told_in_both_spellings(pair, fault):
    pair.server.faults = [fault]
    end = (await pair.follow(run_of("a")))[-1]
    assert isinstance(end, RunFailed)
    assert end.kind is FaultKind.OUT_OF_MEMORY


async def test_a_request_that_breaks_its_batch_fails_alone(pair):
    runs = lease("a", "poison", "c")
    told = await pair.follow_all(runs)
    good, bad, other = ends(told)
    assert isinstance(good, RunFinished)
    assert isinstance(other, RunFinished)
    assert isinstance(bad, RunFailed)
    assert bad.kind is FaultKind.JOB
    assert "SECRET" not in bad.detail


async def test_one_of_a_batch_is_cancelled_by_throwing_its_picture_away(pair):
    pair.server.gate.clear()
    runs = lease("a", "b")
    async with asyncio.TaskGroup() as tasks:
        first, second = (tasks.create_task(pair.follow(run)) for run in runs)
        await until(lambda: pair.server.running is not None)
        await pair.driver.cancel(runs[0].key)
        assert isinstance((await first)[-1], RunCancelled)
        assert pair.server.cancels == []
        pair.server.gate.set()
    end = second.result()[-1]
    assert [colour(made.data) for made in end.pictures] == own_colours(runs[1])


async def test_a_batch_that_nobody_wants_any_more_is_stopped_by_its_id(pair):
    pair.server.gate.clear()
    runs = lease("a", "b")
    async with asyncio.TaskGroup() as tasks:
        following = [tasks.create_task(pair.follow(run)) for run in runs]
        await until(lambda: pair.server.running is not None)
        for run in runs:
            await pair.driver.cancel(run.key)
    assert all(isinstance(one.result()[-1], RunCancelled) for one in following)
    assert pair.server.cancels == [pair.server.posted[0]["prompt_id"]]


async def test_a_preview_reaches_its_own_person_alone(pair):
    runs = lease("a", "b")
    for run, events in zip(runs, await pair.follow_all(runs), strict=True):
        previews = {event.preview for event in events if isinstance(event, RunProgressed) and event.preview}
        assert previews == {b"\xff\xd8preview of " + run.order.prompt.encode()}


async def test_runs_of_one_lease_that_do_not_fit_together_are_not_put_together(pair):
    runs = [
        run_of("a", dispatch="lease", together=2, steps=4),
        run_of("b", dispatch="lease", together=2, steps=5),
    ]
    told = await pair.follow_all(runs)
    assert [[colour(made.data) for made in end.pictures] for end in ends(told)] == [own_colours(run) for run in runs]
    assert len(pair.server.posted) == 2


async def test_a_neighbour_who_never_comes_is_not_waited_for(pair):
    (run, _) = lease("a", "b")
    assert isinstance((await pair.follow(run))[-1], RunFinished)


async def test_a_third_prompt_stays_where_fairness_can_move_it(pair):
    from jobs.errors import WorkerBusy

    pair.server.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        following = [tasks.create_task(pair.follow(run_of(job))) for job in "ab"]
        await until(lambda: len(pair.server.posted) == 2)
        assert (await pair.driver.report()).room == 0
        with pytest.raises(WorkerBusy):
            await pair.follow(run_of("c"))
        pair.server.gate.set()
    assert all(isinstance(one.result()[-1], RunFinished) for one in following)
    assert (await pair.driver.report()).room == 8


async def test_everybodys_own_input_picture_is_worked_on(pair):
    shades = {"a": pair.input_picture(10), "b": pair.input_picture(200)}
    runs = [
        run_of(job, dispatch="lease", together=2, kind="image_to_image", image=digest, strength=0.5, seed=3) for job, digest in shades.items()
    ]
    told = await pair.follow_all(runs)
    assert len(pair.server.posted) == 1
    from tests.comfy_server import colour_of

    for run, end in zip(runs, ends(told), strict=True):
        (made,) = end.pictures
        assert colour(made.data) == colour_of(run.order.prompt, "", 3, image=f"{run.order.image}.png")
    assert set(pair.server.uploads) == {f"darkroom/{digest}.png" for digest in shades.values()}


async def test_what_the_server_saves_for_several_people_carries_no_prompt(pair):
    runs = lease("a", "b")
    for end in ends(await pair.follow_all(runs)):
        for made in end.pictures:
            assert b"wish of" not in made.data


async def test_an_ended_prompt_leaves_the_servers_history_once_nobody_needs_it(pair):
    runs = lease("a", "b")
    await pair.follow_all(runs)
    await pair.driver.acknowledge(runs[0].key)
    assert len(pair.server.history) == 1
    await pair.driver.acknowledge(runs[1].key)
    assert not pair.server.history


@pytest.mark.parametrize(
    ("model", "negative", "notes"), [("flux-dev", "blurry", ("negative_ignored",)), ("flux-dev", "", ()), ("sd15", "blurry", ())]
)
async def test_a_flow_that_has_no_place_for_a_negative_prompt_says_so(pair, model, negative, notes):
    (events,) = await pair.follow_all([run_of("a", model=model, negative=negative)])
    assert isinstance(events[-1], RunFinished)
    assert events[-1].notes == notes


async def test_a_change_of_model_makes_room_first(pair):
    await pair.follow(run_of("a"))
    assert pair.server.freed == []
    assert (await pair.driver.report()).loaded == {"sd15"}
    await pair.follow(run_of("b", model="sd_xl_base_1.0", width=256, height=256))
    assert pair.server.freed == [{"unload_models": True, "free_memory": False}]


def test_the_test_patience_is_shorter_than_the_real_one():
    assert QUICK.first_step < 10
