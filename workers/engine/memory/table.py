"""What was measured: seconds and peak memory of a pass by model, shape and rows, on one device. Kept as one JSON file.

The size that still gains is the rule of the fair plan: the largest b with T(b) <= 0.96 b/(b-1) T(b-1) at each step, and
T(b) <= 2.5 T(1).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_log = logging.getLogger(__name__)

_BYTES_MAX = 8 * 1024 * 1024
_GAIN = 0.96
_SLOWER_MAX = 2.5


class Pass(BaseModel):
    """One size of pass. Seconds are the median of several; memory is what the pass took beyond the weights."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    rows: Annotated[int, Field(ge=1, le=1024)]
    seconds: Annotated[float, Field(gt=0)]
    #: None where the device tells no peak (CPU, MPS).
    peak_bytes: Annotated[int, Field(ge=0)] | None = None


class Curve(BaseModel):
    """All sizes of one model at one shape."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    model: str
    #: Of the weights that were measured; see `weights.stamp_of`.
    stamp: str
    width: int
    height: int
    frames: int = 0
    passes: Annotated[tuple[Pass, ...], Field(max_length=256, strict=False)] = ()

    @property
    def best(self) -> int | None:
        """The largest pass that still gains; None where nothing was measured."""
        return best_batch({one.rows: one.seconds for one in self.passes})

    @property
    def peaks(self) -> dict[int, int]:
        """Peak memory by rows, where it is known."""
        return {one.rows: one.peak_bytes for one in self.passes if one.peak_bytes is not None}


class Table(BaseModel):
    """All curves of one device, by its name and precision."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    device: str = ""
    curves: Annotated[tuple[Curve, ...], Field(max_length=10_000, strict=False)] = ()

    def curve(self, model: str, stamp: str, *, width: int, height: int, frames: int = 0) -> Curve | None:
        """What was measured of a model, as its weights are now, at a shape."""
        return next((one for one in self.curves if _key(one) == (model, stamp, width, height, frames)), None)

    def best(self, model: str, stamp: str, *, width: int, height: int, frames: int = 0) -> int | None:
        """The largest pass that still gains, where it was measured."""
        found = self.curve(model, stamp, width=width, height=height, frames=frames)
        return None if found is None else found.best

    def with_curve(self, curve: Curve) -> Table:
        """A table with this curve in place of older ones of the same model and shape."""
        kept = tuple(one for one in self.curves if _place(one) != _place(curve))
        return Table(device=self.device, curves=(*kept, curve))


def best_batch(seconds: Mapping[int, float]) -> int | None:
    """The largest b that still gains, of measured T(b); sizes that were skipped end the search. None without T(1)."""
    if 1 not in seconds:
        return None
    best = 1
    while (following := best + 1) in seconds:
        gains = seconds[following] <= _GAIN * following / best * seconds[best]
        if not gains or seconds[following] > _SLOWER_MAX * seconds[1]:
            break
        best = following
    return best


def read(path: Path, *, device: str) -> Table:
    """The table of this device; an empty one where there is none, it is another device's, or it cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(_BYTES_MAX + 1)
        table = Table.model_validate_json(text) if len(text) <= _BYTES_MAX else None
    except FileNotFoundError:
        return Table(device=device)
    except (OSError, ValidationError) as error:
        _log.warning("What was measured cannot be read (%s): %s. It is measured anew by --calibrate.", type(error).__name__, path)
        return Table(device=device)
    return table if table is not None and table.device == device else Table(device=device)


def write(path: Path, table: Table) -> None:
    """Replace the file at once: a crash leaves the old one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    aside.write_text(table.model_dump_json(indent=1), encoding="utf-8")
    aside.replace(path)


def _key(curve: Curve) -> tuple[object, ...]:
    return (curve.model, curve.stamp, curve.width, curve.height, curve.frames)


def _place(curve: Curve) -> tuple[object, ...]:
    return (curve.model, curve.width, curve.height, curve.frames)
