"""What Discord answers when it refuses, and how one invalid form collects all of its complaints.

Codes: developer docs, topics/opcodes-and-status-codes (2026-08-06).
"""

from __future__ import annotations

from typing import Any

MESSAGES: dict[int, tuple[int, str]] = {
    10003: (404, "Unknown Channel"),
    10004: (404, "Unknown Guild"),
    10007: (404, "Unknown Member"),
    10008: (404, "Unknown Message"),
    10009: (404, "Unknown Permission Overwrite"),
    10011: (404, "Unknown Role"),
    10013: (404, "Unknown User"),
    10014: (400, "Unknown Emoji"),
    10015: (404, "Unknown Webhook"),
    10062: (404, "Unknown interaction"),
    10063: (404, "Unknown application command"),
    20028: (429, "The write action you are performing on the channel has hit the write rate limit"),
    30003: (400, "Maximum number of pins reached for the channel (250)"),
    30005: (400, "Maximum number of guild roles reached (250)"),
    30007: (400, "Maximum number of webhooks reached (15)"),
    30010: (400, "Maximum number of reactions reached (20)"),
    30013: (400, "Maximum number of guild channels reached (500)"),
    30015: (400, "Maximum number of attachments in a message reached (10)"),
    30032: (400, "Maximum number of application commands reached"),
    30033: (400, "Maximum number of thread participants has been reached (1000)"),
    30034: (400, "Maximum number of daily application command creates has been reached (200)"),
    30046: (429, "Maximum number of edits to messages older than 1 hour reached. Try again later"),
    30060: (400, "Maximum number of channel permission overwrites reached (1000)"),
    40001: (401, "Unauthorized. Provide a valid token and try again"),
    40005: (413, "Request entity too large"),
    40060: (400, "Interaction has already been acknowledged."),
    40067: (400, "A tag is required to create a forum post in this channel"),
    40094: (400, "Maximum number of follow-up messages reached"),
    50001: (403, "Missing Access"),
    50005: (403, "Cannot edit a message authored by another user"),
    50006: (400, "Cannot send an empty message"),
    50007: (403, "Cannot send messages to this user"),
    50013: (403, "Missing Permissions"),
    50016: (
        400,
        "Provided too few or too many messages to delete. Must provide at least 2 and fewer than 100 messages",
    ),
    50024: (400, "Cannot execute action on this channel type"),
    50027: (401, "Invalid Webhook Token"),
    50034: (400, "You can only bulk delete messages that are under 14 days old."),
    50035: (400, "Invalid Form Body"),
    50045: (400, "File uploaded exceeds the maximum size"),
    50083: (400, "Thread is archived"),
    50109: (400, "The request body contains invalid JSON."),
    50278: (403, "Cannot send messages to this user due to having no mutual guilds"),
    160002: (400, "Cannot reply without permission to read message history"),
    160004: (400, "A thread has already been created for this message"),
    160006: (400, "Maximum number of active threads reached"),
}


class DiscordError(Exception):
    """An answer with a code. `body()` is the JSON Discord sends."""

    def __init__(self, code: int, *, status: int | None = None, message: str | None = None, errors: Any = None) -> None:
        known = MESSAGES.get(code, (400, "Error"))
        self.code = code
        self.status = known[0] if status is None else status
        self.message = known[1] if message is None else message
        self.errors = errors
        super().__init__(f"{self.status} {self.code} {self.message}")

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        body: dict[str, Any] = {"message": self.message, "code": self.code}
        if self.errors:
            body["errors"] = self.errors
        return body


def unauthorized() -> DiscordError:
    """401, code 0: no token, or one nobody issued."""
    return DiscordError(0, status=401, message="401: Unauthorized")


def not_found() -> DiscordError:
    """404, code 0: a route that is not served."""
    return DiscordError(0, status=404, message="404: Not Found")


class Form:
    """Collects complaints by path, then raises one 50035 with all of them."""

    def __init__(self) -> None:
        self.errors: dict[str, Any] = {}

    def add(self, path: tuple[str | int, ...], code: str, message: str) -> None:
        """Complain about the field at `path`, for instance `("embeds", 0, "title")`."""
        node = self.errors
        for step in path:
            node = node.setdefault(str(step), {})
        node.setdefault("_errors", []).append({"code": code, "message": message})

    def check(self) -> None:
        """Raise 50035 when there is a complaint."""
        if self.errors:
            raise DiscordError(50035, errors=self.errors)

    def text(self, path: tuple[str | int, ...], value: Any, *, low: int = 0, high: int, required: bool = False) -> str | None:
        """A string of `low` to `high` characters; None where it is absent or null."""
        if value is None:
            if required:
                self.add(path, "BASE_TYPE_REQUIRED", "This field is required")
            return None
        if not isinstance(value, str):
            self.add(path, "STRING_TYPE_CONVERT", "Could not interpret as string.")
            return None
        if required and not value:
            self.add(path, "BASE_TYPE_REQUIRED", "This field is required")
        elif len(value) > high and low:
            self.add(path, "BASE_TYPE_BAD_LENGTH", f"Must be between {low} and {high} in length.")
        elif len(value) > high:
            self.add(path, "BASE_TYPE_MAX_LENGTH", f"Must be {high} or fewer in length.")
        elif len(value) < low:
            self.add(path, "BASE_TYPE_BAD_LENGTH", f"Must be between {low} and {high} in length.")
        return value

    def number(self, path: tuple[str | int, ...], value: Any, *, low: int, high: int, required: bool = False) -> int | None:
        """A whole number from `low` to `high`; None where it is absent or null."""
        if value is None:
            if required:
                self.add(path, "BASE_TYPE_REQUIRED", "This field is required")
            return None
        if isinstance(value, str) and value.isascii() and value.lstrip("-").isdigit() and len(value) < 40:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.add(path, "NUMBER_TYPE_COERCE", f'Value "{value}" is not int.')
            return None
        if value < low:
            self.add(path, "NUMBER_TYPE_MIN", f"int value should be greater than or equal to {low}.")
        elif value > high:
            self.add(path, "NUMBER_TYPE_MAX", f"int value should be less than or equal to {high}.")
        return value

    def items(self, path: tuple[str | int, ...], value: Any, *, low: int = 0, high: int, required: bool = False) -> list[Any]:
        """A list of `low` to `high` entries; empty where it is absent or null."""
        if value is None:
            if required:
                self.add(path, "BASE_TYPE_REQUIRED", "This field is required")
            return []
        if not isinstance(value, list):
            self.add(path, "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
            return []
        if not low <= len(value) <= high:
            code = "BASE_TYPE_BAD_LENGTH" if low else "BASE_TYPE_MAX_LENGTH"
            words = f"Must be between {low} and {high} in length." if low else f"Must be {high} or fewer in length."
            self.add(path, code, words)
        return value


def is_id(value: Any) -> bool:
    """Whether this can be an id: ASCII digits, 64 bits."""
    text = str(value)
    return not isinstance(value, bool) and text.isascii() and text.isdigit() and len(text) <= 20


def snowflake(value: Any, code: int) -> int:
    """An id out of a path or body; anything else is the unknown thing of `code`."""
    if not is_id(value):
        raise DiscordError(code)
    return int(value)


def whole(value: Any) -> int:
    """A whole number, or 0 where there is none; for flags that another check has yet to complain about."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
