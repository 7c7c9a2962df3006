"""An unmodified discord.py client, driven through the rehearsal: it must not be able to tell."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import discord
import pytest
from discord import app_commands

from tests.rehearsal.conftest import Bot, RunBot, Stage, StartStage

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000003000000020802000000121661"
    "4d0000000f49444154789c63606060f8cf000600040301010518d84e0000000049454e44ae426082"
)


async def test_a_slash_command_is_answered(stage: Stage, run_bot: RunBot) -> None:
    bot = Bot()

    @bot.tree.command(description="Say it back")
    async def echo(itx: discord.Interaction, words: str) -> None:
        await itx.response.send_message(f"{itx.user.display_name}: {words}")

    await run_bot(bot, stage)
    record = await stage.play.slash("ada", stage.channels["welcome"], "echo", {"words": "hello"}, wait="answer")
    assert record["state"] == "acked"
    assert record["callback_type"] == 4
    assert record["original"]["content"] == "Ada: hello"
    assert record["original"]["command"]["name"] == "echo"
