"""The main job of the house in a browser: the real host with the real bot, played from the rehearsal page."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.acceptance.lab import open_lab
from tests.fake_worker import FakeWorker

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def ask(page: Page, prompt: str) -> None:
    await page.locator("#say").fill(f"/imagine {prompt}")
    await page.keyboard.press("Enter")


async def test_a_newcomer_asks_watches_gets_the_picture_cancels_and_nobody_else_sees_it(
    chromium: Browser, tmp_path: Path
) -> None:
    async with FakeWorker(step_seconds=0.6).serve() as worker, open_lab(tmp_path, [worker.url]) as lab:
        context = await chromium.new_context(locale="en-US")
        page = await context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(f"{lab.rehearsal.url}/page/?as=ada")
        await expect(page.locator("#presence")).to_have_text("bot online")

        await ask(page, "a red lighthouse")
        await expect(page.locator(".msg.ephemeral")).to_contain_text("Only Ada sees this.")
        await page.locator(".msg.ephemeral a.mention").click()
        await expect(page.locator("#topic")).to_contain_text("Seen by")
        await expect(page.locator(".container.accent")).to_contain_text("Step", timeout=20_000)
        picture = page.locator(".msg.called .gallery img")
        await expect(picture).to_be_visible(timeout=20_000)
        assert await picture.evaluate("img => img.decode().then(() => img.naturalWidth)") == 128
        await expect(page.locator(".msg.called")).to_contain_text("a red lighthouse")

        worker.gate.clear()
        await ask(page, "a fox in the snow")
        await page.get_by_role("button", name="Cancel").click()
        worker.gate.set()
        await expect(page.locator(".container", has_text="Cancelled.")).to_be_visible(timeout=20_000)
        await expect(page.locator(".msg.called .gallery")).to_have_count(1)

        room = await page.locator("#title").text_content()
        await page.get_by_role("button", name="Bruno").click()
        await expect(page.get_by_role("heading", name="Channels Bruno sees")).to_be_visible()
        await expect(page.locator("#rooms a", has_text=room)).to_have_count(0)
        assert errors == []
        await context.close()
