"""A look at finished pictures before anybody sees them: the port, and what becomes of a verdict. Off unless an operator brings a judge."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jobs.job import Failure, Picture


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """May it be shown, and if not, why: a few plain words for its person."""

    allowed: bool
    reason: str = ""


class JudgeAway(Exception):
    """No verdict could be had, and without one nothing is to be shown."""


class Classifier(Protocol):
    """Judges pictures that are checked and drawn anew. What is behind it is the operator's."""

    async def judge(self, data: bytes, picture: Picture) -> Verdict:
        """The verdict on one picture, within a time of its own. Raises JudgeAway."""
        ...


async def refused(classifier: Classifier | None, made: Sequence[tuple[bytes, Picture]]) -> Failure | None:
    """Why these pictures of one job are not shown; None when all may be. One that may not keeps all back.

    They are judged at once, so that a judge who is away holds a job up for one picture's time and not for ten's.
    """
    if classifier is None:
        return None
    asked: list[asyncio.Task[Verdict]] = []
    away = False
    try:
        async with asyncio.TaskGroup() as group:
            asked += [group.create_task(classifier.judge(data, picture)) for data, picture in made]
    except* JudgeAway:
        away = True
    if away:
        return Failure(code="not_judged")
    blocked = [verdict for task in asked if not (verdict := task.result()).allowed]
    return Failure(code="picture_blocked", details={"reason": blocked[0].reason or "–"}) if blocked else None
