"""How long things take: learned from what was measured, unknown until then.

Rates are seconds per million pixels and step, as exponentially weighted means of their logarithms: for (worker, model, size, rows of
the pass), and for what is left of that when the more special names are unknown. A range is the mean with 1.28 deviations of what
predictions were off, 80 % of a normal distribution; a forecast of a whole wait has its range from how far earlier forecasts were off
(:class:`Calibration`).
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil, exp, isfinite, log, log2, sqrt
from typing import Any

from jobs.request import Order

_WEIGHT = 0.2
"""Of the newest measurement: a change of machine load is forgotten within five or ten jobs."""

_WEIGHT_OF_SPREAD = 0.08
"""A variance needs more measurements than a mean."""

_SPREAD_80 = 1.28
_SPREAD_AT_FIRST = 0.35
"""Deviation of the logarithm that one measurement says: about 35 % off."""

_GAIN_STEP = 0.96
_PATIENCE = 2.5
"""A pass of b rows is worth it where T(b) ≤ 0.96·b/(b−1)·T(b−1) at each step, and takes nobody more than 2.5 times as long as alone."""

_PAYS = 1.15

_QUICKEST, _SLOWEST = 1e-3, 1e6
"""Seconds: no measurement is shorter or longer. They come from workers, and one number beyond belief would stay for ever."""
_UNBELIEVABLE = 60.0
"""Of a logarithm: what is stored beyond it was learned before there were these limits."""

COLD_START = 4.0
"""Seconds per step and million pixels where nothing was measured: a middling card and model. Only the proportions between jobs matter
for fairness, and those are in the steps and pixels."""


@dataclass(frozen=True, kw_only=True)
class Eta:
    """Seconds from now, most likely (80 %) between ``low`` and ``high``."""

    low: float
    high: float


@dataclass
class _Rate:
    """Exponentially weighted mean and variance of a logarithm."""

    mean: float
    variance: float = _SPREAD_AT_FIRST**2
    seen: int = 1

    def learn(self, value: float) -> None:
        off = value - self.mean
        weight = max(_WEIGHT, 1 / (self.seen + 1))
        self.seen += 1
        self.mean += weight * off
        weight = max(_WEIGHT_OF_SPREAD, 1 / (self.seen + 1))
        self.variance += weight * (off * off - self.variance)


def work(order: Order) -> float:
    """Steps times million pixels, of all its pictures and frames together."""
    frames = order.frames or 1
    grown = (order.scale or 1) ** 2
    return max(order.steps, 1) * order.width * order.height * frames * grown * order.rows / 1e6


_Name = tuple[str, str, int, int]
"""Worker, model, size class, rows of the pass; empty or 0 where it does not matter."""


class Estimator:
    """Predicts seconds from finished runs. :meth:`dump` and :meth:`load` carry it over a restart, as JSON."""

    def __init__(self) -> None:
        self._rates: dict[_Name, _Rate] = {}
        self._swaps: dict[tuple[str, str], _Rate] = {}
        self._paces: dict[tuple[str, str], _Rate] = {}
        self.calibration = Calibration()

    # -- learning ---------------------------------------------------------------------------------------------------------

    def observe(self, worker: str, order: Order, seconds: float, *, rows: int | None = None) -> None:
        """Learn from a finished run that took ``seconds`` on ``worker`` in a pass of ``rows`` (its own where it was alone)."""
        if not _is_measured(seconds):
            return
        seconds = _credible(seconds)
        rows = rows or order.rows
        self._learn_pace(worker, self.cost(order) / seconds, rows / order.rows)
        for name in _names(worker, order, rows):
            value = log(seconds / _unit(name, order))
            known = self._rates.get(name)
            if known is None:
                self._rates[name] = _Rate(value)
            else:
                known.learn(value)

    def observe_swap(self, worker: str, model: str, seconds: float) -> None:
        """Learn what loading a model took."""
        if not _is_measured(seconds):
            return
        seconds = _credible(seconds)
        for name in ((worker, model), (worker, "")):
            known = self._swaps.get(name)
            if known is None:
                self._swaps[name] = _Rate(log(seconds))
            else:
                known.learn(log(seconds))

    # -- predicting -------------------------------------------------------------------------------------------------------

    def predict(self, order: Order, *, worker: str = "", rows: int | None = None) -> Eta | None:
        """Seconds of one run of ``order``; ``worker`` empty means "whichever". None while nothing like it was measured."""
        found = self._known(worker, order, rows or order.rows)
        if found is None:
            return None
        rate, middle = found
        spread = _SPREAD_80 * sqrt(max(rate.variance, 0.02**2) * (1 + 1 / rate.seen))
        return Eta(low=middle * exp(-spread), high=middle * exp(spread))

    def cost(self, order: Order) -> float:
        """Seconds that it takes alone on the reference worker (the middle of those that have the model): what fairness charges."""
        found = self._known("", order, order.rows)
        return COLD_START * work(order) if found is None else found[1]

    def kept(self, worker: str, order: Order, seconds: float, *, rows: int | None = None) -> float:
        """How a finished run compares with what this worker was expected to need for it in such company; 1 where nothing was known."""
        found = self._known(worker, order, rows or order.rows)
        return 1.0 if found is None or not _is_measured(seconds) else _credible(seconds) / found[1]

    def swap(self, worker: str, model: str) -> float | None:
        """Seconds to load a model there; None while none was loaded."""
        known = self._swaps.get((worker, model)) or self._swaps.get((worker, ""))
        return None if known is None else exp(known.mean)

    def pace(self, worker: str) -> float:
        """Solo seconds of work it does in a second, all its company together; 1 until something was measured."""
        known = self._paces.get((worker, "pace"))
        return 1.0 if known is None else exp(known.mean)

    def stretch(self, worker: str) -> float:
        """How many times as long as alone on the reference worker a job takes there, in the company it usually has."""
        known = self._paces.get((worker, "stretch"))
        return 1.0 if known is None else exp(known.mean)

    def knows(self, model: str) -> bool:
        """Whether anything was measured with this model."""
        return ("", model, 0, 0) in self._rates

    def speed(self, worker: str) -> float:
        """Against the reference worker, over the models that were measured on both; 1 where none was."""
        ratios = [
            self._rates["", model, size, rows].mean - rate.mean
            for (name, model, size, rows), rate in self._rates.items()
            if name == worker and size and rows and ("", model, size, rows) in self._rates
        ]
        return exp(sum(ratios) / len(ratios)) if ratios else 1.0

    def best_rows(self, worker: str, model: str) -> int | None:
        """The largest pass that this worker was measured to gain from, over all sizes; None until passes of two were seen."""
        sizes = {size for name, known, size, rows in self._rates if (name, known) == (worker, model) and size and rows}
        found = [best for size in sizes if (best := self._best_rows(worker, model, size)) is not None]
        return min(found, default=None)

    def company(self, worker: str, model: str) -> tuple[float, float] | None:
        """(seconds that an idle worker may wait for company, seconds of its time that one companion saves); None where it does not pay.

        At most 50 ms and a tenth of a pass alone, and only where a pass of two was measured to do 1.15 times the work.
        """
        found: list[tuple[float, float]] = []
        for (name, known, size, rows), rate in self._rates.items():
            if (name, known, rows) == (worker, model, 1) and size and (two := self._rates.get((worker, model, size, 2))) is not None:
                alone, together = exp(rate.mean), exp(two.mean)
                if 2 * alone / together < _PAYS:
                    return None
                found.append((alone, 2 * alone - together))
        if not found:
            return None
        # A rate is per step and million pixels; twenty steps of one million are taken for the pass that is waited for.
        alone, saved = min(found)
        return min(0.05, 0.1 * alone * 20), saved * 20

    # -- keeping ----------------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Everything learned, as JSON."""
        rates = [[*name, rate.mean, rate.variance, rate.seen] for name, rate in self._rates.items()]
        swaps = [[*name, rate.mean, rate.variance, rate.seen] for name, rate in self._swaps.items()]
        paces = [[*name, rate.mean, rate.variance, rate.seen] for name, rate in self._paces.items()]
        return {"rates": rates, "swaps": swaps, "paces": paces, "calibration": self.calibration.dump()}

    def load(self, stored: Mapping[str, Any]) -> None:
        """Go on from what :meth:`dump` gave; rows of another version's shape are left out."""
        for worker, model, size, rows, *rate in _rows_of(stored.get("rates"), 7):
            self._rates[str(worker), str(model), int(size), int(rows)] = _Rate(*rate)
        for worker, model, *rate in _rows_of(stored.get("swaps"), 5):
            self._swaps[str(worker), str(model)] = _Rate(*rate)
        for worker, what, *rate in _rows_of(stored.get("paces"), 5):
            self._paces[str(worker), str(what)] = _Rate(*rate)
        self.calibration.load(stored.get("calibration", {}))

    # -- inside -----------------------------------------------------------------------------------------------------------

    def _learn_pace(self, worker: str, alone: float, company: float) -> None:
        for name, value in (((worker, "pace"), log(alone * company)), ((worker, "stretch"), -log(alone))):
            known = self._paces.get(name)
            if known is None:
                self._paces[name] = _Rate(value)
            else:
                known.learn(value)

    def _known(self, worker: str, order: Order, rows: int) -> tuple[_Rate, float] | None:
        """The most special rate known, and the seconds it predicts."""
        for name in _names(worker, order, rows):
            if name in self._rates:
                return self._rates[name], exp(self._rates[name].mean) * _unit(name, order)
        return None

    def _best_rows(self, worker: str, model: str, size: int) -> int | None:
        """By the rates of passes of 1, 2, … rows, as far as they were seen without a gap."""
        alone = self._rates.get((worker, model, size, 1))
        if alone is None or (worker, model, size, 2) not in self._rates:
            return None
        best = 1
        while (larger := self._rates.get((worker, model, size, best + 1))) is not None:
            before = self._rates[worker, model, size, best]
            if exp(larger.mean) > _GAIN_STEP * (best + 1) / best * exp(before.mean):
                return best
            if exp(larger.mean) > _PATIENCE * exp(alone.mean):
                return best
            best += 1
        return None if best < 2 else best + 1  # one more than was seen: else nobody would ever find out


def _size(order: Order) -> int:
    """Area in steps of a square root of two, frames included; never 0."""
    return round(2 * log2(order.width * order.height * (order.frames or 1))) + 1


def _unit(name: _Name, order: Order) -> float:
    """What a rate is measured in: one row's work where the pass is known by its rows, else all of the order's."""
    return work(order) / order.rows if name[3] else work(order)


def _names(worker: str, order: Order, rows: int) -> Iterator[_Name]:
    """From the most special to the most general."""
    for name in dict.fromkeys((worker, "")):
        yield name, order.model, _size(order), rows
        yield name, order.model, _size(order), 0
        yield name, order.model, 0, 0


def _is_measured(seconds: float) -> bool:
    return isfinite(seconds) and seconds > 0


def _credible(seconds: float) -> float:
    return min(max(seconds, _QUICKEST), _SLOWEST)


def _rows_of(stored: Any, length: int) -> Iterator[list[Any]]:
    """Those of this shape, ending in (mean, variance, seen), that a house could have measured."""
    for row in stored if isinstance(stored, list) else ():
        if isinstance(row, list) and len(row) == length and all(isinstance(number, int | float) for number in row[-3:]):
            mean, variance, seen = row[-3:]
            if abs(mean) <= _UNBELIEVABLE and 0 <= variance <= _UNBELIEVABLE**2 and seen >= 1:  # for NaN none of it holds
                yield row


@dataclass
class Calibration:
    """How far forecasts were off, in kinds of their length: the range of the next one is where 80 % of the last would have lain.

    Distribution-free: whatever the queue does, of the ranges given in a steady state four in five hold.
    """

    window: int = 300
    off: dict[int, deque[float]] = field(default_factory=dict)
    """Logarithms of (what it took / what was forecast), newest last, by the forecast's length."""
    _said: dict[str, tuple[float, float]] = field(default_factory=dict)

    def said(self, job_id: str, at: float, forecast: float) -> None:
        """A job's first forecast, made at ``at`` (seconds of the ledger's clock); later ones are not judged."""
        if job_id not in self._said:
            self._said[job_id] = at, forecast
            while len(self._said) > _SAID_MAX:
                del self._said[next(iter(self._said))]

    def came(self, job_id: str, at: float) -> None:
        """The job is done: learn how far its first forecast was off. A job that got none teaches nothing."""
        known = self._said.pop(job_id, None)
        if known is not None:
            self.observe(known[1], at - known[0])

    def observe(self, forecast: float, took: float) -> None:
        """A forecast has come true or not: both in seconds from when it was made."""
        if _is_measured(forecast) and _is_measured(took):
            self.off.setdefault(_length(forecast), deque(maxlen=self.window)).append(log(took / forecast))

    def range(self, forecast: float) -> Eta:
        """The range around a forecast of so many seconds."""
        known = sorted(self._nearest(_length(forecast)))
        if len(known) < _ENOUGH:
            return Eta(low=forecast * 0.5, high=forecast * 2.0)
        # Ranks of the finite sample (n+1): with few forecasts known the range is wider, not too narrow.
        rank = ceil(0.9 * (len(known) + 1))
        high, low = known[min(rank, len(known)) - 1], known[max(len(known) - rank, 0)]
        return Eta(low=forecast * exp(low), high=forecast * exp(high))

    def dump(self) -> dict[str, list[float]]:
        """As JSON."""
        return {str(length): [round(value, 4) for value in values] for length, values in self.off.items()}

    def load(self, stored: Mapping[str, Any]) -> None:
        """Go on from what :meth:`dump` gave."""
        for length, values in stored.items():
            if length.lstrip("-").isdecimal() and isinstance(values, list):
                sound = (float(value) for value in values if isinstance(value, int | float) and isfinite(value))
                self.off[int(length)] = deque(sound, maxlen=self.window)

    def _nearest(self, length: int) -> deque[float]:
        """Of this length, or of the nearest one with enough known."""
        enough = [known for known, values in self.off.items() if len(values) >= _ENOUGH]
        return self.off[min(enough, key=lambda known: abs(known - length))] if enough else deque()


_ENOUGH = 10

_SAID_MAX = 10_000
"""Forecasts remembered until their jobs end; the oldest are forgotten first."""


def _length(seconds: float) -> int:
    """Kind of a forecast: powers of four seconds."""
    return max(0, round(log(max(seconds, 1.0), 4)))
