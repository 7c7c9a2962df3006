"""Pictures that hosts send before the runs that start from them. Lives on the event loop; judging is done in a thread."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from workers.engine import pictures
from workers.engine.errors import RunFailure
from workers.protocol import INPUT_BYTES_MAX, INPUT_TTL_SECONDS, INPUTS_BYTES_MAX, ProblemField, RunOrder
from workers.server.problems import Refused


@dataclass(kw_only=True)
class _Kept:
    data: bytes
    used_at: float


class Inputs:
    """Bytes by their SHA-256, for a while after their last use and within a number of bytes, the least used going first."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        ttl_seconds: float = INPUT_TTL_SECONDS,
        bytes_max: int = INPUTS_BYTES_MAX,
        at_once: int = 2,
    ) -> None:
        self._clock = clock
        self._ttl = ttl_seconds
        self._bytes_max = bytes_max
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        # Judging a picture unpacks it: 40 megapixels are 120 MB.
        self._places = asyncio.Semaphore(at_once)

    async def keep(self, sha256: str, data: bytes) -> None:
        """Keep a picture that is what it says. Raises Refused."""
        if not 0 < len(data) <= INPUT_BYTES_MAX:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"A picture may have at most {INPUT_BYTES_MAX} bytes.")
        if self._find(sha256) is not None:
            return
        async with self._places:
            await asyncio.to_thread(_judge, sha256, data)
        self._kept[sha256] = _Kept(data=data, used_at=self._clock())
        self._forget()

    def of(self, order: RunOrder) -> tuple[bytes | None, bytes | None]:
        """The picture and the mask that an order names. Raises Refused (``input_missing``) with what is not here."""
        wanted = {"image": order.image, "mask": order.mask}
        found = {field: None if sha256 is None else self._find(sha256) for field, sha256 in wanted.items()}
        missing = tuple(
            ProblemField(field=field, detail=sha256) for field, sha256 in wanted.items() if sha256 is not None and found[field] is None
        )
        if missing:
            detail = f"The {missing[0].field} is not here: send it to /v1/inputs/{missing[0].detail}, then order again."
            raise Refused(HTTPStatus.CONFLICT, "input_missing", detail, fields=missing)
        return found["image"], found["mask"]

    def _find(self, sha256: str) -> bytes | None:
        self._forget()
        kept = self._kept.get(sha256)
        if kept is None:
            return None
        kept.used_at = self._clock()
        self._kept.move_to_end(sha256)
        return kept.data

    def _forget(self) -> None:
        horizon = self._clock() - self._ttl
        while self._kept:
            oldest = next(iter(self._kept.values()))
            held = sum(len(kept.data) for kept in self._kept.values())
            if oldest.used_at >= horizon and (held <= self._bytes_max or len(self._kept) == 1):
                return
            self._kept.popitem(last=False)


def _judge(sha256: str, data: bytes) -> None:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "wrong_digest", "The bytes are not those of that SHA-256; send them again.")
    try:
        pictures.read_input(data)
    except RunFailure as failure:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_input", failure.detail) from failure
