"""The doctor says what is wrong in plain words, each with what to do."""

import json
from pathlib import Path

import pytest

from bot.doctor import Mark, findings
from rehearsal import app
from rehearsal.config import RehearsalConfig
from tests.unit.test_classifier import judged_by, telling


@pytest.fixture
async def rehearsal():
    async with await app.start(RehearsalConfig(seed="demo")) as server:
        yield server


@pytest.fixture
def settings(rehearsal, tmp_path):
    info = rehearsal.info()
    return {
        "DISCORD_TOKEN": info["token"], "ALLOWED_GUILD_ID": info["guild_ids"][0], "DISCORD_API_URL": info["url"],
        "STORAGE": str(tmp_path / "storage"),
    }  # fmt: skip


async def wrongs(values) -> list[str]:
    found = [finding async for finding in findings(values)]
    assert all(finding.cure for finding in found if finding.mark is Mark.WRONG)
    return [finding.what for finding in found if finding.mark is Mark.WRONG]


async def test_a_good_set_up_has_nothing_wrong(settings):
    assert await wrongs(settings) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"DISCORD_TOKEN": "not-the-token"}, "refuses the token"),
        ({"ALLOWED_GUILD_ID": "123456789012345678"}, "not in the server"),
        ({"MESSAGE_CONTENT_INTENT": "yes"}, "switched off"),
        ({"DISCORD_API_URL": "http://127.0.0.1:9"}, "does not answer"),
        ({"WORKER_URLS": "http://127.0.0.1:9"}, "does not answer as one"),
        ({"DATABASE_URL": "mysql://u:s3cret@h/d"}, "mysql"),
        ({"HTTP_HOST": "0.0.0.0"}, "no API key"),
        ({"API_KEYS": "nonsense"}, "API_KEYS"),
        ({"STORAGE": "/proc/none"}, "cannot be written"),
        ({"HTTP_PORT": "eighty"}, "HTTP_PORT"),
        ({"OUTPUT_CLASSIFIER_URL": "http://127.0.0.1:9"}, "No picture is shown now"),
        ({"OUTPUT_CLASSIFIER_URL": "http://127.0.0.1:9", "OUTPUT_CLASSIFIER_OPEN": "yes"}, "shown unjudged now"),
        ({"OUTPUT_CLASSIFIER_URL": "http://a http://b"}, "OUTPUT_CLASSIFIER_URL"),
        ({"OUTPUT_CLASSIFIER_URL": "file:///etc/passwd"}, "OUTPUT_CLASSIFIER_URL"),
        ({"OUTPUT_CLASSIFIER_SECONDS": "0"}, "OUTPUT_CLASSIFIER_SECONDS"),
    ],
)
async def test_each_fault_is_named(settings, change, says):
    told = await wrongs(settings | change)
    assert len(told) == 1
    assert says in told[0]
    assert "s3cret" not in told[0]


async def test_a_missing_permission_is_named(settings, rehearsal):
    (guild,) = rehearsal.world.guilds.values()
    for role in guild.roles.values():
        role.permissions &= ~(1 << 4)
    (told,) = await wrongs(settings)
    assert "Manage Channels" in told


@pytest.mark.parametrize("may", [True, False])
async def test_what_goes_without_manage_roles_is_noted_and_nothing_wrong(settings, rehearsal, may):
    (guild,) = rehearsal.world.guilds.values()
    for role in guild.roles.values():
        role.permissions = role.permissions | 1 << 28 if may else role.permissions & ~(1 << 28)
    told = [finding for finding in [f async for f in findings(settings)] if "Manage Roles" in finding.what]
    assert [finding.mark for finding in told] == ([] if may else [Mark.NOTE])


async def test_files_of_the_operator_that_would_keep_the_door_shut_are_named_with_their_line(settings):
    folder = Path(settings["STORAGE"])
    folder.mkdir()
    (folder / "rules.toml").write_text('[[rule]]\nname = "gore"\nreason = { en = "No." }\nany = "gore"\n')
    (folder / "quotas.toml").write_text("[everyone]\nwaitings = 3\n")
    told = await wrongs(settings)
    assert [line.partition(":")[0] for line in told] == ["rules.toml, line 4", "quotas.toml, line 2"]
    (folder / "rules.toml").write_text("")
    (folder / "quotas.toml").unlink()
    assert await wrongs(settings) == []


@pytest.mark.parametrize("allowed", [True, False])
async def test_the_judge_of_finished_pictures_is_asked_for_real_and_whether_there_is_one_is_said(settings, allowed):
    told = [finding.what async for finding in findings(settings)]
    assert len([what for what in told if what.startswith("No classifier looks at finished pictures")]) == 1
    async with judged_by(telling(json.dumps({"allowed": allowed, "reason": "grey"}))) as (_, judge):
        found = [finding async for finding in findings(settings | {"OUTPUT_CLASSIFIER_URL": judge.url, "OUTPUT_CLASSIFIER_TOKEN": "t"})]
    (ours,) = [finding for finding in found if "classifier" in finding.what]
    assert ours.mark is (Mark.RIGHT if allowed else Mark.WRONG)
    assert judge.asked[0][0]["Authorization"] == "Bearer t"
