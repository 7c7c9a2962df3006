"""A person's studio: private, one, found again whatever was lost."""

import asyncio

import discord
import pytest

from bot.cogs.sessions.errors import StudioImpossible
from bot.cogs.sessions.marks import studio_name
from bot.cogs.voices.persona import shipped
from jobs.job import UserId
from tests.bot.conftest import OpenScene, Scene, parts_of, texts

CREATE = r"/guilds/\d+/channels$"


async def test_staff_roles_see_every_studio(open_scene: OpenScene):
    scene = await open_scene()
    state = await scene.play.state()
    staff = next(role["id"] for role in state["guilds"][0]["roles"] if role["name"] == "Staff")
    await scene.restart(staff_role_ids=(int(staff),))
    await scene.imagine("ada")
    assert scene.users["mara"] in (await scene.studio_of("ada"))["viewers"]


async def studios_asked_for(scene: Scene, who: str) -> int:
    """How often Discord was asked to make this studio."""
    rest = await scene.play.recording(kind="rest")
    return len([r for r in rest if r["method"] == "POST" and (r["body"] or {}).get("name") == f"studio-{who}"])


async def test_a_studio_is_private(scene: Scene):
    await scene.imagine("ada")
    studio = await scene.studio_of("ada")
    viewers = set(studio["viewers"])
    assert scene.users["ada"] in viewers
    assert not viewers & {scene.users[name] for name in ("bruno", "chen", "dana")}
    assert studio["name"] == "studio-ada"
    everyone = next(o for o in studio["overwrites"] if o["id"] == str(scene.guild_id))
    assert everyone["type"] == 0
    assert int(everyone["deny"]) & 1024


async def test_parallel_first_commands_of_one_person_make_one_studio(scene: Scene):
    await scene.fault("slow:0.5", path=CREATE, method="POST", count=9)
    records = await asyncio.gather(*(scene.imagine("ada", f"fox {n}") for n in range(4)))
    studio = await scene.studio_of("ada")
    assert all(f"<#{studio['id']}>" in record["original"]["content"] for record in records)
    assert await studios_asked_for(scene, "ada") == 1


async def test_six_people_at_once_get_six_studios_in_one_category(scene: Scene):
    people = ("ada", "bruno", "chen", "dana", "eli", "fay")
    await asyncio.gather(*(scene.imagine(who) for who in people))
    studios = [await scene.studio_of(who) for who in people]
    assert len({studio["id"] for studio in studios}) == 6
    assert len({studio["parent_id"] for studio in studios}) == 1
    state = await scene.play.state()
    assert [c["name"] for c in state["guilds"][0]["channels"] if c["type"] == 4].count("darkroom studios") == 1


async def test_a_second_request_asks_discord_for_nothing_but_the_answer(scene: Scene):
    await scene.imagine("ada")
    await scene.picture_of("ada")
    creates = [r for r in await scene.play.recording(kind="rest") if r["method"] == "POST" and r["path"].endswith("/channels")]
    await scene.imagine("ada")
    again = [r for r in await scene.play.recording(kind="rest") if r["method"] == "POST" and r["path"].endswith("/channels")]
    assert len(again) == len(creates)


async def test_a_lost_row_is_recovered_from_the_channels_mark(scene: Scene):
    await scene.imagine("ada")
    studio = await scene.studio_of("ada")
    await scene.sessions.forget(UserId(f"discord:{scene.users['ada']}"), str(scene.guild_id))
    await scene.restart()
    answer = await scene.said("ada")
    assert f"<#{studio['id']}>" in answer
    assert (await scene.studio_of("ada"))["id"] == studio["id"]
    assert await scene.sessions.get(UserId(f"discord:{scene.users['ada']}"), str(scene.guild_id)) == studio["id"]


async def test_a_deleted_studio_is_made_anew(scene: Scene):
    await scene.imagine("ada")
    studio = await scene.studio_of("ada")
    await scene.play.post("channels/delete", {"channel_id": studio["id"]})
    await asyncio.sleep(0.1)
    answer = await scene.said("ada")
    assert f"<#{studio['id']}>" not in answer
    assert f"<#{(await scene.studio_of('ada'))['id']}>" in answer


async def test_a_studio_deleted_while_the_bot_was_away_is_made_anew(scene: Scene):
    await scene.imagine("ada")
    await scene.picture_of("ada")
    studio = await scene.studio_of("ada")
    await scene.stop()
    await scene.play.post("channels/delete", {"channel_id": studio["id"]})
    await scene.restart()
    await scene.imagine("ada")
    assert (await scene.studio_of("ada"))["id"] != studio["id"]


@pytest.mark.parametrize("fault", ["after_drop", "drop", "after_status:502", "after_status:503", "status:500"])
async def test_a_lost_answer_to_the_create_leaves_one_studio(scene: Scene, fault):
    await scene.imagine("bruno")  # the category exists
    await scene.fault(fault, path=CREATE, method="POST")
    answer = await scene.said("ada")
    assert "your studio" in answer
    assert f"<#{(await scene.studio_of('ada'))['id']}>" in answer


@pytest.mark.parametrize("fault", ["after_drop", "after_status:502"])
async def test_a_lost_answer_to_the_category_leaves_one_category(scene: Scene, fault):
    await scene.fault(fault, path=CREATE, method="POST")
    assert "your studio" in await scene.said("ada")
    assert "your studio" in await scene.said("chen")
    state = await scene.play.state()
    names = [c["name"] for c in state["guilds"][0]["channels"] if c["type"] == 4 and "darkroom" in c["name"]]
    assert len({(await scene.studio_of(who))["parent_id"] for who in ("ada", "chen")}) == 1
    assert names.count("darkroom studios") == 1


async def test_after_a_lost_answer_discord_is_read_before_it_is_asked_again(scene: Scene):
    await scene.imagine("bruno")
    await scene.fault("after_drop", path=CREATE, method="POST")
    await scene.imagine("ada")
    assert await studios_asked_for(scene, "ada") == 1


async def test_a_full_category_is_followed_by_a_second_one(open_scene: OpenScene):
    scene = await open_scene(rehearsal={"category_limit": 3})
    for who in ("ada", "bruno", "chen", "dana"):
        assert "#" in await scene.said(who)
    parents = [(await scene.studio_of(who))["parent_id"] for who in ("ada", "bruno", "chen", "dana")]
    assert len(set(parents)) == 2
    state = await scene.play.state()
    assert "darkroom studios 2" in [c["name"] for c in state["guilds"][0]["channels"]]


async def test_a_channel_with_a_forged_mark_is_not_adopted(scene: Scene):
    topic = f"come in [darkroom:{scene.users['ada']}]"
    forged = await scene.play.post("channels", {"guild_id": str(scene.guild_id), "name": "trap", "topic": topic})
    answer = await scene.said("ada")
    assert f"<#{forged['id']}>" not in answer
    assert len(await scene.studios_of("ada")) == 2


async def allow_bot(scene: Scene, without: str) -> None:
    state = await scene.play.state()
    role = next(r for r in state["guilds"][0]["roles"] if r["managed"])
    allowed = [name for name in role["names"] if name not in (without, "ADMINISTRATOR")]
    guild = str(scene.guild_id)
    await scene.play.post("permissions", {"guild_id": guild, "role_id": role["id"], "permissions": allowed})
    await asyncio.sleep(0.1)


async def test_a_studio_needs_no_right_to_manage_roles(scene: Scene):
    await allow_bot(scene, without="MANAGE_ROLES")
    assert "your studio" in await scene.said("ada")
    assert len((await scene.studio_of("ada"))["viewers"]) < 5


async def test_without_manage_channels_the_person_is_told_what_an_admin_must_do(scene: Scene):
    await allow_bot(scene, without="MANAGE_CHANNELS")
    assert "give me Manage Channels" in await scene.said("ada")
    assert "Manage Channels" in await scene.said("bruno")
    assert (await scene.play.limits())["invalid_requests"] == 0


async def test_a_full_server_is_told(scene: Scene):
    await scene.fault("guild_full", count=9)  # no room for a lobby of threads either
    assert "all the channels it can have" in await scene.said("ada")
    assert await scene.lab.store.unfinished() == []


async def test_a_server_that_proves_to_be_full_gets_a_thread(scene: Scene):
    await scene.imagine("bruno")  # the lobby fits once a category did
    await scene.fault("guild_full")
    thread_id = (await scene.said("ada")).split("<#")[1].split(">")[0]
    assert (await scene.play.channel(thread_id))["type"] == 12


class Named:
    id = 42

    def __init__(self, name: str) -> None:
        self.display_name = name


@pytest.mark.parametrize(
    ("name", "channel"),
    [("Ada L.", "studio-ada-l"), ("💥", "studio-42"), ("Ñandú_ß", "studio-ñandú-ß"), ("x" * 200, "studio-" + "x" * 60)],
)
def test_studio_names_are_names_that_discord_takes(name, channel):
    assert studio_name(Named(name)) == channel


async def ask(scene: Scene, who: str, command: str, **options) -> dict:
    return (await scene.play.slash(who, scene.welcome, command, options, wait="answer"))["original"]


def press_id(message: dict, verb: str) -> str:
    return next(part["custom_id"] for part in parts_of(message) if part.get("custom_id", "").split(":")[2:3] == [verb])


async def test_a_session_is_opened_rested_and_woken_by_the_next_request(scene: Scene):
    opened = await ask(scene, "ada", "session open")
    studio = await scene.studio_of("ada")
    assert f"<#{studio['id']}>" in opened["content"]
    question = await ask(scene, "ada", "session close")
    await scene.play.click("ada", question["id"], press_id(question, "rest"), wait="answer")
    resting = await scene.studio_of("ada")
    names = {c["id"]: c["name"] for c in (await scene.play.state())["guilds"][0]["channels"]}
    assert names[resting["parent_id"]] == "darkroom resting studios"
    assert "This studio rests now" in (await scene.play.messages(studio["id"]))[-1]["content"]
    assert set(resting["viewers"]) == set(studio["viewers"])
    await scene.restart()
    await scene.imagine("ada")
    woken = await scene.studio_of("ada")
    names = {c["id"]: c["name"] for c in (await scene.play.state())["guilds"][0]["channels"]}
    assert (woken["id"], names[woken["parent_id"]]) == (studio["id"], "darkroom studios")
    assert set(woken["viewers"]) == set(studio["viewers"])


async def test_a_session_is_removed_only_after_it_was_asked(scene: Scene):
    await ask(scene, "ada", "session open")
    question = await ask(scene, "ada", "session close")
    assert await scene.studios_of("ada")
    told = await scene.play.click("ada", question["id"], press_id(question, "remove"), wait="answer")
    assert "Your studio is removed" in told["original"]["content"]
    assert await scene.studios_of("ada") == []


async def test_a_friend_is_invited_and_sent_away_and_a_bot_is_not(scene: Scene):
    await ask(scene, "ada", "session open")
    assert "sees your studio now" in (await ask(scene, "ada", "session invite", friend=scene.users["chen"]))["content"]
    studio = await scene.studio_of("ada")
    assert scene.users["chen"] in studio["viewers"]
    assert scene.users["bruno"] not in studio["viewers"]
    card = await ask(scene, "ada", "session settings")
    assert f"<@{scene.users['chen']}>" in texts(card)
    assert "not yourself" in (await ask(scene, "ada", "session invite", friend=scene.users["ada"]))["content"]
    await ask(scene, "ada", "session uninvite", friend=scene.users["chen"])
    assert scene.users["chen"] not in (await scene.studio_of("ada"))["viewers"]


async def test_inviting_without_manage_roles_says_what_an_admin_must_do(scene: Scene):
    await ask(scene, "ada", "session open")
    await allow_bot(scene, without="MANAGE_ROLES")
    for command in ("session invite", "session uninvite"):
        told = (await ask(scene, "ada", command, friend=scene.users["chen"]))["content"]
        assert told == "I may not let people in or out of a studio: an admin has to give me Manage Roles."


async def test_neither_the_bot_nor_a_role_is_sent_out_of_a_studio(scene: Scene):
    await ask(scene, "ada", "session open")
    before, bot = await scene.studio_of("ada"), scene.bot.user
    assert bot is not None and str(bot.id) in before["viewers"]
    assert "no bot" in (await ask(scene, "ada", "session uninvite", friend=str(bot.id)))["content"]
    ada = discord.Object(int(scene.users["ada"]))
    for nobody in (bot.id, scene.guild_id, ada.id):  # the guild's id is that of @everyone
        with pytest.raises(StudioImpossible, match="invite_whom"):
            await scene.bot.studios.uninvite(ada, nobody)
    assert await scene.studio_of("ada") == before


async def test_a_studio_that_the_bot_sees_no_more_is_not_a_studio(scene: Scene):
    await ask(scene, "ada", "session open")
    shut = await scene.studio_of("ada")
    channel, me = scene.bot.get_channel(int(shut["id"])), scene.bot.get_guild(scene.guild_id).me
    assert isinstance(channel, discord.TextChannel)
    await channel.set_permissions(me, view_channel=False)
    async with asyncio.timeout(10):
        while channel.permissions_for(me).view_channel:
            await asyncio.sleep(0.02)
    assert f"<#{shut['id']}>" not in (await ask(scene, "ada", "session open"))["content"]
    await scene.imagine("ada")
    (opened,) = [studio["id"] for studio in await scene.studios_of("ada") if studio["id"] != shut["id"]]
    await scene.play.wait_message("ada", opened, lambda m: "Here is your photo" in texts(m), timeout_s=40)


async def test_a_session_is_renamed_twice_and_the_third_time_is_told_to_wait(scene: Scene):
    await ask(scene, "ada", "session open")
    assert "my-red-room" in (await ask(scene, "ada", "session rename", name="My red room!"))["content"]
    assert (await scene.studio_of("ada"))["name"] == "my-red-room"
    assert "at least one letter" in (await ask(scene, "ada", "session rename", name="!!!"))["content"]
    await ask(scene, "ada", "session rename", name="two")
    assert "two new names in ten minutes" in (await ask(scene, "ada", "session rename", name="three"))["content"]
    assert (await scene.studio_of("ada"))["name"] == "two"


async def test_the_studios_own_voice_beats_the_persons(scene: Scene):
    await ask(scene, "ada", "session open")
    card = await ask(scene, "ada", "session settings")
    await scene.play.select("ada", card["id"], press_id(card, "persona"), ["serious"], wait="answer")
    await scene.imagine("ada")
    serious = set(shipped()["serious"].lines["done"]["en"])
    message = await scene.play.wait_message("ada", (await scene.studio_of("ada"))["id"], lambda m: m["mentions"], timeout_s=40)
    assert any(line in texts(message) for line in serious)


async def test_past_its_share_of_channels_the_guild_gets_threads(open_scene: OpenScene):
    scene = await open_scene(door={"channel_share": 1})
    answer = await scene.said("ada")
    thread_id = answer.split("<#")[1].split(">")[0]
    thread = await scene.play.channel(thread_id)
    assert thread["type"] == 12
    assert scene.users["ada"] in thread["viewers"]
    assert scene.users["bruno"] not in thread["viewers"]
    picture = await scene.play.wait_message("ada", thread_id, lambda m: "Here is your photo" in texts(m), timeout_s=40)
    assert picture
    await scene.sessions.forget(UserId(f"discord:{scene.users['ada']}"), str(scene.guild_id))
    await scene.restart()
    assert f"<#{thread_id}>" in await scene.said("ada")


async def test_idle_studios_rest_with_a_word_and_busy_ones_do_not(scene: Scene):
    await ask(scene, "ada", "session open")
    assert await scene.bot.studios.rest_idle(seconds=3600, words=lambda _: "rest") == 0
    assert await scene.bot.studios.rest_idle(seconds=-1, words=lambda _: "Sleep well.") == 1
    assert (await scene.play.messages((await scene.studio_of("ada"))["id"]))[-1]["content"] == "Sleep well."
    assert await scene.bot.studios.rest_idle(seconds=-1, words=lambda _: "again") == 0


async def test_a_studio_rests_when_its_person_leaves_and_wakes_when_they_return(open_scene: OpenScene):
    scene = await open_scene(rehearsal={"members_intent": True}, door={"members_intent": True})
    await ask(scene, "ada", "session open")
    studio = await scene.studio_of("ada")
    await scene.play.post("kick", {"guild_id": str(scene.guild_id), "user": "ada"})
    async with asyncio.timeout(20):
        while (await scene.studio_of("ada"))["parent_id"] == studio["parent_id"]:
            await asyncio.sleep(0.05)
    await scene.play.post("members", {"guild_id": str(scene.guild_id), "user": "ada"})
    async with asyncio.timeout(20):
        while (await scene.studio_of("ada"))["parent_id"] != studio["parent_id"]:
            await asyncio.sleep(0.05)
