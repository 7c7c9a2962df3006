"""Signed links to pictures: whoever holds one sees that picture, without a key, until it expires. Standard library only.

The signature covers job, number and expiry, so that nothing can be listed, counted up or prolonged; the key is the host's own.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable

LINK_SECONDS = 7 * 24 * 3600
"""How long a link holds: as long as pictures are kept unless told otherwise."""

_PARTS = re.compile(r"([0-9a-z]{1,64})/([0-9]{1,2})/([0-9]{1,12})/([0-9a-f]{64})", re.ASCII)


class LinkExpired(ValueError):
    """It was a link of ours once."""


class MediaLinks:
    """Makes and checks links."""

    def __init__(self, secret: bytes, *, base_url: str = "", now: Callable[[], float] = time.time) -> None:
        self._key = hmac.digest(secret, b"darkroom media links", "sha256")
        self._base_url = base_url
        self._now = now

    def link(self, job_id: str, index: int, *, seconds: float = LINK_SECONDS) -> str:
        """The address of a job's ``index``-th picture (from 0), for so long."""
        body = f"{job_id}/{index}/{int(self._now() + seconds)}"
        return f"{self._base_url}/media/{body}/{self._signature(body)}"

    def read(self, path: str) -> tuple[str, int] | None:
        """(job, index) behind what follows ``/media/``; None for what nobody here signed. Raises LinkExpired."""
        match = _PARTS.fullmatch(path)
        if match is None:
            return None
        job_id, index, expires, signature = match.groups()
        if not hmac.compare_digest(signature, self._signature(f"{job_id}/{index}/{expires}")):
            return None
        if int(expires) <= self._now():
            raise LinkExpired(path)
        return job_id, int(index)

    def _signature(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()
