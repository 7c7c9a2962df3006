"""An unmodified discord.py client, driven through the rehearsal: it must not be able to tell."""

from __future__ import annotations

import asyncio
import io

import discord
import discord.gateway
import discord.http
import pytest
from discord import app_commands, ui

from rehearsal.client import Refused
from tests.rehearsal.conftest import Bot, RunBot, Stage, StartStage
from tests.rehearsal.pictures import png


async def soon(condition, timeout_s: float = 5) -> None:
    """Until something became true."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_slash_command_is_answered(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()

    @bot.tree.command(description="Say it back")
    async def echo(itx: discord.Interaction, words: str) -> None:
        assert itx.guild is not None
        assert itx.guild.me.guild_permissions.manage_channels
        await itx.response.send_message(f"{itx.user.display_name}: {words}")

    await run_bot(bot, stage)
    record = await stage.play.slash("ada", stage.channels["welcome"], "echo", {"words": "hello"}, wait="answer")
    assert record["state"] == "acked"
    assert record["callback_type"] == 4
    assert record["original"]["content"] == "Ada: hello"
    assert record["original"]["command"]["name"] == "echo"
    assert (await stage.play.limits())["unknown_routes"] == []


async def test_an_ephemeral_deferral_becomes_the_answer_and_only_its_owner_sees_it(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()

    @bot.tree.command(description="Think")
    async def think(itx: discord.Interaction) -> None:
        await itx.response.defer(ephemeral=True, thinking=True)
        await itx.edit_original_response(content="thought")
        more = await itx.followup.send("more", ephemeral=True, wait=True)
        await more.edit(content="more, edited")

    await run_bot(bot, stage)
    welcome = stage.channels["welcome"]
    record = await stage.play.slash("ada", welcome, "think", wait="answer")
    assert (record["callback_type"], record["ephemeral"]) == (5, True)
    assert record["original"]["content"] == "thought"
    await stage.play.wait_message("ada", welcome, lambda m: m["content"] == "more, edited")
    assert await stage.play.messages(welcome, "bruno") == []
    assert len(await stage.play.messages(welcome, "ada")) == 2
    assert bot.heard == []


async def test_a_command_nobody_answers_fails_after_the_deadline_and_cannot_be_answered_later(
    start_stage: StartStage, run_bot: RunBot
) -> None:
    stage = await start_stage(interaction_deadline=0.2)
    bot = Bot()
    late: list[discord.Interaction] = []

    @bot.tree.command(description="Sleep")
    async def sleep(itx: discord.Interaction) -> None:
        late.append(itx)

    await run_bot(bot, stage)
    record = await stage.play.slash("ada", stage.channels["welcome"], "sleep", wait="ack")
    assert record["state"] == "failed"
    with pytest.raises(discord.NotFound) as error:
        await late[0].response.send_message("too late")
    assert error.value.code == 10062


async def test_a_second_answer_is_refused_as_already_acknowledged(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()
    seen: list[int] = []

    @bot.tree.command(description="Twice")
    async def twice(itx: discord.Interaction) -> None:
        try:
            await itx.response.send_message("once")
        except discord.HTTPException as error:
            seen.append(error.code)

    await run_bot(bot, stage)
    await stage.play.fault("event_dup", path="INTERACTION_CREATE")
    record = await stage.play.slash("ada", stage.channels["welcome"], "twice", wait="answer")
    await soon(lambda: seen == [40060])
    record = await stage.play.interaction(record["id"])
    assert [r["code"] for r in record["refused"]] == [40060]
    assert len(await stage.play.messages(stage.channels["welcome"])) == 1


async def test_an_interaction_token_dies_after_fifteen_minutes(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()
    kept: list[discord.Interaction] = []

    @bot.tree.command(description="Wait")
    async def wait(itx: discord.Interaction) -> None:
        await itx.response.defer()
        kept.append(itx)

    await run_bot(bot, stage)
    await stage.play.slash("ada", stage.channels["welcome"], "wait", wait="ack")
    await soon(lambda: kept)
    await stage.play.advance(901)
    with pytest.raises(discord.HTTPException) as error:
        await kept[0].edit_original_response(content="late")
    assert (error.value.status, error.value.code) == (401, 50027)


async def test_options_reach_the_command_resolved(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()
    got: list[object] = []

    @bot.tree.command(description="All kinds")
    async def kinds(
        itx: discord.Interaction,
        who: discord.Member,
        where: discord.TextChannel,
        file: discord.Attachment,
        count: app_commands.Range[int, 1, 4] = 1,
        exact: bool = False,
    ) -> None:
        data = await file.read()
        got.extend([who.display_name, where.name, count, exact, file.width, len(data)])
        await itx.response.send_message("ok", ephemeral=True)

    await run_bot(bot, stage)
    picture = png(5, 4)
    upload = await stage.play.upload("ada", "in put.png", picture)
    options = {"who": "bruno", "where": stage.channels["gallery"], "file": upload, "count": 3, "exact": True}
    record = await stage.play.slash("ada", stage.channels["welcome"], "kinds", options, wait="answer")
    assert record["state"] == "acked"
    assert got == ["Bruno", "gallery", 3, True, 5, len(picture)]
    with pytest.raises(Refused, match="1 to 4"):
        await stage.play.slash("ada", stage.channels["welcome"], "kinds", options | {"count": 9})


async def test_autocomplete_offers_choices_for_partial_words(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()

    @bot.tree.command(description="Pick")
    async def pick(itx: discord.Interaction, model: str) -> None:
        await itx.response.send_message(model)

    @pick.autocomplete("model")
    async def models(itx: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        names = ["fox", "forest", "lake"]
        return [app_commands.Choice(name=n.title(), value=n) for n in names if n.startswith(current)]

    await run_bot(bot, stage)
    choices = await stage.play.autocomplete("ada", stage.channels["welcome"], "pick", {"model": "fo"}, "model")
    assert choices == [{"name": "Fox", "value": "fox"}, {"name": "Forest", "value": "forest"}]


class Card(ui.View):
    """A card that survives restarts."""

    def __init__(self) -> None:
        super().__init__(timeout=None)

    @ui.button(label="Again", custom_id="card:again")
    async def again(self, itx: discord.Interaction, button: ui.Button) -> None:
        button.disabled = True
        await itx.response.edit_message(content="pressed", view=self)

    @ui.select(custom_id="card:pick", options=[discord.SelectOption(label="A", value="a"), discord.SelectOption(label="B")])
    async def pick(self, itx: discord.Interaction, select: ui.Select) -> None:
        await itx.response.send_message(f"picked {select.values[0]}", ephemeral=True)


async def test_buttons_and_selects_work_and_a_disabled_one_cannot_be_pressed(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()
    await run_bot(bot, stage)
    channel = bot.get_channel(int(stage.channels["welcome"]))
    assert isinstance(channel, discord.TextChannel)
    message = await channel.send("card", view=Card())
    picked = await stage.play.select("bruno", message.id, "card:pick", ["a"], wait="answer")
    assert picked["original"]["content"] == "picked a"
    record = await stage.play.click("ada", message.id, "card:again", wait="answer")
    assert record["callback_type"] == 7
    assert (await stage.play.message(message.id))["content"] == "pressed"
    with pytest.raises(Refused) as refused:
        await stage.play.click("ada", message.id, "card:again")
    assert refused.value.code == "disabled"


async def test_a_dynamic_item_is_found_again_by_a_bot_that_never_sent_it(stage: Stage, run_bot: RunBot) -> None:
    pressed: list[str] = []

    class Cancel(ui.DynamicItem[ui.Button], template=r"job:(?P<id>[0-9]+):cancel"):
        def __init__(self, number: str) -> None:
            super().__init__(ui.Button(label="Cancel", custom_id=f"job:{number}:cancel"))
            self.number = number

        @classmethod
        async def from_custom_id(cls, itx, item, match):
            return cls(match["id"])

        async def callback(self, interaction: discord.Interaction) -> None:
            pressed.append(self.number)
            await interaction.response.defer()

    bot = Bot()
    bot.add_dynamic_items(Cancel)
    await run_bot(bot, stage)
    parts = [{"type": 17, "components": [{"type": 10, "content": "waiting"}, {"type": 1, "components": [
        {"type": 2, "style": 4, "label": "Cancel", "custom_id": "job:77:cancel"}]}]}]  # fmt: skip
    status, message, _ = await stage.raw("POST", f"/channels/{stage.channels['welcome']}/messages", {"flags": 32768, "components": parts})
    assert status == 200
    record = await stage.play.click("ada", message["id"], "job:77:cancel", wait="ack")
    assert (record["callback_type"], pressed) == (6, ["77"])


async def test_a_modal_opens_is_validated_and_answered(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()

    class Remix(ui.Modal, title="Change it"):
        prompt = ui.Label(text="Prompt", component=ui.TextInput(custom_id="prompt", max_length=10))
        file = ui.Label(text="Reference", component=ui.FileUpload(custom_id="file", required=False))

        async def on_submit(self, itx: discord.Interaction) -> None:
            words = self.prompt.component.value  # type: ignore[attr-defined]
            files = self.file.component.values  # type: ignore[attr-defined]
            await itx.response.send_message(f"{words} {len(files)}")

    @bot.tree.command(description="Remix")
    async def remix(itx: discord.Interaction) -> None:
        await itx.response.send_modal(Remix())

    await run_bot(bot, stage)
    opened = await stage.play.slash("ada", stage.channels["welcome"], "remix", wait="answer")
    assert opened["modal"]["title"] == "Change it"
    with pytest.raises(Refused, match="characters"):
        await stage.play.modal("ada", opened["id"], {"prompt": "far too long for this"})
    with pytest.raises(Refused, match="Somebody else"):
        await stage.play.modal("bruno", opened["id"], {"prompt": "mine"})
    upload = await stage.play.upload("ada", "a.png", png())
    answered = await stage.play.modal("ada", opened["id"], {"prompt": "a fox", "file": [upload]}, wait="answer")
    assert answered["original"]["content"] == "a fox 1"
    with pytest.raises(Refused, match="already"):
        await stage.play.modal("ada", opened["id"], {"prompt": "again"})


async def test_context_menus_reach_the_bot(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()

    @bot.tree.context_menu(name="Look closer")
    async def closer(itx: discord.Interaction, message: discord.Message) -> None:
        await itx.response.send_message(f"saw {message.content}")

    await run_bot(bot, stage)
    said = await stage.play.say("bruno", stage.channels["welcome"], "a lake")
    record = await stage.play.menu("ada", stage.channels["welcome"], "Look closer", said["id"], wait="answer")
    assert record["original"]["content"] == "saw a lake"


async def test_a_gallery_keeps_its_file_through_an_edit_that_sends_the_url_back(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()
    await run_bot(bot, stage)
    channel = bot.get_channel(int(stage.channels["gallery"]))
    assert isinstance(channel, discord.TextChannel)
    view = ui.LayoutView(timeout=None)
    box = ui.Container(ui.TextDisplay("### done"))
    box.add_item(ui.MediaGallery(discord.MediaGalleryItem("attachment://out.png", description="alt")))
    box.add_item(ui.ActionRow(ui.Button(label="Again", custom_id="again")))
    view.add_item(box)
    picture = png(7, 5)
    message = await channel.send(view=view, file=discord.File(io.BytesIO(picture), "out.png"))
    assert message.attachments == []
    stored = await stage.play.message(message.id)
    media = stored["components"][0]["components"][1]["items"][0]["media"]
    assert (media["width"], media["height"], media["content_type"]) == (7, 5, "image/png")
    assert await stage.play.download(media["url"]) == picture

    edited = ui.LayoutView.from_message(message)
    for item in edited.walk_children():
        if isinstance(item, ui.Button):
            item.disabled = True
    await message.edit(view=edited)
    after = await stage.play.message(message.id)
    assert after["components"][0]["components"][2]["components"][0]["disabled"] is True
    assert after["components"][0]["components"][1]["items"][0]["media"]["attachment_id"] == media["attachment_id"]
    assert after["edited_timestamp"] is not None


async def test_a_private_channel_is_private_and_an_object_overwrite_is_not(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()
    await run_bot(bot, stage)
    guild = bot.get_guild(stage.guild_id)
    assert guild is not None
    ada = await guild.fetch_member(int(stage.users["ada"]))
    show, hide = discord.PermissionOverwrite(view_channel=True), discord.PermissionOverwrite(view_channel=False)
    good = await guild.create_text_channel("Ada Room!", overwrites={guild.default_role: hide, ada: show, guild.me: show})
    assert good.name == "ada-room"
    seen = await stage.play.channel(good.id)
    assert seen["private"] is True
    assert stage.users["ada"] in seen["viewers"]
    assert stage.users["bruno"] not in seen["viewers"]
    with pytest.raises(Refused) as refused:
        await stage.play.messages(good.id, "bruno")
    assert refused.value.code == "not_visible"

    trap = discord.Object(guild.id, type=discord.Role)
    leaky = await guild.create_text_channel("leak", overwrites={trap: hide, ada: show, guild.me: show})
    seen = await stage.play.channel(leaky.id)
    assert seen["private"] is False
    assert stage.users["bruno"] in seen["viewers"]


async def test_the_same_nonce_posts_once_and_is_honest_about_a_deleted_message(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()
    await run_bot(bot, stage)
    channel = bot.get_channel(int(stage.channels["welcome"]))
    assert isinstance(channel, discord.TextChannel)
    first = await channel.send("one", nonce="job-1")
    again = await channel.send("another body", nonce="job-1")
    assert (again.id, again.content) == (first.id, "one")
    await soon(lambda: len(bot.heard) == 1)
    assert bot.heard[0].nonce == "job-1"
    assert [m.nonce async for m in channel.history()] == [None]
    await stage.play.delete_message(first.id)
    with pytest.raises(discord.NotFound) as error:
        await channel.send("one", nonce="job-1")
    assert error.value.code == 10008
    await stage.play.advance(121)
    assert (await channel.send("one", nonce="job-1")).id != first.id


async def test_history_pages_in_order(start_stage: StartStage, run_bot: RunBot) -> None:
    stage = await start_stage(rate_limits=False)
    bot = Bot()
    await run_bot(bot, stage)
    channel = bot.get_channel(int(stage.channels["welcome"]))
    assert isinstance(channel, discord.TextChannel)
    sent = [(await channel.send(str(n))).id for n in range(130)]
    assert [m.id async for m in channel.history(limit=None, oldest_first=True)] == sent
    assert [m.id async for m in channel.history(limit=None, after=discord.Object(sent[100]))] == sent[101:]
    assert [m.id async for m in channel.history(limit=3, before=discord.Object(sent[10]))] == [
        sent[9],
        sent[8],
        sent[7],
    ]
    around = [m.id async for m in channel.history(limit=5, around=discord.Object(sent[50]))]
    assert sent[50] in around


async def test_message_content_is_withheld_without_the_intent_except_for_mentions(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()
    await run_bot(bot, stage)
    welcome = stage.channels["welcome"]
    await stage.play.say("ada", welcome, "secret words")
    await stage.play.say("ada", welcome, f"<@{bot.user.id}> !sync")  # type: ignore[union-attr]
    await soon(lambda: len(bot.heard) == 2)
    assert [m.content for m in bot.heard] == ["", f"<@{bot.user.id}> !sync"]  # type: ignore[union-attr]


async def test_an_intent_that_is_off_in_the_portal_ends_the_client(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot(intents=discord.Intents(guilds=True, message_content=True))
    with pytest.raises(discord.PrivilegedIntentsRequired):
        await run_bot(bot, stage)


async def test_a_wrong_token_is_a_login_failure(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discord.http.Route, "BASE", f"{stage.server.url}/api/v10")
    bot = Bot()
    with pytest.raises(discord.LoginFailure):
        await bot.login("wrong")
    await bot.close()


@pytest.mark.parametrize("fault", ["ws_reset", "ws_close:4000", "ws_close:1001", "op7", "op9_true"])
async def test_a_lost_gateway_is_resumed_and_what_was_missed_is_replayed(stage: Stage, run_bot: RunBot, fault: str) -> None:
    bot = Bot()
    resumed = asyncio.Event()
    bot.on_resumed = lambda: _set(resumed)  # type: ignore[attr-defined]
    await run_bot(bot, stage)
    await stage.play.fault(fault)
    await stage.play.say("ada", stage.channels["welcome"], "while away")
    async with asyncio.timeout(10):
        await resumed.wait()
    await soon(lambda: len(bot.heard) == 1)
    assert stage.server.twin.gateway.identifies == 1


async def _set(event: asyncio.Event) -> None:
    event.set()


async def test_both_transport_compressions_carry_everything(stage: Stage, run_bot: RunBot, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for source in ("zlib", "zstd"):
        if source == "zlib":
            monkeypatch.setattr(discord.gateway.utils, "_ActiveDecompressionContext", _Zlib)
        else:
            monkeypatch.undo()
        bot = Bot()
        await run_bot(bot, stage)
        names.append(bot.ws._decompressor.COMPRESSION_TYPE)
        before = len(bot.heard)
        await stage.play.say("ada", stage.channels["welcome"], "x" * 1500)
        await soon(lambda bot=bot, before=before: len(bot.heard) == before + 1)
    assert names[0] == "zlib-stream"


class _Zlib:
    COMPRESSION_TYPE = "zlib-stream"

    def __init__(self) -> None:
        import zlib

        self.buffer = bytearray()
        self.context = zlib.decompressobj()

    def decompress(self, data: bytes, /) -> str | None:
        self.buffer.extend(data)
        if len(data) < 4 or data[-4:] != b"\x00\x00\xff\xff":
            return None
        text = self.context.decompress(self.buffer)
        self.buffer = bytearray()
        return text.decode()


async def test_a_private_thread_shows_only_to_its_members(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()
    await run_bot(bot, stage)
    channel = bot.get_channel(int(stage.channels["welcome"]))
    assert isinstance(channel, discord.TextChannel)
    thread = await channel.create_thread(name="quiet", type=discord.ChannelType.private_thread)
    await thread.add_user(discord.Object(int(stage.users["ada"])))
    await thread.send("hello")
    assert [m["content"] for m in await stage.play.messages(thread.id, "ada")] == ["hello"]
    with pytest.raises(Refused, match="cannot see"):
        await stage.play.messages(thread.id, "bruno")
    await thread.edit(archived=True)
    message = await anext(thread.history())
    with pytest.raises(discord.HTTPException) as error:
        await message.edit(content="late")
    assert error.value.code == 50083


async def test_webhooks_speak_in_another_name(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()
    await run_bot(bot, stage)
    channel = bot.get_channel(int(stage.channels["welcome"]))
    assert isinstance(channel, discord.TextChannel)
    hook = await channel.create_webhook(name="persona")
    sent = await hook.send("hi", username="Nova", wait=True)
    seen = await stage.play.message(sent.id)
    assert (seen["author"]["username"], seen["webhook_id"]) == ("Nova", str(hook.id))
    await sent.edit(content="hi there")
    await sent.delete()
    await hook.delete()
    with pytest.raises(discord.NotFound) as error:
        await hook.send("gone", wait=True)
    assert error.value.code == 10015


async def test_reactions_typing_roles_and_direct_messages(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()
    await run_bot(bot, stage)
    channel = bot.get_channel(int(stage.channels["welcome"]))
    guild = bot.get_guild(stage.guild_id)
    assert guild is not None
    assert isinstance(channel, discord.TextChannel)
    async with channel.typing():
        message = await channel.send("look")
    await message.add_reaction("👍")
    with pytest.raises(discord.HTTPException) as error:
        await message.add_reaction("thumbsup")
    assert error.value.code == 10014
    assert (await stage.play.message(message.id))["reactions"][0]["count"] == 1

    low = await stage.play.add_role(stage.guild_id, "low", position=1)
    ada = await guild.fetch_member(int(stage.users["ada"]))
    await ada.add_roles(discord.Object(int(low["id"])))
    high = await stage.play.add_role(stage.guild_id, "high", position=50)
    with pytest.raises(discord.Forbidden):
        await ada.add_roles(discord.Object(int(high["id"])))

    user = await bot.fetch_user(int(stage.users["ada"]))
    dm = await user.create_dm()
    await dm.send("psst")
    await stage.play.say("ada", dm.id, "what?")
    await soon(lambda: any(m.content == "what?" for m in bot.heard))
    stranger = await stage.play.add_user("stranger")
    with pytest.raises(discord.Forbidden) as refused:
        await (await bot.fetch_user(int(stranger["id"]))).send("hi")
    assert refused.value.code == 50278


async def test_members_are_chunked_with_the_intent(start_stage: StartStage, run_bot: RunBot) -> None:
    stage = await start_stage(members_intent=True)
    bot = Bot(intents=discord.Intents(guilds=True, members=True), chunk_guilds_at_startup=True)
    await run_bot(bot, stage)
    guild = bot.get_guild(stage.guild_id)
    assert guild is not None
    assert {m.name for m in guild.members} >= {"ada", "fay", "olga", "mara"}
    await stage.play.add_member(stage.guild_id, "gus")
    await soon(lambda: any(m.name == "gus" for m in guild.members))


async def test_honest_headers_keep_the_library_from_ever_being_limited(start_stage: StartStage, run_bot: RunBot) -> None:
    stage = await start_stage(message_window=0.3)
    bot = Bot()
    await run_bot(bot, stage)
    channel = bot.get_channel(int(stage.channels["welcome"]))
    assert isinstance(channel, discord.TextChannel)
    await asyncio.gather(*(channel.send(str(n)) for n in range(14)))
    assert len(await stage.play.messages(channel.id)) == 14
    limits = await stage.play.limits()
    assert (limits["rate_limited"], limits["invalid_requests"]) == (0, 0)


async def test_a_guild_that_comes_late_and_goes_is_told(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()
    gone, back = asyncio.Event(), asyncio.Event()
    bot.on_guild_unavailable = lambda guild: _set(gone)  # type: ignore[attr-defined]
    bot.on_guild_available = lambda guild: _set(back)  # type: ignore[attr-defined]
    await run_bot(bot, stage)
    await stage.play.fault("guild_unavailable", args={"guild_id": stage.guild_id, "seconds": 0.2})
    async with asyncio.timeout(5):
        await gone.wait()
        await back.wait()
    await stage.play.kick(stage.guild_id, bot.user.id)  # type: ignore[union-attr]
    await soon(lambda: bot.get_guild(stage.guild_id) is None)
    status, body, _ = await stage.raw("GET", f"/guilds/{stage.guild_id}")
    assert (status, body["code"]) == (404, 10004)
