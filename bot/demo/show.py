"""The demo's order of events: start, wait until each part answers, let six members ask, judge, then serve on."""

import asyncio
import json
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.live import Live
from rich.table import Table

from bot.demo.members import WISHES, Wish, ask_and_wait, check_privacy
from bot.demo.processes import Child, DemoFailed, child, free_port
from rehearsal.client import RehearsalClient

PATIENCE = 120.0
"""Seconds a picture may take on the slowest machine we have seen, all six together."""


async def show(stop: asyncio.Event, *, once: bool, folder: Path) -> int:
    """Run the demo until ``stop``; with ``once`` until the table is full. 0 when every picture was right, else 1."""
    console = Console()
    async with AsyncExitStack() as stack:
        ended = asyncio.Event()
        work = asyncio.create_task(_show(stack, console, stop, once=once, folder=folder))  # noqa: TID251  ends below
        work.add_done_callback(lambda _: ended.set())
        waiter = asyncio.create_task(stop.wait())  # noqa: TID251  ends below
        await asyncio.wait({work, waiter}, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if not work.done():
            work.cancel()
        try:
            return await work
        except asyncio.CancelledError:
            console.print("\nStopped.")
            return 0
        except DemoFailed as failure:
            console.print(f"\n[bold red]The demo did not come up.[/] {failure}", highlight=False)
            return 1


async def _show(stack: AsyncExitStack, console: Console, stop: asyncio.Event, *, once: bool, folder: Path) -> int:
    started = time.monotonic()
    lab = await _start(stack, console, folder)
    console.print(f"  {time.monotonic() - started:4.0f} s  everything answers; six members ask at once")
    right = await _six_at_once(console, lab)
    if not once:
        console.print(
            f"\n  The studio page     [bold]{lab.studio}[/]"
            f"\n  The rehearsal page  [bold]{lab.rehearsal}[/]   (play any member: type /imagine)"
            f"\n  Logs and pictures   {folder}\n\n  Ctrl-C stops everything.",
            highlight=False,
        )
        await _watch(lab.children, stop)
    return 0 if right else 1


class _Lab:
    """The running demo: its addresses and its processes."""

    def __init__(self, studio: str, rehearsal: str, children: list[Child]) -> None:
        self.studio = studio
        self.rehearsal = rehearsal
        self.children = children


async def _start(stack: AsyncExitStack, console: Console, folder: Path) -> _Lab:
    """Start the three processes and wait for each. The rehearsal forgets its world at its end, so the demo's ledger does too."""
    for old in ("host", "logs", "rehearsal.json"):
        path = folder / old
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    logs = folder / "logs"
    stage, worker_port, page_port = free_port(7861), free_port(7870), free_port(7860)
    token, info = secrets.token_urlsafe(24), folder / "rehearsal.json"
    worker_env = {"DARKROOM_WORKER_TOKEN": token, "OMP_NUM_THREADS": "2"}
    run = stack.enter_async_context
    worker = await run(child("the worker", "bot.cli", "worker", "--port", str(worker_port), log=logs / "worker.log", env=worker_env))
    staged = ("--port", str(stage), "--seed-guild", "demo", "--bot-name", "darkroom", "--info-file", str(info))
    rehearsal = await run(child("the rehearsal", "rehearsal", *staged, log=logs / "rehearsal.log", env={}))
    told = await _until(console, "starting the rehearsal", [rehearsal, worker], lambda: _read_info(info))
    env = {
        "DISCORD_TOKEN": told["token"],
        "ALLOWED_GUILD_ID": told["guild_ids"][0],
        "DISCORD_API_URL": told["url"],
        "DATABASE_URL": "",
        "STORAGE": str(folder / "host"),
        "WORKER_URLS": f"http://127.0.0.1:{worker_port}",
        "DARKROOM_WORKER_TOKEN": token,
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(page_port),
        "API_KEYS": "",
        "COMFY_URLS": "",
    }
    host = await run(child("the host", "bot.cli", "host", log=logs / "host.log", env=env))
    children = [rehearsal, worker, host]
    await _until(console, "starting the bot", children, lambda: _commands(told["url"]))
    await _until(console, "starting the worker", children, lambda: _gpu_ready(f"http://127.0.0.1:{page_port}"))
    return _Lab(f"http://127.0.0.1:{page_port}", told["url"], children)


async def _until(console: Console, what: str, children: list[Child], ready: "Callable[[], object]") -> dict:
    """Poll ``ready`` until it gives something; says how long it takes, and fails when a process dies or 90 s pass."""
    started = time.monotonic()
    with console.status(f"  {what} …"):
        while time.monotonic() - started < 90:
            for one in children:
                one.check()
            found = ready()
            found = await found if asyncio.iscoroutine(found) else found
            if found:
                console.print(f"  {time.monotonic() - started:4.0f} s  {what}", highlight=False)
                return found  # type: ignore[return-value]  # each caller knows its own answer
            await asyncio.sleep(0.2)
    raise DemoFailed(f"It was {what} for 90 s. The logs are beside {children[0].log}.")


def _read_info(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


async def _commands(url: str) -> dict | None:
    async with RehearsalClient(url) as discord:
        state = await discord.state("ada")
    return state if any(command["name"] == "imagine" for command in state["commands"]) else None


async def _gpu_ready(url: str) -> dict | None:
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as web, web.get(f"{url}/health") as answer:
            health = await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    return health if health.get("workers_online") else None


async def _six_at_once(console: Console, lab: _Lab) -> bool:
    wishes = [Wish(member, prompt) for member, prompt in WISHES.items()]
    async with RehearsalClient(lab.rehearsal) as discord:
        state = await discord.state("ada")
        lobby = next(c["id"] for c in state["guilds"][0]["channels"] if c["name"] == "welcome")
        with Live(_table(wishes), console=console, refresh_per_second=8) as live:

            def changed() -> None:
                live.update(_table(wishes))

            async with asyncio.TaskGroup() as group:
                for wish in wishes:
                    group.create_task(ask_and_wait(discord, lobby, wish, changed, patience=PATIENCE))
            await check_privacy(discord, wishes)
            changed()
    return _sum_up(console, wishes)


def _sum_up(console: Console, wishes: list[Wish]) -> bool:
    for wish in wishes:
        for fault in wish.faults:
            console.print(f"  [bold red]wrong[/] {wish.member}: {fault}", highlight=False)
    alone = not any(wish.shared_with for wish in wishes)
    if alone:
        console.print("  [bold red]wrong[/] no two requests shared a pass")
    right = sum(wish.is_right for wish in wishes)
    exact = sum(wish.verdict is not None and wish.verdict.exact for wish in wishes)
    console.print(
        f"\n  {right} of {len(wishes)} members got the picture of their own words, in a channel of their own"
        f" ({exact} exact to the last shape and place)."
    )
    return right == len(wishes) and not alone


def _table(wishes: list[Wish]) -> Table:
    table = Table("member", "asked for", "private channel", "waited", "shared a pass with", "file", "the checker reads")
    for wish in wishes:
        shared = "" if wish.shared_with is None else f"{wish.shared_with} others" if wish.shared_with else "nobody"
        waited = wish.state if wish.waited is None else f"{wish.waited:.1f} s"
        table.add_row(wish.member, wish.prompt, wish.channel, waited, shared, wish.file, f"{_mark(wish)}{wish.seen}")
    return table


def _mark(wish: Wish) -> str:
    """✓ everything as asked; ≈ theirs beyond doubt, but a shape or place is off; ✗ not the picture that was asked for."""
    if wish.verdict is None:
        return ""
    if wish.verdict.exact:
        return "[green]✓[/] "
    return "[yellow]≈[/] " if wish.verdict.tells_apart else "[red]✗[/] "


async def _watch(children: list[Child], stop: asyncio.Event) -> None:
    """Serve on until asked to stop; a process that dies ends the demo with its log."""
    while not stop.is_set():
        for one in children:
            one.check()
        await asyncio.sleep(0.5)
