"""What the gallery remembers. A port; the ledger's database has it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Gallery(Protocol):
    """All methods raise StoreUnavailable."""

    async def begin(self, values: Mapping[str, Any]) -> tuple[int, str]:
        """Note that a picture is about to be published: (its number for good, the state it was in before, "" when new)."""
        ...

    async def posted(self, seq: int, message_id: str) -> bool:
        """It hangs there now. False when it is not to hang any more: it was taken back meanwhile."""
        ...

    async def taking(self, seq: int) -> None:
        """It is about to be taken from the wall."""
        ...

    async def unfinished(self) -> Sequence[Mapping[str, Any]]:
        """What a process left between two steps: about to be hung, or to be taken down."""
        ...

    async def undone(self, seq: int) -> None:
        """It was taken back."""
        ...

    async def get(self, seq: int) -> Mapping[str, Any] | None:
        """One publication with its ``votes``, or None."""
        ...

    async def of_job(self, job_id: str) -> Sequence[Mapping[str, Any]]:
        """What of a job hangs in a gallery now."""
        ...

    async def vote(self, seq: int, user_id: str) -> tuple[int, bool]:
        """Give or take back one's vote: (votes now, whether one's own is among them)."""
        ...
