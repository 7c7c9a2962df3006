"""The rehearsal page in a real browser, against the real rehearsal server, with a bot that speaks raw Discord."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, Page, expect

from rehearsal import app
from rehearsal.config import RehearsalConfig
from tests.browser.paper_bot import EPHEMERAL, SILENT, V2, PaperBot, paper_bot

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

IMAGINE = {
    "name": "imagine",
    "type": 1,
    "description": "Take a photo",
    "name_localizations": {"es-ES": "imagina"},
    "description_localizations": {"es-ES": "Toma una foto"},
    "options": [
        {"type": 3, "name": "prompt", "description": "What the photo shows", "required": True, "max_length": 300},
        {"type": 3, "name": "model", "description": "Which model takes it", "autocomplete": True},
        {
            "type": 3,
            "name": "size",
            "description": "Width by height",
            "name_localizations": {"es-ES": "tamaño"},
            "choices": [{"name": "64 × 64", "value": "64x64"}, {"name": "96 × 64", "value": "96x64"}],
        },
        {"type": 4, "name": "steps", "description": "More steps, more detail", "min_value": 1, "max_value": 60},
    ],
}
VIEW, SEND, HISTORY = 1 << 10, 1 << 11, 1 << 16


def text(content: str) -> dict[str, Any]:
    return {"type": 10, "content": content}


def button(label: str, custom_id: str, style: int = 2, **more: Any) -> dict[str, Any]:
    return {"type": 2, "style": style, "label": label, "custom_id": custom_id, **more}


def row(*controls: dict[str, Any]) -> dict[str, Any]:
    return {"type": 1, "components": list(controls)}


def card(*parts: dict[str, Any], accent: int | None = None) -> list[dict[str, Any]]:
    return [{"type": 17, "components": list(parts), **({} if accent is None else {"accent_color": accent})}]


def picture(colour: str, size: tuple[int, int] = (96, 64)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def gallery(*names: str) -> dict[str, Any]:
    return {
        "type": 12,
        "items": [{"media": {"url": f"attachment://{name}"}, "description": f"alt of {name}"} for name in names],
    }


def files(**content: bytes) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    named = {f"{name}.png": data for name, data in content.items()}
    return [{"id": at, "filename": name} for at, name in enumerate(named)], named


@dataclass(kw_only=True)
class Stage:
    """The running rehearsal with its bot, and what a test needs to know of it."""

    url: str
    bot: PaperBot
    browser: Browser
    state: dict[str, Any]
    complaints: list[str] = field(default_factory=list)

    @property
    def guild(self) -> str:
        return self.state["guilds"][0]["id"]

    def channel(self, name: str) -> str:
        return next(c["id"] for c in self.state["guilds"][0]["channels"] if c["name"] == name)

    def user(self, name: str) -> str:
        return next(u["id"] for u in self.state["users"] if u["username"] == name)

    @asynccontextmanager
    async def page(
        self, address: str = "?as=ada", *, width: int = 1280, height: int = 900, **context: Any
    ) -> AsyncIterator[Page]:
        """The page as a fresh visitor sees it. Whatever the browser complains of is kept in `complaints`."""
        visit = await self.browser.new_context(
            viewport={"width": width, "height": height}, **{"locale": "en-US", **context}
        )
        page = await visit.new_page()
        page.on("console", lambda said: said.type in {"error", "warning"} and self.complaints.append(said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith((self.url, "blob:")) or self.complaints.append(asked.url))
        await page.goto(f"{self.url}/page/{address}")
        await page.locator("#rooms a[aria-current]").wait_for(state="attached")
        yield page
        await visit.close()


@pytest_asyncio.fixture(loop_scope="session")
async def stage(chromium: Browser) -> AsyncIterator[Stage]:
    async with await app.start(RehearsalConfig(seed="demo", rate_limits=False)) as server, paper_bot(server.url) as bot:
        async with bot.http.get(f"{server.url}/control/state") as answer:
            state = await answer.json()
        stage = Stage(url=server.url, bot=bot, browser=chromium, state=state)
        await bot.sync(stage.guild, [IMAGINE])
        yield stage
        assert stage.complaints == []


async def private_room(stage: Stage, name: str, member: str) -> dict[str, Any]:
    bits = str(VIEW | SEND | HISTORY)
    overwrites = [
        {"id": stage.guild, "type": 0, "allow": "0", "deny": str(VIEW)},
        {"id": stage.user(member), "type": 1, "allow": bits, "deny": "0"},
        {"id": stage.state["application"]["bot_user_id"], "type": 1, "allow": bits, "deny": "0"},
    ]
    body = {"name": name, "type": 0, "permission_overwrites": overwrites}
    return await stage.bot.rest("POST", f"/guilds/{stage.guild}/channels", body)


class Making:
    """A bot that makes one picture: it waits to be told to go on, and then for Cancel."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.options: dict[str, Any] = {}
        self.pressed, self.moving = asyncio.Event(), asyncio.Event()
        stage.bot.on("imagine", self.imagine)
        stage.bot.on("job:7:cancel", self.cancel)

    async def imagine(self, interaction: dict[str, Any]) -> None:
        stage = self.stage
        self.options.update({o["name"]: o["value"] for o in interaction["data"]["options"]})
        room = await private_room(stage, "studio-ada", "ada")
        await stage.bot.answer(interaction, 4, {"content": f"Your studio is <#{room['id']}>.", "flags": EPHEMERAL})
        waiting = card(
            text("**Taking the photo…**\nWaiting, number **3**"), row(button("Cancel", "job:7:cancel")), accent=0x87776C
        )
        message = await stage.bot.say(room["id"], {"flags": V2 | SILENT, "components": waiting})
        await asyncio.wait_for(self.moving.wait(), 20)
        listed, content = files(preview=picture("#444"))
        running = card(
            text("Step **12** of 20"), gallery("preview.png"), row(button("Cancel", "job:7:cancel")), accent=0xFFB347
        )
        await stage.bot.edit(message, {"flags": V2, "components": running, "attachments": listed}, content)
        await asyncio.wait_for(self.pressed.wait(), 20)
        listed, content = files(print=picture("#fa0", (192, 128)))
        parts = card(text(f"**Here is your photo.** <@{stage.user('ada')}>"), gallery("print.png"))
        await stage.bot.say(room["id"], {"flags": V2, "components": parts, "attachments": listed}, content)

    async def cancel(self, interaction: dict[str, Any]) -> None:
        await self.stage.bot.answer(interaction, 6)
        self.pressed.set()


async def test_a_member_asks_and_sees_the_room_appear_the_card_move_and_the_picture_arrive(stage: Stage) -> None:
    making = Making(stage)
    async with stage.page() as page:
        await _type_a_wish(page)
        await expect(page.locator(".msg.ephemeral")).to_contain_text("Only Ada sees this.")
        assert making.options == {"prompt": "a red lighthouse", "size": "96x64"}

        await page.locator("#rooms a", has_text="studio-ada").click()
        shown = page.locator(".msg", has_text="Waiting, number 3")
        await expect(shown).to_be_visible()
        await shown.get_by_role("button", name="Cancel").focus()
        making.moving.set()
        await expect(page.locator(".msg", has_text="Step 12 of 20")).to_be_visible()
        # The card moved under the finger: same row, same button, still focused.
        await expect(page.locator(".msg").get_by_role("button", name="Cancel")).to_be_focused()
        await page.keyboard.press("Enter")
        print_ = page.get_by_alt_text("alt of print.png")
        await expect(print_).to_be_visible()
        assert await print_.evaluate("img => img.decode().then(() => img.naturalWidth)") == 192

        await page.get_by_role("button", name="Bruno").click()
        await expect(page.get_by_role("heading", name="Channels Bruno sees")).to_be_visible()
        await expect(page.locator("#rooms a", has_text="welcome")).to_be_visible()
        await expect(page.locator("#rooms a", has_text="studio-ada")).to_have_count(0)
        await expect(page.locator(".msg.ephemeral")).to_have_count(0)


async def _type_a_wish(page: Page) -> None:
    await page.locator("#say").press_sequentially("/im")
    await expect(page.get_by_role("option", name="/imagine")).to_be_visible()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    await expect(page.locator("#wrong")).to_have_text("prompt is needed.")
    await page.keyboard.type("a red lighthouse")
    await page.keyboard.press("Tab")
    await page.keyboard.type("si")
    await page.keyboard.press("Tab")
    await page.get_by_role("option", name="96 × 64").click()
    await page.keyboard.press("Enter")


async def test_options_are_checked_before_anything_is_sent(stage: Stage) -> None:
    async with stage.page() as page:
        await page.locator("#say").fill("/imagine prompt: a fox steps: 0")
        await page.keyboard.press("Enter")
        await expect(page.locator("#wrong")).to_have_text("steps: 1 or more.")
        await page.locator(".slot textarea").nth(1).fill("4.5")
        await page.keyboard.press("Enter")
        await expect(page.locator("#wrong")).to_have_text("steps: a whole number, please.")
        await page.locator(".slot textarea").first.fill("x" * 301)
        await page.keyboard.press("Enter")
        await expect(page.locator("#wrong")).to_have_text("prompt: 300 characters or fewer.")
    assert stage.bot.seen == []


async def test_the_bot_is_asked_for_values_while_they_are_typed(stage: Stage) -> None:
    async def models(interaction: dict[str, Any]) -> None:
        if interaction["type"] == 4:
            typed = next(o["value"] for o in interaction["data"]["options"] if o.get("focused"))
            found = [name for name in ("house", "sdxl", "sd15") if typed in name]
            await stage.bot.answer(interaction, 8, {"choices": [{"name": name, "value": name} for name in found]})

    stage.bot.on("imagine", models)
    async with stage.page() as page:
        await page.locator("#say").fill("/imagine a fox")
        await page.locator("#say").fill("mo")
        await page.keyboard.press("Tab")
        await page.keyboard.type("sd")
        await expect(page.get_by_role("option")).to_have_text(["sdxl", "sd15"])
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("textbox", name="model")).to_have_value("sdxl")


async def test_the_page_speaks_the_browsers_language_and_commands_the_members(stage: Stage) -> None:
    async with stage.page("?as=bruno", locale="es-ES") as page:
        await expect(page.locator(".note")).to_contain_text("Ensayo: nada de esto sale de esta máquina.")
        await page.locator("#say").fill("/")
        await expect(page.get_by_role("option", name="/imagina")).to_contain_text("Toma una foto")
        await page.get_by_role("button", name="Ada").click()
        await page.locator("#say").fill("/")
        await expect(page.get_by_role("option", name="/imagine")).to_contain_text("Take a photo")


HOSTILE = [
    '<img src=x onerror="window.broken=1"> <script>window.broken=1</script>',
    "[press](javascript:window.broken=1) javascript:window.broken=1 <javascript:window.broken=1>",
    '[go](https://e.example/"onmouseover=window.broken=1) <t:99999999999999:R> <t:0:Z>',
    "`" * 1990,
    "**__~~||" * 240,
    "> " * 600 + ">>> x",
    "*" * 1999,
    "\u202egnp.exe \u0000 \ud83d",
]


async def test_hostile_text_stays_text(stage: Stage) -> None:
    async with stage.page(f"?as=ada&channel={stage.channel('welcome')}") as page:
        for said in HOSTILE:
            message = {
                "content": said.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\x00", "")
            }
            await stage.bot.say(stage.channel("welcome"), {**message, "allowed_mentions": {"parse": []}})
        await expect(page.locator(".msg")).to_have_count(len(HOSTILE))
        assert await page.evaluate("window.broken") is None
        links = await page.locator("#rows a").evaluate_all("nodes => nodes.map(n => new URL(n.href).protocol)")
        assert set(links) <= {"https:"}
        assert await page.locator("#rows script, #rows img, #rows iframe").count() == 0


async def test_the_marks_of_the_cards_are_drawn(stage: Stage) -> None:
    ada = stage.user("ada")
    said = f"**bold** *leaning* ~~gone~~ `code` \\*\\*not bold\\*\\* <@{ada}>\n> a quote\n-# small\n<t:1700000000:D>"
    async with stage.page(f"?as=ada&channel={stage.channel('welcome')}") as page:
        await stage.bot.say(stage.channel("welcome"), {"flags": V2, "components": card(text(said))})
        shown = page.locator(".msg")
        for selector, words in (
            ("strong", "bold"),
            ("em", "leaning"),
            ("s", "gone"),
            ("code", "code"),
            ("blockquote", "a quote"),
            (".sub", "small"),
            ("time", "November 14, 2023"),
            (".mention.mine", "@Ada"),
        ):
            await expect(shown.locator(f".text {selector}")).to_have_text(words)
        await expect(shown.locator(".text")).to_contain_text("**not bold**")
        await expect(shown).to_have_class("msg called")


async def test_a_form_opens_is_filled_and_reaches_the_bot(stage: Stage) -> None:
    asked = {
        "custom_id": "vary:1",
        "title": "Vary picture 2",
        "components": [
            {
                "type": 18,
                "label": "Prompt",
                "component": {"type": 4, "style": 2, "custom_id": "prompt", "max_length": 300, "value": "a fox"},
            },
            {
                "type": 18,
                "label": "How far?",
                "component": {
                    "type": 3,
                    "custom_id": "far",
                    "options": [{"label": "Subtle", "value": "subtle"}, {"label": "Strong", "value": "strong"}],
                },
            },
        ],
    }

    async def vary(interaction: dict[str, Any]) -> None:
        await stage.bot.answer(interaction, 9, asked)

    async def take(interaction: dict[str, Any]) -> None:
        await stage.bot.answer(interaction, 4, {"content": "Taken.", "flags": EPHEMERAL})

    stage.bot.on("vary", vary)
    stage.bot.on("vary:1", take)
    await stage.bot.say(
        stage.channel("welcome"), {"flags": V2, "components": card(text("Here"), row(button("Vary…", "vary")))}
    )
    async with stage.page(f"?as=ada&channel={stage.channel('welcome')}") as page:
        await page.get_by_role("button", name="Vary…").click()
        form = page.get_by_role("dialog", name="Vary picture 2")
        await form.get_by_label("Prompt").fill("a red fox")
        await form.get_by_role("button", name="Send").click()
        await expect(form).to_be_visible()  # the browser asks for the choice that is needed
        await form.get_by_label("How far?").select_option("strong")
        await form.get_by_role("button", name="Send").click()
        await expect(form).to_be_hidden()
        await expect(page.locator(".msg.ephemeral")).to_contain_text("Taken.")
    values = [part["component"] for part in stage.bot.seen[-1]["data"]["components"]]
    assert [part.get("value", part.get("values")) for part in values] == ["a red fox", ["strong"]]


async def test_silence_of_the_bot_is_said(stage: Stage) -> None:
    await stage.bot.say(
        stage.channel("welcome"), {"flags": V2, "components": card(text("Here"), row(button("Mute", "mute")))}
    )
    async with stage.page(f"?as=ada&channel={stage.channel('welcome')}") as page:
        await page.get_by_role("button", name="Mute").click()
        await expect(page.locator(".msg .failed")).to_have_text("The application did not respond.", timeout=8000)
        await page.locator("#say").fill("/imagine a fox")
        await page.keyboard.press("Enter")
        await expect(page.locator(".msg.asked")).to_contain_text("Ada used /imagine")
        await expect(page.locator(".msg.asked .failed")).to_contain_text(
            "The application did not respond.", timeout=8000
        )


async def test_what_comes_elsewhere_leaves_a_dot_and_a_call_says_so(stage: Stage) -> None:
    ada, bruno = stage.user("ada"), stage.user("bruno")
    async with stage.page(f"?as=ada&channel={stage.channel('gallery')}") as page:
        room = page.locator(f"#room-{stage.channel('welcome')}")
        await stage.bot.say(stage.channel("welcome"), {"content": "hello all"})
        await expect(room.locator(".dot")).to_be_visible()
        await stage.bot.say(stage.channel("welcome"), {"content": f"<@{ada}> and <@{bruno}>"})
        await expect(room.locator(".new")).to_contain_text("1")
        await expect(page.locator(f"#who-{bruno} .new")).to_contain_text("1")
        await page.locator(".toast").get_by_role("button", name="Go there").click()
        await expect(page.locator(".msg.called")).to_contain_text("@Ada and @Bruno")
        await expect(room.locator(".new, .dot")).to_have_count(0)
        await expect(page.locator(".rule.news")).to_have_text("New messages")


async def test_inspect_counts_as_the_server_counts(stage: Stage) -> None:
    parts = card(text("one"), text("two"), row(button("A", "a"), button("B", "b", disabled=True)))
    sent = await stage.bot.say(stage.channel("welcome"), {"flags": V2, "components": parts})
    async with stage.bot.http.get(f"{stage.url}/control/messages/{sent['id']}") as answer:
        counts = (await answer.json())["counts"]
    async with stage.page(f"?as=ada&channel={stage.channel('welcome')}") as page:
        await expect(page.get_by_role("button", name="B", exact=True)).to_be_disabled()
        await page.get_by_role("button", name="Inspect").click()
        line = f"{counts['components']} of 40 parts · {counts['text']} of 4000 characters"
        await expect(page.locator(".limits")).to_have_text(line)
        assert counts == {"components": 6, "text": 6}
        await expect(page.locator("#inspector pre")).to_contain_text(sent["id"])


BOXES = """all => all.map(gallery => [...gallery.querySelectorAll('.pic')].map(pic => {
  const {left, right, bottom, width, height} = pic.getBoundingClientRect();
  return {left, right, bottom: Math.round(bottom), width, height};
}))"""


async def test_galleries_of_every_size_fill_their_frame(stage: Stage) -> None:
    for count in range(1, 11):
        names = [f"p{at}" for at in range(count)]
        listed, content = files(**{name: picture("#357", (64 + at, 64)) for at, name in enumerate(names)})
        parts = [gallery(*(f"{name}.png" for name in names))]
        await stage.bot.say(
            stage.channel("welcome"), {"flags": V2, "components": parts, "attachments": listed}, content
        )
    async with stage.page(f"?as=ada&channel={stage.channel('welcome')}") as page:
        await expect(page.locator(".gallery")).to_have_count(10)
        for boxes in await page.locator(".gallery").evaluate_all(BOXES):
            assert all(box["width"] >= 80 and box["height"] >= 80 for box in boxes)
            left, right = min(box["left"] for box in boxes), max(box["right"] for box in boxes)
            assert right - left <= 540
            # Every line of pictures reaches from edge to edge: none is left hanging.
            for bottom in {box["bottom"] for box in boxes}:
                line = [box["right"] for box in boxes if box["bottom"] == bottom]
                assert max(line) == pytest.approx(right, abs=1), f"{len(boxes)} pictures"


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_a_phone_shows_all_without_a_sideways_scroll(stage: Stage, scheme: str) -> None:
    listed, content = files(wide=picture("#a53", (640, 64)))
    parts = card(text("w" * 300), gallery("wide.png"), row(*(button(f"A long name {n}", f"x{n}") for n in range(5))))
    await stage.bot.say(stage.channel("welcome"), {"flags": V2, "components": parts, "attachments": listed}, content)
    async with stage.page(
        f"?as=ada&channel={stage.channel('welcome')}", width=360, height=740, color_scheme=scheme, has_touch=True
    ) as page:
        await expect(page.locator(".gallery img")).to_be_visible()
        for box in ("document.documentElement", "document.getElementById('log')"):
            assert await page.evaluate(f"{box}.scrollWidth <= {box}.clientWidth")
        await page.get_by_role("button", name="Members and channels").click()
        await page.locator("#rooms a", has_text="gallery").click()
        await expect(page.locator("#title")).to_have_text("gallery")
        await expect(page.locator("#list")).to_be_hidden()


async def test_the_keyboard_leads_everywhere(stage: Stage) -> None:
    async with stage.page(f"?as=ada&channel={stage.channel('welcome')}") as page:
        await page.keyboard.press("Control+k")
        await page.keyboard.type("brun")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Bruno")).to_have_attribute("aria-pressed", "true")
        await page.keyboard.press("Control+k")
        await page.keyboard.type("galler")
        await page.keyboard.press("Enter")
        await expect(page.locator("#title")).to_have_text("gallery")
        await page.keyboard.press("Alt+ArrowUp")
        await expect(page.locator("#title")).to_have_text("welcome")
        await page.locator("#log").focus()
        await page.keyboard.press("/")
        await expect(page.locator("#say")).to_have_value("/")
        await expect(page.get_by_role("option", name="imagin")).to_be_visible()


async def test_a_link_opens_one_member_in_one_channel_and_still_stops_the_clocks(stage: Stage) -> None:
    await stage.bot.say(stage.channel("gallery"), {"content": "soon: <t:1700000000:R>"})
    async with stage.page(f"?as=mara&channel={stage.channel('gallery')}&still") as page:
        await expect(page.locator("#title")).to_have_text("gallery")
        await expect(page.get_by_role("button", name="Mara")).to_have_attribute("aria-pressed", "true")
        await expect(page.locator(".text time")).to_contain_text("2023")


async def test_plain_messages_go_out_and_the_next_of_the_same_person_is_grouped(stage: Stage) -> None:
    async with stage.page(f"?as=ada&channel={stage.channel('welcome')}") as page:
        for said in ("!sync", "and more"):
            await page.locator("#say").fill(said)
            await page.keyboard.press("Enter")
            await expect(page.locator(".msg").last).to_contain_text(said)
        await expect(page.locator(".msg .by")).to_have_count(1)
        await expect(page.locator("#say")).to_have_value("")


async def test_someone_new_joins_and_is_played(stage: Stage) -> None:
    async with stage.page() as page:
        await page.get_by_role("button", name="Someone new").click()
        form = page.get_by_role("dialog", name="Someone new")
        await form.get_by_label("Name").fill("greta")
        await form.get_by_label("Language").select_option("es-ES")
        await form.get_by_role("button", name="Join").click()
        await expect(page.get_by_role("button", name="greta")).to_have_attribute("aria-pressed", "true")
        await page.locator("#say").fill("/")
        await expect(page.get_by_role("option", name="/imagina")).to_be_visible()


async def test_a_person_sends_a_picture_and_looks_at_it_alone(stage: Stage) -> None:
    async with stage.page(f"?as=ada&channel={stage.channel('welcome')}") as page:
        sent = {"name": "sea.png", "mimeType": "image/png", "buffer": picture("#05a", (200, 100))}
        await page.locator("#picker").set_input_files([sent])
        await expect(page.locator("#files")).to_contain_text("sea.png")
        await page.locator("#say").fill("look")
        await page.keyboard.press("Enter")
        shown = page.locator(".msg", has_text="look").get_by_role("button", name="sea.png")
        await shown.click()
        await expect(page.locator("#lightbox img")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(shown).to_be_focused()


async def test_a_member_writes_to_the_bot_alone(stage: Stage) -> None:
    async with stage.page() as page:
        await page.locator("#rooms").get_by_role("button", name="Rehearsal bot").click()
        await expect(page.locator("#title")).to_have_text("Rehearsal bot")
        await page.locator("#say").fill("hello")
        await page.keyboard.press("Enter")
        await expect(page.locator(".msg")).to_contain_text("hello")
        await page.get_by_role("button", name="Bruno").click()
        await expect(page.locator(".msg", has_text="hello")).to_have_count(0)


async def test_the_page_finds_a_server_started_anew(chromium: Browser) -> None:
    context = await chromium.new_context(locale="en-US")
    page = await context.new_page()
    async with await app.start(RehearsalConfig(seed="demo")) as server:
        await page.goto(f"{server.url}/page/?as=bruno")
        await expect(page.locator("#title")).to_have_text("welcome")
        port = server.port
    await expect(page.locator("#banner")).to_contain_text("Lost the rehearsal server.")
    async with await app.start(RehearsalConfig(seed="demo", port=port)):
        await expect(page.locator("#banner")).to_contain_text("The bot is not connected.", timeout=15_000)
        await expect(page.get_by_role("button", name="Bruno")).to_have_attribute("aria-pressed", "true")
        await expect(page.locator("#title")).to_have_text("welcome")
    await context.close()
