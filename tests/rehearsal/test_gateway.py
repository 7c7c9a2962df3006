"""The gateway by a bare client: opcodes, close codes, resume, what each intent lets through."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.rehearsal.conftest import Stage, StartStage
from tests.rehearsal.gateway_client import INTENTS, connect


async def test_hello_ready_and_a_whole_guild(stage: Stage) -> None:
    async with connect(stage, identify=False, compress="zlib-stream") as socket:
        ready = await socket.identify(stage)
        assert ready["d"]["resume_gateway_url"] == stage.server.twin.gateway_url
        assert ready["d"]["guilds"] == [{"id": str(stage.guild_id), "unavailable": True}]
        guild = (await socket.next())["d"]
        assert [m["user"]["id"] for m in guild["members"]] == [str(stage.server.world.bot.id)]
        assert {c["name"] for c in guild["channels"]} == {"Rooms", "welcome", "gallery", "staff"}
        await socket.send(1, None)
        assert (await socket.next())["op"] == 11


CLOSES = [
    (lambda t: (2, {"token": "no", "intents": 0}), 4004),
    (lambda t: (2, {"token": t, "intents": -1}), 4013),
    (lambda t: (2, {"token": t, "intents": 1 << 15}), 4014),
    (lambda t: (2, {"token": t, "intents": 1 << 1}), 4014),
    (lambda t: (2, {"token": t, "intents": 0, "shard": [2, 1]}), 4010),
    (lambda t: (8, {"guild_id": "1"}), 4003),
    (lambda t: (77, None), 4001),
    (lambda t: (2, "x" * 5000), 4002),
]


@pytest.mark.parametrize(("frame", "code"), CLOSES)
async def test_a_wrong_frame_closes_with_its_code(stage: Stage, frame: Any, code: int) -> None:
    async with connect(stage, identify=False) as socket:
        await socket.send(*frame(stage.server.token))
        assert (await socket.next())["close"] == code


async def test_another_version_and_a_second_identify_are_refused(stage: Stage) -> None:
    url = f"{stage.server.url}/?v=9&encoding=json"
    async with stage.raw.session.ws_connect(url) as raw:
        await raw.receive(timeout=5)
        assert raw.close_code == 4012
    async with connect(stage) as socket:
        again = await socket.identify(stage)
        assert again["close"] == 4005


async def test_too_many_frames_close_with_4008(stage: Stage) -> None:
    async with connect(stage, identify=False) as socket:
        for _ in range(121):
            await socket.send(1, None)
        assert (await socket.until(lambda f: "close" in f))[-1]["close"] == 4008


async def test_resume_replays_what_was_missed_as_it_was_then(stage: Stage) -> None:
    async with connect(stage, identify=False) as socket:
        ready = await socket.identify(stage)
        await socket.next()
        seq = 2
        await stage.play.fault("ws_reset")
        await socket.until(lambda f: "close" in f)
    said = await stage.play.say("ada", stage.channels["welcome"], f"<@{stage.server.world.bot.id}> one")
    await stage.play.edit("ada", said["id"], f"<@{stage.server.world.bot.id}> two")
    async with connect(stage, identify=False) as socket:
        resume = {"token": stage.server.token, "session_id": ready["d"]["session_id"], "seq": seq}
        await socket.send(6, resume)
        frames = await socket.until(lambda f: f["t"] == "RESUMED")
        assert [(f["s"], f["t"]) for f in frames] == [(3, "MESSAGE_CREATE"), (4, "MESSAGE_UPDATE"), (5, "RESUMED")]
        assert frames[0]["d"]["content"].endswith("one")
        assert isinstance(frames[-1]["d"], dict)


@pytest.mark.parametrize("session", ["unknown", None])
async def test_a_session_nobody_knows_is_invalid(stage: Stage, session: str | None) -> None:
    async with connect(stage, identify=False) as socket:
        await socket.send(6, {"token": stage.server.token, "session_id": session, "seq": 1})
        frame = await socket.next()
        assert (frame["op"], frame["d"]) == (9, False)


async def test_a_session_the_client_closed_with_1000_is_over(stage: Stage) -> None:
    async with connect(stage, identify=False) as socket:
        ready = await socket.identify(stage)
        await socket.socket.close(code=1000)
    async with connect(stage, identify=False) as socket:
        await socket.send(6, {"token": stage.server.token, "session_id": ready["d"]["session_id"], "seq": 1})
        assert (await socket.next())["op"] == 9


async def test_intents_decide_what_comes_and_interactions_always_come(stage: Stage) -> None:
    application = stage.server.world.application.id
    await stage.raw("PUT", f"/applications/{application}/commands", [{"name": "go", "description": "d"}])
    async with connect(stage, identify=False) as socket:
        await socket.identify(stage, intents=0)
        await stage.play.say("ada", stage.channels["welcome"], "hello")
        await stage.play.slash("ada", stage.channels["welcome"], "go")
        frames = await socket.until(lambda f: f["t"] == "INTERACTION_CREATE")
        assert [f["t"] for f in frames] == ["INTERACTION_CREATE"]


async def test_messages_of_channels_the_bot_cannot_see_do_not_come(stage: Stage) -> None:
    async with connect(stage) as socket:
        await stage.play.say("mara", stage.channels["staff"], "hidden")
        await stage.play.say("ada", stage.channels["welcome"], "open")
        frames = await socket.until(lambda f: f["t"] == "MESSAGE_CREATE")
        assert len(frames) == 1
        assert frames[0]["d"]["channel_id"] == stage.channels["welcome"]


async def test_content_comes_with_the_intent_and_the_portals_switch(start_stage: StartStage) -> None:
    stage = await start_stage(message_content_intent=True)
    async with connect(stage, identify=False) as socket:
        await socket.identify(stage, intents=INTENTS | 1 << 15)
        await stage.play.say("ada", stage.channels["welcome"], "open words")
        assert (await socket.until(lambda f: f["t"] == "MESSAGE_CREATE"))[-1]["d"]["content"] == "open words"


async def test_a_gateway_that_is_down_refuses_until_the_fault_is_cleared(stage: Stage) -> None:
    await stage.play.fault("gateway_down")
    for _ in range(2):
        async with stage.raw.session.get(f"{stage.server.url}/", headers={"Upgrade": "websocket", "Connection": "Upgrade"}) as r:
            assert r.status == 503
    await stage.play.clear_faults()
    async with connect(stage) as socket:
        await socket.send(1, None)
        assert (await socket.next())["op"] == 11


async def test_no_hello_and_no_ack_leave_the_client_waiting(stage: Stage) -> None:
    await stage.play.fault("no_hello")
    async with stage.raw.session.ws_connect(f"{stage.server.url}/?v=10&encoding=json") as raw:
        with pytest.raises(asyncio.TimeoutError):
            await raw.receive(timeout=0.1)
    await stage.play.fault("no_ack")
    async with connect(stage) as socket:
        await socket.send(1, None)
        await socket.send(1, None)
        assert len([f for f in await socket.until(lambda f: False, 0.2) if f["op"] == 11]) == 1


async def test_the_bot_hears_when_it_is_shown_the_door_and_let_in_again(stage: Stage) -> None:
    async with connect(stage) as socket:
        await stage.play.kick(stage.guild_id, stage.server.world.bot.id)
        assert (await socket.next())["t"] == "GUILD_DELETE"
        await stage.play.say("ada", stage.channels["welcome"], "unheard")
        await stage.play.post("members", {"guild_id": stage.guild_id, "user": str(stage.server.world.bot.id)})
        assert (await socket.next())["t"] == "GUILD_CREATE"


JUNK = [None, True, -1, 2**70, "x", "9" * 30, [], {}, [None], {"a": []}]


async def test_junk_in_a_frame_closes_the_connection_or_is_ignored_and_the_next_one_works(start_stage: StartStage) -> None:
    stage = await start_stage(members_intent=True)
    for junk in JUNK:
        frames = [(op, junk) for op in (1, 2, 6, 8)] + [(junk, None)]
        frames += [(2, {"token": stage.server.token, "intents": 0} | {key: junk}) for key in ("intents", "shard", "token")]
        frames += [(6, {"token": stage.server.token, "session_id": junk, "seq": junk})]
        for op, data in frames:
            async with connect(stage, identify=False) as socket:
                await socket.send(op, data)
                await socket.send(1, None)
                answers = await socket.until(lambda f: f["op"] == 11 or "close" in f)
                assert answers[-1].get("close", 4000) in range(4000, 4020), (op, data, answers)
    async with connect(stage) as socket:
        for key in ("guild_id", "query", "limit", "user_ids"):
            for junk in JUNK:
                await socket.send(8, {"guild_id": str(stage.guild_id), "query": "", "limit": 0} | {key: junk})
        await socket.send(1, None)
        assert (await socket.until(lambda f: f["op"] == 11))[-1]["op"] == 11
