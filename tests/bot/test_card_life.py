"""The waiting card while its job waits, runs, is cancelled, and while the bot restarts."""

import asyncio
import io

from PIL import Image

from jobs.events import JobProgressed
from jobs.job import JobId, UserId
from tests.bot.conftest import OpenScene, Scene, buttons, gallery, texts


async def running_card(scene: Scene, who: str) -> dict:
    """Ask with the worker standing still, and wait until the card tells of it."""
    scene.worker.gate.clear()
    await scene.imagine(who)
    return await scene.card_of(who, "Step")


async def job_of(scene: Scene, who: str):
    return (await scene.lab.store.recent(UserId(f"discord:{scene.users[who]}"), limit=1))[0]


async def test_a_card_tells_of_waiting_then_running_then_done(open_scene: OpenScene):
    scene = await open_scene(worker={"max_batch": 2})
    scene.worker.gate.clear()
    for number in range(3):
        await scene.imagine("ada", f"fox {number}")
    waiting = await scene.card_of("ada", "You have 2 photos on the way")
    assert "Waiting, number **1**" in texts(waiting)
    scene.worker.gate.set()
    await scene.play.wait_message(
        "ada", waiting["channel_id"], lambda m: m["id"] == waiting["id"] and "Done in" in texts(m), timeout_s=40
    )


async def test_the_owner_cancels_a_running_job_and_the_card_says_so(scene: Scene):
    card = await running_card(scene, "ada")
    record = await scene.play.click("ada", card["id"], buttons(card)[0], wait="answer")
    assert record["original"]["content"] == "Stopping it now."
    assert record["ephemeral"]
    closed = await scene.card_of("ada", "Cancelled.")
    assert closed["id"] == card["id"]
    assert "You stopped it at step" in texts(closed)
    assert buttons(closed) == [f"job:{(await job_of(scene, 'ada')).id}:again:0"]
    assert len(await scene.messages_of("ada")) == 1


async def test_the_owner_cancels_a_waiting_job(open_scene: OpenScene):
    scene = await open_scene(worker={"max_batch": 2})
    scene.worker.gate.clear()
    for number in range(3):
        await scene.imagine("ada", f"fox {number}")
    card = await scene.card_of("ada", "You have 2 photos on the way")
    record = await scene.play.click("ada", card["id"], buttons(card)[0], wait="answer")
    assert record["original"]["content"] == "Cancelled before it started."
    assert (await scene.card_of("ada", "Cancelled before it started."))["id"] == card["id"]


async def test_somebody_elses_press_stops_nothing(open_scene: OpenScene):
    scene = await open_scene()
    staff = next(r["id"] for r in (await scene.play.state())["guilds"][0]["roles"] if r["name"] == "Staff")
    await scene.restart(staff_role_ids=(int(staff),))
    card = await running_card(scene, "ada")
    record = await scene.play.click("mara", card["id"], buttons(card)[0], wait="answer")
    assert record["original"]["content"] == "This card belongs to someone else."
    assert not (await job_of(scene, "ada")).cancel_requested


async def test_a_button_works_after_a_restart(scene: Scene):
    card = await running_card(scene, "ada")
    await scene.restart()
    record = await scene.play.click("ada", card["id"], buttons(card)[0], wait="answer")
    assert record["original"]["content"] == "Stopping it now."
    assert (await scene.card_of("ada", "Cancelled."))["id"] == card["id"]


async def test_cards_of_unfinished_jobs_are_taken_up_after_a_restart(scene: Scene):
    card = await running_card(scene, "ada")
    await scene.restart()
    job = await job_of(scene, "ada")
    scene.lab.feed.publish(
        JobProgressed(job_id=job.id, step=9, total_steps=12, elapsed=1.0, eta=None, worker="w0", preview=None)
    )
    again = await scene.card_of("ada", "Step **9** of 12")
    assert again["id"] == card["id"]


async def test_buttons_that_nobody_knows_any_more_say_so(scene: Scene):
    card = await running_card(scene, "ada")
    channel = scene.bot.get_channel(int(card["channel_id"]))
    import discord

    view = discord.ui.View()
    view.add_item(discord.ui.Button(label="Old", custom_id="remix:7"))
    view.add_item(discord.ui.Button(label="Gone", custom_id="job:00000000000000000000000000:cancel:0"))
    old = await channel.send("old", view=view)
    scene.bot._connection._view_store._views.clear()
    for custom_id in ("remix:7", "job:00000000000000000000000000:cancel:0"):
        record = await scene.play.click("ada", str(old.id), custom_id, wait="answer")
        assert "This button has expired" in record["original"]["content"]


async def test_a_preview_is_shown_on_the_card_and_rubbish_is_not(scene: Scene):
    await running_card(scene, "ada")
    job = await job_of(scene, "ada")
    out = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(out, "PNG")

    def progress(step: int, preview: bytes) -> JobProgressed:
        return JobProgressed(
            job_id=JobId(job.id), step=step, total_steps=12, elapsed=1.0, eta=None, worker="w0", preview=preview
        )

    scene.lab.feed.publish(progress(6, out.getvalue()))
    card = await scene.card_of("ada", "Step **6** of 12")
    assert "preview-6.png" in gallery(card)[0]
    scene.lab.feed.publish(progress(9, b"<html>" * 10))
    card = await scene.card_of("ada", "Step **9** of 12")
    assert gallery(card) == []
    assert card["attachments"] == []


def edits(recording: list[dict], card: dict) -> int:
    return len([r for r in recording if r["method"] == "PATCH" and r["path"].endswith(card["id"])])


async def test_progress_that_cannot_be_seen_is_not_edited_in(scene: Scene):
    card = await running_card(scene, "ada")
    job = await job_of(scene, "ada")

    def progress(step: int) -> JobProgressed:
        # An hour to go: the promised moment neither passes nor moves while this looks.
        return JobProgressed(job_id=job.id, step=step, total_steps=100, elapsed=1.0, eta=3600, worker="w0")

    scene.lab.feed.publish(progress(30))
    await scene.card_of("ada", "Step **30** of 100")
    before = edits(await scene.play.recording(kind="rest"), card)
    for step in range(31, 49):
        scene.lab.feed.publish(progress(step))
        await asyncio.sleep(0.2)
    assert edits(await scene.play.recording(kind="rest"), card) == before


async def test_progress_edits_are_rare(open_scene: OpenScene):
    scene = await open_scene(rehearsal={"message_limit": 50})  # so that it is not the library that waits
    card = await running_card(scene, "ada")
    job = await job_of(scene, "ada")
    for step in range(100):
        preview = b"\x89PNG\r\n\x1a\n" + bytes([step])  # another one each step: each would be worth an edit
        scene.lab.feed.publish(
            JobProgressed(
                job_id=job.id, step=step, total_steps=100, elapsed=1.0, eta=None, worker="w0", preview=preview
            )
        )
        await asyncio.sleep(0.02)
    await scene.card_of("ada", "of 100")
    assert edits(await scene.play.recording(kind="rest"), card) <= 4
    assert (await scene.play.limits())["rate_limited"] == 0
