"""A circuit breaker for one worker: three faults in a row keep it out for a while, a single run lets it back in."""

import random
from collections import deque
from collections.abc import Callable
from enum import StrEnum


class Circuit(StrEnum):
    """Closed: runs flow. Open: none do. Half-open: one run is tried."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Opens after ``in_a_row`` faults, or when more than half of the last 20 runs were faults. Seconds, monotonic."""

    def __init__(
        self,
        *,
        now: Callable[[], float],
        in_a_row: int = 3,
        pause: float = 15,
        pause_max: float = 300,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._now = now
        self._in_a_row = in_a_row
        self._first_pause = self._pause = pause
        self._pause_max = pause_max
        self._jitter = jitter
        self._row = 0
        self._last: deque[bool] = deque(maxlen=20)
        self._open_until: float | None = None

    @property
    def circuit(self) -> Circuit:
        """The present state."""
        if self._open_until is None:
            return Circuit.CLOSED
        return Circuit.OPEN if self._now() < self._open_until else Circuit.HALF_OPEN

    @property
    def seconds_left(self) -> float:
        """Until the next try; 0 unless open."""
        return max(0.0, (self._open_until or 0.0) - self._now())

    def room(self, places: int, running: int) -> int:
        """How many of ``places`` may be filled now: all, none, or one canary that runs alone."""
        match self.circuit:
            case Circuit.CLOSED:
                return places
            case Circuit.OPEN:
                return 0
            case Circuit.HALF_OPEN:
                return min(places, 1 - min(running, 1))

    def delivered(self) -> None:
        """A run ended as it should: the circuit closes."""
        self._row = 0
        self._last.append(True)
        if self._open_until is not None:
            self._last.clear()
        self._open_until = None
        self._pause = self._first_pause

    def faulted(self) -> None:
        """A run ended by the worker's fault."""
        self._row += 1
        self._last.append(False)
        half_bad = len(self._last) == self._last.maxlen and sum(self._last) < len(self._last) / 2
        if self._row >= self._in_a_row or half_bad or self.circuit is Circuit.HALF_OPEN:
            self._open_until = self._now() + self._pause * (0.75 + self._jitter() / 2)
            self._pause = min(self._pause * 2, self._pause_max)
