"""What a rehearsal can be started with. The defaults are Discord's; tests shorten them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RehearsalConfig:
    """Times in seconds, sizes in bytes. `port` 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 0
    seed: str | None = None
    token: str | None = None
    bot_name: str = "Rehearsal bot"
    members_intent: bool = False
    message_content_intent: bool = False
    deterministic: bool = False
    interaction_deadline: float = 3.0
    token_life: float = 900.0
    nonce_window: float = 120.0
    url_life: float = 86_400.0
    heartbeat_interval: float = 41.25
    rate_limits: bool = True
    message_limit: int = 5
    message_window: float = 5.0
    rename_limit: int = 2
    rename_window: float = 600.0
    global_limit: int = 50
    invalid_limit: int = 10_000
    old_edit_limit: int = 3
    file_limit: int = 10 << 20
    request_limit: int = 25 << 20
    channel_limit: int = 500
    category_limit: int = 50
    daily_commands: int = 200
    recording_limit: int = 20_000


def with_setting(config: RehearsalConfig, text: str) -> RehearsalConfig:
    """`config` with one `name=value` changed. Raises ValueError with a sentence."""
    name, _, value = text.partition("=")
    types: dict[str, Any] = {f.name: type(getattr(config, f.name)) for f in fields(config)}
    if name not in types:
        raise ValueError(f"There is no setting {name!r}; there are: {', '.join(sorted(types))}.")
    if types[name] is bool:
        return replace(config, **{name: value.lower() in ("1", "true", "yes", "on")})
    convert = types[name] if types[name] in (int, float) else str
    try:
        return replace(config, **{name: convert(value)})
    except ValueError as error:
        raise ValueError(f"{name} must be a {convert.__name__}, not {value!r}.") from error
