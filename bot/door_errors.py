"""Why the Discord door cannot open. Trying again does not help; each sentence says what to do."""

from jobs.errors import DarkroomError


class DiscordDoorError(DarkroomError):
    """The Discord door cannot open, and trying again will not help; its sentence says what to do."""


class TokenRefused(DiscordDoorError):
    """Discord does not know the token (401 at login, or close 4004)."""

    def __init__(self) -> None:
        super().__init__("token_refused")


class IntentMissing(DiscordDoorError):
    """A privileged intent is asked for but not switched on in the portal (close 4014)."""

    def __init__(self) -> None:
        super().__init__("intent_missing")


class FileInvalid(DiscordDoorError):
    """A file of the operator's (rules, quotas, a persona) cannot be used."""

    def __init__(self, reason: str) -> None:
        super().__init__("operators_file", reason=reason)


class GatewayRefused(DiscordDoorError):
    """The gateway closed for good with another code."""

    def __init__(self, code: int) -> None:
        super().__init__("gateway_refused", close_code=code)
