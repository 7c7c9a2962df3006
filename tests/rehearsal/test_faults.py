"""Faults by name: each does what its name says, and says how often it was hit."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import aiohttp
import pytest

from tests.rehearsal.conftest import Stage, StartStage
from tests.rehearsal.gateway_client import connect

MESSAGES = r"/messages$"


async def count(stage: Stage) -> int:
    return len(await stage.play.messages(stage.channels["welcome"]))


async def post(stage: Stage, **body: Any) -> tuple[int, Any, Any]:
    return await stage.raw("POST", f"/channels/{stage.channels['welcome']}/messages", {"content": "x"} | body)


@pytest.mark.parametrize(("name", "status", "effect"), [("status:502", 502, 0), ("after_status:502", 502, 1), ("html", 502, 0)])
async def test_a_server_error_before_or_after_the_effect(stage: Stage, name: str, status: int, effect: int) -> None:
    await stage.play.fault(name, method="POST", path=MESSAGES)
    assert (await post(stage))[0] == status
    assert await count(stage) == effect
    assert (await post(stage))[0] == 200
    fault = (await stage.play.faults())[0]
    assert (fault["hits"], fault["armed"]) == (1, False)


@pytest.mark.parametrize(("name", "effect"), [("drop", 0), ("after_drop", 1), ("truncate", 1)])
async def test_a_broken_connection_before_or_after_the_effect(stage: Stage, name: str, effect: int) -> None:
    await stage.play.fault(name, method="POST", path=MESSAGES)
    with pytest.raises(aiohttp.ClientError):
        await post(stage)
    assert await count(stage) == effect


@pytest.mark.parametrize(("name", "there"), [("slow:0.3", 0), ("after_slow:0.3", 1)])
async def test_a_slow_answer_has_its_effect_before_or_after_the_wait(stage: Stage, name: str, there: int) -> None:
    await stage.play.fault(name, method="POST", path=MESSAGES)
    async with asyncio.TaskGroup() as group:
        posting = group.create_task(post(stage))
        await asyncio.sleep(0.1)
        assert await count(stage) == there
    assert posting.result()[0] == 200
    assert await count(stage) == 1


@pytest.mark.parametrize(
    ("name", "scope", "counted"),
    [("429:0.5", "user", 1), ("global429:0.5", "global", 1), ("shared429:0.5", "shared", 0)],
)
async def test_a_429_says_its_scope(stage: Stage, name: str, scope: str, counted: int) -> None:
    await stage.play.fault(name, path=MESSAGES)
    status, body, headers = await post(stage)
    assert (status, body["retry_after"], body["global"]) == (429, 0.5, scope == "global")
    assert (headers["X-RateLimit-Scope"], headers["Retry-After"], headers["Via"]) == (scope, "0.500", "1.1 google")
    assert (await stage.play.limits())["invalid_requests"] == counted


async def test_the_edge_bans_without_via_and_without_json(stage: Stage) -> None:
    await stage.play.fault("cf429", path=MESSAGES)
    status, body, headers = await post(stage)
    assert (status, "Via" in headers, isinstance(body, str)) == (429, False, True)


async def test_skip_and_count_choose_the_request(stage: Stage) -> None:
    await stage.play.fault("status:500", path=MESSAGES, method="POST", skip=1, count=2)
    assert [(await post(stage))[0] for _ in range(4)] == [200, 500, 500, 200]


@pytest.mark.parametrize(("name", "status", "code"), [("guild_full", 400, 30013), ("category_full", 400, 50035)])
async def test_full_guilds_and_categories(stage: Stage, name: str, status: int, code: int) -> None:
    await stage.play.fault(name)
    body = {"name": "a", "parent_id": int(stage.channels["Rooms"])}
    got, answer, _ = await stage.raw("POST", f"/guilds/{stage.guild_id}/channels", body)
    assert (got, answer["code"]) == (status, code)


async def test_an_expired_nonce_posts_twice(stage: Stage) -> None:
    await post(stage, nonce="n", enforce_nonce=True)
    await post(stage, nonce="n", enforce_nonce=True)
    assert await count(stage) == 1
    await stage.play.fault("nonce_expired")
    await post(stage, nonce="n", enforce_nonce=True)
    assert await count(stage) == 2


@pytest.mark.parametrize("name", ["event_dup", "event_drop", "event_late:0.2", "event_after_answer", "event_before_answer"])
async def test_events_come_twice_never_late_or_in_the_order_asked_for(stage: Stage, name: str) -> None:
    async with connect(stage) as socket:
        await stage.play.fault(name, path="MESSAGE_CREATE")
        await post(stage)
        await post(stage, content="y")
        names = [e["d"]["content"] for e in await socket.until(lambda e: False, 0.4) if e["t"] == "MESSAGE_CREATE"]
    # The bot sees its own words without the intent.
    expected = {"event_dup": ["x", "x", "y"], "event_drop": ["y"], "event_late:0.2": ["y", "x"]}
    assert names == expected.get(name, ["x", "y"])


async def test_events_change_places(stage: Stage) -> None:
    async with connect(stage) as socket:
        await stage.play.fault("event_reorder", path="MESSAGE_CREATE")
        await post(stage)
        await post(stage, content="y")
        names = [e["d"]["content"] for e in await socket.until(lambda e: False, 0.2) if e["t"] == "MESSAGE_CREATE"]
    assert names == ["y", "x"]


async def test_cdn_faults(stage: Stage) -> None:
    upload = await stage.play.upload("ada", "a.bin", b"x" * 5000)
    said = await stage.play.say("ada", stage.channels["welcome"], "file", files=[upload])
    url = said["attachments"][0]["url"]
    for name in ("cdn_404", "cdn_expired"):
        await stage.play.fault(name)
        async with stage.raw.session.get(url) as response:
            assert response.status == 404
    await stage.play.fault("cdn_short")
    with pytest.raises(aiohttp.ClientPayloadError):
        await stage.play.download(url)
    assert await stage.play.download(url) == b"x" * 5000
    assert all(f["hits"] == 1 for f in await stage.play.faults())


async def test_a_process_is_killed_at_the_request(stage: Stage) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    try:
        await stage.play.fault("kill_bot", method="POST", path=MESSAGES, args={"pid": process.pid})
        with contextlib.suppress(aiohttp.ClientError):
            await post(stage)
        assert await asyncio.wait_for(process.wait(), 10) == -9
        assert await count(stage) == 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


async def test_faults_are_cleared(stage: Stage) -> None:
    await stage.play.fault("status:500", count=100)
    await stage.play.clear_faults()
    assert (await post(stage))[0] == 200


async def test_ten_thousand_invalid_requests_are_an_edge_ban(start_stage: StartStage) -> None:
    stage = await start_stage(invalid_limit=3)
    for _ in range(3):
        await stage.raw("GET", "/users/@me", headers={"Authorization": "no"})
    status, body, headers = await post(stage)
    assert (status, isinstance(body, str), "Via" in headers) == (429, True, False)
    await stage.play.advance(601)
    assert (await post(stage))[0] == 200


async def test_message_windows_share_sends_and_edits_and_tell_it(stage: Stage) -> None:
    left = []
    _, first, headers = await post(stage)
    left.append(headers["X-RateLimit-Remaining"])
    for n in range(4):
        path = f"/channels/{stage.channels['welcome']}/messages/{first['id']}"
        status, _, headers = await stage.raw("PATCH", path, {"content": str(n)})
        assert status == 200
        left.append(headers["X-RateLimit-Remaining"])
    assert left == ["4", "3", "2", "1", "0"]
    assert headers["X-RateLimit-Limit"] == "5"
    assert 0 < float(headers["X-RateLimit-Reset-After"]) <= 5
    status, body, headers = await post(stage)
    assert (status, headers["X-RateLimit-Scope"]) == (429, "user")
    assert body["retry_after"] > 0
    await stage.play.advance(5)
    assert (await post(stage))[0] == 200


async def test_a_third_rename_within_ten_minutes_waits_without_a_header_that_says_so(stage: Stage) -> None:
    path = f"/channels/{stage.channels['welcome']}"
    for name in ("one", "two"):
        status, _, headers = await stage.raw("PATCH", path, {"name": name})
        assert status == 200
    assert headers["X-RateLimit-Remaining"] != "0"
    status, body, _ = await stage.raw("PATCH", path, {"topic": "new"})
    assert status == 429
    assert body["retry_after"] > 500
    assert (await stage.raw("PATCH", path, {"nsfw": True}))[0] == 200


async def test_fifty_requests_a_second_are_the_global_limit(start_stage: StartStage) -> None:
    stage = await start_stage(global_limit=5)
    answers = [await stage.raw("GET", f"/channels/{c}") for c in list(stage.channels.values())[:3] * 3]
    limited = [(s, b) for s, b, _ in answers if s == 429]
    assert limited
    assert limited[0][1]["global"] is True
    assert (await stage.raw("GET", "/gateway", headers={"Authorization": ""}))[0] == 200
