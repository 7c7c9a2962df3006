"""The operator's door: a command that a host has heard is done by nobody else."""

import asyncio
from pathlib import Path

import pytest

from bot import operator_door
from bot.operator_door import CommandFailed, NoHost, ask


async def test_where_nobody_listens_the_ledger_may_be_used_directly(tmp_path: Path):
    with pytest.raises(NoHost):
        await ask(tmp_path, do="queue")


async def test_a_host_that_heard_and_does_not_answer_is_not_taken_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(operator_door, "_PATIENCE", 0.05)
    monkeypatch.setattr(operator_door, "_CONNECTING", 0.05)
    heard: list[bytes] = []
    hung_up = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())
        await reader.read()
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    async with await asyncio.start_unix_server(silent, str(tmp_path / "operator.sock")):
        with pytest.raises(CommandFailed):
            await ask(tmp_path, do="requeue", job="one")
        async with asyncio.timeout(10):  # else its socket outlives the loop, and a later test finds it in the garbage
            await hung_up.wait()

    assert heard
