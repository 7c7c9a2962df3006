"""An output classifier behind an HTTP address of the operator's: asked with the bytes of each finished picture before anybody sees it.

``POST <url>`` with the picture as body (``Content-Type: image/png``, or ``image/webp`` for a clip), answered with 200 and
``{"allowed": true}`` or ``{"allowed": false, "reason": "nudity"}``. Whatever else comes, or nothing in time, is no verdict.
The file carries no words: what was asked for stays in the house.
"""

import asyncio
import json
import logging
import re

import aiohttp

from jobs.job import Picture
from jobs.judging import JudgeAway, Verdict
from workers.bare import without_words

_log = logging.getLogger(__name__)

SECONDS = 10.0
"""For one picture, connecting included, waiting for its turn not."""

AT_ONCE = 4
"""Pictures under judgement; a judge on one GPU would let ten at once run out of their time."""

ANSWER_MAX = 16 * 1024
"""Bytes of an answer."""

REASON_MAX = 120
_NOT_PLAIN = re.compile(r"[^\w .,;'()-]")


class HttpClassifier:
    """The :class:`jobs.judging.Classifier` that asks an address."""

    def __init__(
        self, *, session: aiohttp.ClientSession, url: str, token: str | None = None, seconds: float = SECONDS, open_without: bool = False
    ) -> None:
        self._session = session
        self._url = url
        # As it is: an answer that grows when it is unpacked would be as large as it likes before it is counted.
        self._headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._seconds = seconds
        self._open_without = open_without
        self._places = asyncio.Semaphore(AT_ONCE)

    async def judge(self, data: bytes, picture: Picture) -> Verdict:
        """See the port."""
        try:
            async with self._places, asyncio.timeout(self._seconds):
                return _verdict(await self._ask(without_words(data), picture.content_type))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError) as error:
            _log.error("the output classifier gave no verdict: %s: %s", type(error).__name__, error)
            if self._open_without:
                return Verdict(allowed=True)
            raise JudgeAway(f"{type(error).__name__}: {error}") from error

    async def _ask(self, data: bytes, content_type: str) -> bytes:
        headers = {"Content-Type": content_type, **self._headers}
        # No redirects: the picture, and the token, go where the operator said and nowhere else.
        async with self._session.post(self._url, data=data, headers=headers, allow_redirects=False) as answer:
            if answer.status != 200:
                raise ValueError(f"status {answer.status}")
            told = b""
            while len(told) <= ANSWER_MAX and (more := await answer.content.read(ANSWER_MAX)):
                told += more
        if len(told) > ANSWER_MAX:
            raise ValueError(f"an answer of more than {ANSWER_MAX} bytes")
        return told


def _verdict(told: bytes) -> Verdict:
    """Only a plain yes is a yes: ``"allowed": "true"`` or 1 is no answer. Raises ValueError."""
    read = json.loads(told)
    answer = read if isinstance(read, dict) else {}
    allowed, reason = answer.get("allowed"), answer.get("reason")
    if allowed is not True and allowed is not False:
        raise ValueError("no allowed: true or false in the answer")
    return Verdict(allowed=allowed, reason=_NOT_PLAIN.sub("", reason)[:REASON_MAX].strip() if isinstance(reason, str) else "")
