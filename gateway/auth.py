"""Who may call: API keys, the page's session cookie, and when a binding is too open. Standard library only.

A key is ``dk_<id>.<secret>`` and is shown once. What the operator keeps is a line ``name:id:sha256``, where the hash is
of the whole key: 256 random bits need no slow hash. Removing the line ends the key and every session made with it.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
_LINE = re.compile(rf"({NAME.pattern}):([a-z2-7]{{8}}):([0-9a-f]{{64}})", re.ASCII)
_KEY = re.compile(r"dk_([a-z2-7]{8})\.([A-Za-z0-9_-]{43})", re.ASCII)
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

SESSION_SECONDS = 30 * 24 * 3600
"""How long a browser stays signed in."""


class BindingRefused(ValueError):
    """The page would be open to strangers; the sentence says how to make a key."""


class KeysInvalid(ValueError):
    """A line of API_KEYS is not what ``darkroom key`` prints. The sentence does not repeat it."""


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """What is kept of a key."""

    name: str
    id: str
    sha256: str


def make_key(name: str) -> tuple[str, str]:
    """A new key: (the secret, shown once; the line to keep). Raises ValueError for a name that is no name."""
    if not NAME.fullmatch(name):
        raise ValueError("A key's name has 1 to 32 small letters, digits, - or _, and begins with a letter or digit.")
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    secret = f"dk_{key_id}.{secrets.token_urlsafe(32)}"
    return secret, f"{name}:{key_id}:{_sha256(secret)}"


def read_keys(lines: Sequence[str]) -> tuple[ApiKey, ...]:
    """The keys of API_KEYS. Raises KeysInvalid."""
    keys: list[ApiKey] = []
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise KeysInvalid(f"API_KEYS: entry {number} is not a line that `darkroom key NAME` prints.")
        keys.append(ApiKey(name=match[1], id=match[2], sha256=match[3]))
    if len({key.id for key in keys}) != len(keys):
        raise KeysInvalid("API_KEYS names one key twice: remove one of the two entries.")
    return tuple(keys)


def check_binding(host: str, keys: Sequence[object], allowed_hosts: Sequence[str] = ()) -> None:
    """Without a key everybody is one person, so only this machine may reach the page. Raises BindingRefused.

    A name in ``allowed_hosts`` that is not this machine's means a proxy or tunnel: strangers again.
    """
    if keys:
        return
    how = "Run `darkroom key NAME`, put the line it prints into API_KEYS and start again"
    if not is_loopback(host):
        raise BindingRefused(
            f"HTTP_HOST={host} lets other machines in, and there is no API key. {how}; or set HTTP_HOST=127.0.0.1."
        )
    for name in allowed_hosts:
        if not is_loopback(name):
            raise BindingRefused(f"ALLOWED_HOSTS names {name}, and there is no API key. {how}; or empty ALLOWED_HOSTS.")


def is_loopback(host: str) -> bool:
    """Whether a host name or address literal is this machine by its spelling alone (nothing is resolved)."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Keyring:
    """Recognises keys and sessions."""

    def __init__(self, keys: Sequence[ApiKey], session_secret: bytes, *, now: Callable[[], float] = time.time) -> None:
        self._by_id = {key.id: key for key in keys}
        self._secret = session_secret
        self._now = now

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def recognise(self, secret: str) -> ApiKey | None:
        """The key that this secret is, or None. The comparison takes the same time for a near miss."""
        match = _KEY.fullmatch(secret)
        known = self._by_id.get(match[1]) if match else None
        expected = known.sha256 if known else "0" * 64
        return known if hmac.compare_digest(_sha256(secret), expected) else None

    def open_session(self, key: ApiKey) -> str:
        """A cookie's value that proves, for SESSION_SECONDS, that its bearer had this key."""
        return _Session(key_id=key.id, issued=int(self._now())).signed(self._secret)

    def session(self, value: str) -> ApiKey | None:
        """The key behind a cookie, or None when it is forged, too old, or its key was removed."""
        session = _Session.verified(value, self._secret)
        if session is None or not 0 <= self._now() - session.issued < SESSION_SECONDS:
            return None
        return self._by_id.get(session.key_id)


@dataclass(frozen=True, kw_only=True)
class _Session:
    key_id: str
    issued: int

    def signed(self, secret: bytes) -> str:
        body = f"v1.{self.key_id}.{self.issued}"
        return f"{body}.{_signature(body, secret)}"

    @classmethod
    def verified(cls, value: str, secret: bytes) -> Self | None:
        body, _, signature = value.rpartition(".")
        if not signature.isascii() or not hmac.compare_digest(signature, _signature(body, secret)):
            return None
        _, key_id, issued = body.split(".")
        return cls(key_id=key_id, issued=int(issued))


def _signature(body: str, secret: bytes) -> str:
    return hmac.new(secret, b"darkroom session\0" + body.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
