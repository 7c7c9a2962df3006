"""Every card of the real bot, drawn by the rehearsal page in a browser: whole, without a part that the page does not know."""

from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.bot.conftest import restored_addresses  # noqa: F401  a fixture of the bot's own tests
from tests.browser.discord_cards import play, stage, steer, visit

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def test_the_page_draws_every_card_of_the_bot(
    chromium: Browser, tmp_path: Path, restored_addresses: None  # noqa: F811  the fixture
) -> None:
    async with stage(tmp_path) as scene:
        channel = await play(scene, "bruno")
        page, errors = await visit(chromium, scene, "bruno", channel, scheme="light", width=900)
        assert errors == []
        assert await page.locator(".absent").count() == 0
        assert await page.locator(".container").count() >= 14
        pictures = page.locator(".container .gallery img")
        assert await pictures.count() >= 5
        for index in range(await pictures.count()):
            assert (await pictures.nth(index).get_attribute("alt") or "").strip()
        wide = await page.evaluate("[...document.querySelectorAll('.container')].filter(c => c.scrollWidth > c.clientWidth + 1).length")
        assert wide == 0
        await page.context.close()


async def test_the_page_draws_every_question_of_an_admin(
    chromium: Browser, tmp_path: Path, restored_addresses: None  # noqa: F811  the fixture
) -> None:
    async with stage(tmp_path) as scene:
        page, errors = await visit(chromium, scene, "mara", await steer(scene), scheme="dark", width=900)
        assert errors == []
        assert await page.locator(".absent").count() == 0
        assert await page.locator(".container button").count() >= 14
        wide = await page.evaluate("[...document.querySelectorAll('.container')].filter(c => c.scrollWidth > c.clientWidth + 1).length")
        assert wide == 0
        await page.context.close()
