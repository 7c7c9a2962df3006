"""People in the order of their accounts, corrected lazily.

An account that grows leaves its entry behind, too low: the entry is put right when it comes to the top. One that shrinks is offered
anew, and the older entry is dropped when it comes up. So a lease touches no heap at all.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace
from typing import NamedTuple

from jobs.job import UserId

Standing = Callable[[UserId], float | None]
"""Someone's account now, or None when they have nothing to be chosen here."""


class Entry(NamedTuple):
    """``place`` of the person's first job decides between equals: the older request goes first."""

    v: float
    place: int
    user_id: UserId


class Heads:
    """A heap of people; each has one entry that counts."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._posted: dict[UserId, float] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def offer(self, user: UserId, v: float, place: int) -> None:
        """Someone may be chosen from now on, or stands lower than before."""
        posted = self._posted.get(user)
        if posted is None or v < posted:
            self._posted[user] = v
            heappush(self._entries, Entry(v, place, user))

    def fill(self, entries: list[Entry]) -> None:
        """Offer many at once, to an empty heap."""
        self._entries = entries
        self._posted = {entry.user_id: entry.v for entry in entries}
        heapify(self._entries)

    def least(self, standing: Standing) -> Entry | None:
        """Whoever stands lowest now."""
        while self._entries:
            entry = self._entries[0]
            if self._posted.get(entry.user_id) != entry.v:
                heappop(self._entries)
                continue
            now = standing(entry.user_id)
            if now is None:
                heappop(self._entries)
                del self._posted[entry.user_id]
            elif now > entry.v:
                self._posted[entry.user_id] = now
                heapreplace(self._entries, Entry(now, entry.place, entry.user_id))
            else:
                return entry
        return None

    def set_aside(self) -> Entry:
        """Take the lowest entry away, to be given back."""
        return heappop(self._entries)

    def give_back(self, entries: list[Entry]) -> None:
        """Undo :meth:`set_aside`."""
        for entry in entries:
            heappush(self._entries, entry)


class Cursor:
    """Reads a heap in order and puts everything back when closed."""

    def __init__(self, heads: Heads, standing: Standing) -> None:
        self._heads = heads
        self._standing = standing
        self._aside: list[Entry] = []

    def peek(self) -> Entry | None:
        """The lowest entry not yet passed."""
        return self._heads.least(self._standing)

    def skip(self) -> None:
        """Pass the entry that :meth:`peek` showed."""
        self._aside.append(self._heads.set_aside())

    def close(self) -> None:
        """Leave the heap as it was."""
        self._heads.give_back(self._aside)
        self._aside = []
