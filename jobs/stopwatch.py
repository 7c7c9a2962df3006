"""What the host's own clock says of a run: it bounds what the worker says, which may be anything."""

from dataclasses import dataclass
from math import isfinite

LONGEST = 24 * 3600.0
"""Seconds. Nobody lets a run go on for so long; what is told of one is cut to it."""
SHORTEST = 0.001


@dataclass(kw_only=True)
class Stopwatch:
    """Of one run. All moments are monotonic seconds of this host."""

    ordered: float | None = None
    """When its worker was asked for it; None for a run that was taken up after a restart."""
    first_step: float | None = None
    last_step: float | None = None

    def heard_of_a_step(self, now: float) -> None:
        """A step was told of."""
        self.first_step = now if self.first_step is None else self.first_step
        self.last_step = now

    def believed(self, said: float, now: float) -> float:
        """Seconds that it took: as its worker says, where that can be; never more than passed here, nor less than from step to step."""
        most = LONGEST if self.ordered is None else max(now - self.ordered, SHORTEST)
        least = max((self.last_step or 0.0) - (self.first_step or 0.0), SHORTEST)
        if not isfinite(said) or said <= 0:  # nobody said: what passed here is all there is
            return least if self.ordered is None else most
        return min(max(said, least), most)
