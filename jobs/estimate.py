"""How long a job will take: learned from what was measured, unknown until then.

Per (worker, model) the seconds of one step per million pixels, as an exponentially weighted mean with its spread. What does
not grow with the steps (decoding, the text) is inside that mean: steps dominate at every size we serve.
"""

from dataclasses import dataclass
from math import sqrt

from jobs.request import Order

_WEIGHT = 0.25
"""Weight of the newest measurement: four or five jobs forget a change of machine load."""


@dataclass(frozen=True, kw_only=True)
class Eta:
    """Seconds from now, most likely between ``low`` and ``high``."""

    low: float
    high: float


@dataclass
class _Rate:
    mean: float
    variance: float


class Estimator:
    """Predicts seconds per order from finished ones. In memory: a restart learns anew within a few jobs."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, str], _Rate] = {}

    def observe(self, worker: str, order: Order, seconds: float) -> None:
        """Learn from a finished run that took ``seconds`` on ``worker``, company included."""
        rate = seconds / _work(order)
        for key in ((worker, order.model), ("", order.model)):
            known = self._rates.get(key)
            if known is None:
                self._rates[key] = _Rate(rate, (rate * 0.3) ** 2)
                continue
            delta = rate - known.mean
            known.mean += _WEIGHT * delta
            known.variance = (1 - _WEIGHT) * (known.variance + _WEIGHT * delta * delta)

    def predict(self, order: Order, *, worker: str = "") -> Eta | None:
        """Seconds of one run of ``order``; ``worker`` empty means "whichever". None while nothing was measured."""
        known = self._rates.get((worker, order.model)) or self._rates.get(("", order.model))
        if known is None:
            return None
        spread = 1.28 * sqrt(known.variance)  # 80 % of a normal distribution
        work = _work(order)
        return Eta(low=max(0.0, known.mean - spread) * work, high=(known.mean + spread) * work)


def _work(order: Order) -> float:
    return order.steps * order.width * order.height / 1e6
