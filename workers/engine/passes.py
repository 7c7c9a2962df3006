"""Doing one thing for many runs so that one run's trouble stays its own.

Work that fails for several runs is done again for each half of them: out of memory costs nobody the job (and the size
that fits is remembered), and a run that breaks whatever it takes part in is found and fails alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from workers.engine.errors import RunFailure
from workers.engine.families.base import Family
from workers.engine.ports import Backend
from workers.engine.run import Run

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Out = TypeVar("Out")

#: After so many seconds a remembered limit is tried doubled: memory may have come back.
_FORGET_SECONDS = 900.0


@dataclass(kw_only=True)
class _Limit:
    runs: int
    since: float


class Limits:
    """How many runs fit one pass, learned from running out of memory, by model and shape."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._learned: dict[Hashable, _Limit] = {}

    def runs(self, key: Hashable) -> int:
        """How many runs to put in one pass; 0 means one run whose rows go one by one."""
        limit = self._learned.get(key)
        if limit is None:
            return self._most
        if self._clock() - limit.since > _FORGET_SECONDS:
            limit.runs, limit.since = max(1, limit.runs * 2), self._clock()
            if limit.runs >= self._most:
                del self._learned[key]
        return limit.runs

    def too_many(self, key: Hashable, runs: int) -> None:
        """Remember that so many did not fit."""
        fits = runs // 2
        known = self._learned.get(key)
        self._learned[key] = _Limit(runs=fits if known is None else min(known.runs, fits), since=self._clock())
        _log.warning("%d runs of %s did not fit into memory; from now on at most %d", runs, key, max(1, fits))


class Workbench:
    """Prepares, denoises and decodes for the loop. Knows memory and blame, not order."""

    def __init__(self, backend: Backend, limits: Limits) -> None:
        self._backend = backend
        self._limits = limits

    def prepare(self, family: Family, runs: Sequence[Run]) -> list[RunFailure | None]:
        """Give each run its state, or say why it has none."""

        def work(part: Sequence[Run]) -> list[None]:
            for run, state in zip(part, family.prepare([run.spec for run in part]), strict=True):
                run.state = state
            return [None] * len(part)

        return self._halving(work, runs)

    def denoise(self, family: Family, key: Hashable, runs: Sequence[Run]) -> list[Any | RunFailure]:
        """Each run's prediction or its failure, in as few passes as fit. Notes the company each had."""

        def work(part: Sequence[Run]) -> list[Any]:
            predictions = family.denoise([run.state for run in part], sparing=self._limits.runs(key) == 0)
            for run in part:
                run.shared_a_pass(len(part) - 1)
            return predictions

        def too_many(number: int) -> bool:
            tried_all = number == 1 and self._limits.runs(key) == 0
            self._limits.too_many(key, number)
            return not tried_all

        out: list[Any | RunFailure] = []
        at = 0
        while at < len(runs):
            part = runs[at : at + max(1, self._limits.runs(key))]
            out += self._halving(work, part, too_many=too_many)
            at += len(part)
        return out

    def step(self, family: Family, run: Run, prediction: Any) -> RunFailure | None:
        """Take one run on."""
        return self._halving(lambda part: [family.step(part[0].state, prediction)], [run])[0]

    def preview(self, family: Family, run: Run) -> Any | RunFailure:
        """A small guess of the run's pixels. A failure here is no failure of the run."""
        return self._halving(lambda part: [family.preview(part[0].state)], [run])[0]

    def decode(self, family: Family, run: Run) -> Any | RunFailure:
        """The run's pixels."""
        tries = iter((False, True))

        def work(part: Sequence[Run]) -> list[Any]:
            return [family.decode(part[0].state, sparing=next(tries))]

        again = iter((True,))
        return self._halving(work, [run], too_many=lambda _: next(again, False))[0]

    def _halving(
        self,
        work: Callable[[Sequence[Item]], list[Out]],
        items: Sequence[Item],
        *,
        too_many: Callable[[int], bool] = lambda _: False,
    ) -> list[Out | RunFailure]:
        """Do `work` for all items, or for halves of them where that fails; one result or failure an item.

        `too_many` hears of each failure for want of memory and says whether a single item is worth another try.
        """
        try:
            return [*work(items)]
        except Exception as error:  # noqa: BLE001 - whatever a model raises must not end its neighbours
            no_memory = self._backend.is_out_of_memory(error)
            failure = self._blamed(error, no_memory=no_memory)
        # Outside the except block: the traceback would keep the tensors of the failed try alive.
        again = too_many(len(items)) if no_memory else False
        if no_memory:
            self._backend.release_memory()
        if len(items) == 1:
            return self._halving(work, items, too_many=too_many) if again else [failure]
        middle = len(items) // 2
        return [
            *self._halving(work, items[:middle], too_many=too_many),
            *self._halving(work, items[middle:], too_many=too_many),
        ]

    @staticmethod
    def _blamed(error: Exception, *, no_memory: bool) -> RunFailure:
        if isinstance(error, RunFailure):
            return error
        if no_memory:
            return RunFailure(
                "out_of_memory",
                "This picture does not fit into the worker's memory, even alone.",
                blame="out_of_memory",
            )
        _log.error("A run failed in the engine", exc_info=error)
        return RunFailure("engine_error", f"The engine raised {type(error).__name__}; the worker's log says more.", blame="infra")
