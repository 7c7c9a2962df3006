"""The darkroom: a thread of its own that decodes what is done, writes files, and makes previews.

Nobody's step waits for it. Rows that are done at the same time and have one size are decoded together; of previews only
the newest of each run is made.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from workers.engine import pictures
from workers.engine.errors import RunFailure
from workers.engine.families.base import Family
from workers.engine.passes import Workbench
from workers.engine.run import Broken, Made, MadePicture, Preview, Row, Run

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Film:
    """Rows that are done."""

    family: Family
    key: Hashable
    rows: Sequence[Row]


class Darkroom:
    """Develops rows. `after` hears, on this thread, of the rows that it holds no longer."""

    def __init__(
        self,
        bench: Workbench,
        *,
        preview_bytes: int,
        after: Callable[[Sequence[Row]], None],
        enter_thread: Callable[[], None],
    ) -> None:
        self._bench = bench
        self._preview_bytes = preview_bytes
        self._after = after
        self._films: deque[_Film] = deque()
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="darkroom-develop", initializer=enter_thread)

    def develop(self, family: Family, key: Hashable, rows: Sequence[Row]) -> None:
        """Decode and write rows of one pass key; each run hears of its pictures once all are there."""
        with self._lock:
            self._films.append(_Film(family=family, key=key, rows=rows))
        self._executor.submit(self._develop_next)

    def preview(self, family: Family, run: Run, glimpse: Any) -> None:
        """Show a guess. Where one of this run waits to be made, the newer takes its place."""
        with self._lock:
            waits, run.glimpse = run.glimpse is not None, glimpse
        if not waits:
            self._executor.submit(self._show, family, run)

    def close(self) -> None:
        """Finish what was begun."""
        self._executor.shutdown(wait=True)

    def _develop_next(self) -> None:
        """The oldest film, and all others of its kind: what came meanwhile shares its pass."""
        with self._lock:
            if not self._films:
                return
            first = self._films[0]
            films = [film for film in self._films if film.family is first.family and film.key == first.key]
            self._films = deque(film for film in self._films if film not in films)
        rows = [row for film in films for row in film.rows]
        try:
            self._develop(first.family, [row for row in rows if not row.run.has_ended])
        finally:
            self._after(rows)

    def _develop(self, family: Family, rows: Sequence[Row]) -> None:
        if not rows:
            return
        for row, pixels in zip(rows, self._bench.decode(family, rows), strict=True):
            row.state = None
            made = pixels if isinstance(pixels, RunFailure) else _write(row, pixels)
            if isinstance(made, RunFailure):
                row.run.finish(Broken(failure=made))
                continue
            row.picture = made
            _finish_if_whole(row.run)

    def _show(self, family: Family, run: Run) -> None:
        with self._lock:
            glimpse, run.glimpse = run.glimpse, None
        if run.has_ended:
            return
        pixels = self._bench.preview(family, glimpse)
        webp = None if isinstance(pixels, RunFailure) else pictures.preview(pixels, bytes_max=self._preview_bytes)
        if webp is not None:
            run.tell(Preview(webp=webp))


def _finish_if_whole(run: Run) -> None:
    made = [row.picture for row in run.rows if row.picture is not None]
    if len(made) == len(run.rows):
        run.finish(Made(pictures=tuple(made), shared_with=run.shared_with, passes=run.passes, notes=run.notes))


def _write(row: Row, pixels: Any) -> MadePicture | RunFailure:
    is_clip = pixels.ndim == 4
    height, width = pixels.shape[-3:-1]
    try:
        data = pictures.clip(pixels, fps=row.spec.fps) if is_clip else pictures.png(pixels)
    except Exception as error:  # noqa: BLE001 - whatever happens, the run's host must hear of its end
        _log.error("A picture could not be written", exc_info=error)
        return RunFailure("engine_error", "The picture could not be written.", blame="infra")
    return MadePicture(data=data, media_type="image/webp" if is_clip else "image/png", width=width, height=height, seed=row.spec.seed)
