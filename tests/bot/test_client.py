"""Logging in, what an operator has to mend, and where Discord is taken from."""

import asyncio
import base64
from dataclasses import replace

import pytest
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bot.client import DarkroomBot, DoorOptions, intents, keep_serving
from bot.discord_address import DiscordAddressError, apply_discord_address, looks_real
from bot.door_errors import DiscordDoorError, IntentMissing, TokenRefused
from jobs.words import explain
from tests.bot.conftest import OpenScene, Scene

REAL = base64.b64encode(b"1042317265498202122").decode().rstrip("=") + ".GabcdE.abcdefghijklmnopqrstuvwxyz0123456789AB"


@pytest.mark.parametrize(
    "url",
    ["http://discord.example", "ftp://127.0.0.1", "http://127.0.0.1/api", "http://a:b@127.0.0.1", "127.0.0.1:80",
     "http://127.0.0.1:99999", "https://", "http://127.0.0.1?x=1"],
)  # fmt: skip
def test_an_address_that_is_no_origin_stops_the_start(url, restored_addresses):
    before = Route.BASE
    with pytest.raises(DiscordAddressError):
        apply_discord_address(url, "rehearsal-1")
    assert before == Route.BASE


def test_a_real_token_is_never_sent_to_a_stand_in(restored_addresses):
    assert looks_real(REAL)
    with pytest.raises(DiscordAddressError, match="real one"):
        apply_discord_address("http://127.0.0.1:7861", REAL)
    apply_discord_address("https://proxy.example", REAL)
    assert Route.BASE == "https://proxy.example/api/v10"
    assert str(DiscordWebSocket.DEFAULT_GATEWAY) == "wss://proxy.example/"


def test_without_an_address_nothing_is_touched(restored_addresses):
    apply_discord_address(None, REAL)
    assert Route.BASE == "https://discord.com/api/v10"


def test_a_library_whose_constants_moved_stops_the_start(restored_addresses, monkeypatch):
    monkeypatch.delattr(DiscordWebSocket, "DEFAULT_GATEWAY")
    with pytest.raises(DiscordAddressError, match="DEFAULT_GATEWAY"):
        apply_discord_address("http://127.0.0.1:7861", "rehearsal-1")
    monkeypatch.undo()


def test_the_intents_are_the_fewest():
    wanted = {name for name, on in intents(message_content=False) if on}
    assert wanted == {"guilds", "guild_messages", "dm_messages"}
    assert intents(message_content=True).message_content


async def serve_once(scene: Scene, token: str, **changes) -> None:
    await scene.stop()
    bot = DarkroomBot(scene.bot.parts, replace(scene.bot.options, **changes))
    async with asyncio.timeout(60):
        await bot.serve(token, asyncio.Event())


async def test_a_wrong_token_is_told_with_what_to_do(scene: Scene):
    with pytest.raises(TokenRefused) as refused:
        await serve_once(scene, "rehearsal-wrong")
    assert "Reset Token" in explain(refused.value, "en")


async def test_a_missing_intent_is_told_with_what_to_do(scene: Scene):
    with pytest.raises(IntentMissing) as refused:
        await serve_once(scene, scene.server.token, message_content=True)
    assert "Message Content Intent" in explain(refused.value, "en")


async def test_discord_away_at_the_start_is_waited_for(open_scene: OpenScene):
    scene = await open_scene()
    await scene.stop()
    await scene.fault("drop", path="/users/@me", method="GET", count=3)
    await scene.restart()
    assert "your studio" in await scene.said("ada")


async def test_a_broken_gateway_is_resumed_and_nothing_is_lost(scene: Scene):
    await scene.fault("ws_reset")
    await scene.play.wait_bot(timeout_s=40)
    assert "your studio" in await scene.said("ada")
    await scene.picture_of("ada")


class BreaksOnce:
    """A ledger with a bug that shows once."""

    def __init__(self, store) -> None:
        self._store = store
        self.looked = 0

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    async def unfinished(self):
        self.looked += 1
        if self.looked == 1:
            raise RuntimeError("a bug")
        return await self._store.unfinished()


async def test_a_client_that_a_bug_ended_is_replaced(scene: Scene):
    await scene.stop()
    store, stop = BreaksOnce(scene.bot.parts.store), asyncio.Event()
    serving = asyncio.create_task(
        keep_serving(replace(scene.bot.parts, store=store), scene.bot.options, scene.server.token, stop)
    )
    try:
        async with asyncio.timeout(40):
            while store.looked < 2:
                await asyncio.sleep(0.05)
        await scene.play.wait_bot(timeout_s=40)
        await asyncio.sleep(0.5)
        assert "your studio" in await scene.said("ada")
    finally:
        stop.set()
        async with asyncio.timeout(40):
            await serving


async def test_a_rules_file_that_cannot_be_used_ends_the_door_with_its_fault(open_scene, tmp_path):
    scene = await open_scene()
    await scene.stop()
    (tmp_path / "rules.toml").write_text("[[rule]]\nname = 'x'\n")
    options = DoorOptions(guild_id=scene.guild_id, rules=tmp_path / "rules.toml")
    with pytest.raises(DiscordDoorError) as refused:
        await keep_serving(scene.bot.parts, options, scene.server.token, asyncio.Event())
    assert "rules.toml: rule" in explain(refused.value, "en")
