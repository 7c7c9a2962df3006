"""Takes the pictures of the rehearsal page for the documents, from a running demo.

`python -m tests.browser.pictures http://127.0.0.1:7861 docs/images`, after a few members asked for something.
"""

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import Browser, async_playwright

from tests.browser.conftest import FLAGS, NAMES


async def private_room(url: str, member: str) -> str:
    """The newest channel that `member` sees and not everyone does."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/control/state", params={"as": member}) as answer:
        state = await answer.json()
    rooms = [c["id"] for guild in state["guilds"] for c in guild["channels"] if c["private"] and c["type"] == 0]
    assert rooms, f"{member} has no private channel yet: let the demo ask for a picture first"
    return max(rooms, key=int)


async def shoot(
    browser: Browser, address: str, out: Path, size: tuple[int, int], typed: str = "", **context: Any
) -> None:
    visit = await browser.new_context(
        viewport={"width": size[0], "height": size[1]}, device_scale_factor=1.5, **context
    )
    page = await visit.new_page()
    await page.goto(address)
    await page.locator(".start, .msg").first.wait_for()
    if typed:
        await page.locator("#say").press_sequentially(typed)
        await page.keyboard.press("Tab")
    await page.wait_for_timeout(600)
    await page.screenshot(path=out)
    await visit.close()


async def take(url: str, folder: Path) -> None:
    path = next(filter(None, map(shutil.which, NAMES)))
    page = f"{url}/page/?still"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        ada, bruno = await private_room(url, "ada"), await private_room(url, "bruno")
        plain: dict[str, Any] = {"locale": "en-US", "color_scheme": "dark"}
        await shoot(browser, f"{page}&as=ada&channel={ada}", folder / "rehearsal.png", (1280, 860), **plain)
        typed = "/imagine a red circle on green"
        await shoot(
            browser, f"{page}&as=ada&channel={ada}", folder / "rehearsal-command.png", (1280, 860), typed, **plain
        )
        phone: dict[str, Any] = {"locale": "es-ES", "color_scheme": "light", "has_touch": True}
        await shoot(browser, f"{page}&as=bruno&channel={bruno}", folder / "rehearsal-phone.png", (360, 740), **phone)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(take(sys.argv[1].rstrip("/"), Path(sys.argv[2])))
