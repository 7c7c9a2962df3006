"""What an operator chooses for a worker, built once from the command line."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path


class SettingsRefused(Exception):
    """The settings contradict each other or are unsafe; the text is one sentence that says what to do."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """See `cli.parser` for what each means to an operator."""

    host: str = "127.0.0.1"
    port: int = 7870
    models: Path | None = None
    name: str = "worker"
    token: str | None = field(default=None, repr=False)
    threads: int | None = None
    max_batch: int = 8
    models_in_memory: int = 2
    device: str = "auto"
    #: Plan as if the card had so many bytes; None is what it has.
    memory_limit: int | None = None
    #: How long a worker that was told to drain waits for its last pictures to be fetched.
    drain_seconds: float = 20.0

    @property
    def measured(self) -> Path | None:
        """Where measurements are kept: beside the models, which they are about."""
        return None if self.models is None else self.models / ".measured.json"

    @property
    def is_open(self) -> bool:
        """Whether requests need no token: on loopback without one."""
        return self.token is None

    def check(self) -> None:
        """Raise SettingsRefused for settings that must not be served."""
        if self.token is None and not is_loopback(self.host):
            raise SettingsRefused(
                f"Listening on {self.host} lets others reach this worker, so it needs a token: "
                "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`, set it as "
                "DARKROOM_WORKER_TOKEN here, and give it to the host beside this worker's URL."
            )
        if self.token is not None and len(self.token) < 16:
            raise SettingsRefused("The token is shorter than 16 characters, so it could be guessed. Make a longer one.")
        if not 1 <= self.max_batch <= 64:
            raise SettingsRefused("--max-batch must be from 1 to 64.")


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
