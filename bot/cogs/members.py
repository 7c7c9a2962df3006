"""What is remembered of each person: how they like things, their favourites, their pictures. A port; the ledger's database has it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

from jobs.job import Job, JobId, UserId


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """What somebody chose in /settings. None means: as the house has it."""

    language: str | None = None
    model: str | None = None
    size: str | None = None
    persona: str | None = None
    dm: bool = False
    """Whether a direct message tells of each finished picture."""
    input: str | None = None
    """``job:picture`` that "Use as input" kept for the next command."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """From what is stored; what another version wrote and this one does not know is ignored."""
        texts = {name: values[name] for name in ("language", "model", "size", "persona", "input") if isinstance(values.get(name), str)}
        return cls(**texts, dm=values.get("dm") is True)


class Members(Protocol):
    """All methods raise StoreUnavailable."""

    async def preferences(self, user_id: UserId) -> Mapping[str, Any]:
        """What the person chose, {} at first."""
        ...

    async def everybodys_preferences(self, *, limit: int) -> Mapping[UserId, Mapping[str, Any]]:
        """What everybody chose who chose anything, ``limit`` of them at most."""
        ...

    async def prefer(self, user_id: UserId, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change some of it (None takes a choice back); all of it as it is now."""
        ...

    async def favour(self, user_id: UserId, job_id: JobId, *, favourite: bool) -> None:
        """Mark or unmark. Harmless when it is so already."""
        ...

    async def is_favourite(self, user_id: UserId, job_id: JobId) -> bool:
        """Whether it is marked."""
        ...

    async def search(
        self, user_id: UserId, *, words: str, model: str | None, favourites: bool, with_pictures: bool, skip: int, limit: int
    ) -> Sequence[Job]:
        """The person's jobs whose words hold every word asked for, newest first."""
        ...

    async def turn_of(self, user_id: UserId, job_id: JobId, ending: Literal["done", "failed"]) -> tuple[int, int]:
        """(which request of the person's it is, how many of theirs ended that way before this one), both from 0."""
        ...

    async def maker_of(self, sha256: str) -> JobId | None:
        """The job that made the file of this digest, if one here did."""
        ...

    async def is_open(self, job_id: JobId) -> bool:
        """Whether it was published with its prompt, so that everybody may read how it was made."""
        ...

    async def discard(self, user_id: UserId, job_id: JobId) -> bool:
        """Take the pictures from a job of this person's; False when there were none."""
        ...

    async def export(self, user_id: UserId) -> Mapping[str, Any]:
        """Everything stored of a person, as JSON values."""
        ...

    async def erase(self, user_id: UserId) -> int:
        """Delete everything stored of a person, waiting and running jobs too; how many jobs it were."""
        ...
