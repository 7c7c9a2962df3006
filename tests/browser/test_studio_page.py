"""The studio page in a real browser against the real door: type, watch it develop, see the picture."""

import asyncio
import re
import shutil

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from database.engine import open_database
from gateway.auth import make_key, read_keys
from tests.databases import sqlite_url
from tests.gateway.scripted_worker import ScriptedWorker
from tests.gateway.studio import open_studio, served

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

expect.set_options(timeout=30_000)

PROMPT = "a red star on a dark blue background"
EXPECTED = re.compile("status of (401|422)|ERR_INTERNET_DISCONNECTED")
"""What the browser itself logs of refusals and of being offline."""
PHONE = {"width": 360, "height": 740}


@pytest_asyncio.fixture(loop_scope="session")
async def worker() -> ScriptedWorker:
    return ScriptedWorker(step_seconds=0.02)


@pytest.fixture
def keys():
    return ()


@pytest_asyncio.fixture(loop_scope="session")
async def studio(migrated_file, tmp_path, worker, keys):
    shutil.copyfile(migrated_file, tmp_path / "ledger.sqlite3")
    async with (
        open_database(sqlite_url(tmp_path / "ledger.sqlite3"), sqlite_synchronous="NORMAL") as database,
        open_studio(database, tmp_path, worker, write_seconds=10, keys=keys) as studio,
    ):
        yield studio


@pytest_asyncio.fixture(loop_scope="session")
async def base(studio):
    async with served(studio) as address:
        yield address


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium, base):
    """A page that may complain about nothing: no script error, no refused resource, no request to anybody else."""
    complaints: list[str] = []
    context = await chromium.new_context(viewport={"width": 1280, "height": 900}, locale="en-US", reduced_motion="reduce")
    page = await context.new_page()
    page.set_default_timeout(30_000)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("request", lambda request: complaints.append(request.url) if not request.url.startswith((base, "blob:", base.replace("http", "ws"))) else None)
    yield page
    await context.close()
    assert [text for text in complaints if not EXPECTED.search(text)] == []


def tray(page: Page):
    return page.locator("article.tray").first


async def test_type_watch_it_develop_and_see_the_picture(page, base, studio, worker):
    worker.gate.clear()
    worker.halt_at = 7
    await page.goto(base)
    await page.get_by_label("Prompt").fill(PROMPT)
    await page.get_by_label("Prompt").press("Control+Enter")
    await expect(tray(page).locator(".state")).to_have_text("Step 7 of 12")
    meter = tray(page).get_by_role("progressbar")
    await expect(meter).to_have_attribute("aria-valuetext", "Step 7 of 12")
    await expect(meter).to_have_attribute("aria-valuenow", "7")
    await expect(tray(page).locator("img")).to_have_attribute("alt", re.compile("^Unfinished preview, step"))
    await expect(tray(page).locator(".edgeprint")).to_contain_text("so far")
    worker.gate.set()
    await expect(tray(page).locator(".state")).to_contain_text("Done in")
    picture = tray(page).get_by_role("img", name=f"{PROMPT}. Photo, 128 by 128.")
    await expect(picture).to_be_visible()
    job = (await studio.store.recent("web:local", limit=1))[0]
    shown = await picture.evaluate("async (img) => { const b = await (await fetch(img.src)).arrayBuffer();"
                                   "return [...new Uint8Array(await crypto.subtle.digest('SHA-256', b))].map(x => x.toString(16).padStart(2, '0')).join('') }")  # fmt: skip
    assert shown == job.pictures[0].sha256
    await expect(page.locator("a.frame")).to_have_count(1)
    await expect(page.locator("#status")).to_have_text("Your photo is done.")
    await tray(page).get_by_role("button", name="Open").click()
    detail = page.get_by_role("dialog")
    await expect(detail).to_contain_text(str(job.order.seed))
    async with page.expect_download() as download:
        await detail.get_by_role("link", name="Download").click()
    assert (await download.value).suggested_filename == f"darkroom-{job.order.seed}-{job.id[-6:]}.png"
    await detail.get_by_role("button", name="Use these settings again").click()
    await expect(page.get_by_label("Seed")).to_have_value(str(job.order.seed))
    await expect(page.get_by_label("Prompt")).to_be_focused()


async def test_a_reload_shows_what_runs_and_cancel_stops_it(page, base, worker):
    worker.gate.clear()
    worker.halt_at = 3
    await page.goto(base)
    await page.get_by_label("Prompt").fill(PROMPT)
    await page.get_by_role("button", name="Take the photo").click()
    await expect(tray(page).locator(".state")).to_have_text("Step 3 of 12")
    await page.reload()
    await expect(page.get_by_label("Prompt")).to_have_value(PROMPT)
    await expect(tray(page).locator(".state")).to_have_text("Step 3 of 12")
    await tray(page).get_by_role("button", name="Cancel").click()
    await expect(tray(page).locator(".state")).to_have_text("Cancelled")
    await expect(tray(page).get_by_role("button", name="Ask again")).to_be_visible()


async def test_a_third_wish_waits_with_its_reason(page, base, worker):
    worker.gate.clear()
    await page.goto(base)
    for n in range(3):
        await page.get_by_label("Prompt").fill(f"{PROMPT}, number {n}")
        await page.get_by_role("button", name="Take the photo").click()
        await expect(page.locator("article[data-job]:not(.free), .rows li")).to_have_count(n + 1)
    row = page.locator(".rows li")
    await expect(row).to_contain_text("Waiting, number 1 in the queue")
    await expect(row).to_contain_text("You have 2 photos on the way; this one starts when one is done.")
    await row.get_by_role("button", name="Cancel").click()
    await expect(row).to_have_count(0)


async def test_a_refused_wish_keeps_its_text_and_says_what_to_do(page, base):
    await page.goto(base)
    await page.get_by_label("Prompt").fill(PROMPT)
    await page.get_by_label("Steps").fill("61")
    await page.get_by_role("button", name="Take the photo").click()
    await expect(page.locator("#refused")).to_have_text("Steps: 1 to 60 for this model.")
    await expect(page.get_by_label("Prompt")).to_have_value(PROMPT)
    await expect(page.get_by_label("Steps")).to_be_focused()


async def test_what_is_sent_while_the_host_is_away_leaves_once_it_is_back(page, base, studio):
    await page.goto(base)
    await expect(page.locator("#outlook")).to_have_text("Nobody waits before you")
    await page.context.set_offline(True)
    await page.get_by_label("Prompt").fill(PROMPT)
    await page.get_by_role("button", name="Take the photo").click()
    await expect(page.locator("#outlook")).to_have_text("Kept on this device. Sends when you are back.")
    await expect(page.locator("#banner")).to_have_text("You are offline. Your photos go on without you.")
    await page.context.set_offline(False)
    await expect(tray(page).locator(".state")).to_contain_text("Done in")
    assert len(await studio.store.recent("web:local", limit=9)) == 1


async def test_spanish_phone_and_keyboard(chromium, base, studio):
    for n in range(3):
        await studio.ended((await studio.ask("web:local", f"deseo {n}")).id)
    context = await chromium.new_context(viewport=PHONE, locale="es-MX", has_touch=True, reduced_motion="reduce")
    page = await context.new_page()
    page.set_default_timeout(30_000)
    await page.goto(base)
    await expect(page.locator("html")).to_have_attribute("lang", "es")
    await expect(page.locator("a.frame")).to_have_count(3)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.get_by_role("button", name="Opciones").click()
    await page.get_by_label("Semilla").fill("9223372036854775807")
    await page.get_by_label("Texto").fill("una estrella roja")
    await page.get_by_role("button", name="Tomar foto").click()
    await expect(page.locator("article.tray.done .what")).to_have_text("una estrella roja")
    assert (await studio.store.recent("web:local", limit=1))[0].order.seed == 2**63 - 1
    await expect(page.locator("a.frame")).to_have_count(4)
    await page.keyboard.press("/")
    await expect(page.get_by_label("Texto")).to_be_focused()
    await page.locator("a.frame").first.focus()
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_contain_text("deseo 2")
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("dialog")).to_contain_text("deseo 1")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await context.close()


class TestWithKeys:
    @pytest.fixture
    def ada(self):
        return make_key("ada")

    @pytest.fixture
    def keys(self, ada):
        return read_keys([ada[1]])

    async def test_the_page_asks_for_a_key_and_remembers_who_it_was(self, page, base, ada, studio):
        await studio.ended((await studio.ask("web:ada", "a wish of ada")).id)
        await studio.ended((await studio.ask("discord:1", "a wish of somebody else")).id)
        await page.goto(base)
        await page.get_by_label("API key").fill(ada[0])
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("a.frame")).to_have_count(1)
        await page.reload()
        await expect(page.locator("a.frame")).to_have_attribute("title", "a wish of ada")
        assert ada[0] not in await page.evaluate("JSON.stringify({...localStorage}) + document.cookie + location.href")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("API key")).to_be_visible()


async def test_the_page_stays_within_its_weight():
    import gzip

    from gateway.page import read_files

    files = read_files()
    styles = b"".join(file.data for path, file in files.items() if path.endswith(".css"))
    scripts = b"".join(file.data for path, file in files.items() if path.endswith(".js"))
    assert len(gzip.compress(styles)) < 12_000
    assert len(gzip.compress(styles)) + len(gzip.compress(scripts)) < 60_000
    await asyncio.sleep(0)
