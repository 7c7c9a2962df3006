"""Junk in every field: the twin refuses with a form error and never falls over."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rehearsal.conftest import StartStage
from tests.rehearsal.test_interactions import CARD, COMMANDS, MODAL, begin, prepare

JUNK: list[Any] = [None, True, -1, 2**70, 1.5, "", "x", "9" * 30, [], [None], {}, {"a": []}, [[]], [{"type": []}]]
V2 = {"flags": 32768, "components": [{"type": 17, "components": [
    {"type": 12, "items": [{"media": {"url": "https://a.example/a.png"}}]},
    {"type": 9, "components": [{"type": 10, "content": "t"}], "accessory": {"type": 2, "style": 1, "label": "a", "custom_id": "a"}},
    {"type": 1, "components": [{"type": 3, "custom_id": "s", "options": [{"label": "a", "value": "a"}]}]}]}]}  # fmt: skip
MESSAGE = CARD | {
    "nonce": "n", "enforce_nonce": True, "flags": 0, "tts": False, "embeds": [{"title": "t", "fields": [{"name": "n", "value": "v"}]}],
    "allowed_mentions": {"parse": ["users"], "roles": ["1"]}, "attachments": [{"id": "1", "filename": "a"}],
    "message_reference": {"message_id": "1"},
}  # fmt: skip
CHANNEL = {"name": "a", "type": 0, "topic": "t", "parent_id": "1", "position": 1, "rate_limit_per_user": 0,
           "permission_overwrites": [{"id": "1", "type": 0, "allow": "0", "deny": "0"}]}  # fmt: skip


def spoiled(body: Any) -> Iterator[Any]:
    """`body` with one place after another replaced by each kind of junk."""
    for path in _paths(body):
        for junk in JUNK:
            changed = copy.deepcopy(body)
            node = changed
            for step in path[:-1]:
                node = node[step]
            node[path[-1]] = junk
            yield changed
    yield from JUNK


def _paths(node: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield (*way, name)
        yield from _paths(child, (*way, name))


ROUTES = {
    "message": ("POST", "/channels/{welcome}/messages", MESSAGE),
    "components": ("POST", "/channels/{welcome}/messages", V2),
    "channel": ("POST", "/guilds/{guild}/channels", CHANNEL),
    "channel edit": ("PATCH", "/channels/{welcome}", CHANNEL),
    "overwrite": ("PUT", "/channels/{welcome}/permissions/1", {"type": 0, "allow": 0, "deny": 0}),
    "commands": ("PUT", "/applications/{app}/commands", COMMANDS),
    "thread": ("POST", "/channels/{welcome}/threads", {"name": "a", "type": 12, "auto_archive_duration": 60}),
    "bulk": ("POST", "/channels/{welcome}/messages/bulk-delete", {"messages": ["1", "2"]}),
    "dm": ("POST", "/users/@me/channels", {"recipient_id": "1"}),
    "webhook": ("POST", "/channels/{welcome}/webhooks", {"name": "a"}),
}


@pytest.mark.parametrize("name", ROUTES)
async def test_junk_in_a_body_is_refused_and_never_an_error_of_the_twin(start_stage: StartStage, name: str) -> None:
    stage = await start_stage(rate_limits=False)
    method, template, body = ROUTES[name]
    places = {"welcome": stage.channels["welcome"], "guild": stage.guild_id, "app": stage.server.world.application.id}
    for given in spoiled(body):
        status, answer, _ = await stage.raw(method, template.format(**places), given)
        assert status < 500, (given, answer)


async def test_junk_in_an_answer_to_an_interaction_is_refused(start_stage: StartStage) -> None:
    stage = await start_stage(rate_limits=False, interaction_deadline=600)
    await prepare(stage)
    answers = [{"type": 4, "data": {"content": "x", "flags": 64}}, {"type": 5, "data": {"flags": 64}}, {"type": 9, "data": MODAL}]
    for given in itertools.chain.from_iterable(spoiled(a) for a in answers):
        interaction = await begin(stage, "slash")
        path = f"/interactions/{interaction.id}/{interaction.token}/callback"
        status, answer, _ = await stage.raw("POST", path, given)
        assert status < 500, (given, answer)


async def test_junk_in_paths_and_queries_is_unknown(start_stage: StartStage) -> None:
    stage = await start_stage(rate_limits=False)
    welcome = stage.channels["welcome"]
    for junk in ("x", "-1", "9" * 40, "%00", "1.5", "²"):
        for path in (f"/channels/{junk}", f"/channels/{welcome}/messages/{junk}", f"/guilds/{junk}", f"/users/{junk}"):
            status, _, _ = await stage.raw("GET", path)
            assert status in (400, 404), path
        for query in ("limit", "before", "after", "around"):
            status, _, _ = await stage.raw("GET", f"/channels/{welcome}/messages", params={query: junk})
            assert status in (200, 400), (query, junk)


PLAYS: dict[str, Any] = {
    "slash": {"as": "ada", "channel_id": "1", "name": "go", "options": {"o": "x"}},
    "message": {"as": "ada", "channel_id": "1", "content": "x", "files": ["a"], "reply_to": "1"},
    "select": {"as": "ada", "message_id": "1", "custom_id": "s", "values": ["a"]},
    "modal": {"as": "ada", "interaction_id": "1", "values": {"a": "b"}},
    "guilds": {"name": "g", "owner": "ada", "members": ["bruno"], "bot_permissions": ["VIEW_CHANNEL"]},
    "members": {"guild_id": "1", "username": "new", "roles": ["1"]},
    "members/edit": {"guild_id": "1", "user": "ada", "roles": ["1"], "timeout_s": 1},
    "channels": {"guild_id": "1", "name": "c", "overwrites": [{"id": "1", "type": 0, "allow": 0, "deny": 0}]},
    "roles": {"guild_id": "1", "name": "r", "permissions": 1, "color": 1, "position": 1},
    "permissions": {"channel_id": "1", "overwrite": {"id": "1", "type": 0, "allow": 1}},
    "faults": {"name": "status:500", "method": "POST", "path": "x", "count": 1, "skip": 0, "args": {}},
    "faults ": {"name": "message_deleted", "args": {"message_id": "1"}},
    "bot": {"intents": {"members": True}},
    "clock/advance": {"seconds": 1},
}


@pytest.mark.parametrize("name", PLAYS)
async def test_junk_from_the_page_is_answered_with_a_sentence(start_stage: StartStage, name: str) -> None:
    stage = await start_stage(rate_limits=False)
    await prepare(stage)
    real = {"channel_id": stage.channels["welcome"], "guild_id": str(stage.guild_id)}
    body = {key: real.get(key, value) for key, value in PLAYS[name].items()}
    for given in spoiled(body):
        async with stage.raw.session.post(f"{stage.server.url}/control/{name.strip()}", json=given) as response:
            assert response.status < 500, (given, await response.text())
            if response.status >= 400:
                assert len((await response.json())["error"].split()) > 2
        await stage.play.clear_faults()
