"""The REST side by raw HTTP, so that the twin is not tuned to one library: it refuses what Discord refuses."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.rehearsal.conftest import Stage, StartStage
from tests.rehearsal.pictures import png

VIEW, SEND, MANAGE_ROLES, ADMINISTRATOR, CREATE_EVENTS = 1 << 10, 1 << 11, 1 << 28, 1 << 3, 1 << 44


def text(content: str) -> dict[str, Any]:
    return {"type": 10, "content": content}


def button(custom_id: str, **more: Any) -> dict[str, Any]:
    return {"type": 2, "style": 2, "label": "Go", "custom_id": custom_id} | more


def row(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": 1, "components": list(parts)}


def upload(body: dict[str, Any], *files: tuple[str, bytes]) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("payload_json", json.dumps(body))
    for n, (name, data) in enumerate(files):
        form.add_field(f"files[{n}]", data, filename=name, content_type="application/octet-stream")
    return form


async def test_answers_have_exactly_the_content_type_the_library_needs(stage: Stage) -> None:
    status, me, headers = await stage.raw("GET", "/users/@me")
    assert (status, headers["Content-Type"], headers["Via"]) == (200, "application/json", "1.1 google")
    assert me["bot"] is True
    assert isinstance(me["id"], str)
    assert int(me["id"]) > 2**53


async def test_no_token_a_wrong_token_and_an_unknown_route_are_refused(stage: Stage) -> None:
    status, body, _ = await stage.raw("GET", "/users/@me", headers={"Authorization": ""})
    assert (status, body["code"]) == (401, 0)
    status, body, _ = await stage.raw("GET", "/users/@me", headers={"Authorization": "Bearer x"})
    assert status == 401
    status, body, _ = await stage.raw("GET", "/users/@me/nothing")
    assert (status, body["code"]) == (404, 0)
    limits = await stage.play.limits()
    assert limits["unknown_routes"] == ["GET /users/@me/nothing"]
    assert limits["invalid_requests"] == 2


NOT_FOUND = "UNFURLED_MEDIA_ITEM_REFERENCED_ATTACHMENT_NOT_FOUND"
NOT_BOTH = "BUTTON_COMPONENT_CUSTOM_ID_URL_MUTUALLY_EXCLUSIVE"
TOO_MANY = "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED"
LINK = {"style": 5, "url": "https://a.example"}
LONG_ALT = {"media": {"url": "https://a.example/a.png"}, "description": "d" * 1025}
BOTH_WAYS = {"parse": ["users"], "users": ["1"]}
NESTED = {"type": 17, "components": [{"type": 17, "components": [text("t")]}]}
LOST = {"type": 12, "items": [{"media": {"url": "attachment://a.png"}}]}

FOREIGN = {"type": 13, "file": {"url": "https://a.example/a.png"}}

LEGACY = [
    ({"content": "x" * 2001}, "content", "BASE_TYPE_MAX_LENGTH"),
    ({"content": "x", "nonce": "n" * 26}, "nonce", "BASE_TYPE_MAX_LENGTH"),
    ({"content": "x", "components": [row(button("a"))] * 6}, "components", "BASE_TYPE_MAX_LENGTH"),
    ({"content": "x", "components": [row(button("a"), button("a"))]}, "components", "COMPONENT_CUSTOM_ID_DUPLICATED"),
    ({"content": "x", "components": [row(*(button(str(n)) for n in range(6)))]}, "components", "BASE_TYPE_BAD_LENGTH"),
    ({"content": "x", "components": [text("no")]}, "components", "UNION_TYPE_CHOICES"),
    ({"content": "x", "components": [row(button("c" * 101))]}, "components", "BASE_TYPE_BAD_LENGTH"),
    ({"content": "x", "components": [row(button("c", label="l" * 81))]}, "components", "BASE_TYPE_MAX_LENGTH"),
    ({"content": "x", "components": [row(button("c", **LINK))]}, "components", NOT_BOTH),
    ({"embeds": [{"title": "t" * 257}]}, "embeds", "BASE_TYPE_MAX_LENGTH"),
    ({"embeds": [{"description": "t" * 4000}, {"description": "t" * 2001}]}, "embeds", "MAX_EMBED_SIZE_EXCEEDED"),
    ({"embeds": [{"title": "t"}] * 11}, "embeds", "BASE_TYPE_MAX_LENGTH"),
    ({"content": "x", "allowed_mentions": BOTH_WAYS}, "allowed_mentions", "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE"),
    ({"content": 5}, "content", "STRING_TYPE_CONVERT"),
]  # fmt: skip

V2 = [
    ({"content": "x", "components": [text("t")]}, "content", "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2"),
    ({"components": [text("t")] * 41}, "components", "BASE_TYPE_MAX_LENGTH"),
    ({"components": [{"type": 17, "components": [text("t")] * 40}]}, "components", TOO_MANY),
    ({"components": [text("t" * 2000), text("t" * 2001)]}, "components", "COMPONENT_MAX_TOTAL_TEXT_LENGTH_EXCEEDED"),
    ({"components": [LOST]}, "components", NOT_FOUND),
    ({"components": [{"type": 12, "items": []}]}, "components", "BASE_TYPE_BAD_LENGTH"),
    ({"components": [{"type": 12, "items": [LONG_ALT]}]}, "components", "BASE_TYPE_MAX_LENGTH"),
    ({"components": [{"type": 9, "components": [text("t")]}]}, "components", "BASE_TYPE_REQUIRED"),
    ({"components": [FOREIGN]}, "components", "URL_TYPE_INVALID_SCHEME"),
    ({"components": [NESTED]}, "components", "UNION_TYPE_CHOICES"),
    ({"components": [text("")]}, "components", "BASE_TYPE_REQUIRED"),
]  # fmt: skip


def codes(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {e["code"] for e in node.get("_errors", [])}
        return own.union(*(codes(child) for key, child in node.items() if key != "_errors"))
    return set()


@pytest.mark.parametrize(("body", "field", "code"), LEGACY + [(b | {"flags": 32768}, f, c) for b, f, c in V2])
async def test_a_bad_message_is_refused_with_path_and_code(stage: Stage, body: Any, field: str, code: str) -> None:
    status, answer, _ = await stage.raw("POST", f"/channels/{stage.channels['welcome']}/messages", body)
    assert (status, answer["code"]) == (400, 50035)
    assert code in codes(answer["errors"][field])
    assert await stage.play.messages(stage.channels["welcome"]) == []


async def test_an_empty_message_and_broken_json_are_refused(stage: Stage) -> None:
    path = f"/channels/{stage.channels['welcome']}/messages"
    status, body, _ = await stage.raw("POST", path, {"content": ""})
    assert (status, body["code"]) == (400, 50006)
    for raw in (b"{", b'{"content": NaN}', b"[" * 100_000):
        status, body, _ = await stage.raw("POST", path, data=raw, headers={"Content-Type": "application/json"})
        assert (status, body["code"]) == (400, 50109)
    assert len(await stage.play.recording(kind="rest")) == 4
    status, body, _ = await stage.raw("POST", path, ["content"])
    assert (status, body["code"]) == (400, 50035)


async def test_forty_components_and_four_thousand_characters_pass(stage: Stage) -> None:
    body = {"flags": 32768, "components": [text("t" * 100)] * 40}
    status, _, _ = await stage.raw("POST", f"/channels/{stage.channels['welcome']}/messages", body)
    assert status == 200


async def test_files_are_stored_named_plainly_and_signed(stage: Stage) -> None:
    path = f"/channels/{stage.channels['welcome']}/messages"
    picture = png(9, 8)
    form = upload({"attachments": [{"id": 0, "filename": "über mein bild.png", "description": "alt"}]}, ("x.png", picture))
    status, message, _ = await stage.raw("POST", path, data=form)
    assert status == 200
    kept = message["attachments"][0]
    assert (kept["filename"], kept["width"], kept["height"]) == ("ber_mein_bild.png", 9, 8)
    assert (kept["content_type"], kept["description"]) == ("image/png", "alt")
    assert await stage.play.download(kept["url"]) == picture
    async with stage.raw.session.get(kept["url"].split("?")[0]) as unsigned:
        assert unsigned.status == 404
    async with stage.raw.session.get(kept["url"].replace("hm=", "hm=0")) as forged:
        assert forged.status == 404
    await stage.play.advance(86_500)
    async with stage.raw.session.get(kept["url"]) as expired:
        assert (expired.status, expired.content_type) == (404, "text/plain")
    _, again, _ = await stage.raw("GET", f"{path}/{message['id']}")
    assert await stage.play.download(again["attachments"][0]["url"]) == picture


async def test_file_limits(start_stage: StartStage) -> None:
    stage = await start_stage(file_limit=1000, request_limit=3000)
    path = f"/channels/{stage.channels['welcome']}/messages"
    status, body, _ = await stage.raw("POST", path, data=upload({}, ("a.bin", b"x" * 1001)))
    assert (status, body["code"]) == (413, 40005)
    status, body, _ = await stage.raw("POST", path, data=upload({}, *(("a.bin", b"x" * 900) for _ in range(4))))
    assert (status, body["code"]) == (413, 40005)
    many = upload({}, *((f"{n}.bin", b"x") for n in range(11)))
    status, body, _ = await stage.raw("POST", path, data=many)
    assert (status, body["code"]) == (400, 30015)


async def test_an_edit_keeps_drops_or_replaces_files_as_the_list_says(start_stage: StartStage) -> None:
    stage = await start_stage(rate_limits=False)
    path = f"/channels/{stage.channels['welcome']}/messages"
    _, message, _ = await stage.raw("POST", path, data=upload({}, ("a.png", png()), ("b.png", png())))
    one = f"{path}/{message['id']}"

    async def names(body: Any = None, **how: Any) -> list[str]:
        status, edited, _ = await stage.raw("PATCH", one, body, **how)
        assert status == 200
        return [a["filename"] for a in edited["attachments"]]

    assert await names({"content": "x"}) == ["a.png", "b.png"]
    kept = int(message["attachments"][1]["id"])
    assert await names({"attachments": [{"id": kept}]}) == ["b.png"]
    form = upload({"attachments": [{"id": kept}, {"id": 0, "filename": "c.png"}]}, ("c.png", png()))
    assert await names(data=form) == ["b.png", "c.png"]
    assert await names(data=upload({}, ("d.png", png()))) == ["d.png"]
    assert await names({"attachments": []}) == []


async def test_the_v2_flag_stays_once_it_is_set(stage: Stage) -> None:
    path = f"/channels/{stage.channels['welcome']}/messages"
    _, message, _ = await stage.raw("POST", path, {"content": "old"})
    change = {"flags": 32768, "content": None, "embeds": [], "components": [text("new")]}
    status, edited, _ = await stage.raw("PATCH", f"{path}/{message['id']}", change)
    assert (status, edited["flags"] & 32768, edited["content"]) == (200, 32768, "")
    assert edited["components"][0]["id"] == 1
    status, edited, _ = await stage.raw("PATCH", f"{path}/{message['id']}", {"flags": 0})
    assert edited["flags"] & 32768
    status, body, _ = await stage.raw("PATCH", f"{path}/{message['id']}", {"content": "back"})
    assert (status, body["code"]) == (400, 50035)


async def test_the_bot_may_not_edit_others_nor_write_where_it_cannot_see(stage: Stage) -> None:
    welcome = stage.channels["welcome"]
    said = await stage.play.say("ada", welcome, "mine")
    status, body, _ = await stage.raw("PATCH", f"/channels/{welcome}/messages/{said['id']}", {"content": "yours"})
    assert (status, body["code"]) == (403, 50005)
    status, body, _ = await stage.raw("POST", f"/channels/{stage.channels['staff']}/messages", {"content": "hi"})
    assert (status, body["code"]) == (403, 50001)
    bot = stage.server.world.bot.id
    muted = {"id": str(bot), "type": 1, "allow": 0, "deny": ["SEND_MESSAGES"]}
    await stage.play.permissions(channel_id=welcome, overwrite=muted)
    status, body, _ = await stage.raw("POST", f"/channels/{welcome}/messages", {"content": "hi"})
    assert (status, body["code"]) == (403, 50013)
    status, body, _ = await stage.raw("GET", "/channels/123456789012345678/messages")
    assert (status, body["code"]) == (404, 10003)


async def test_without_history_the_past_is_empty(stage: Stage) -> None:
    welcome, bot = stage.channels["welcome"], stage.server.world.bot.id
    await stage.raw("POST", f"/channels/{welcome}/messages", {"content": "x"})
    hidden = {"id": str(bot), "type": 1, "deny": ["READ_MESSAGE_HISTORY"]}
    await stage.play.permissions(channel_id=welcome, overwrite=hidden)
    status, body, _ = await stage.raw("GET", f"/channels/{welcome}/messages")
    assert (status, body) == (200, [])


async def make(stage: Stage, name: str, **more: Any) -> tuple[int, Any]:
    status, body, _ = await stage.raw("POST", f"/guilds/{stage.guild_id}/channels", {"name": name} | more)
    return status, body


async def test_an_overwrite_counts_only_with_the_right_type(stage: Stage) -> None:
    deny = {"id": stage.guild_id, "allow": 0, "deny": VIEW}
    status, as_role = await make(stage, "closed", permission_overwrites=[deny | {"type": 0}])
    assert status == 201
    _, as_member = await make(stage, "open", permission_overwrites=[deny | {"type": 1}])
    assert stage.users["ada"] not in (await stage.play.channel(as_role["id"]))["viewers"]
    assert stage.users["ada"] in (await stage.play.channel(as_member["id"]))["viewers"]
    status, body = await make(stage, "nothing", permission_overwrites=[{"id": stage.guild_id, "deny": VIEW}])
    assert (status, body["code"]) == (400, 50035)


@pytest.mark.parametrize("bits", [CREATE_EVENTS, MANAGE_ROLES, ADMINISTRATOR])
async def test_the_bot_cannot_grant_what_it_does_not_hold_nor_manage_roles(stage: Stage, bits: int) -> None:
    grant = {"id": int(stage.users["ada"]), "type": 1, "allow": bits, "deny": 0}
    status, body = await make(stage, "gift", permission_overwrites=[grant])
    assert (status, body["code"]) == (403, 50013)
    status, body, _ = await stage.raw(
        "PUT", f"/channels/{stage.channels['welcome']}/permissions/{stage.users['ada']}", {"type": 1, "allow": bits}
    )
    assert (status, body["code"]) == (403, 50013)


async def test_guild_and_category_are_full_at_their_limits(start_stage: StartStage) -> None:
    stage = await start_stage(channel_limit=7, category_limit=4)
    category = stage.channels["Rooms"]
    assert (await make(stage, "four", parent_id=category))[0] == 201
    status, body = await make(stage, "five", parent_id=category)
    assert (status, body["code"]) == (400, 50035)
    assert "CHANNEL_PARENT_MAX_CHANNELS" in codes(body["errors"])
    assert (await make(stage, "six"))[0] == 201
    assert (await make(stage, "seven"))[0] == 201
    status, body = await make(stage, "eight")
    assert (status, body["code"]) == (400, 30013)


async def test_a_bot_without_manage_channels_makes_none(stage: Stage) -> None:
    await stage.play.fault("perm_lost", args={"guild_id": stage.guild_id, "permissions": ["MANAGE_CHANNELS"]})
    status, body = await make(stage, "no")
    assert (status, body["code"]) == (403, 50013)
    assert (await stage.play.faults())[0]["hits"] == 1


async def test_a_deleted_channel_is_unknown_and_its_messages_too(stage: Stage) -> None:
    _, channel = await make(stage, "brief")
    path = f"/channels/{channel['id']}"
    _, message, _ = await stage.raw("POST", path + "/messages", {"content": "x"})
    await stage.play.delete_channel(channel["id"])
    for method, tail in (("GET", ""), ("POST", "/messages"), ("GET", f"/messages/{message['id']}")):
        status, body, _ = await stage.raw(method, path + tail, {"content": "x"} if method == "POST" else None)
        assert (status, body["code"]) == (404, 10003)


async def test_bulk_delete_takes_two_to_a_hundred_young_messages(stage: Stage) -> None:
    path = f"/channels/{stage.channels['welcome']}/messages"
    ids = [(await stage.raw("POST", path, {"content": str(n)}))[1]["id"] for n in range(3)]
    status, body, _ = await stage.raw("POST", path + "/bulk-delete", {"messages": ids[:1]})
    assert (status, body["code"]) == (400, 50016)
    status, _, _ = await stage.raw("POST", path + "/bulk-delete", {"messages": ids[:2]})
    assert status == 204
    assert [m["id"] for m in await stage.play.messages(stage.channels["welcome"])] == ids[2:]
    await stage.play.advance(15 * 86_400)
    status, body, _ = await stage.raw("POST", path + "/bulk-delete", {"messages": [ids[2], ids[2]]})
    assert (status, body["code"]) == (400, 50034)


COMMANDS = [
    [{"name": "Upper", "description": "d"}],
    [{"name": "two words", "description": "d"}],
    [{"name": "a", "description": ""}],
    [{"name": "a", "description": "d" * 101}],
    [{"name": "a", "description": "d", "name_localizations": {"xx": "b"}}],
    [{"name": "a", "description": "d", "options": [{"type": 3, "name": "o", "description": "d"},
      {"type": 3, "name": "r", "description": "d", "required": True}]}],
    [{"name": "a", "description": "d", "options": [{"type": 3, "name": "o", "description": "d"}] * 2}],
    [{"name": "a", "description": "d", "options": [{"type": 99, "name": "o", "description": "d"}]}],
    [{"name": "a", "description": "d"}, {"name": "a", "description": "e"}],
    [{"name": "a", "description": "d", "type": 2}],
]  # fmt: skip


@pytest.mark.parametrize("commands", COMMANDS)
async def test_bad_commands_are_refused_and_nothing_changes(stage: Stage, commands: Any) -> None:
    path = f"/applications/{stage.server.world.application.id}/commands"
    status, good, _ = await stage.raw("PUT", path, [{"name": "kept", "description": "d"}])
    assert status == 200
    status, body, _ = await stage.raw("PUT", path, commands)
    assert (status, body["code"]) == (400, 50035)
    _, now, _ = await stage.raw("GET", path)
    assert now == good


async def test_a_command_keeps_its_id_through_a_sync_and_new_ones_are_counted(start_stage: StartStage) -> None:
    stage = await start_stage(daily_commands=3)
    path = f"/applications/{stage.server.world.application.id}/guilds/{stage.guild_id}/commands"
    _, first, _ = await stage.raw("PUT", path, [{"name": "a", "description": "d"}])
    _, second, _ = await stage.raw("PUT", path, [{"name": "a", "description": "e"}, {"name": "b", "description": "d"}])
    assert first[0]["id"] == second[0]["id"]
    fresh = [{"name": n, "description": "d"} for n in "acd"]
    status, body, _ = await stage.raw("PUT", path, fresh)
    assert (status, body["code"]) == (400, 30034)
    await stage.play.advance(86_401)
    assert (await stage.raw("PUT", path, fresh))[0] == 200


async def test_mentions_follow_allowed_mentions(stage: Stage) -> None:
    path = f"/channels/{stage.channels['welcome']}/messages"
    ada = stage.users["ada"]
    _, loud, _ = await stage.raw("POST", path, {"content": f"<@{ada}> @everyone"})
    assert [u["id"] for u in loud["mentions"]] == [ada]
    assert loud["mention_everyone"] is False  # the bot may not mention everyone
    _, quiet, _ = await stage.raw("POST", path, {"content": f"<@{ada}>", "allowed_mentions": {"parse": []}})
    assert quiet["mentions"] == []
    listed = {"content": f"<@{ada}>", "allowed_mentions": {"parse": [], "users": [ada]}}
    _, one, _ = await stage.raw("POST", path, listed)
    assert [u["id"] for u in one["mentions"]] == [ada]
    shown = {"flags": 32768, "components": [text(f"<@{ada}>")]}
    _, displayed, _ = await stage.raw("POST", path, shown)
    assert [u["id"] for u in displayed["mentions"]] == [ada]


async def test_a_reply_needs_a_message_of_the_channel(stage: Stage) -> None:
    path = f"/channels/{stage.channels['welcome']}/messages"
    said = await stage.play.say("ada", stage.channels["welcome"], "question")
    _, reply, _ = await stage.raw("POST", path, {"content": "answer", "message_reference": {"message_id": said["id"]}})
    assert (reply["type"], reply["referenced_message"]["id"]) == (19, said["id"])
    assert reply["referenced_message"]["content"] == ""  # no intent, no content
    status, body, _ = await stage.raw("POST", path, {"content": "x", "message_reference": {"message_id": "1"}})
    assert (status, body["code"]) == (400, 50035)


async def test_an_audit_log_reason_has_1_to_512_characters(stage: Stage) -> None:
    path = f"/guilds/{stage.guild_id}/channels"
    status, _, _ = await stage.raw("POST", path, {"name": "a"}, headers={"X-Audit-Log-Reason": "f%C3%BCr%20Ada"})
    assert status == 201
    records = await stage.play.recording(kind="rest")
    assert records[-1]["reason"] == "für Ada"
    status, _, _ = await stage.raw("POST", path, {"name": "a"}, headers={"X-Audit-Log-Reason": "x" * 513})
    assert status == 400


async def test_the_recording_holds_hashes_and_no_secret(stage: Stage) -> None:
    path = f"/channels/{stage.channels['welcome']}/messages"
    await stage.raw("POST", path, data=upload({"content": "x"}, ("a.png", png())))
    async with stage.raw.session.get(f"{stage.server.url}/control/recording") as response:
        lines = await response.text()
    assert stage.server.token not in lines
    record = next(r for r in map(json.loads, lines.splitlines()) if r["kind"] == "rest")
    assert (record["method"], record["status"], record["files"][0]["size"]) == ("POST", 200, len(png()))
    assert len(record["files"][0]["sha256"]) == 64
    gateway = [r for r in await stage.play.recording(kind="gateway") if r.get("t") == "MESSAGE_CREATE"]
    assert gateway[0]["d"]["content"] == "x"
