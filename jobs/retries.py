"""A limit on tries again, over all jobs: when everything fails, trying everything again at once is what keeps it failing."""

from collections.abc import Callable


class RetryBudget:
    """Tries in hand: a tenth of one for each run that ended well, and five a minute. Seconds, monotonic."""

    def __init__(self, *, now: Callable[[], float], share: float = 0.1, per_minute: float = 5.0, at_most: float = 20.0) -> None:
        self._now = now
        self._share = share
        self._per_second = per_minute / 60
        self._at_most = at_most
        self._left = at_most
        self._at = now()

    def earn(self) -> None:
        """A run ended well."""
        self._left = min(self._at_most, self._left + self._share)

    def spend(self) -> bool:
        """Take one; False when there is none, so that this job waits as long as a job ever waits between tries."""
        present = self._now()
        self._left = min(self._at_most, self._left + (present - self._at) * self._per_second)
        self._at = present
        if self._left < 1:
            return False
        self._left -= 1
        return True
