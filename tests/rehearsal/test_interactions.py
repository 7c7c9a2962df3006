"""Interactions by raw HTTP: which answers are legal when, and what the token may do afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from rehearsal.interactions import Interaction
from tests.rehearsal.conftest import Stage, StartStage

CARD = {"content": "card", "components": [{"type": 1, "components": [{"type": 2, "style": 1, "label": "Go", "custom_id": "go"}]}]}
MODAL = {"custom_id": "m", "title": "Title", "components": [
    {"type": 18, "label": "Words", "component": {"type": 4, "style": 1, "custom_id": "words"}}]}  # fmt: skip
COMMANDS = [{"name": "go", "description": "d", "options": [{"type": 3, "name": "o", "description": "d", "autocomplete": True}]}]


async def prepare(stage: Stage) -> None:
    application = stage.server.world.application.id
    status, _, _ = await stage.raw("PUT", f"/applications/{application}/commands", COMMANDS)
    assert status == 200


async def begin(stage: Stage, kind: str) -> Interaction:
    """A fresh interaction of that kind, waiting to be answered."""
    play, welcome = stage.play, stage.channels["welcome"]
    if kind == "slash":
        record = await play.slash("ada", welcome, "go")
    elif kind == "click":
        _, message, _ = await stage.raw("POST", f"/channels/{welcome}/messages", CARD)
        record = await play.click("ada", message["id"], "go")
    else:
        source = await begin(stage, "slash" if kind == "modal" else "click")
        assert (await answer(stage, source, 9, MODAL))[0] == 200
        record = await play.modal("ada", source.id, {"words": "w"})
    found = stage.server.twin.interactions.get(int(record["id"]))
    assert found is not None
    return found


async def answer(stage: Stage, interaction: Interaction, kind: Any, data: Any = None, token: str | None = None) -> tuple[int, Any]:
    path = f"/interactions/{interaction.id}/{token or interaction.token}/callback?with_response=1"
    status, body, _ = await stage.raw("POST", path, {"type": kind, "data": data}, headers={"Authorization": ""})
    return status, body


async def hook(stage: Stage, interaction: Interaction, method: str, tail: str = "", body: Any = None) -> tuple[int, Any]:
    path = f"/webhooks/{stage.server.world.application.id}/{interaction.token}{tail}"
    status, body, _ = await stage.raw(method, path, body, headers={"Authorization": ""})
    return status, body


LEGAL = {"slash": {4, 5, 9}, "click": {4, 5, 6, 7, 9}, "modal": {4, 5}, "click modal": {4, 5, 6, 7}}
DATA = {4: {"content": "x"}, 5: {}, 6: None, 7: {"content": "x"}, 8: {"choices": []}, 9: MODAL, 1: None, 77: None, "4": {"content": "x"}}


@pytest.mark.parametrize("kind", LEGAL)
async def test_only_legal_callbacks_are_taken(start_stage: StartStage, kind: str) -> None:
    stage = await start_stage(rate_limits=False)
    await prepare(stage)
    taken = set()
    for callback, data in DATA.items():
        interaction = await begin(stage, kind)
        status, body = await answer(stage, interaction, callback, data)
        assert status == 200 or body["code"] == 50035, (callback, body)
        if status == 200:
            taken.add(callback)
        assert interaction.acked == (status == 200)
    assert taken == LEGAL[kind]


async def test_before_the_answer_the_token_is_no_webhook_and_a_wrong_token_is_unknown(stage: Stage) -> None:
    await prepare(stage)
    interaction = await begin(stage, "slash")
    status, body = await hook(stage, interaction, "POST", body={"content": "x"})
    assert (status, body["code"]) == (404, 10015)
    status, body = await answer(stage, interaction, 4, {"content": "x"}, token="wrong")
    assert (status, body["code"]) == (404, 10062)
    status, body = await answer(stage, interaction, 4, {"content": ""})
    assert (status, body["code"]) == (400, 50006)
    assert not interaction.acked


async def test_the_first_follow_up_after_a_deferral_fills_the_loading_message(stage: Stage) -> None:
    await prepare(stage)
    interaction = await begin(stage, "slash")
    status, body = await answer(stage, interaction, 5, {"flags": 64})
    assert (status, body["interaction"]["response_message_loading"]) == (200, True)
    loading = body["interaction"]["response_message_id"]
    status, filled = await hook(stage, interaction, "POST", body={"content": "open?"})
    assert (status, filled["id"], filled["flags"] & 64, filled["flags"] & 128) == (200, loading, 64, 0)
    status, second = await hook(stage, interaction, "POST", body={"content": "second"})
    assert second["id"] != loading
    status, original = await hook(stage, interaction, "GET", "/messages/@original")
    assert original["content"] == "open?"
    assert (await hook(stage, interaction, "DELETE", "/messages/@original"))[0] == 204
    status, body = await hook(stage, interaction, "GET", "/messages/@original")
    assert (status, body["code"]) == (404, 10008)
    record = await stage.play.interaction(interaction.id)
    assert record["original"] is None
    assert [m["content"] for m in record["followups"]] == ["second"]


async def test_a_token_touches_only_its_own_messages(stage: Stage) -> None:
    await prepare(stage)
    interaction = await begin(stage, "slash")
    await answer(stage, interaction, 4, {"content": "mine"})
    _, other, _ = await stage.raw("POST", f"/channels/{stage.channels['welcome']}/messages", {"content": "x"})
    status, body = await hook(stage, interaction, "PATCH", f"/messages/{other['id']}", {"content": "y"})
    assert (status, body["code"]) == (404, 10008)


async def test_an_update_changes_the_source_message(stage: Stage) -> None:
    await prepare(stage)
    interaction = await begin(stage, "click")
    status, body = await answer(stage, interaction, 7, {"content": "new", "components": []})
    assert (status, body["resource"]["type"]) == (200, 7)
    assert body["resource"]["message"]["id"] == str(interaction.message_id)
    seen = await stage.play.message(interaction.message_id)
    assert (seen["content"], seen["components"]) == ("new", [])


BAD_MODALS = [
    MODAL | {"title": "t" * 46},
    MODAL | {"custom_id": "c" * 101},
    MODAL | {"components": []},
    MODAL | {"components": MODAL["components"] * 6},
    MODAL | {"components": MODAL["components"] * 2},
    MODAL | {"components": [{"type": 2, "style": 1, "label": "b", "custom_id": "b"}]},
]


@pytest.mark.parametrize("modal", BAD_MODALS)
async def test_a_bad_modal_is_refused(stage: Stage, modal: Any) -> None:
    await prepare(stage)
    interaction = await begin(stage, "slash")
    status, body = await answer(stage, interaction, 9, modal)
    assert (status, body["code"]) == (400, 50035)
    record = await stage.play.interaction(interaction.id)
    assert (record["state"], record["refused"][0]["code"]) == ("waiting", 50035)


async def test_more_than_25_choices_are_refused_and_nobody_is_offered_any(start_stage: StartStage) -> None:
    stage = await start_stage(interaction_deadline=0.2)
    await prepare(stage)
    choices = await stage.play.autocomplete("ada", stage.channels["welcome"], "go", {"o": "x"}, "o")
    assert choices == []
    interaction = list(stage.server.twin.interactions)[-1]
    assert interaction.state == "failed"
    status, body = await answer(stage, interaction, 8, {"choices": []})
    assert (status, body["code"]) == (404, 10062)


async def test_an_ephemeral_answer_is_told_to_nobody_else(stage: Stage) -> None:
    await prepare(stage)
    interaction = await begin(stage, "slash")
    await answer(stage, interaction, 4, {"content": "psst", "flags": 64})
    events = [r for r in await stage.play.recording(kind="gateway") if r.get("t") == "MESSAGE_CREATE"]
    assert events == []
    _, history, _ = await stage.raw("GET", f"/channels/{stage.channels['welcome']}/messages")
    assert history == []


async def test_tokens_die_by_the_clock_and_by_the_fault(stage: Stage) -> None:
    await prepare(stage)
    interaction = await begin(stage, "slash")
    await answer(stage, interaction, 4, {"content": "x"})
    await stage.play.fault("token_expired")
    status, body = await hook(stage, interaction, "PATCH", "/messages/@original", {"content": "y"})
    assert (status, body["code"]) == (401, 50027)
    assert (await hook(stage, interaction, "PATCH", "/messages/@original", {"content": "y"}))[0] == 200
    await stage.play.advance(901)
    status, body = await hook(stage, interaction, "PATCH", "/messages/@original", {"content": "z"})
    assert (status, body["code"]) == (401, 50027)
