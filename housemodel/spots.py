"""Connected spots of a mask, 8-connected, by runs of rows: numpy has no labelling of its own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A connected spot: the rows and columns of its bounding box, and its mask inside that box."""

    box: tuple[slice, slice]
    mask: NDArray[np.bool_]
    area: int


@dataclass(frozen=True, kw_only=True)
class _Run:
    row: int
    start: int
    end: int


def find_spots(mask: NDArray[np.bool_], smallest: float) -> list[Spot]:
    """The connected spots of at least `smallest` pixels, the largest first."""
    runs = _runs(mask)
    groups: dict[int, list[_Run]] = {}
    for root, run in zip(_roots(runs), runs, strict=True):
        groups.setdefault(root, []).append(run)
    spots = [_spot(members) for members in groups.values()]
    return sorted((spot for spot in spots if spot.area >= smallest), key=lambda spot: -spot.area)


def _runs(mask: NDArray[np.bool_]) -> list[_Run]:
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), dtype=np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return [_Run(row=int(r), start=int(s), end=int(e)) for r, s, e in zip(rows, starts, ends, strict=True)]


def _roots(runs: list[_Run]) -> list[int]:
    parents = list(range(len(runs)))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    previous: list[int] = []
    current: list[int] = []
    for i, run in enumerate(runs):
        if current and runs[current[0]].row != run.row:
            previous = current if runs[current[0]].row == run.row - 1 else []
            current = []
        for j in previous:
            if runs[j].start <= run.end and run.start <= runs[j].end:
                parents[root(i)] = root(j)
        current.append(i)
    return [root(i) for i in range(len(runs))]


def _spot(runs: list[_Run]) -> Spot:
    top, bottom = runs[0].row, runs[-1].row + 1
    left, right = min(run.start for run in runs), max(run.end for run in runs)
    mask = np.zeros((bottom - top, right - left), dtype=np.bool_)
    for run in runs:
        mask[run.row - top, run.start - left : run.end - left] = True
    return Spot(box=(slice(top, bottom), slice(left, right)), mask=mask, area=int(mask.sum()))
