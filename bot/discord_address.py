"""DISCORD_API_URL: REST, gateway and CDN on another server, before the client exists.

discord.py has no setting for this (2.7.1): the addresses are class constants, read when a route is built and when the
gateway is first dialled. They are checked to be there first, so that an upgrade of the library that renames one stops
the start instead of sending a rehearsal to the internet. Nothing else in the house looks at the setting.
"""

import base64
import binascii
import ipaddress
import logging
from urllib.parse import SplitResult, urlsplit

import yarl
from discord.asset import Asset
from discord.gateway import DiscordWebSocket
from discord.http import INTERNAL_API_VERSION, Route

_log = logging.getLogger(__name__)

_CONSTANTS = ((Route, "BASE"), (DiscordWebSocket, "DEFAULT_GATEWAY"), (Asset, "BASE"))


class DiscordAddressError(ValueError):
    """The address cannot be used; the message says what would do."""


def apply_discord_address(url: str | None, token: str) -> None:
    """Send this process's Discord traffic to ``url``; None changes nothing. Call it before a client is made.

    Raises DiscordAddressError: not an origin, plain http beyond this machine, a real token on its way to a stand-in
    for Discord, or a discord.py whose constants moved.
    """
    if url is None:
        return
    parts = _origin(url)
    if _is_loopback(parts.hostname or "") and looks_real(token):
        raise DiscordAddressError(
            "DISCORD_API_URL points to this machine, but DISCORD_TOKEN looks like a real one: "
            "take the token that the rehearsal prints, or remove DISCORD_API_URL."
        )
    for holder, name in _CONSTANTS:
        if not hasattr(holder, name):
            raise DiscordAddressError(f"This version of discord.py has no {holder.__name__}.{name}: install 2.7.x.")
    origin = f"{parts.scheme}://{parts.netloc}"
    Route.BASE = f"{origin}/api/v{INTERNAL_API_VERSION}"
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}/")
    Asset.BASE = origin  # pyright: ignore[reportAttributeAccessIssue]  typed as the one literal it has
    _log.warning("Discord is taken from %s (DISCORD_API_URL)", origin)


def _origin(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        _ = parts.port  # a port that is no number is noticed only when it is asked for
    except ValueError as error:
        raise DiscordAddressError(f"DISCORD_API_URL cannot be read: {error}.") from error
    beyond_origin = parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password
    if parts.scheme not in ("http", "https") or not parts.hostname or beyond_origin:
        raise DiscordAddressError("DISCORD_API_URL is an origin and no more, such as http://127.0.0.1:7861.")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise DiscordAddressError("DISCORD_API_URL may be plain http on this machine only; elsewhere it needs https.")
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def looks_real(token: str) -> bool:
    """Whether ``token`` has the shape of one that Discord gave: three dotted parts, the first a user id in base64."""
    parts = token.strip().split(".")
    if len(parts) != 3 or not all(parts):
        return False
    try:
        decoded = base64.urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4))
    except (binascii.Error, ValueError):
        return False
    return decoded.isdigit() and len(decoded) >= 17
