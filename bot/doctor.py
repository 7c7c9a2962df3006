"""``darkroom doctor``: what is right and what is wrong in this set-up, in plain words, each with what to do."""

import asyncio
import io
import shutil
import sqlite3
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import aiohttp
from PIL import Image

from bot.cogs.safety.quotas import read_quotas
from bot.cogs.safety.rules import read_file as read_rules_file
from bot.cogs.voices.persona import read_folder as read_voices
from bot.settings import Settings, SettingsError, read_settings
from database.errors import DatabaseUrlInvalid
from database.migrate import current, head
from database.url import read_url
from gateway.auth import BindingRefused, KeysInvalid, check_binding, read_keys
from jobs.errors import StoreUnavailable, WorkerFault
from jobs.job import Picture
from jobs.judging import JudgeAway
from workers.classifier import HttpClassifier
from workers.drivers.comfy.fleet import AddressError, check_address, keys_of
from workers.drivers.engine import EngineWorker, Patience

_GUILD_PERMISSIONS = {
    "View Channels": 1 << 10,
    "Send Messages": 1 << 11,
    "Embed Links": 1 << 14,
    "Attach Files": 1 << 15,
    "Read Message History": 1 << 16,
    "Manage Channels": 1 << 4,
    "Create Private Threads": 1 << 36,
    "Send Messages in Threads": 1 << 38,
}
_ADMINISTRATOR, _MANAGE_ROLES = 1 << 3, 1 << 28
_CONTENT_INTENT_FLAGS = (1 << 18) | (1 << 19)
"""Application flags GATEWAY_MESSAGE_CONTENT and …_LIMITED (Discord's application resource)."""


class Mark(StrEnum):
    """How a finding is shown; only WRONG makes the doctor exit with 1."""

    RIGHT = "right"
    NOTE = "note"
    WRONG = "WRONG"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    mark: Mark
    what: str
    cure: str = ""


def _right(what: str) -> Finding:
    return Finding(mark=Mark.RIGHT, what=what)


def _note(what: str, cure: str = "") -> Finding:
    return Finding(mark=Mark.NOTE, what=what, cure=cure)


def _wrong(what: str, cure: str) -> Finding:
    return Finding(mark=Mark.WRONG, what=what, cure=cure)


async def examine(values: Mapping[str, str | None]) -> int:
    """Look at everything, print a line each. 0 when nothing is wrong, else 1."""
    wrong = 0
    async for finding in findings(values):
        wrong += finding.mark is Mark.WRONG
        print(f"{finding.mark:>6}  {finding.what}")
        if finding.cure:
            print(f"        → {finding.cure}")
    print("Nothing is wrong." if not wrong else f"{wrong} thing{'s' * (wrong > 1)} to mend.")
    return 1 if wrong else 0


async def findings(values: Mapping[str, str | None]) -> AsyncIterator[Finding]:
    """Every finding, the settings first: without them nothing else can be looked at."""
    try:
        settings = read_settings(values)
    except SettingsError as error:
        for fault in error.faults:
            yield _wrong(fault, "Change it in .env; .env.example explains each setting.")
        return
    yield _right("The settings can be read.")
    for finding in (*_storage(settings), *_files(settings), *_door(settings), *_comfy(settings)):
        yield finding
    async for finding in _database(settings):
        yield finding
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15, connect=5)) as session:
        async for finding in _workers(settings, session):
            yield finding
        yield await _classifier(settings, session)
        async for finding in _discord(settings, session):
            yield finding


def _storage(settings: Settings) -> list[Finding]:
    folder = settings.storage
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".doctor"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return [_wrong(f"The storage folder {folder} cannot be written: {error.strerror}.", "Give this user the right, or set STORAGE.")]
    free = shutil.disk_usage(folder).free
    if free < 2 * 1024**3:
        return [
            _wrong(
                f"Only {free / 1024**3:.1f} GiB are free where pictures are stored ({folder}).",
                "Free some space: below 2 GiB is too little.",
            )
        ]
    return [_right(f"Pictures go to {folder}, {free / 1024**3:.0f} GiB free.")]


def _files(settings: Settings) -> list[Finding]:
    """The operator's own: with one that cannot be used the Discord door does not open."""
    readers = (("rules.toml", read_rules_file), ("quotas.toml", read_quotas), ("personas", read_voices))
    found: list[Finding] = []
    for name, read in readers:
        path = settings.storage / name
        try:
            read(path)
        except ValueError as error:
            found.append(_wrong(str(error), f"Mend it in {path}. A running host takes it with /admin reload."))
        else:
            found += [_right(f"{path} can be read.")] if path.exists() else []
    return found


def _door(settings: Settings) -> list[Finding]:
    try:
        check_binding(settings.http_host, read_keys(settings.api_keys))
    except BindingRefused as error:
        return [_wrong(str(error), "Make a key with `darkroom key NAME`, or set HTTP_HOST=127.0.0.1.")]
    except KeysInvalid as error:
        return [_wrong(str(error), "Copy the whole line that `darkroom key NAME` printed.")]
    return [_right(f"The web page listens on {settings.http_host}:{settings.http_port}.")]


def _comfy(settings: Settings) -> list[Finding]:
    if not settings.comfy_urls:
        return []
    try:
        keys_of(settings.comfy_api_key, settings.comfy_urls)
        for url in settings.comfy_urls:
            check_address(url, plain_allowed=settings.comfy_plain_http)
    except AddressError as error:
        return [_wrong(str(error), "docs/comfyui.md shows how a ComfyUI server is reached safely.")]
    return [_right(f"{len(settings.comfy_urls)} ComfyUI servers are named; `darkroom flows check` says what each can make.")]


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    try:
        url = read_url(settings.ledger_url).url
    except DatabaseUrlInvalid as error:
        yield _wrong(str(error), "Paste it as your provider gives it: postgresql://user:password@host/name")
        return
    if url.get_backend_name() == "sqlite":
        yield _sqlite_version(sqlite3.sqlite_version_info)
    where = url.render_as_string(hide_password=True)
    try:
        async with asyncio.timeout(20):
            found = await current(settings.ledger_url)
    except (StoreUnavailable, TimeoutError, OSError) as error:
        yield _wrong(
            f"The database {where} does not answer: {error}", "Is it running, and reachable from here with this user and password?"
        )
        return
    if found == head():
        yield _right(f"The database {where} has this version's shape.")
    elif found is None:
        yield _note(f"The database {where} is empty.", "The host shapes it at its first start; or run `darkroom migrate`.")
    else:
        yield _wrong(
            f"The database {where} has the shape {found}, this version needs {head()}.",
            "Run `darkroom migrate` (the host does it at its start).",
        )


def _sqlite_version(version: tuple[int, int, int]) -> Finding:
    """Every SQLite up to 3.51.2 can corrupt a WAL when two connections write and checkpoint at once (fixed in 3.51.3)."""
    text = ".".join(map(str, version))
    if version >= (3, 51, 3):
        return _right(f"SQLite {text}.")
    return _note(
        f"SQLite {text} has the WAL-reset bug that 3.51.3 mended.",
        "darkroom avoids it with one writing connection in one process. Never open the file for writing beside it.",
    )


async def _workers(settings: Settings, session: aiohttp.ClientSession) -> AsyncIterator[Finding]:
    if not settings.worker_urls:
        yield _note("No worker is named in WORKER_URLS: requests wait.", "Start `darkroom worker` on a GPU machine and add its address.")
    for url in settings.worker_urls:
        worker = EngineWorker(name=url, url=url, session=session, token=settings.worker_token, patience=Patience(answer=8))
        try:
            report = await worker.report()
        except WorkerFault as fault:
            reason = fault.details.get("reason", fault)
            cure = "Is `darkroom worker` running there, is the port open, and is DARKROOM_WORKER_TOKEN the same on both sides?"
            yield _wrong(f"The worker at {url} does not answer as one: {reason}", cure)
            continue
        models = ", ".join(sorted(offer.name for offer in report.models)) or "no model"
        yield _right(f"The worker at {url}: {report.device}, {models}, {report.max_batch} at once.")


async def _classifier(settings: Settings, session: aiohttp.ClientSession) -> Finding:
    """Asked for real, with a small grey picture."""
    url = settings.output_classifier_url
    if url is None:
        return _note("No classifier looks at finished pictures (OUTPUT_CLASSIFIER_URL is empty); rules read words alone.")
    seconds, token = settings.output_classifier_seconds, settings.output_classifier_token
    grey = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(grey, "PNG")
    picture = Picture(index=0, sha256="0" * 64, content_type="image/png", size=len(grey.getvalue()), width=64, height=64, seed=0)
    try:
        verdict = await HttpClassifier(session=session, url=url, token=token, seconds=seconds).judge(grey.getvalue(), picture)
    except JudgeAway as error:
        now = "Pictures are shown unjudged now" if settings.output_classifier_open else "No picture is shown now"
        return _wrong(f"The output classifier at {url} gave no verdict: {error}. {now}.", ".env.example shows what it is asked.")
    if not verdict.allowed:
        return _wrong(f"The output classifier at {url} blocks a plain grey picture: {verdict.reason or 'no reason'}.", "See its limits.")
    return _right(f"The output classifier at {url} judges; previews are not shown.")


async def _discord(settings: Settings, session: aiohttp.ClientSession) -> AsyncIterator[Finding]:
    if settings.discord_token is None:
        yield _note(
            "No DISCORD_TOKEN: only the web page is served.", "Make a bot in Discord's Developer Portal and put its token into .env."
        )
        return
    api = _Api(session, settings)
    try:
        async for finding in _bot_account(api, settings):
            yield finding
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        yield _wrong(
            f"Discord does not answer: {type(error).__name__}.", "Is the internet reachable from here, and DISCORD_API_URL right or empty?"
        )


class _Api:
    """Discord's REST, read only."""

    def __init__(self, session: aiohttp.ClientSession, settings: Settings) -> None:
        self._session = session
        self._base = f"{(settings.discord_api_url or 'https://discord.com').rstrip('/')}/api/v10"
        self._headers = {"Authorization": f"Bot {settings.discord_token}"}

    async def get(self, path: str) -> tuple[int, Any]:
        async with self._session.get(self._base + path, headers=self._headers, allow_redirects=False) as answer:
            return answer.status, await answer.json()


async def _bot_account(api: _Api, settings: Settings) -> AsyncIterator[Finding]:
    status, me = await api.get("/users/@me")
    if status == 401:
        yield _wrong(
            "Discord refuses the token.", "Developer Portal → your application → Bot → Reset Token, and put the new one into .env."
        )
        return
    if status != 200:
        yield _wrong(f"Discord answered {status} to who the bot is.", "Try again in some minutes.")
        return
    yield _right(f"Discord knows the bot as {me.get('username')}.")
    yield await _intent(api, settings)
    status, guild = await api.get(f"/guilds/{settings.allowed_guild_id}")
    if status != 200:
        invite = f"https://discord.com/oauth2/authorize?client_id={me.get('id')}&scope=bot%20applications.commands&permissions={sum(_GUILD_PERMISSIONS.values())}"
        yield _wrong(f"The bot is not in the server {settings.allowed_guild_id}.", f"Invite it: {invite}")
        return
    yield await _permissions(api, guild, str(me.get("id")))


async def _intent(api: _Api, settings: Settings) -> Finding:
    _, application = await api.get("/oauth2/applications/@me")
    granted = bool(int(application.get("flags") or 0) & _CONTENT_INTENT_FLAGS)
    if settings.message_content_intent and not granted:
        return _wrong(
            "MESSAGE_CONTENT_INTENT is yes, but the portal has it switched off: Discord will close the connection (4014).",
            "Developer Portal → Bot → Message Content Intent: on. Or set MESSAGE_CONTENT_INTENT=no and mention the bot instead of `!`.",
        )
    if settings.message_content_intent:
        return _right("The Message Content intent is on.")
    return _note("Admin commands work by mentioning the bot (`@darkroom sync`); `!sync` needs the Message Content intent.")


async def _permissions(api: _Api, guild: dict[str, Any], bot_id: str) -> Finding:
    _, member = await api.get(f"/guilds/{guild['id']}/members/{bot_id}")
    held = {str(guild["id"]), *member.get("roles", [])}
    bits = 0
    for role in guild.get("roles", []):
        if str(role["id"]) in held:
            bits |= int(role["permissions"])
    missing = [name for name, bit in _GUILD_PERMISSIONS.items() if not bits & (bit | _ADMINISTRATOR)]
    if missing:
        return _wrong(
            f"In {guild.get('name')} the bot lacks: {', '.join(missing)}.", "Server Settings → Roles → the bot's role: switch them on."
        )
    if not bits & (_MANAGE_ROLES | _ADMINISTRATOR):
        return _note(f"In {guild.get('name')} the bot has what it needs; without Manage Roles nobody is let in or out of a studio.")
    return _right(f"In {guild.get('name')} the bot has every permission it needs.")
