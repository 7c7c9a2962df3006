"""Every card of the Discord door on the rehearsal page, in both languages: for the eye, and for `docs/images`.

`python -m tests.browser.discord_cards docs/images` plays the real bot with a worker that has no GPU, and takes the pictures.
"""

import asyncio
import io
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, Page, async_playwright

from database.migrate import migrate
from jobs.events import JobProgressed
from jobs.job import UserId
from tests.bot.conftest import Scene, gallery, scene_at, texts
from tests.bot.test_verbs import ABLE_WORKER, press_id
from tests.browser.conftest import FLAGS, NAMES
from tests.databases import sqlite_url

WISH = {"ada": "a lighthouse in thick fog, film grain", "bruno": "un faro en la niebla espesa, grano de película"}


def pixels() -> bytes:
    """A preview: a sky over a sea."""
    picture = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


async def play(scene: Scene, who: str) -> str:
    """Bring every card into this person's studio; the channel's id."""
    await scene.imagine(who, WISH[who], count=4, seed="100")
    channel = (await scene.studio_of(who))["id"]
    result = await scene.play.wait_message(who, channel, lambda m: len(gallery(m)) == 4, timeout_s=60)
    scene.worker.faults = ["refuse"]
    await scene.imagine(who, WISH[who], channel=channel)
    await scene.play.wait_message(who, channel, lambda m: ":retry:" in str(m["components"]), timeout_s=60)
    scene.worker.gate.clear()
    for _ in range(3):
        await scene.imagine(who, WISH[who], channel=channel)
    waiting = await scene.play.wait_message(who, channel, lambda m: ":cancel:" in str(m["components"]), timeout_s=60)
    await asyncio.sleep(4)
    user_id = UserId(f"discord:{scene.users[who]}")
    running = [job for job in await scene.lab.store.recent(user_id, limit=9) if job.state == "running"]
    for job in running[:1]:
        scene.lab.feed.publish(
            JobProgressed(job_id=job.id, step=9, total_steps=12, elapsed=6, eta=9, worker="gpu1", preview=pixels())
        )
    await scene.play.wait_message(who, channel, lambda m: "preview-9" in str(m["components"]), timeout_s=60)
    for verb in ("vary", "details", "publish", "delete"):
        await scene.play.click(who, result["id"], press_id(result, verb), wait="answer")
    for command in ("settings", "history", "status", "queue", "quota", "help", "session settings", "session close"):
        await scene.play.slash(who, channel, command, {}, wait="answer")
    assert texts(waiting)
    return channel


async def steer(scene: Scene) -> str:
    """Every question that an admin is asked, in the welcome channel; its id."""
    worker, ada = scene.lab.pool.members[0].worker.name, UserId(f"discord:{scene.users['ada']}")
    scene.worker.gate.set()
    await scene.imagine("ada", WISH["ada"])
    await scene.picture_of("ada")
    (done,) = await scene.lab.store.recent(ada, limit=1)
    scene.worker.gate.clear()
    for number in range(3):
        await scene.imagine("ada", f"{WISH['ada']}, {number}")
    await scene.card_of("ada", "Step")
    waiting = next(job for job in await scene.lab.store.recent(ada, limit=9) if job.state == "queued")
    for command, options in (
        ("status", {}), ("admin pause", {"worker": worker}), ("admin drain", {"worker": worker, "sure": True}), ("status", {}),
        ("admin move", {"job": waiting.id, "lane": "quick", "worker": worker}), ("admin refund", {"job": done.id}),
        ("admin requeue", {"job": done.id}), ("admin cancel", {"member": scene.users["ada"]}), ("admin clearall", {}),
        ("admin reload", {}), ("admin resume", {"worker": worker}), ("admin audit", {}),
    ):  # fmt: skip
        await scene.play.slash("mara", scene.welcome, command, options, wait="answer")
    return scene.welcome


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Scene]:
    """The bot over a fresh ledger."""
    template = folder / "template.sqlite3"
    await migrate(sqlite_url(template))
    worker = {**ABLE_WORKER, "max_batch": 5}
    async with scene_at(template, folder, worker=worker, rehearsal={"message_limit": 50, "interaction_deadline": 30.0}) as scene:
        yield scene
        scene.worker.gate.set()


async def visit(browser: Browser, scene: Scene, who: str, channel: str, *, scheme: str, width: int) -> tuple[Page, list[str]]:
    """The studio in the browser, all of it on one tall page, and what the page complained of."""
    context = await browser.new_context(
        viewport={"width": width, "height": 9000}, color_scheme=scheme, device_scale_factor=1,
        locale="es-ES" if who == "bruno" else "en-US",
    )  # fmt: skip
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(f"{scene.server.url}/page/?still&as={who}&channel={channel}")
    await page.locator(".msg").first.wait_for()
    await page.wait_for_timeout(1500)
    return page, errors


async def main(out: Path) -> None:
    path = next(filter(None, map(shutil.which, NAMES)))
    with tempfile.TemporaryDirectory() as folder:
        async with stage(Path(folder)) as scene, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
            for who, scheme in (("ada", "dark"), ("bruno", "light")):
                scene.worker.gate.set()
                channel = await play(scene, who)
                page, errors = await visit(browser, scene, who, channel, scheme=scheme, width=900)
                assert errors == []
                shot = Image.open(io.BytesIO(await page.locator("#rows").screenshot()))
                language = "es" if who == "bruno" else "en"
                # Two pages of half the height: what came by itself, and what was asked for. A palette: it is a document's picture.
                first = await page.locator(".msg.ephemeral", has_text="?").first.bounding_box()
                top = await page.locator("#rows").bounding_box()
                assert first is not None
                assert top is not None
                cut = round(first["y"] - top["y"])
                for name, box in (("cards", (0, 0, 660, cut)), ("answers", (0, cut, 660, shot.height))):
                    shot.crop(box).convert("RGB").quantize(96).save(out / f"discord-{name}-{language}.png", optimize=True)
            page, errors = await visit(browser, scene, "mara", await steer(scene), scheme="dark", width=900)
            assert errors == []
            shot = Image.open(io.BytesIO(await page.locator("#rows").screenshot()))
            shot.crop((0, 0, 660, shot.height)).convert("RGB").quantize(96).save(out / "discord-admin-en.png", optimize=True)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
