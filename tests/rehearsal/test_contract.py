"""Recorded traffic against the facts of Discord's published description; and that the check sees what is wrong."""

from __future__ import annotations

import copy
import json
from typing import Any

import discord
import pytest
from discord import app_commands, ui

from rehearsal import app
from rehearsal.contract import TOLERATED, Contract
from rehearsal.derive_contract import key
from tests.rehearsal.conftest import Bot, RunBot, Stage, StartStage
from tests.rehearsal.pictures import png


async def whole_traffic(stage: Stage, run_bot: RunBot) -> list[dict[str, Any]]:
    """One of nearly everything, by the library: what was recorded."""
    bot = _asking_bot()
    await run_bot(bot, stage)
    play, welcome = stage.play, stage.channels["welcome"]
    await play.slash("ada", welcome, "imagine", {"prompt": "a fox"}, wait="answer")
    opened = await play.slash("ada", welcome, "ask", wait="answer")
    await play.modal("ada", opened["id"], {"words": "hello"}, wait="answer")
    guild = bot.get_guild(stage.guild_id)
    assert guild is not None
    show, hide = discord.PermissionOverwrite(view_channel=True), discord.PermissionOverwrite(view_channel=False)
    ada = await guild.fetch_member(int(stage.users["ada"]))
    room = await guild.create_text_channel(
        "room", category=guild.categories[0], topic="t", overwrites={guild.default_role: hide, ada: show, guild.me: show}
    )
    files = [discord.File(_file("a.png"), "a.png"), discord.File(_file("b.txt"), "b.txt")]
    card = await room.send(view=_full_card(), files=files, nonce="n-1")
    await card.edit(view=ui.LayoutView.from_message(card))
    plain = await room.send("plain", embed=discord.Embed(title="t", description="d"))
    await plain.reply("reply", mention_author=False)
    await plain.add_reaction("👍")
    await plain.remove_reaction("👍", discord.Object(bot.user.id))  # type: ignore[union-attr]
    assert [m async for m in room.history(limit=3)]
    await room.set_permissions(ada, view_channel=True, send_messages=True)
    await room.edit(topic="u")
    thread = await plain.create_thread(name="thread")
    await thread.add_user(discord.Object(int(stage.users["ada"])))
    await thread.edit(archived=True)
    hook = await room.create_webhook(name="persona")
    await hook.send("hi", username="Nova", wait=True)
    await (await bot.fetch_user(int(stage.users["ada"]))).send("hello")
    await plain.delete()
    await room.delete()
    return await play.recording()


def _asking_bot() -> Bot:
    bot = Bot()

    class Ask(ui.Modal, title="Ask"):
        words = ui.Label(text="Words", component=ui.TextInput(custom_id="words"))

        async def on_submit(self, itx: discord.Interaction) -> None:
            await itx.response.send_message("thanks", ephemeral=True)

    @bot.tree.command(description="Make a picture")
    @app_commands.choices(size=[app_commands.Choice(name="Small", value="s")])
    async def imagine(itx: discord.Interaction, prompt: str, size: str = "s") -> None:
        await itx.response.defer(ephemeral=True)
        await itx.edit_original_response(content=prompt)
        await itx.followup.send("more", ephemeral=True)

    @bot.tree.command(description="Ask")
    async def ask(itx: discord.Interaction) -> None:
        await itx.response.send_modal(Ask())

    return bot


def _full_card() -> ui.LayoutView:
    view = ui.LayoutView(timeout=None)
    box = ui.Container(ui.TextDisplay("done"), accent_colour=5)
    box.add_item(ui.MediaGallery(discord.MediaGalleryItem("attachment://a.png", description="alt")))
    box.add_item(ui.Section("words", accessory=ui.Button(label="Go", custom_id="go")))
    box.add_item(ui.Separator())
    box.add_item(ui.File("attachment://b.txt"))
    box.add_item(ui.ActionRow(ui.Select(custom_id="s", options=[discord.SelectOption(label="A")])))
    view.add_item(box)
    return view


def _file(name: str) -> Any:
    import io

    return io.BytesIO(png() if name.endswith("png") else b"words")


async def test_what_the_library_sends_and_the_twin_answers_is_as_described(start_stage: StartStage, run_bot: RunBot) -> None:
    stage = await start_stage(rate_limits=False)
    report = Contract().check(await whole_traffic(stage, run_bot))
    assert report.findings == []
    assert report.checked >= 40
    assert set(report.tolerances) <= set(TOLERATED)


SENT: dict[str, Any] = {
    "kind": "rest", "method": "POST", "template": "/channels/{channel_id}/messages", "query": {}, "status": 200,
    "body": {"content": "x", "nonce": "n", "components": [{"type": 1, "components": [
        {"type": 2, "style": 1, "label": "Go", "custom_id": "go"}]}], "attachments": [{"id": 0, "filename": "a.png"}]},
}  # fmt: skip

MISTAKES: list[tuple[str, Any]] = [
    ("content", 5),
    ("content", "x" * 4001),
    ("nonce", "n" * 26),
    ("nonce", True),
    ("flags", "none"),
    ("colour", 1),
    ("components.0.type", 99),
    ("components.0.components.0.style", 9),
    ("components.0.components.0.label", "l" * 81),
    ("components.0.components.0.custom_id", ""),
    ("components.0.components.0.emoji", "x"),
    ("components.0.components", []),
    ("components.0.components", "none"),
    ("attachments.0.description", "d" * 1025),
    ("attachments.0.colour", "red"),
    ("attachments.0.id", None),
    ("embeds", [{"title": "t" * 257}]),
    ("embeds", [{"fields": [{"name": "n"}]}]),
    ("allowed_mentions", {"parse": ["nobody"]}),
    ("message_reference", {"message_id": {}}),
]


@pytest.mark.parametrize(("place", "value"), MISTAKES)
def test_a_seeded_mistake_is_found(place: str, value: Any) -> None:
    record = copy.deepcopy(SENT) | {"answer": None, "status": 204}
    body = record["body"]
    *way, last = place.split(".")
    for step in way:
        body = body[int(step)] if step.isdigit() else body[step]
    body[last] = value
    findings = [f for f in Contract().check([record]).findings if " request" in f]
    assert findings, place


def test_the_unchanged_record_has_no_finding() -> None:
    record = copy.deepcopy(SENT) | {"answer": None}
    assert [f for f in Contract().check([record]).findings if " request" in f] == []


def test_every_route_that_is_served_is_in_the_description() -> None:
    served = {key(method, template) for method, template in app.routes().table()}
    assert served == set(Contract().routes)


def test_the_facts_carry_no_prose() -> None:
    text = json.dumps(Contract().routes)
    assert "description of" not in text.lower()
    assert len(text) < 60_000
