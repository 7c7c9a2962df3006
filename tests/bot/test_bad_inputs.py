"""Bad inputs 56 to 66 of the reliability page, one test each by its number, against the real bot.

64 (secrets in prompts) is acceptance/test_secrets_in_logs.py, where the log is a real process's.
"""

import asyncio
import io
import random

import discord
import pytest
from PIL import Image

from jobs.job import UserId
from rehearsal.client import Refused
from tests.bot.conftest import OpenScene, Scene, gallery, texts
from tests.bot.test_admin import answer
from tests.bot.test_delivery import count, settled
from tests.bot.test_verbs import ABLE_WORKER, newest, press_id, pressed


async def ask(scene: Scene, who: str, command: str, *, channel: str | None = None, **options) -> dict:
    return (await scene.play.slash(who, channel or scene.welcome, command, options, wait="answer"))["original"]


async def jobs_of(scene: Scene, who: str) -> list:
    return await scene.lab.store.recent(UserId(f"discord:{scene.users[who]}"), limit=100)


def said(message: dict) -> str:
    return texts(message) or message["content"] or ""


async def test_56_a_prompt_that_calls_everybody_calls_only_its_owner_in_every_message(scene: Scene):
    roles = (await scene.play.state())["guilds"][0]["roles"]
    await scene.play.permissions(guild_id=str(scene.guild_id), role_id=str(scene.guild_id), permissions=["ADMINISTRATOR"])
    calls = f"@everyone @here <@&{roles[-1]['id']}> <@{scene.users['chen']}>"
    await scene.imagine("ada", calls, negative=calls)
    message = await scene.picture_of("ada")
    card = (await pressed(scene, "ada", message, "publish"))["original"]
    card = (await scene.play.click("ada", card["id"], press_id(card, "ask-prompt"), wait="answer"))["original"]
    await scene.play.click("ada", card["id"], press_id(card, "go"), wait="answer")
    await settled(scene)
    wall = next(c["id"] for c in (await scene.play.state())["guilds"][0]["channels"] if c["name"] == "gallery")
    everything = [*await scene.messages_of("ada"), *await scene.play.messages(wall)]
    assert len(everything) == 3
    for shown in everything:
        assert shown["mention_everyone"] is False
        assert shown["mention_roles"] == []
        assert {user["id"] for user in shown["mentions"]} <= {scene.users["ada"]}


TRICKS = [
    "``` code ``` ` tick", "[kind](https://evil.example) <https://evil.example>", "z̷̢̛͖͎̈́a̸̧̛l̴̨̛g̵̢̛ǫ̴̛ " * 60, "right \u202e tfel \u2066 x", "x " * 999,
    "# big\n> quote\n-# small\n- list", "||spoiler|| **bold** ~~gone~~ \x07\x1b[31m", "</imagine:123456789012345678> <t:1:R> <:emoji:1>",
]  # fmt: skip


async def test_57_code_links_zalgo_and_turned_text_are_taken_and_shown_as_text(scene: Scene):
    for who, trick in zip(("ada", "chen", "dana", "eli", "fay", "ada", "chen", "dana"), TRICKS, strict=True):
        record = await scene.imagine(who, trick)
        assert "studio" in record["original"]["content"], trick
    await settled(scene)
    shown = [texts(m) for who in ("ada", "chen", "dana", "eli", "fay") for m in await scene.messages_of(who) if gallery(m)]
    assert len(shown) == len(TRICKS)
    for words in shown:
        quoted = next(line for line in words.splitlines() if line.startswith("> "))
        assert "```" not in quoted
        assert "](http" not in quoted.replace("\\]", "")
        assert not {"\u202e", "\u2066", "\x07", "\x1b"} & set(words)
        assert "</imagine" not in quoted.replace("\\<", "")
    assert "2000 fit" in await scene.said("ada", "x" * 4000)


async def test_58_admin_words_from_a_webhook_a_bot_a_private_message_and_a_role_called_admin_do_nothing(open_scene: OpenScene):
    scene = await open_scene(rehearsal={"message_content_intent": True}, door={"message_content": True})
    scene.worker.gate.clear()
    await scene.imagine("ada")
    hook = await scene.bot.get_channel(int(scene.welcome)).create_webhook(name="mara")
    await hook.send("!clearall yes", wait=True)
    await scene.bot.get_channel(int(scene.welcome)).send("!clearall yes")  # a bot's words: its own
    private = await scene.play.dm("mara")
    assert "not in private" in (await answer(scene, "mara", "!clearall yes", channel=private["id"]))["content"]
    role = await scene.play.add_role(scene.guild_id, "Admin")
    await scene.play.edit_member(scene.guild_id, "chen", roles=[role["id"]])
    assert "Manage Server" in (await answer(scene, "chen", "!clearall yes"))["content"]
    assert (await newest(scene, "ada")).cancel_requested is False
    assert [job.state.is_terminal for job in await jobs_of(scene, "ada")] == [False]
    replies = [m for m in await scene.play.messages(scene.welcome) if m.get("message_reference")]
    assert len(replies) == 1


FORGED = [
    "job:../../etc/passwd:reroll:1", "job:{theirs}:delete-sure:0", "job:{theirs}:reroll:9999", "job:{theirs}:publish:1", "job:{mine}:vary:99",
    "job:{mine}:nonsense:1", "pub:99999999999999999999:vote:0", "pub:1:undo:0", "pub:{theirs}:go:7", "pub:{mine}:go:399", "pub:x:remix:0",
    "appeal:1:lift:0", "appeal:99999999999999999999:lift:0", "appeal:99999999999999999999:ask:0", "likes:x:language:0", "appeal:x:ask:0", "admin:{me}:clearall:0", "admin:{mara}:clearall:0", "past:0:page:9999", "past:0:open:0", "job:{mine}:pick:0", "likes:x:dm:0",
    "session:x:remove:0", "src:x:edit:0", "ask:x:y:0", "a" * 100, "'; drop table job; --", "job:%00:cancel:0", "job:{theirs}:cancel:0",
]  # fmt: skip


async def test_59_forged_ids_and_other_peoples_buttons_get_a_sentence_and_change_nothing(open_scene: OpenScene, caplog):
    scene = await open_scene(worker=ABLE_WORKER)
    await scene.imagine("chen", "not yours")
    await scene.picture_of("chen")
    await scene.imagine("ada", "mine")
    await scene.picture_of("ada")
    await settled(scene)
    names = {"theirs": (await newest(scene, "chen")).id, "mine": (await newest(scene, "ada")).id, "me": scene.users["ada"], "mara": scene.users["mara"]}
    for forged in FORGED:
        view = discord.ui.LayoutView(timeout=None)
        view.add_item(discord.ui.ActionRow(discord.ui.Button(label="press", custom_id=forged.format(**names))))
        message = await scene.bot.get_channel(int(scene.welcome)).send(view=view)
        scene.bot._connection._view_store._views.clear()
        record = await scene.play.click("ada", str(message.id), forged.format(**names), wait="answer")
        assert record["state"] == "acked", forged
        assert record.get("modal") or said(record["original"] or {"content": "-", "components": []}), forged
    assert len(await jobs_of(scene, "chen")) == 1
    assert await count(scene, "chen") == (1, 1)
    assert [job.order.prompt for job in await jobs_of(scene, "ada")] == ["mine"]
    assert not [r for r in caplog.records if r.levelname == "ERROR" and r.exc_info]


def typed(name: object, value: object) -> dict:
    return {"type": 18, "id": 1, "component": {"type": 4, "id": 2, "custom_id": name, "value": value}}


TAMPERED = [
    [], [typed("prompt", "")], [typed("prompt", "a fox"), typed("seed", "x"), typed("slot", "0"), typed("user_id", "1")],
    [typed("prompt", "x" * 6000)], [typed("prompt", None)], [{"type": 18, "id": 1, "component": {"type": 3, "id": 2, "custom_id": "prompt", "values": []}}],
    [{"type": 1, "id": 1, "components": [{"type": 4, "id": 2, "custom_id": "prompt", "value": "rows of old"}]}], [{"type": 10, "id": 5}],
]  # fmt: skip


async def test_60_forms_with_missing_strange_and_further_fields_are_answered(open_scene: OpenScene, caplog):
    scene = await open_scene(worker=ABLE_WORKER)
    await scene.imagine("ada", "a red fox")
    message = await scene.picture_of("ada")
    for verb in ("remix", "edit"):
        for parts in TAMPERED:
            opened = await pressed(scene, "ada", message, verb)
            sent = {"as": "ada", "interaction_id": opened["id"], "tampered": {"custom_id": opened["modal"]["custom_id"], "components": parts}}
            record = await scene.play.post("modal", sent, wait="answer")
            assert record["state"] == "acked", (verb, parts)
            assert said(record["original"]), (verb, parts)
    opened = await pressed(scene, "ada", message, "remix")
    forged = {"custom_id": "job:00000000000000000000000000:remix:0", "components": [typed("prompt", "a fox")]}
    record = await scene.play.post("modal", {"as": "ada", "interaction_id": opened["id"], "tampered": forged}, wait="answer")
    assert "expired" in said(record["original"])
    assert {job.user_id for job in await jobs_of(scene, "ada")} == {f"discord:{scene.users['ada']}"}
    assert not [r for r in caplog.records if r.levelname == "ERROR" and r.exc_info]


HOSTILE = ["{0.__class__}%(x)s", "'; DROP TABLE job;--", "%s%s%n", "${jndi:ldap://x}", "\u202eadmin"]


async def test_61_names_of_people_channels_and_servers_are_data(scene: Scene):
    for name in HOSTILE:
        member = await scene.play.add_member(scene.guild_id, name, nick=name[:32])
        user = member["user"]["id"]
        assert "studio" in (await ask(scene, user, "imagine", prompt="a fox"))["content"]
        channel = await scene.play.add_channel(scene.guild_id, name)
        assert "studio" in (await ask(scene, user, "imagine", channel=channel["id"], prompt="a fox"))["content"]
        for command in ("queue", "status", "quota"):
            assert said(await ask(scene, user, command)), (name, command)
    mention = f"<@{(await scene.play.health())['bot_user_id']}>"
    told = (await answer(scene, "mara", f"{mention} getid <@{user}>"))["content"]
    assert user in told
    await settled(scene)
    assert len(await scene.lab.store.recent(UserId(f"discord:{user}"), limit=9)) == 2


async def test_62_files_that_lie_about_what_they_are_or_are_too_large_are_refused_kindly(open_scene: OpenScene):
    limits = {"file_limit": 64 << 20, "request_limit": 64 << 20}
    scene = await open_scene(worker=ABLE_WORKER, rehearsal=limits)
    bomb = io.BytesIO()
    Image.new("1", (9000, 9000)).save(bomb, "PNG")
    whole = io.BytesIO()
    Image.frombytes("RGB", (64, 64), random.Random(1).randbytes(64 * 64 * 3)).save(whole, "PNG")
    lies = {
        "page.png": b"<html><script>alert(1)</script>", "empty.png": b"", "huge.png": b"\x89PNG\r\n\x1a\n" + bytes(50 << 20),
        "bomb.png": bomb.getvalue(), "cut.png": whole.getvalue()[:200], "drawing.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }  # fmt: skip
    for name, data in lies.items():
        try:
            upload = await scene.play.upload("ada", name, data)
        except Refused:
            assert not data, name
            continue
        told = await ask(scene, "ada", "vary", image=upload)
        assert "picture" in said(told), (name, said(told))
    assert await jobs_of(scene, "ada") == []
    upload = await scene.play.upload("ada", "fine.png", whole.getvalue())
    assert "studio" in said(await ask(scene, "ada", "vary", image=upload, prompt="the same"))


async def test_63_a_flood_of_one_person_meets_their_limit_and_fifty_newcomers_are_all_served(open_scene: OpenScene):
    scene = await open_scene(worker={"max_batch": 2}, rehearsal={"message_limit": 1000, "global_limit": 1000})
    scene.worker.gate.clear()
    await scene.imagine("ada", "the studio first")
    flood = await asyncio.gather(*(scene.imagine("ada", f"fox {n}") for n in range(200)))
    assert all(record["state"] == "acked" and record["original"]["content"] for record in flood)
    assert len(await jobs_of(scene, "ada")) <= 22
    newcomers = [(await scene.play.add_member(scene.guild_id, f"new{n}"))["user"]["id"] for n in range(50)]
    answers = await asyncio.gather(*(scene.imagine(user) for user in newcomers))
    assert all("studio" in record["original"]["content"] for record in answers)
    assert (await scene.play.limits())["invalid_requests"] == 0
    for user in newcomers:
        assert len(await scene.lab.store.recent(UserId(f"discord:{user}"), limit=9)) == 1


@pytest.mark.parametrize("how", ["leaves", "is banned"])
async def test_65_somebody_who_leaves_or_is_banned_with_a_job_running_harms_nobody(scene: Scene, how, caplog):
    card = await ask(scene, "ada", "settings")
    await scene.play.click("ada", card["id"], press_id(card, "dm"), wait="answer")  # Discord will refuse that direct message
    scene.worker.gate.clear()
    await scene.imagine("ada")
    await scene.card_of("ada", "Step")
    if how == "leaves":
        await scene.play.kick(scene.guild_id, "ada")
    else:
        await ask(scene, "mara", "admin ban", member=scene.users["ada"], reason="spam", hours=1.0)
    scene.worker.gate.set()
    assert "studio" in await scene.said("chen")
    await scene.picture_of("chen")
    await settled(scene)
    assert (await newest(scene, "ada")).state.is_terminal
    assert (await count(scene, "ada"))[1] <= 1
    assert not [r for r in caplog.records if r.levelname == "ERROR" and r.exc_info]


async def test_66_what_is_for_adults_stays_in_age_restricted_channels_the_studio_too(scene: Scene):
    den = await scene.play.add_channel(scene.guild_id, "den", nsfw=True)
    await scene.imagine("ada")
    await scene.picture_of("ada")
    await scene.restart(adult_models=("house",))
    assert "age-restricted channels only" in await scene.said("ada")
    assert (await scene.studio_of("ada"))["nsfw"] is False
    assert "studio" in (await ask(scene, "ada", "imagine", channel=den["id"], prompt="a fox"))["content"]
    assert (await scene.studio_of("ada"))["nsfw"] is True
    await settled(scene)
    again = await ask(scene, "ada", "imagine", channel=(await scene.studio_of("ada"))["id"], prompt="a fox")
    assert "age-restricted channels only" not in again["content"]


async def test_66_a_studio_that_cannot_be_restricted_gets_nothing_for_adults(scene: Scene):
    den = await scene.play.add_channel(scene.guild_id, "den", nsfw=True)
    await scene.restart(adult_models=("house",), channel_share=0)  # studios are threads from the first one on
    told = await ask(scene, "ada", "imagine", channel=den["id"], prompt="a fox")
    assert "age-restricted" in told["content"]
    assert await jobs_of(scene, "ada") == []


