"""What admins type in chat, and who may."""

import pytest

from tests.bot.conftest import OpenScene, Scene


async def answer(scene: Scene, who: str, text: str, *, channel: str | None = None) -> dict:
    channel = channel or scene.welcome
    message = await scene.play.say(who, channel, text)
    return await scene.play.wait_message(
        who, channel, lambda m: (m.get("message_reference") or {}).get("message_id") == message["id"], timeout_s=40
    )


@pytest.fixture
async def mention(scene: Scene) -> str:
    return f"<@{(await scene.play.health())['bot_user_id']}>"


async def test_getid_by_mention_names_server_channel_and_member(scene: Scene, mention):
    said = (await answer(scene, "mara", f"{mention} getid <@{scene.users['ada']}>"))["content"]
    assert f"`{scene.guild_id}`" in said
    assert f"`{scene.welcome}`" in said
    assert f"`{scene.users['ada']}`" in said
    assert said.count("Member") == 1


async def test_members_without_manage_server_are_refused_and_owners_are_not(scene: Scene, mention):
    assert "Manage Server" in (await answer(scene, "ada", f"{mention} clearall yes"))["content"]
    await scene.restart(owner_ids=(int(scene.users["ada"]),))
    assert "Nobody is waiting" in (await answer(scene, "ada", f"{mention} clearall"))["content"]


async def test_direct_messages_are_refused_kindly(scene: Scene):
    channel = await scene.play.dm("mara")
    said = await answer(scene, "mara", f"<@{(await scene.play.health())['bot_user_id']}> getid", channel=channel["id"])
    assert "not in private messages" in said["content"]


async def test_clearall_asks_first_and_cancels_what_waits(open_scene: OpenScene):
    scene = await open_scene(worker={"max_batch": 2})
    scene.worker.gate.clear()
    mention = f"<@{(await scene.play.health())['bot_user_id']}>"
    for number in range(4):
        await scene.imagine("ada", f"fox {number}")
    await scene.card_of("ada", "You have 2 photos on the way")
    question = await answer(scene, "mara", f"{mention} clearall")
    assert "2 requests are waiting" in question["content"]
    button = question["components"][0]["components"][0]["custom_id"]
    refused = await scene.play.click("bruno", question["id"], button, wait="answer")
    assert "otra persona" in refused["original"]["content"]
    record = await scene.play.click("mara", question["id"], button, wait="answer")
    assert "2 waiting requests were cancelled" in record["original"]["content"]
    assert "Nobody is waiting" in (await answer(scene, "mara", f"{mention} clearall yes"))["content"]
    await scene.card_of("ada", "Cancelled before it started.")


async def test_sync_puts_commands_here_everywhere_or_nowhere(scene: Scene, mention):
    async def places() -> list[str | None]:
        return sorted({command["guild_id"] for command in (await scene.play.state())["commands"]}, key=str)

    count = len((await scene.play.state())["commands"])

    assert await places() == [str(scene.guild_id)]
    assert f"{count} commands are now global" in (await answer(scene, "mara", f"{mention} sync global"))["content"]
    assert await places() == [None]
    assert "are gone" in (await answer(scene, "mara", f"{mention} sync clear"))["content"]
    assert await places() == []
    assert f"{count} commands are now in this server" in (await answer(scene, "mara", f"{mention} sync"))["content"]
    assert await places() == [str(scene.guild_id)]
    assert "sync guild" in (await answer(scene, "mara", f"{mention} sync moon"))["content"]


async def test_commands_are_synced_on_change_only(scene: Scene):
    async def puts() -> int:
        rest = await scene.play.recording(kind="rest")
        return len([r for r in rest if r["method"] == "PUT" and r["path"].endswith("/commands")])

    assert await puts() == 1
    await scene.restart()
    assert await puts() == 1


async def test_the_exclamation_mark_works_with_the_content_intent(open_scene: OpenScene):
    scene = await open_scene(rehearsal={"message_content_intent": True}, door={"message_content": True})
    assert f"`{scene.guild_id}`" in (await answer(scene, "mara", "!getid"))["content"]


async def test_other_bots_and_webhooks_get_no_answer(open_scene: OpenScene):
    scene = await open_scene(rehearsal={"message_content_intent": True}, door={"message_content": True})
    channel = scene.bot.get_channel(int(scene.welcome))
    hook = await channel.create_webhook(name="mara")
    await hook.send("!getid", wait=True)
    await answer(scene, "mara", "!getid")
    messages = await scene.play.messages(scene.welcome)
    assert len([m for m in messages if m["author"]["id"] == str(scene.bot.user.id)]) == 1
