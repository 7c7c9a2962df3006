"""What the host tells its HTTP door."""

import secrets
from dataclasses import dataclass, field

from gateway.auth import ApiKey


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """Built once by the host from its own settings. Secrets are left out of ``repr``."""

    version: str
    host: str = "127.0.0.1"
    """Where it will listen: decides which Host headers are believed."""
    allowed_hosts: tuple[str, ...] = ()
    """Names beside this machine's own under which the page is reached, without port."""
    keys: tuple[ApiKey, ...] = ()
    """Empty: no key is asked, everybody is ``web:local``, and only loopback may be bound."""
    session_secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Signs the page's cookie; the default lasts as long as the process, so a restart asks for the key again."""
    body_max: int = 64 * 1024
    """Bytes of a request body."""
    picture_max: int = 32 * 1024 * 1024
    """Bytes of a picture to start from."""
    body_seconds: float = 10.0
    """How long a body may take to arrive, beside what its size needs at 50 kB/s."""
    streams_per_person: int = 16
    """Progress streams, of both kinds together."""
    heartbeat: float = 15.0
    """Seconds of silence after which a stream says that it is alive."""
    look_again: float = 1.0
    """Seconds after which a waiting job's place and cause are worked out anew."""
    write_seconds: float = 10.0
    """How long a reader may leave a message unread before it is dropped."""
