"""What an operator may set, read once from ``.env`` and the environment, and passed on from there."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

_T = TypeVar("_T")


class SettingsError(ValueError):
    """Something in the settings cannot be used; one sentence a fault, each saying what to do."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("\n".join(faults))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of the host, with its default. Secrets are left out of ``repr``."""

    discord_token: str | None = field(default=None, repr=False)
    allowed_guild_id: int | None = None
    discord_api_url: str | None = None
    owner_ids: frozenset[int] = frozenset()
    staff_role_ids: frozenset[int] = frozenset()
    admin_role_ids: frozenset[int] = frozenset()
    message_content_intent: bool = False
    members_intent: bool = False
    gallery_channel_id: int | None = None
    moderation_channel_id: int | None = None
    audit_channel_id: int | None = None
    adult_models: frozenset[str] = frozenset()
    studio_idle_days: int = 30
    studio_channels: int = 450
    persona: str = "plain"
    database_url: str | None = field(default=None, repr=False)
    sqlite_synchronous: Literal["FULL", "NORMAL"] = "FULL"
    storage: Path = Path("storage")
    worker_urls: tuple[str, ...] = ()
    worker_token: str | None = field(default=None, repr=False)
    comfy_urls: tuple[str, ...] = ()
    comfy_api_key: str | None = field(default=None, repr=False)
    comfy_plain_http: bool = False
    flows: Path | None = None
    max_batch_size: int = 8
    waiting_limit: int = 20
    keep_pictures_days: float = 7.0
    keep_jobs_days: float = 30.0
    http_host: str = "127.0.0.1"
    http_port: int = 7860
    allowed_hosts: tuple[str, ...] = ()
    public_url: str | None = None
    output_classifier_url: str | None = None
    output_classifier_token: str | None = field(default=None, repr=False)
    output_classifier_seconds: float = 10.0
    output_classifier_open: bool = False
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    log_level: str = "INFO"
    lease_seconds: float = 30.0

    @property
    def host_names(self) -> tuple[str, ...]:
        """Names by which the page is reached beside this machine's own: those allowed, and that of the public address."""
        name = urlsplit(self.public_url or "").hostname
        return (*self.allowed_hosts, *([name] if name and name not in self.allowed_hosts else []))

    @property
    def ledger_url(self) -> str:
        """The database of the jobs: ``DATABASE_URL``, else an SQLite file in the storage folder."""
        return self.database_url or f"sqlite:///{(self.storage / 'darkroom.sqlite3').as_posix()}"


def read_settings(values: Mapping[str, str | None]) -> Settings:
    """Build the settings from variables by name; empty means unset. Raises SettingsError naming every fault at once."""
    reader = _Reader(values)
    settings = Settings(
        discord_token=reader.text("DISCORD_TOKEN"),
        allowed_guild_id=reader.read("ALLOWED_GUILD_ID", _snowflake, None),
        discord_api_url=reader.text("DISCORD_API_URL"),
        owner_ids=reader.read("OWNER_IDS", _snowflakes, frozenset()),
        staff_role_ids=reader.read("STAFF_ROLE_IDS", _snowflakes, frozenset()),
        admin_role_ids=reader.read("ADMIN_ROLE_IDS", _snowflakes, frozenset()),
        message_content_intent=reader.read("MESSAGE_CONTENT_INTENT", _yes_or_no, default=False),
        members_intent=reader.read("MEMBERS_INTENT", _yes_or_no, default=False),
        gallery_channel_id=reader.read("GALLERY_CHANNEL_ID", _snowflake, None),
        moderation_channel_id=reader.read("MODERATION_CHANNEL_ID", _snowflake, None),
        audit_channel_id=reader.read("AUDIT_CHANNEL_ID", _snowflake, None),
        adult_models=frozenset(reader.read("ADULT_MODELS", _list, ())),
        studio_idle_days=reader.read("STUDIO_IDLE_DAYS", _whole(1, 3650), 30),
        studio_channels=reader.read("STUDIO_CHANNELS", _whole(1, 500), 450),
        persona=reader.text("PERSONA") or "plain",
        database_url=reader.text("DATABASE_URL"),
        sqlite_synchronous=reader.read("SQLITE_SYNCHRONOUS", _synchronous, "FULL"),
        storage=Path(reader.text("STORAGE") or "storage"),
        worker_urls=reader.read("WORKER_URLS", _urls, ()),
        worker_token=reader.text("DARKROOM_WORKER_TOKEN"),
        comfy_urls=reader.read("COMFY_URLS", _urls, ()),
        comfy_api_key=reader.text("COMFY_API_KEY"),
        comfy_plain_http=reader.read("COMFY_PLAIN_HTTP", _yes_or_no, default=False),
        flows=reader.read("FLOWS", _folder, None),
        max_batch_size=reader.read("MAX_BATCH_SIZE", _whole(1, 64), 8),
        waiting_limit=reader.read("WAITING_LIMIT", _whole(1, 1000), 20),
        keep_pictures_days=float(reader.read("KEEP_PICTURES_DAYS", _whole(0, 36_500), 7)),
        keep_jobs_days=float(reader.read("KEEP_JOBS_DAYS", _whole(0, 36_500), 30)),
        http_host=reader.text("HTTP_HOST") or "127.0.0.1",
        http_port=reader.read("HTTP_PORT", _whole(0, 65535), 7860),
        allowed_hosts=reader.read("ALLOWED_HOSTS", _list, ()),
        public_url=reader.read("PUBLIC_URL", _origin, None),
        output_classifier_url=reader.read("OUTPUT_CLASSIFIER_URL", _url, None),
        output_classifier_token=reader.text("OUTPUT_CLASSIFIER_TOKEN"),
        output_classifier_seconds=float(reader.read("OUTPUT_CLASSIFIER_SECONDS", _whole(1, 60), 10)),
        output_classifier_open=reader.read("OUTPUT_CLASSIFIER_OPEN", _yes_or_no, default=False),
        api_keys=reader.read("API_KEYS", _list, ()),
        log_level=reader.read("LOG_LEVEL", _level, "INFO"),
        lease_seconds=float(reader.read("LEASE_SECONDS", _whole(3, 600), 30)),
    )
    if settings.discord_token and settings.allowed_guild_id is None:
        reader.faults.append("ALLOWED_GUILD_ID is missing: the number that `!getid` or 'Copy Server ID' gives.")
    if reader.faults:
        raise SettingsError(reader.faults)
    return settings


class _Reader:
    def __init__(self, values: Mapping[str, str | None]) -> None:
        self._values = values
        self.faults: list[str] = []

    def text(self, name: str) -> str | None:
        return (self._values.get(name) or "").strip() or None

    def read(self, name: str, parse: Callable[[str], _T], default: _T) -> _T:
        text = self.text(name)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.faults.append(f"{name}: {error}")
            return default


def _snowflake(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 2**63):
        raise ValueError("is not a Discord id; it is a whole number such as 1042317265498202122.")
    return int(text)


def _snowflakes(text: str) -> frozenset[int]:
    return frozenset(_snowflake(part) for part in _list(text))


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[\s,]+", text) if part)


def _urls(text: str) -> tuple[str, ...]:
    urls = tuple(url.rstrip("/") for url in _list(text))
    for url in urls:
        if not re.fullmatch(r"https?://[^\s/@]+(/[^\s?#]*)?", url):
            raise ValueError(f"{url[:100]!r} is not an address such as http://gpu1:7870 (no user name, no question mark).")
    if len(set(urls)) != len(urls):
        raise ValueError("names one address twice; each worker has its own.")
    return urls


def _url(text: str) -> str:
    if len(_urls(text)) != 1:
        raise ValueError("names one address.")
    return text


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?/?", text):
        raise ValueError(f"{text[:100]!r} is not an address such as https://photos.example.org (no path, no user name).")
    return text.rstrip("/")


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise ValueError(f"{text[:100]!r} is not a folder.")
    return Path(text)


def _yes_or_no(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in known:
        raise ValueError("is neither yes nor no.")
    return known[text.lower()]


def _synchronous(text: str) -> Literal["FULL", "NORMAL"]:
    match text.upper():
        case "FULL" | "NORMAL" as known:
            return known
    raise ValueError("is FULL (every answer survives a power cut) or NORMAL (faster).")


def _level(text: str) -> str:
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("is DEBUG, INFO, WARNING or ERROR.")
    return text.upper()


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
            raise ValueError(f"is a whole number from {low} to {high}.")
        return int(text)

    return parse
