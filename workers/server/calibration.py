"""``darkroom worker --calibrate``: measure every model once, keep the figures, say what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from workers.engine.catalog import Builtin, ModelSource, discover
from workers.engine.errors import ModelUnreadable
from workers.engine.memory import calibrate, table
from workers.engine.memory.table import Curve, Pass, Table
from workers.engine.ports import Backend


class MeasuringBackend(Backend, calibrate.Meter, Protocol):
    """A backend that can be measured, as `backend.TorchBackend`."""


def run(
    backend: MeasuringBackend,
    *,
    models: Path | None,
    builtin: Mapping[str, Builtin],
    measured: Path,
    rows_max: int,
    announce: Callable[[str], None],
) -> int:
    """Measure all models at their sizes; the exit status. What was measured is kept after each model."""
    sources = discover(models, builtin).models
    kept = table.read(measured, device=backend.device().label)
    for source in sources.values():
        try:
            kept = _measured(backend, source, kept, rows_max=rows_max, announce=announce)
        except ModelUnreadable as error:
            announce(f"{source.name}: {error}")
            continue
        table.write(measured, kept)
    announce(f"measured {len(sources)} models on {backend.device().name}; kept in {measured}")
    return 0 if sources else 1


def _measured(backend: MeasuringBackend, source: ModelSource, kept: Table, *, rows_max: int, announce: Callable[[str], None]) -> Table:
    family = backend.load(source)
    for width, height in calibrate.shapes_of(source):

        def tell(one: Pass, width: int = width, height: int = height) -> None:
            memory = "" if one.peak_bytes is None else f", {one.peak_bytes / 2**20:.0f} MiB"
            announce(f"{source.name} {width}x{height}: {one.rows} at once: {one.seconds * 1000:.1f} ms a step{memory}")

        curve = calibrate.measure(backend, family, source, width=width, height=height, rows_max=rows_max, tell=tell)
        announce(_verdict(curve))
        kept = kept.with_curve(curve)
    del family
    backend.release_memory()
    return kept


def _verdict(curve: Curve) -> str:
    best = curve.best
    if best is None:
        return f"{curve.model} {curve.width}x{curve.height}: not even one picture fits into memory"
    seconds = {one.rows: one.seconds for one in curve.passes}
    gain = best * seconds[1] / seconds[best]
    return f"{curve.model} {curve.width}x{curve.height}: batches gain up to {best} ({gain:.2f} times the pictures a second)"
