"""Rules without lists of words, strikes that fade, a human to ask, quotas by role; and what admins do about it all."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bot.client import DoorOptions, keep_serving
from bot.cogs.safety.quotas import MOST_WAITING, Allowance, QuotasInvalid, read_quotas
from bot.cogs.safety.rules import RulesInvalid, first_broken, plain_forms, read_file, read_rules, shipped_rules
from bot.door_errors import FileInvalid
from jobs.job import UserId
from jobs.words import say
from tests.bot.conftest import OpenScene, Scene, buttons, texts

RULES = """
[[rule]]
name = "gore"
reason = { en = "No gore here.", es = "Aquí no hay sangre." }
any = ["gore", "dismember*"]
"""


@pytest.mark.parametrize(
    "text",
    [
        "a naked child", "a n4k3d ch1ld", "n a k e d  k i d", "nаked chіld", "niña desnuda", "NAKED\u200b KIDS", "naaaaked kids",
        "n.a.k.e.d  child", "ｎａｋｅｄ child", "na\u0301ked child",
    ],
)  # fmt: skip
def test_spelling_tricks_change_nothing(text):
    assert first_broken(shipped_rules(), text) is not None


@pytest.mark.parametrize("text", ["a child in a park", "a naked woman in a kidney bowl", "a red fox", "minority report", "n u d e", ""])
def test_innocent_words_pass(text):
    assert first_broken(shipped_rules(), text) is None


def test_the_negative_prompt_counts_too_and_plain_forms_are_few():
    (rule,) = read_rules("x.toml", RULES)
    assert first_broken([rule], "a fox", "g0re") is rule
    assert first_broken([rule], "dismembered") is rule
    assert first_broken([rule], "category") is None
    assert len(plain_forms("x" * 4000)) <= 4


RULE = "[[rule]]\nname='x'\nreason={en='y'}\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[rule]]\nname='x'", "x.toml: rule.reason is missing or no table of sentences"),
        (RULE, "x.toml, line 2: rule.name \"x\" forbids nothing: it needs any, all or pattern."),
        (RULE + "pattern='('", "x.toml, line 4: rule.pattern is no regular expression"),
        (RULE + "any='gore'", 'x.toml, line 4: rule.any is "gore": write any = ["…"].'),
        (RULE + "any=[3]", "x.toml, line 4: rule.any is [3]"),
        (RULE + "any=['*']", "x.toml, line 4: rule.any is"),
        (RULE + "all=['gore']", "x.toml, line 4: rule.all is"),
        (RULE + "any=['gore', '---']", 'x.toml, line 4: rule.any has "---", which is no word: each needs a letter or a digit.'),
        (RULE + "any=['!*']", 'x.toml, line 4: rule.any has "!*", which is no word'),
        (RULE + "all=[['child'], ['🍆']]", 'x.toml, line 4: rule.all has "🍆", which is no word'),
        (RULE + "pattern=''", "x.toml, line 4: rule.pattern fits every text"),
        (RULE + "pattern='(gore)?'", "x.toml, line 4: rule.pattern fits every text"),
        (RULE + "pattern='" + "(" * 5000 + "a" + ")" * 5000 + "'", "x.toml, line 4: rule.pattern is no regular expression"),
        (RULE + "strike=" + "9" * 5000, "x.toml: Exceeds the limit"),
        (RULE + "strike=0x" + "f" * 5000, "x.toml: a number in it has more than 256 bits"),
        ("a=" + "[" * 5000, "x.toml: its brackets are nested too deeply."),
        (RULE + "any=['a']\nstrike='no'", 'x.toml, line 5: rule.strike is "no": write true or false.'),
        (RULE + "any=['a']\n" + RULE + "words=['b']", "x.toml, line 8: rule 2.words is not known"),
        ("[[rules]]\nname='x'", "x.toml, line 1: rules is not known: did you mean rule?"),
        ("[rule]\nname='x'", "x.toml, line 1: rule is one table: write [[rule]]"),
        ("nonsense [", "x.toml: "),
    ],
)
def test_a_rules_file_that_cannot_be_used_gets_a_sentence_with_its_line(text, sentence):
    with pytest.raises(RulesInvalid) as refused:
        read_rules("x.toml", text)
    assert str(refused.value).startswith(sentence)


def test_the_most_generous_role_counts_and_nonsense_is_named(tmp_path):
    file = tmp_path / "quotas.toml"
    file.write_text("[everyone]\nwaiting=2\ngpu_seconds=60\n[role.7]\nwaiting=9\n[role.8]\nwaiting=1\ngpu_seconds=0\n")
    quotas = read_quotas(file)
    assert quotas.of([]) == Allowance(waiting=2, gpu_seconds=60)
    assert quotas.of([7, 8]).waiting == 9
    assert quotas.of([8]).gpu_seconds is None


def test_what_a_role_leaves_unsaid_stays_as_it_is_for_everyone_and_no_role_takes_away(tmp_path):
    file = tmp_path / "quotas.toml"
    file.write_text("[everyone]\ngpu_seconds=60\n[role.7]\nweight=2\n[role.8]\nwaiting=0\nweight=0.5\n[role.9]\nwaiting=3\n")
    quotas = read_quotas(file, waiting=12)
    assert quotas.of([]) == Allowance(waiting=12, gpu_seconds=60, weight=1)
    assert quotas.of([7]) == Allowance(waiting=12, gpu_seconds=60, weight=2)
    assert quotas.of([7, 8]) == Allowance(waiting=MOST_WAITING, gpu_seconds=60, weight=2)
    assert quotas.of([8]).weight == 1
    assert quotas.of([9]).waiting == 12
    assert read_quotas(tmp_path / "none.toml", waiting=12).of([7]) == Allowance(waiting=12)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[role.7]\nweight=0.2", "quotas.toml, line 2: role.7.weight is 0.2: write a number from 0.25 to 8."),
        ("[everyone]\nweight=8.5", "quotas.toml, line 2: everyone.weight is 8.5: write a number from 0.25 to 8."),
        ("[everyone]\nweight=nan", "quotas.toml, line 2: everyone.weight is nan: write a number"),
        ("[everyone]\nweight=true", "quotas.toml, line 2: everyone.weight is true: write a number"),
        ("[everyone]\nweight='2'", 'quotas.toml, line 2: everyone.weight is "2": write a number'),
        ("[everyone]\nwaiting=-1", "quotas.toml, line 2: everyone.waiting is -1: write a whole number from 1 to 1000, or 0"),
        ("# ours\n[everyone]\nweight=1 # usual\nwaiting=2.5", "quotas.toml, line 4: everyone.waiting is 2.5: write a whole number"),
        ("[everyone]\ngpu_seconds=inf", "quotas.toml, line 2: everyone.gpu_seconds is inf: write a number from 0"),
        ("[everyone]\ngpu_seconds=[1]", "quotas.toml, line 2: everyone.gpu_seconds is [1]: write a number from 0"),
        ("everyone=3", "quotas.toml, line 1: everyone is 3: write a table, [everyone]."),
        ("role=3", "quotas.toml, line 1: role is 3: write a table, [role]."),
        ("[role]\n7=3", "quotas.toml: role.7 is 3: write a table, [role.7]."),
        ("[role.staff]\nweight=2", "quotas.toml, line 1: role.staff is no role's id: write [role.1042317265498202122]"),
        ("[everyone]\ngpu_second=60", "quotas.toml, line 2: everyone.gpu_second is not known: did you mean gpu_seconds?"),
        ("[role.7]\nfree=true", "quotas.toml, line 2: role.7.free is not known: known here: waiting, gpu_seconds, weight."),
        ("[everybody]\nwaiting=1", "quotas.toml, line 1: everybody is not known: did you mean everyone?"),
        ("[roles.7]\nwaiting=1", "quotas.toml: roles is not known: did you mean role?"),
        ("[everyone]\nwaiting=" + "9" * 5000, "quotas.toml: Exceeds the limit"),
        ("[everyone]\nwaiting=0x" + "f" * 5000, "quotas.toml: a number in it has more than 256 bits"),
        ("[everyone]\nwaiting=99999999999999999999999999", "quotas.toml, line 2: everyone.waiting is 99999999999999999999999999: write"),
        ("[role." + "9" * 5000 + "]\nwaiting=1", "quotas.toml, line 1: role.9999"),
        ("a=" + "[" * 5000, "quotas.toml: its brackets are nested too deeply."),
        ("waiting=1", "quotas.toml, line 1: waiting is not known: known here: everyone, role."),
        ("nonsense [", "quotas.toml: "),
    ],
)
def test_a_quotas_file_that_cannot_be_used_gets_a_sentence_with_its_line(tmp_path, text, sentence):
    file = tmp_path / "quotas.toml"
    file.write_text(text)
    with pytest.raises(QuotasInvalid) as refused:
        read_quotas(file)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize("name", ["quotas", "rules"])
def test_a_file_that_is_no_utf_8_is_refused_and_a_byte_order_mark_is_not(tmp_path, name):
    file, read, wrong = tmp_path / f"{name}.toml", *((read_quotas, QuotasInvalid) if name == "quotas" else (read_file, RulesInvalid))
    file.write_bytes(b"\xef\xbb\xbf# saved by an editor that marks its files\n")
    read(file)
    file.write_bytes(b"# caf\xe9\n")
    with pytest.raises(wrong, match=r"is not written in UTF-8 \(byte 5\)"):
        read(file)


@pytest.mark.parametrize(("name", "text"), [("quotas", "[everyone]\nwaitings=1\n"), ("rules", "[[rules]]\n"), ("personas", "name='x'\n")])
async def test_the_bot_does_not_start_with_a_file_that_it_cannot_use_and_says_why(scene: Scene, tmp_path, name, text):
    """The host's own door: what it raises ends the start with that sentence, instead of trying again for ever."""
    file = tmp_path / (f"{name}.toml" if name != "personas" else "voices/mine.toml")
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    options = DoorOptions(guild_id=scene.guild_id, **{name: file.parent if name == "personas" else file})
    with pytest.raises(FileInvalid) as refused:
        async with asyncio.timeout(20):
            await keep_serving(scene.bot.parts, options, scene.server.token, asyncio.Event())
    assert file.name in str(refused.value.details["reason"])


async def ask(scene: Scene, who: str, command: str, **options) -> dict:
    return (await scene.play.slash(who, scene.welcome, command, options, wait="answer"))["original"]


@pytest.fixture
async def ruled(open_scene: OpenScene, tmp_path) -> Scene:
    (tmp_path / "rules.toml").write_text(RULES)
    scene = await open_scene(door={"rules": tmp_path / "rules.toml"})
    staff = next(c["id"] for c in (await scene.play.state())["guilds"][0]["channels"] if c["name"] == "staff")
    me = (await scene.play.health())["bot_user_id"]
    allow = {"id": me, "type": 1, "allow": ["VIEW_CHANNEL", "SEND_MESSAGES"], "deny": 0}
    await scene.play.post("permissions", {"channel_id": staff, "overwrite": allow})
    return await scene.restart(moderation_channel_id=int(staff), audit_channel_id=int(staff))


async def test_a_refusal_tells_the_rule_and_not_the_word_and_nothing_is_enqueued(ruled: Scene):
    answer = await ask(ruled, "bruno", "imagine", prompt="mucho G0RE")
    assert "Aquí no hay sangre." in texts(answer)
    assert "gore" not in texts(answer).lower()
    assert await ruled.lab.store.recent(UserId(f"discord:{ruled.users['bruno']}"), limit=9) == []
    assert await ruled.studios_of("bruno") == []


async def test_a_moderator_lifts_a_strike_after_an_appeal(ruled: Scene):
    answer = await ask(ruled, "ada", "imagine", prompt="a gore fest")
    opened = await ruled.play.click("ada", answer["id"], buttons(answer)[0], wait="answer")
    told = await ruled.play.modal("ada", opened["id"], {"why": "It is a film's title"}, wait="answer")
    assert "A moderator will look" in told["original"]["content"]
    staff = next(c["id"] for c in (await ruled.play.state())["guilds"][0]["channels"] if c["name"] == "staff")
    card = await ruled.play.wait_message("mara", staff, lambda m: "film's title" in texts(m), timeout_s=20)
    assert "> a gore fest" in texts(card)
    await ruled.restart(moderation_channel_id=int(staff))
    lift = next(custom_id for custom_id in buttons(card) if ":lift:" in custom_id)
    assert "1 strike" in texts(await ask(ruled, "ada", "quota"))
    judged = await ruled.play.click("mara", card["id"], lift, wait="answer")
    assert "is lifted" in judged["original"]["content"]
    assert "strike" not in texts(await ask(ruled, "ada", "quota"))
    again = await ruled.play.click("mara", card["id"], lift, wait="answer")
    assert "decided this already" in again["original"]["content"]


async def test_moderators_that_cannot_be_reached_cost_nobody_their_appeal(open_scene: OpenScene, tmp_path):
    (tmp_path / "rules.toml").write_text(RULES)
    scene = await open_scene(door={"rules": tmp_path / "rules.toml"})
    staff = next(c["id"] for c in (await scene.play.state())["guilds"][0]["channels"] if c["name"] == "staff")
    await scene.restart(moderation_channel_id=int(staff))  # which the bot does not see
    answer = await ask(scene, "ada", "imagine", prompt="a gore fest")
    for _ in range(2):
        opened = await scene.play.click("ada", answer["id"], buttons(answer)[0], wait="answer")
        told = await scene.play.modal("ada", opened["id"], {"why": "please"}, wait="answer")
        assert "Write to its staff" in told["original"]["content"]


async def test_three_strikes_pause_everything_for_a_while(ruled: Scene):
    for _ in range(3):
        await ask(ruled, "ada", "imagine", prompt="gore")
    answer = await ask(ruled, "ada", "imagine", prompt="a red fox")
    assert "taken again <t:" in answer["content"]
    assert "studio" in await ruled.said("chen")


async def test_quotas_by_role_and_what_is_left(open_scene: OpenScene, tmp_path):
    staff_free = tmp_path / "quotas.toml"
    scene = await open_scene(worker={"max_batch": 2}, door={"quotas": staff_free})
    staff = next(r["id"] for r in (await scene.play.state())["guilds"][0]["roles"] if r["name"] == "Staff")
    staff_free.write_text(f"[everyone]\nwaiting=1\ngpu_seconds=600\n[role.{staff}]\nwaiting=5\ngpu_seconds=0\n")
    await scene.restart()
    scene.worker.gate.clear()
    for who in ("ada", "mara"):
        for n in range(2):
            await scene.imagine(who, f"fox {n}")
        await scene.card_of(who, "I'm taking the photo")
    answers = [await scene.said("ada", f"more {n}") for n in range(3)]
    assert any("requests waiting" in answer for answer in answers)
    assert "requests waiting" not in await scene.said("mara", "one more")
    card = texts(await ask(scene, "ada", "quota"))
    assert "of 1 requests waiting" in card
    assert "10 min GPU time" in card
    assert "no limit" in texts(await ask(scene, "mara", "quota"))


async def test_a_role_gives_weight_and_a_waiting_limit_beyond_the_house_s(open_scene: OpenScene, tmp_path):
    file = tmp_path / "quotas.toml"
    scene = await open_scene(worker={"max_batch": 1}, door={"quotas": file})
    staff = next(r["id"] for r in (await scene.play.state())["guilds"][0]["roles"] if r["name"] == "Staff")
    file.write_text(f"[everyone]\nwaiting=2\n[role.{staff}]\nwaiting=22\nweight=2\n")
    await scene.restart()
    scene.worker.gate.clear()
    await scene.imagine("chen")
    await scene.card_of("chen", "I'm taking the photo")  # the one worker is busy: all others wait
    for who, limit, weight in (("ada", 2, 1.0), ("mara", 22, 2.0)):
        for n in range(limit):
            assert "studio" in await scene.said(who, f"fox {n}"), f"{who}'s request {n}"
        assert f"You have {limit} requests waiting" in await scene.said(who, "one too many")
        assert f"{limit} of {limit} requests waiting" in texts(await ask(scene, who, "quota"))
        assert stored_weights(tmp_path / "darkroom.sqlite3", scene.users[who]) == [weight] * limit


async def test_nobody_gets_a_studio_made_only_to_be_refused_for_what_waits(open_scene: OpenScene, tmp_path):
    file = tmp_path / "quotas.toml"
    file.write_text("[everyone]\nwaiting=2\n")
    scene = await open_scene(worker={"max_batch": 1}, door={"quotas": file})
    scene.worker.gate.clear()
    await scene.imagine("chen")
    await scene.card_of("chen", "Step")  # the one worker is busy: all others wait
    for n in range(2):
        await scene.imagine("ada", f"fox {n}")
    await scene.play.delete_channel((await scene.studio_of("ada"))["id"])
    assert "You have 2 requests waiting" in await scene.said("ada", "one more")
    assert await scene.studios_of("ada") == []
    assert "studio" in await scene.said("bruno", "un zorro") or "estudio" in await scene.said("bruno", "un zorro")


def stored_weights(ledger: Path, user: str) -> list[float]:
    with closing(sqlite3.connect(ledger)) as connection:
        return [weight for (weight,) in connection.execute("select weight from job where user_id = ?", (f"discord:{user}",))]


async def test_models_for_adults_stay_in_age_restricted_channels(scene: Scene):
    await scene.restart(adult_models=("house",))
    assert "age-restricted channels only" in await scene.said("ada")


async def test_the_usual_model_is_judged_as_it_is_now_and_not_as_it_was_at_the_start(open_scene: OpenScene):
    scene = await open_scene(door={"adult_models": ("lurid",)})
    assert "age-restricted" not in await scene.said("ada")
    pool = scene.lab.pool
    pool.ship({"lurid": pool.offers()["house"].model_copy(update={"name": "lurid"})}, "lurid")  # as /admin reload does
    scene.worker.more_models = [{"name": "lurid"}]
    async with asyncio.timeout(10):
        while pool.default_model != "lurid":
            await asyncio.sleep(0.02)
    assert await scene.said("ada") == say("error.adults_only", "en", model="lurid")


async def test_an_admin_bans_cancels_announces_and_all_of_it_is_logged(ruled: Scene):
    ruled.worker.gate.clear()
    await ruled.imagine("ada")
    await ruled.card_of("ada", "Step")
    member = ruled.users["ada"]
    assert "would cancel 1 request" in texts(await ask(ruled, "mara", "admin cancel", member=member))
    assert "Repeat with sure" in (await ask(ruled, "mara", "admin ban", member=member, reason="spam", hours=1.0))["content"]
    assert "cancelled" in (await ask(ruled, "mara", "admin ban", member=member, reason="spam", hours=1.0, sure=True))["content"]
    assert "spam" in await ruled.said("ada", "again")
    await ask(ruled, "mara", "admin unban", member=member)
    assert "studio" in await ruled.said("ada", "again")
    preview = await ask(ruled, "mara", "admin announce", text="@everyone new model", channel=ruled.welcome)
    assert "Repeat with sure" in texts(preview)
    await ask(ruled, "mara", "admin announce", text="@everyone new model", channel=ruled.welcome, sure=True)
    (said,) = [m for m in await ruled.play.messages(ruled.welcome) if "new model" in texts(m) and not m["ephemeral_for"]]
    assert said["mention_everyone"] is False
    log = texts(await ask(ruled, "mara", "admin audit"))
    assert all(word in log for word in ("ban", "unban", "announce"))


async def test_members_without_the_right_are_refused_by_the_command_itself(ruled: Scene):
    await ruled.imagine("ada")
    await ruled.picture_of("ada")
    guild = str(ruled.guild_id)
    everyone = next(r for r in (await ruled.play.state())["guilds"][0]["roles"] if r["id"] == guild)
    # Somebody who may see the command (an override in the server's settings) may still not use it.
    for command in ruled.bot.tree.get_commands(guild=ruled.bot.get_guild(ruled.guild_id)):
        if command.name == "admin":
            command.default_permissions = None
    await ruled.bot.scopes.put("guild")
    assert "MANAGE_GUILD" not in everyone["names"]
    for command, options in (("admin audit", {}), ("admin ban", {"member": ruled.users["chen"], "reason": "x"}), ("admin clearall", {})):
        assert "Manage Server" in (await ask(ruled, "ada", command, **options))["content"]
