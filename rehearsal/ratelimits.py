"""Rate limits: a table of windows with honest headers, the global limit, and the count of invalid requests.

Numbers: the protocol page, section 4 (community observations where Discord publishes none).
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from typing import Any

from rehearsal.clock import Clock
from rehearsal.config import RehearsalConfig

EVERYTHING_ELSE = (50, 1.0)
INVALID_WINDOW = 600.0


@dataclass(slots=True)
class Window:
    """One bucket: `remaining` requests until `reset`."""

    limit: int
    seconds: float
    remaining: int
    reset: float


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A 429: JSON body and headers, or HTML without `Via` from the edge."""

    status: int
    body: Any
    headers: dict[str, str]
    counts: bool = True


def too_many(seconds: float, scope: str, *, is_global: bool = False) -> Refusal:
    """The 429 Discord itself sends."""
    headers = {"Retry-After": f"{seconds:.3f}", "X-RateLimit-Scope": scope, "Via": "1.1 google"}
    if is_global:
        headers["X-RateLimit-Global"] = "true"
    body = {"message": "You are being rate limited.", "retry_after": round(seconds, 3), "global": is_global}
    return Refusal(status=429, body=body, headers=headers, counts=scope != "shared")


def edge_ban(seconds: float = 600) -> Refusal:
    """The HTML 429 of the edge: no `Via`, no JSON."""
    page = "<html><head><title>Access denied</title></head><body>Error 1015: you are being rate limited</body></html>"
    return Refusal(status=429, body=page, headers={"Retry-After": f"{seconds:.0f}"}, counts=False)


class RateLimits:
    """All windows of the run."""

    def __init__(self, config: RehearsalConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._windows: dict[str, Window] = {}
        self._invalid: deque[float] = deque()
        self._salt = 0
        self.invalid_total = 0
        self.limited_total = 0
        self.request_total = 0

    def change_buckets(self) -> None:
        """From now on every bucket has another hash."""
        self._salt += 1

    def _rule(self, method: str, template: str) -> tuple[str, int, float]:
        config = self._config
        if method in ("POST", "PATCH") and template in (
            "/channels/{channel_id}/messages", "/channels/{channel_id}/messages/{message_id}"
        ):  # fmt: skip
            return "messages", config.message_limit, config.message_window
        if method in ("POST", "PATCH") and template.startswith("/webhooks/{webhook_id}/{token}"):
            return "webhook", config.message_limit, min(2.0, config.message_window)
        if method == "PATCH" and template == "/channels/{channel_id}":
            return "channel", 10, 15.0
        return f"{method} {template}", *EVERYTHING_ELSE

    def _take(self, key: str, limit: int, seconds: float) -> tuple[Window, float]:
        now = self._clock.now()
        window = self._windows.get(key)
        if window is None or window.reset <= now:
            window = self._windows[key] = Window(limit, seconds, limit, now + seconds)
        if window.remaining <= 0:
            return window, window.reset - now
        window.remaining -= 1
        return window, 0.0

    def banned(self) -> Refusal | None:
        """The edge's ban after too many invalid requests in ten minutes."""
        now = self._clock.now()
        while self._invalid and self._invalid[0] <= now - INVALID_WINDOW:
            self._invalid.popleft()
        return edge_ban() if len(self._invalid) >= self._config.invalid_limit else None

    def invalid(self) -> None:
        """Count a 401, 403 or 429."""
        self.invalid_total += 1
        self._invalid.append(self._clock.now())

    def ask(self, method: str, template: str, params: dict[str, str], *, bot: bool) -> tuple[dict[str, str], Refusal | None]:
        """Headers for the answer, and the refusal when a window is used up."""
        self.request_total += 1
        if not self._config.rate_limits:
            return {}, None
        if bot:
            _, wait = self._take("global", self._config.global_limit, 1.0)
            if wait:
                return {}, self._refuse(too_many(wait, "global", is_global=True))
        major = "/".join(params.get(name, "") for name in ("channel_id", "guild_id", "webhook_id", "token"))
        name, limit, seconds = self._rule(method, template)
        window, wait = self._take(f"{name}|{major}", limit, seconds)
        digest = hashlib.sha256(f"{name}{self._salt}".encode()).hexdigest()[:32]
        headers = self._headers(window, digest)
        if wait:
            refusal = self._refuse(too_many(wait, "user"))
            return headers | refusal.headers, refusal
        return headers, None

    def rename(self, channel_id: int) -> Refusal | None:
        """The hidden limit of renaming a channel or changing its topic: no header tells of it."""
        if not self._config.rate_limits:
            return None
        _, wait = self._take(f"rename|{channel_id}", self._config.rename_limit, self._config.rename_window)
        return self._refuse(too_many(wait, "user")) if wait else None

    def old_edit(self, channel_id: int) -> bool:
        """Whether one more edit of a message older than an hour is allowed; the real number is unpublished."""
        if not self._config.rate_limits:
            return True
        _, wait = self._take(f"old|{channel_id}", self._config.old_edit_limit, 60.0)
        return not wait

    def _refuse(self, refusal: Refusal) -> Refusal:
        self.limited_total += 1
        return refusal

    def _headers(self, window: Window, digest: str) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(window.limit),
            "X-RateLimit-Remaining": str(window.remaining),
            "X-RateLimit-Reset": f"{window.reset:.3f}",
            "X-RateLimit-Reset-After": f"{max(0.0, window.reset - self._clock.now()):.3f}",
            "X-RateLimit-Bucket": digest,
        }
