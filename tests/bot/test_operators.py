"""What operators do to workers and jobs by slash command: asked first, judged at each press, and noted."""

import asyncio
import hashlib

import pytest

from database.fleet_memory import FleetMemory
from jobs.job import Job, JobState
from jobs.words import say
from tests.bot.conftest import OpenScene, Scene, buttons, texts

WORKER = "w0"


async def ask(scene: Scene, who: str, command: str, **options) -> dict:
    return (await scene.play.slash(who, scene.welcome, command, options, wait="answer"))["original"]


async def press(scene: Scene, who: str, answer: dict, verb: str) -> str:
    """What the question's message says after a press of its button."""
    (custom_id,) = [custom_id for custom_id in buttons(answer) if custom_id.split(":")[2] == verb]
    await scene.play.click(who, answer["id"], custom_id, wait="answer")
    message = await scene.play.wait_message(who, answer["channel_id"], lambda m: m["id"] == answer["id"] and not buttons(m), timeout_s=20)
    return texts(message)


async def choices(scene: Scene, who: str, command: str, focused: str, **options) -> list[str]:
    found = await scene.play.autocomplete(who, scene.welcome, command, options, focused=focused)
    return [choice["value"] for choice in found]


async def jobs_of(scene: Scene, who: str) -> list[Job]:
    """Newest first."""
    return list(await scene.lab.store.recent(f"discord:{scene.users[who]}", limit=10))


async def until(scene: Scene, who: str, state: JobState) -> Job:
    async with asyncio.timeout(30):
        while (job := (await jobs_of(scene, who))[0]).state is not state:
            await asyncio.sleep(0.02)
    return job


async def log_of(scene: Scene) -> list[tuple[str, str]]:
    return [(line["action"], line["subject"]) for line in await scene.bot.parts.conduct.log(limit=20)]


@pytest.fixture
async def audited(scene: Scene) -> tuple[Scene, str]:
    """A scene whose audit channel is the welcome channel."""
    await scene.restart(audit_channel_id=int(scene.welcome))
    return scene, scene.welcome


@pytest.mark.parametrize(("verb", "state"), [("pause", "paused"), ("drain", "draining")])
async def test_a_worker_rests_after_a_press_and_works_again_after_resume(audited: tuple[Scene, str], verb, state):
    scene, channel = audited
    operator = scene.bot.parts.operator
    question = await ask(scene, "mara", f"admin {verb}", worker=WORKER)
    assert WORKER in texts(question) and "Nothing has been done yet" in texts(question)
    assert await operator.workers() == {WORKER: "active"}
    assert await press(scene, "mara", question, "leave") == say("admin.left", "en")
    assert await operator.workers() == {WORKER: "active"}

    again = await ask(scene, "mara", f"admin {verb}", worker=WORKER)
    assert await press(scene, "mara", again, verb) == say(f"did.{verb}", "en", worker=WORKER)
    assert await operator.workers() == {WORKER: state}
    await scene.imagine("ada")
    await asyncio.sleep(0.5)
    assert not scene.worker.orders
    waiting = await ask(scene, "mara", f"admin {verb}", worker=WORKER)
    assert "1 waiting request can be made nowhere else" in texts(waiting)

    assert (await ask(scene, "mara", "admin resume", worker=WORKER))["content"] == say("did.resume", "en", worker=WORKER)
    await scene.picture_of("ada")
    assert (await log_of(scene))[:2] == [("resume", WORKER), (verb, WORKER)]
    await scene.play.wait_message("mara", channel, lambda m: f"**{verb}** {WORKER}" in texts(m), timeout_s=20)


async def test_with_sure_it_is_done_at_once_and_an_unknown_worker_is_told_who_there_is(scene: Scene):
    told = await ask(scene, "mara", "admin pause", worker=WORKER, sure=True)
    assert told["content"] == say("did.pause", "en", worker=WORKER)
    assert WORKER in (await ask(scene, "mara", "admin pause", worker="gpu-9", sure=True))["content"]
    assert await scene.bot.parts.operator.workers() == {WORKER: "paused"}


async def test_an_ended_job_is_made_and_posted_again(scene: Scene):
    await scene.imagine("ada")
    await scene.picture_of("ada")
    job = await until(scene, "ada", JobState.DONE)
    question = await ask(scene, "mara", "admin requeue", job=job.id)
    assert f"<@{scene.users['ada']}>" in texts(question)
    assert "red fox" not in texts(question)  # words are their person's
    assert len(scene.worker.started) == 1
    assert scene.users["ada"] in await press(scene, "mara", question, "requeue")
    async with asyncio.timeout(30):
        while len([m for m in await scene.messages_of("ada") if "Here is your photo" in texts(m)]) < 2:
            await asyncio.sleep(0.05)
    assert (await jobs_of(scene, "ada"))[0].generation == job.generation + 1
    assert await log_of(scene) == [("requeue", job.id)]


async def test_a_job_that_has_not_ended_is_neither_asked_again_nor_refunded(open_scene: OpenScene):
    scene = await open_scene(worker={"max_batch": 1})
    scene.worker.gate.clear()
    await scene.imagine("ada")
    job = await until(scene, "ada", JobState.RUNNING)
    for command in ("admin requeue", "admin refund"):
        for sure in (False, True):
            said = (await ask(scene, "mara", command, job=job.id, sure=sure))["content"]
            assert said == say("error.not_ended", "en"), (command, sure)
    assert say("error.not_waiting", "en") == (await ask(scene, "mara", "admin move", job=job.id, lane="quick"))["content"]
    assert await log_of(scene) == []


async def test_a_waiting_job_is_moved_to_a_lane_and_to_a_worker_and_back(open_scene: OpenScene):
    scene = await open_scene(worker={"max_batch": 1})
    await FleetMemory(scene.lab.database).remember("elsewhere", [])
    scene.worker.gate.clear()
    await scene.imagine("ada")
    await until(scene, "ada", JobState.RUNNING)
    await scene.imagine("chen", "a second wish")
    (job,) = await jobs_of(scene, "chen")
    assert (await ask(scene, "mara", "admin move", job=job.id))["content"] == say("error.move_where", "en")
    without = (await ask(scene, "mara", "admin move", job=job.id, worker="elsewhere"))["content"]
    assert without == say("error.worker_without", "en", worker="elsewhere", model="house")

    question = await ask(scene, "mara", "admin move", job=job.id, lane="bulk", worker=WORKER)
    assert say("lane.bulk", "en") in texts(question) and say("admin.only_on", "en", worker=WORKER) in texts(question)
    assert "Moved" in await press(scene, "mara", question, "move")
    waiting = await scene.lab.store.look(lambda line: line.waiting[job.id], fresh=0)
    assert (waiting.lane, waiting.exclude) == ("bulk", frozenset({"elsewhere"}))

    anywhere = await ask(scene, "mara", "admin move", job=job.id, worker="any", sure=True)
    assert say("admin.anywhere", "en") in anywhere["content"]
    waiting = await scene.lab.store.look(lambda line: line.waiting[job.id], fresh=0)
    assert (waiting.lane, waiting.exclude) == ("bulk", frozenset())
    scene.worker.gate.set()
    await scene.picture_of("chen")


async def test_a_refund_is_given_once_and_the_quota_shows_it(scene: Scene):
    await scene.imagine("ada")
    await scene.picture_of("ada")
    job = await until(scene, "ada", JobState.DONE)
    conduct = scene.bot.parts.conduct
    assert (await conduct.load(job.user_id)).seconds > 0
    question = await ask(scene, "mara", "admin refund", job=job.id)
    assert "0.1 s of GPU time" in texts(question)
    assert (await conduct.load(job.user_id)).seconds > 0
    assert "0.1 s of GPU time back" in await press(scene, "mara", question, "refund")
    assert (await conduct.load(job.user_id)).seconds == 0
    for sure in (False, True):
        assert (await ask(scene, "mara", "admin refund", job=job.id, sure=sure))["content"] == say("error.refunded_already", "en")
    assert await log_of(scene) == [("refund", job.id)]


async def test_one_job_or_all_of_a_member_is_cancelled_after_a_press(open_scene: OpenScene):
    scene = await open_scene(worker={"max_batch": 1})
    scene.worker.gate.clear()
    for n in range(3):
        await scene.imagine("ada", f"fox {n}")
    await scene.card_of("ada", "Step")
    newest = (await jobs_of(scene, "ada"))[0]
    one = await ask(scene, "mara", "admin cancel", job=newest.id)
    assert "1 request is cancelled" in await press(scene, "mara", one, "cancel-job")
    assert (await until(scene, "ada", JobState.CANCELLED)).id == newest.id
    rest = await ask(scene, "mara", "admin cancel", member=scene.users["ada"])
    assert "would cancel 2 requests" in texts(rest)
    assert "2 requests are cancelled" in await press(scene, "mara", rest, "cancel-member")
    async with asyncio.timeout(20):
        while any(not job.state.is_terminal for job in await jobs_of(scene, "ada")):
            await asyncio.sleep(0.02)
    nothing = await ask(scene, "mara", "admin cancel", member=scene.users["ada"], sure=True)
    assert nothing["content"] == say("error.nothing_under_way", "en")


async def test_a_press_is_judged_anew_and_works_after_a_restart(scene: Scene):
    question = await ask(scene, "mara", "admin pause", worker=WORKER)
    scene.bot.may_administer = lambda person: False  # her role was taken from her since the question
    assert "Manage Server" in await press(scene, "mara", question, "pause")
    assert await scene.bot.parts.operator.workers() == {WORKER: "active"}
    question = await ask_again(scene)
    await scene.restart()
    assert await press(scene, "mara", question, "pause") == say("did.pause", "en", worker=WORKER)


async def ask_again(scene: Scene) -> dict:
    del scene.bot.may_administer
    return await ask(scene, "mara", "admin pause", worker=WORKER)


async def test_roles_named_for_it_may_and_others_may_not_also_where_they_see_the_command(scene: Scene):
    role = await scene.play.add_role(scene.guild_id, "Lab keepers")
    await scene.play.post("members/edit", {"guild_id": str(scene.guild_id), "user": "chen", "roles": [role["id"]]})
    await scene.restart(admin_role_ids=(int(role["id"]),))
    for command in scene.bot.tree.get_commands(guild=scene.bot.get_guild(scene.guild_id)):
        if command.name == "admin":
            command.default_permissions = None
    await scene.bot.scopes.put("guild")
    assert (await ask(scene, "chen", "admin pause", worker=WORKER, sure=True))["content"] == say("did.pause", "en", worker=WORKER)
    assert "Manage Server" in (await ask(scene, "ada", "admin resume", worker=WORKER))["content"]
    assert await choices(scene, "ada", "admin resume", "worker", worker="") == []
    assert await choices(scene, "chen", "admin resume", "worker", worker="") == [WORKER]
    assert await scene.bot.parts.operator.workers() == {WORKER: "paused"}


async def test_names_of_workers_and_jobs_complete_themselves(open_scene: OpenScene):
    scene = await open_scene(worker={"max_batch": 1})
    await scene.imagine("ada", "a first wish")
    await scene.picture_of("ada")
    done = await until(scene, "ada", JobState.DONE)
    scene.worker.gate.clear()
    await scene.imagine("ada", "a second wish")
    running = await until(scene, "ada", JobState.RUNNING)
    await scene.imagine("chen", "a third wish")
    (waiting,) = await jobs_of(scene, "chen")
    assert await choices(scene, "mara", "admin drain", "worker", worker="W") == [WORKER]
    assert await choices(scene, "mara", "admin drain", "worker", worker="nothing like it") == []
    assert await choices(scene, "mara", "admin requeue", "job", job="") == [done.id]
    assert await choices(scene, "mara", "admin refund", "job", job=done.id[-6:]) == [done.id]
    assert await choices(scene, "mara", "admin move", "job", job="") == [waiting.id]
    assert await choices(scene, "mara", "admin cancel", "job", job=scene.users["ada"]) == [running.id]
    assert await choices(scene, "mara", "admin move", "worker", job="", worker="") == ["any", WORKER]
    shown = await scene.play.autocomplete("mara", scene.welcome, "admin cancel", {"job": ""}, focused="job")
    assert "wish" not in str(shown)


@pytest.mark.parametrize("job", ["", "no such job", "../../etc", "x" * 90, "ünïcode", "01.any", hashlib.sha256(b"x").hexdigest()])
async def test_what_is_no_job_is_refused_kindly(scene: Scene, job):
    for command in ("admin requeue", "admin cancel"):
        said = (await ask(scene, "mara", command, job=job or " ", sure=True))["content"]
        assert said.startswith("There is no job"), (command, said)
