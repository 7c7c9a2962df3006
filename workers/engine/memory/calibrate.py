"""Measuring a worker's own passes: seconds and peak memory by model, shape and rows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from workers.engine.catalog import ModelSource
from workers.engine.families.base import Family
from workers.engine.memory.table import Curve, Pass, best_batch
from workers.engine.memory.weights import stamp_of
from workers.engine.run import RunSpec

#: Passes that are timed for each size, after one that is not; fewer where they are long.
_PASSES = 5
_LONG_SECONDS = 20.0


class Meter(Protocol):
    """What measuring needs of a meter."""

    def wait(self) -> None:
        """Until the device has done all that was begun."""
        ...

    def forget_peak(self) -> None:
        """Begin a new measurement of the peak."""
        ...

    def peak_bytes(self) -> int | None:
        """The most memory in use since then; None where the device does not tell."""
        ...

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error means that memory ran out."""
        ...

    def release_memory(self) -> None:
        """Give unused memory back."""
        ...


def shapes_of(source: ModelSource) -> Iterable[tuple[int, int]]:
    """The sizes to measure: the model's own, and half of its sides where it takes that."""
    shape = source.shape
    yield shape.default_width, shape.default_height
    half = (shape.default_width // 2, shape.default_height // 2)
    if min(half) >= shape.side_min and not any(side % shape.size_multiple for side in half):
        yield half


def measure(
    meter: Meter, family: Family, source: ModelSource, *, width: int, height: int, rows_max: int, tell: Callable[[Pass], None]
) -> Curve:
    """Passes of 1 to `rows_max` rows at one size, until the next one does not fit or two in a row did not gain."""
    passes: list[Pass] = []
    for rows in range(1, rows_max + 1):
        try:
            passes.append(_measured(meter, family, _specs(source, width, height, rows)))
        except Exception as error:
            if not meter.is_out_of_memory(error):
                raise
            meter.release_memory()
            break
        tell(passes[-1])
        best = best_batch({one.rows: one.seconds for one in passes}) or 1
        if rows >= best + 2:
            break
    return Curve(model=source.name, stamp=stamp_of(source), width=width, height=height, frames=frames_of(source), passes=tuple(passes))


def frames_of(source: ModelSource) -> int:
    """Frames of what is measured: of a model that makes stills, none."""
    return 0 if "text_to_image" in source.shape.kinds else source.shape.default_frames


def _specs(source: ModelSource, width: int, height: int, rows: int) -> list[RunSpec]:
    shape, card = source.shape, source.card
    kind = "text_to_image" if "text_to_image" in shape.kinds else shape.kinds[0]
    guidance = shape.default_guidance if card.default_guidance is None else card.default_guidance
    return [
        RunSpec(
            model=source.name, kind=kind, prompt="a red star on a blue background", width=width, height=height, steps=8,
            guidance=guidance, seed=row, frames=frames_of(source) or None,
        )
        for row in range(rows)
    ]  # fmt: skip


def _measured(meter: Meter, family: Family, specs: list[RunSpec]) -> Pass:
    states = family.prepare(specs)
    first = _timed(meter, family, states)
    meter.forget_peak()
    before = meter.peak_bytes()
    seconds = [_timed(meter, family, states) for _ in range(1 if first > _LONG_SECONDS else _PASSES)]
    peak, base = meter.peak_bytes(), before
    return Pass(
        rows=len(specs),
        seconds=max(1e-9, statistics.median(seconds)),
        peak_bytes=None if peak is None or base is None else max(0, peak - base),
    )


def _timed(meter: Meter, family: Family, states: list[Any]) -> float:
    began = time.perf_counter()
    family.denoise(states)
    meter.wait()
    return time.perf_counter() - began
