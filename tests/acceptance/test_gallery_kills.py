"""kill -9 between every two steps of publishing and of taking back: each picture hangs once, or not at all once it was taken back.

One lab dies at one point after the other; nobody presses anything twice, the next start brings to its end what was begun.
"""

import asyncio
from contextlib import suppress

import pytest

from tests.acceptance.failing_host import gallery_names
from tests.acceptance.lab import Lab, Refused, button, channel_of, eventually, is_picture, open_lab, picture_url, texts
from tests.fake_worker import FakeWorker

KILLED = -9
FORUM = 15
UNDOING = ("taking", "undone", "taking_down")


async def _picture(lab: Lab, member: str, wish: str) -> dict:
    record = await lab.imagine(member, wish)
    channel = channel_of(record)

    async def come():
        return next((m for m in await lab.messages(channel) if is_picture(m) and wish in texts(m)), None)

    return await eventually(come, what=f"the picture of {wish!r}")


async def _press(lab: Lab, member: str, message: dict, verb: str) -> dict:
    click = {"as": member, "message_id": message["id"], "custom_id": button(message, verb)}
    return (await lab.post("/control/click", click, wait="answer", timeout_s="20"))["original"]


async def _hanging(lab: Lab, wish: str) -> list[dict]:
    """Every message in gallery or forum that shows this wish."""
    state = await lab.get("/control/state")
    channels = [c for guild in state["guilds"] for c in guild["channels"]]
    walls = [c["id"] for c in channels if c["name"] == "gallery"]
    places = [*walls, *(c["id"] for c in channels if c["parent_id"] in walls)]
    texts_only = [place for place in places if not any(c["id"] == place and c["type"] == FORUM for c in channels)]
    return [m for place in texts_only for m in await _messages(lab, place) if picture_url(m) and wish in texts(m)]


async def _messages(lab: Lab, place: str) -> list[dict]:
    try:
        return await lab.messages(place)
    except Refused as refused:
        if refused.status != 404:
            raise
        return []  # a forum's post that was taken down since its channel was listed


async def _die(lab: Lab, point: str, doing) -> None:
    """Do it, and die at the point while it is done."""
    await lab.host.stop()
    await lab.host.start(failpoint=point)
    await lab.up()
    async with asyncio.TaskGroup() as group:
        press = group.create_task(_unanswered(doing))
        await eventually(lambda: _is_dead(lab), what=f"the death at {point}")
        press.cancel()
    assert lab.host.status == KILLED
    await lab.host.start()
    await lab.up()


async def _unanswered(doing) -> None:
    """The bot dies under the press: nobody answers, or the stand-in says so first."""
    with suppress(Refused):
        await doing()


async def _is_dead(lab: Lab) -> bool:
    return not lab.host.is_alive()


async def _die_at(lab: Lab, point: str, number: int) -> None:
    wish = f"wall number {number:02d} of many"
    card = await _press(lab, "ada", await _picture(lab, "ada", wish), "publish")
    card = await _press(lab, "ada", card, "ask-prompt")
    if not point.endswith(UNDOING):
        await _die(lab, point, lambda: _press(lab, "ada", card, "go"))
        # Before the commit nothing was promised and nothing begun; after it the next start hangs it, unpressed.
        count = 0 if point == "before_commit:begin" else 1
        await eventually(lambda: _are(lab, wish, count), what=f"{count} of {wish!r} after {point}")
        await _press(lab, "ada", card, "go")
    else:
        await _press(lab, "ada", card, "go")
        (message,) = await _hanging(lab, wish)
        await _die(lab, point, lambda: _press(lab, "ada", message, "undo"))
        count = 1 if point == "before_commit:taking" else 0
        await eventually(lambda: _are(lab, wish, count), what=f"{count} of {wish!r} after {point}")
        await _press(lab, "ada", card, "go")  # and it can be published again
    await eventually(lambda: _are(lab, wish, 1), what=f"{wish!r} once after {point}")


async def _are(lab: Lab, wish: str, count: int) -> bool:
    return len(await _hanging(lab, wish)) == count


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["text", "forum"])
async def test_killed_between_every_two_steps_of_publishing_each_picture_hangs_once(tmp_path, kind):
    async with FakeWorker().serve() as worker, open_lab(tmp_path, [worker.url]) as lab:
        if kind == "forum":
            state = await lab.get("/control/state")
            await lab.post("/control/channels/delete", {"channel_id": await lab.channel_id("gallery")})
            await lab.post("/control/channels", {"guild_id": state["guilds"][0]["id"], "name": "gallery", "type": FORUM})
        for number, point in enumerate(gallery_names()):
            await _die_at(lab, point, number)
        for number in range(len(gallery_names())):
            (hung,) = await _hanging(lab, f"wall number {number:02d} of many")
            assert "voto" in (await _press(lab, "bruno", hung, "vote"))["content"]  # the ledger knows it, too
