"""Doing one thing for many rows so that one row's trouble stays its own.

Work that fails for several rows is done again for each half of them: out of memory costs nobody the job (and the size
that fits is remembered), and a row that breaks whatever it takes part in is found and fails alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from workers.engine.errors import RunFailure
from workers.engine.families.base import Family
from workers.engine.ports import Backend
from workers.engine.run import Row

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Out = TypeVar("Out")

#: After so many seconds a remembered limit is tried doubled: memory may have come back.
_FORGET_SECONDS = 900.0


@dataclass(kw_only=True)
class _Limit:
    rows: int
    since: float


class Limits:
    """How many rows fit one pass, learned from running out of memory, by model and shape."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._learned: dict[Hashable, _Limit] = {}

    def rows(self, key: Hashable) -> int:
        """How many rows to put in one pass; 0 means one row whose halves (text and no text) go one by one."""
        limit = self._learned.get(key)
        if limit is None:
            return self._most
        if self._clock() - limit.since > _FORGET_SECONDS:
            limit.rows, limit.since = max(1, limit.rows * 2), self._clock()
            if limit.rows >= self._most:
                del self._learned[key]
        return limit.rows

    def too_many(self, key: Hashable, rows: int) -> None:
        """Remember that so many did not fit."""
        fits = rows // 2
        known = self._learned.get(key)
        self._learned[key] = _Limit(rows=fits if known is None else min(known.rows, fits), since=self._clock())
        _log.warning("%d rows of %s did not fit into memory; from now on at most %d", rows, key, max(1, fits))


class Workbench:
    """Prepares, denoises and decodes for the loop. Knows memory and blame, not order."""

    def __init__(self, backend: Backend, limits: Limits) -> None:
        self._backend = backend
        self._limits = limits

    def prepare(self, family: Family, rows: Sequence[Row]) -> list[RunFailure | None]:
        """Give each row its state, or say why it has none. On the thread that prepares."""

        def work(part: Sequence[Row]) -> list[None]:
            for row, state in zip(part, family.prepare([row.spec for row in part]), strict=True):
                row.state = state
            return [None] * len(part)

        return self._halving(work, rows)

    def denoise(self, family: Family, key: Hashable, rows: Sequence[Row]) -> list[Any | RunFailure]:
        """Each row's prediction or its failure, in as few passes as fit. Notes the company each run had."""

        def work(part: Sequence[Row]) -> list[Any]:
            predictions = family.denoise([row.state for row in part], sparing=self._limits.rows(key) == 0)
            runs = {id(row.run): row.run for row in part}
            for run in runs.values():
                run.shared_a_pass(len(runs) - 1)
            return predictions

        def too_many(part: Sequence[Row]) -> bool:
            tried_all = len(part) == 1 and self._limits.rows(key) == 0
            self._limits.too_many(key, len(part))
            return not tried_all

        out: list[Any | RunFailure] = []
        at = 0
        measured = self._backend.rows_that_fit(rows[0].spec)
        most = len(rows) if measured is None else max(1, measured)
        while at < len(rows):
            part = rows[at : at + min(most, max(1, self._limits.rows(key)))]
            out += self._halving(work, part, too_many=too_many)
            at += len(part)
        return out

    def look(self, canary: Callable[[], str | None]) -> str | None:
        """Let the canary look at a pass; where it cannot (for want of memory, say), nothing was seen."""
        [seen] = self._halving(lambda _: [canary()], [None])
        return None if isinstance(seen, RunFailure) else seen

    def step(self, family: Family, row: Row, prediction: Any) -> RunFailure | None:
        """Take one row on."""
        return self._halving(lambda part: [family.step(part[0].state, prediction)], [row])[0]

    def preview(self, family: Family, glimpse: Any) -> Any | RunFailure:
        """A small guess of a row's pixels. A failure here is no failure of the run. On the thread that develops."""
        return self._halving(lambda part: [family.preview(part[0])], [glimpse])[0]

    def decode(self, family: Family, rows: Sequence[Row]) -> list[Any | RunFailure]:
        """Each row's pixels or its failure; what does not fit is halved, and alone decoded in tiles. On that thread, too."""
        tried: set[int] = set()

        def work(part: Sequence[Row]) -> list[Any]:
            return family.decode([row.state for row in part], sparing=len(part) == 1 and id(part[0]) in tried)

        def too_many(rows: Sequence[Row]) -> bool:
            again = len(rows) == 1 and id(rows[0]) not in tried
            tried.update(id(row) for row in rows if len(rows) == 1)
            return again

        return self._halving(work, rows, too_many=too_many)

    def _halving(
        self,
        work: Callable[[Sequence[Item]], list[Out]],
        items: Sequence[Item],
        *,
        too_many: Callable[[Sequence[Item]], bool] = lambda _: False,
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
        again = too_many(items) if no_memory else False
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
