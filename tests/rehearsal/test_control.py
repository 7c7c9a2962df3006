"""The control API: members can do what Discord's client lets them do, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rehearsal.client import Refused
from tests.rehearsal.conftest import Stage, StartStage
from tests.rehearsal.pictures import png

COMMANDS = [
    {
        "name": "imagine",
        "description": "Make a picture",
        "options": [
            {"type": 3, "name": "prompt", "description": "d", "required": True, "min_length": 2, "max_length": 20},
            {"type": 4, "name": "steps", "description": "d", "min_value": 1, "max_value": 50},
            {"type": 3, "name": "size", "description": "d", "choices": [{"name": "Small", "value": "s"}]},
            {"type": 5, "name": "quick", "description": "d"},
            {"type": 10, "name": "weight", "description": "d"},
            {"type": 6, "name": "who", "description": "d"},
            {"type": 11, "name": "file", "description": "d"},
        ],
    },
    {"name": "admin", "description": "d", "default_member_permissions": "32"},
    {"name": "nobody", "description": "d", "default_member_permissions": "0"},
    {"name": "group", "description": "d", "options": [{"type": 1, "name": "sub", "description": "d"}]},
    {"name": "Look", "type": 3},
]


@pytest.fixture
async def synced(stage: Stage) -> Stage:
    """A rehearsal whose bot has synced commands, without a gateway connection."""
    status, _, _ = await stage.raw("PUT", f"/applications/{stage.server.world.application.id}/commands", COMMANDS)
    assert status == 200
    return stage


def card(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"content": "card", "components": [{"type": 1, "components": list(parts)}]}


async def refused(what: Any) -> str:
    with pytest.raises(Refused) as error:
        await what
    assert len(error.value.sentence.split()) > 2
    return error.value.code


OPTIONS = [
    {},
    {"prompt": ""},
    {"prompt": "x"},
    {"prompt": "x" * 21},
    {"prompt": 7},
    {"prompt": "ok", "steps": 0},
    {"prompt": "ok", "steps": 51},
    {"prompt": "ok", "steps": 2.5},
    {"prompt": "ok", "steps": "7"},
    {"prompt": "ok", "steps": True},
    {"prompt": "ok", "size": "xl"},
    {"prompt": "ok", "quick": "yes"},
    {"prompt": "ok", "who": "nobody at all"},
    {"prompt": "ok", "file": "no such upload"},
    {"prompt": "ok", "more": 1},
]


@pytest.mark.parametrize("options", OPTIONS)
async def test_options_the_client_would_not_send_are_refused(synced: Stage, options: Any) -> None:
    code = await refused(synced.play.slash("ada", synced.channels["welcome"], "imagine", options))
    assert code in ("bad_option", "not_found")
    assert await synced.play.interactions() == []


async def test_a_command_must_be_synced_and_allowed(synced: Stage) -> None:
    play, welcome = synced.play, synced.channels["welcome"]
    assert await refused(play.slash("ada", welcome, "unknown")) == "not_synced"
    assert await refused(play.slash("ada", welcome, "admin")) == "not_allowed"
    assert await refused(play.slash("mara", welcome, "nobody")) == "not_allowed"
    assert await refused(play.slash("ada", welcome, "group")) == "bad_option"
    assert await refused(play.slash("ada", welcome, "group other")) == "not_synced"
    assert await refused(play.slash("ada", synced.channels["staff"], "imagine", {"prompt": "ok"})) == "not_visible"
    assert await refused(play.slash("zoe", welcome, "imagine", {"prompt": "ok"})) == "not_found"
    bot = synced.server.world.bot.id
    assert await refused(play.slash(bot, welcome, "imagine", {"prompt": "ok"})) == "not_allowed"
    assert (await play.slash("mara", welcome, "admin"))["state"] == "waiting"
    assert (await play.slash("olga", welcome, "nobody"))["state"] == "waiting"
    assert (await play.slash("ada", welcome, "group sub"))["name"] == "group sub"
    commands = {c["name"]: c["usable"] for c in (await play.state("ada"))["commands"]}
    assert commands == {"imagine": True, "admin": False, "nobody": False, "group": True, "Look": True}


async def test_a_member_who_may_not_write_has_no_composer(synced: Stage) -> None:
    welcome = synced.channels["welcome"]
    mute = {"id": synced.users["ada"], "type": 1, "deny": ["SEND_MESSAGES"]}
    await synced.play.permissions(channel_id=welcome, overwrite=mute)
    assert await refused(synced.play.slash("ada", welcome, "imagine", {"prompt": "ok"})) == "not_allowed"
    assert await refused(synced.play.say("ada", welcome, "hello")) == "not_allowed"
    await synced.play.edit_member(synced.guild_id, "bruno", timeout_s=60)
    assert await refused(synced.play.say("bruno", welcome, "hello")) == "not_allowed"
    await synced.play.advance(61)
    assert (await synced.play.say("bruno", welcome, "hello"))["content"] == "hello"


async def test_controls_of_a_message_are_pressed_only_as_they_are(synced: Stage) -> None:
    play, welcome = synced.play, synced.channels["welcome"]
    parts = card(
        {"type": 2, "style": 2, "label": "Go", "custom_id": "go"},
        {"type": 2, "style": 2, "label": "Off", "custom_id": "off", "disabled": True},
        {"type": 2, "style": 5, "label": "Link", "url": "https://a.example"},
    )
    parts["components"].append({"type": 1, "components": [{"type": 3, "custom_id": "pick", "max_values": 2, "options": [
        {"label": "A", "value": "a"}, {"label": "B", "value": "b"}, {"label": "C", "value": "c"}]}]})  # fmt: skip
    _, message, _ = await synced.raw("POST", f"/channels/{welcome}/messages", parts)
    assert (await play.click("ada", message["id"], "go"))["kind"] == "click"
    assert await refused(play.click("ada", message["id"], "off")) == "disabled"
    assert await refused(play.click("ada", message["id"], "stay")) == "not_found"
    assert await refused(play.click("ada", message["id"], "pick")) == "not_found"
    assert await refused(play.select("ada", message["id"], "pick", ["d"])) == "bad_option"
    assert await refused(play.select("ada", message["id"], "pick", [])) == "bad_option"
    assert await refused(play.select("ada", message["id"], "pick", ["a", "b", "c"])) == "bad_option"
    assert (await play.select("ada", message["id"], "pick", ["a", "b"]))["kind"] == "select"
    await play.delete_message(message["id"])
    assert await refused(play.click("ada", message["id"], "go")) == "gone"


async def test_an_ephemeral_card_belongs_to_one_person(synced: Stage) -> None:
    play, welcome = synced.play, synced.channels["welcome"]
    record = await play.slash("ada", welcome, "imagine", {"prompt": "ok"})
    interaction = synced.server.twin.interactions.get(int(record["id"]))
    assert interaction is not None
    data = card({"type": 2, "style": 2, "label": "Go", "custom_id": "go"}) | {"flags": 64}
    path = f"/interactions/{record['id']}/{interaction.token}/callback?with_response=1"
    status, answer, _ = await synced.raw("POST", path, {"type": 4, "data": data}, headers={"Authorization": ""})
    assert status == 200
    message_id = answer["resource"]["message"]["id"]
    assert await refused(play.click("bruno", message_id, "go")) == "not_yours"
    assert [m["id"] for m in await play.messages(welcome, "ada")] == [message_id]
    assert await play.messages(welcome, "bruno") == []
    status, body, _ = await synced.raw("GET", f"/channels/{welcome}/messages/{message_id}")
    assert (status, body["code"]) == (404, 10008)
    assert (await play.click("ada", message_id, "go"))["kind"] == "click"
    await play.delete("ada", message_id)
    assert await refused(play.message(message_id, "ada")) == "gone"


async def test_people_edit_and_delete_what_is_theirs(stage: Stage) -> None:
    play, welcome = stage.play, stage.channels["welcome"]
    said = await play.say("ada", welcome, "frist")
    assert await refused(play.edit("bruno", said["id"], "first")) == "not_yours"
    assert (await play.edit("ada", said["id"], "first"))["edited_timestamp"]
    assert await refused(play.delete("bruno", said["id"])) == "not_allowed"
    await play.delete("mara", said["id"])
    assert await play.messages(welcome) == []
    assert await refused(play.say("ada", welcome, "x" * 2001)) == "not_allowed"
    assert await refused(play.say("ada", welcome, "")) == "not_allowed"


async def test_uploads_belong_to_their_uploader_and_have_a_limit(start_stage: StartStage) -> None:
    stage = await start_stage(file_limit=100)
    small = await stage.play.upload("ada", "a.png", png())
    large = await stage.play.upload("ada", "b.bin", b"x" * 101)
    welcome = stage.channels["welcome"]
    assert await refused(stage.play.say("bruno", welcome, "", files=[small])) == "not_found"
    assert await refused(stage.play.say("ada", welcome, "", files=[large])) == "too_large"
    said = await stage.play.say("ada", welcome, "look", files=[small])
    assert await stage.play.download(said["attachments"][0]["url"]) == png()


async def test_another_host_or_origin_is_turned_away(stage: Stage) -> None:
    url, session = stage.server.url, stage.raw.session
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "http://127.0.0.1:1"}):
        for path in ("/control/health", "/control/state", "/", "/api/v10/gateway", "/page/index.html"):
            async with session.get(url + path, headers=headers, allow_redirects=False) as response:
                assert response.status == 403, (headers, path)
    async with session.get(url + "/control/health", headers={"Origin": url}) as response:
        assert response.status == 200
    async with session.post(url + "/control/clock/advance", data='{"seconds":1}', headers={"Content-Type": "text/plain"}) as r:
        assert r.status == 415


async def test_pages_are_served_and_nothing_beside_them(stage: Stage) -> None:
    url, session = stage.server.url, stage.raw.session
    async with session.get(url + "/", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/page/")
    for path in ("/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py", "/page/nothing.js"):
        async with session.get(url + path, allow_redirects=False) as response:
            assert response.status in (403, 404), path


async def test_nonsense_is_answered_with_a_sentence(stage: Stage) -> None:
    url, session = stage.server.url, stage.raw.session
    for body in ("{", "[]", "null", "[" * 50_000, '{"as": 1}', '{"seconds": "many"}'):
        async with session.post(url + "/control/clock/advance", data=body, headers={"Content-Type": "application/json"}) as response:
            answer = await response.json()
            assert 400 <= response.status < 500, body
            assert answer["code"] == "bad_request"
    assert await refused(stage.play.fault("no_such_fault")) == "bad_request"
    assert await refused(stage.play.fault("status")) == "bad_request"
    assert await refused(stage.play.fault("drop", path="(")) == "bad_request"


async def test_events_reach_only_those_who_may_see_them(stage: Stage) -> None:
    play = stage.play
    seen: dict[str, list[dict[str, Any]]] = {"ada": [], "bruno": []}
    ready = [asyncio.Event(), asyncio.Event()]

    async def watch(name: str, started: asyncio.Event) -> None:
        async for event in play.events(name):
            started.set()
            seen[name].append(event)

    async with asyncio.TaskGroup() as group:
        watchers = [group.create_task(watch(n, e)) for n, e in zip(seen, ready, strict=True)]
        for event in ready:
            await event.wait()
        hide = [
            {"id": str(stage.guild_id), "type": 0, "deny": VIEW},
            {"id": stage.users["ada"], "type": 1, "allow": VIEW},
        ]
        room = await play.add_channel(stage.guild_id, "ada-1", overwrites=hide)
        await play.say("ada", room["id"], "alone")
        await play.permissions(channel_id=room["id"], overwrite={"id": stage.users["bruno"], "type": 1, "allow": VIEW})
        await play.say("ada", room["id"], "together")
        await play.permissions(channel_id=room["id"], overwrite={"id": stage.users["bruno"], "type": 1})
        await play.say("ada", room["id"], "alone again")
        await asyncio.sleep(0.1)
        for watcher in watchers:
            watcher.cancel()

    def told(name: str) -> list[str]:
        names = ("CHANNEL_CREATE", "CHANNEL_DELETE", "MESSAGE_CREATE")
        return [e["d"].get("content") or e["t"] for e in seen[name] if e["t"] in names]

    assert told("ada") == ["CHANNEL_CREATE", "alone", "together", "alone again"]
    assert told("bruno") == ["CHANNEL_CREATE", "together", "CHANNEL_DELETE"]
    assert [e["n"] for e in seen["ada"]] == list(range(len(seen["ada"])))


VIEW = ["VIEW_CHANNEL"]


async def test_a_locale_travels_with_the_interaction(synced: Stage) -> None:
    await synced.play.locale("ada", "de")
    await synced.play.slash("ada", synced.channels["welcome"], "imagine", {"prompt": "ok"})
    sent = [r for r in await synced.play.recording(kind="gateway") if r.get("t") == "INTERACTION_CREATE"][-1]["d"]
    assert (sent["locale"], sent["guild_locale"]) == ("de", "en-US")
    assert sent["member"]["user"]["username"] == "ada"
    assert {"id", "application_id", "type", "token", "version", "data", "attachment_size_limit"} <= set(sent)
    assert sent["token"] == "<token>"


async def test_roles_change_what_people_see(stage: Stage) -> None:
    staff = next(r for r in (await stage.play.state())["guilds"][0]["roles"] if r["name"] == "Staff")
    assert await refused(stage.play.messages(stage.channels["staff"], "ada")) == "not_visible"
    await stage.play.edit_member(stage.guild_id, "ada", roles=[staff["id"]])
    assert await stage.play.messages(stage.channels["staff"], "ada") == []
    await stage.play.post("roles/delete", {"guild_id": stage.guild_id, "role_id": staff["id"]})
    assert await refused(stage.play.messages(stage.channels["staff"], "ada")) == "not_visible"
    await stage.play.kick(stage.guild_id, "ada")
    assert (await stage.play.state("ada"))["guilds"] == []
