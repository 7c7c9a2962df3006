"""`python -m rehearsal` as a process: it says where it is, serves, and stops when asked."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from rehearsal import app
from rehearsal.__main__ import parse
from rehearsal.client import RehearsalClient
from rehearsal.config import RehearsalConfig

ROOT = Path(__file__).parents[2]


async def test_it_starts_says_where_and_stops_on_a_signal(tmp_path: Path) -> None:
    info = tmp_path / "info.json"
    arguments = ["--port", "0", "--seed-guild", "demo", "--token", "t-1", "--info-file", str(info), "--set", "nonce_window=1"]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "rehearsal", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        first = await asyncio.wait_for(process.stdout.readline(), 30)
        told = json.loads(info.read_text())
        assert told["page"] in first.decode()
        assert told["token"] == "t-1"
        async with RehearsalClient(told["url"]) as play:
            assert (await play.health())["guild_ids"] == told["guild_ids"]
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_listens_on_loopback_only() -> None:
    with pytest.raises(ValueError, match="loopback"):
        await app.start(RehearsalConfig(host="0.0.0.0"))


def test_a_setting_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--set", "nonse=1"], ["--set", "nonce_window=soon"], ["--intents", "mind_reading"]):
        with pytest.raises(SystemExit):
            parse(arguments)
        assert arguments[1].split("=")[0] in capsys.readouterr().err


def test_settings_and_intents_are_read() -> None:
    config, _ = parse(["--set", "nonce_window=1", "--set", "rate_limits=false", "--intents", "members,message_content"])
    assert (config.nonce_window, config.rate_limits, config.members_intent, config.message_content_intent) == (1.0, False, True, True)
