"""A run as its follower sees it: the newest progress, and one end."""

import asyncio
from collections.abc import AsyncGenerator

from jobs.errors import WorkerFault
from jobs.run import MadePicture, Run, RunAccepted, RunCancelled, RunEvent, RunFailed, RunFinished, RunProgressed
from workers.drivers.comfy.rows import Row, rows_of

End = RunFinished | RunFailed | RunCancelled | WorkerFault


class Member:
    """One run of an errand. Progress is droppable (the newest wins), the end is kept until it is acknowledged."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.rows: list[Row] = rows_of(run)
        self.made: dict[int, MadePicture] = {}
        self.prompts: set[str] = set()
        """The prompts that its rows were in, to be taken out of the server's history."""
        self.accepted = False
        self.cancelled = False
        self.end: End | None = None
        self.shared_with = 0
        self.seconds = 0.0
        self.notes: tuple[str, ...] = ()
        self._progress: RunProgressed | None = None
        self._changed = asyncio.Event()

    @property
    def is_live(self) -> bool:
        """Whether anybody still waits for its pictures."""
        return self.end is None

    def accept(self) -> None:
        """The server has it."""
        self.accepted = True
        self._changed.set()

    def progress(self, fraction: float, preview: bytes | None) -> None:
        """``fraction`` of the row that is being made, from 0 to 1."""
        steps = self.run.order.steps
        step = min(steps, round((len(self.made) + fraction) / len(self.rows) * steps))
        kept = preview or (self._progress.preview if self._progress else None)
        self._progress = RunProgressed(key=self.run.key, step=step, total_steps=steps, preview=kept)
        self._changed.set()

    def keep(self, row: Row, data: bytes) -> None:
        """A picture arrived; the last one ends the run."""
        self.made[row.index] = MadePicture(index=row.index, seed=row.seed, data=data)
        if len(self.made) == len(self.rows):
            pictures = tuple(self.made[index] for index in sorted(self.made))
            seconds, company, notes = self.seconds, self.shared_with, self.notes
            self.finish(RunFinished(key=self.run.key, pictures=pictures, seconds=seconds, shared_with=company, notes=notes))

    def finish(self, end: End) -> None:
        """End it, once: what comes later is dropped."""
        if self.end is None:
            self.end = end
            self._changed.set()

    async def events(self) -> AsyncGenerator[RunEvent, None]:
        """From its acceptance to its end; may be asked for again. Raises the WorkerFault that it ended with."""
        told = False
        while True:
            self._changed.clear()
            if self.accepted and not told:
                told = True
                yield RunAccepted(key=self.run.key)
            progress, self._progress = self._progress, None
            if progress is not None and self.end is None:
                yield progress
            if self.end is not None and (told or not self.accepted):
                break
            if not self._changed.is_set():
                await self._changed.wait()
        if isinstance(self.end, WorkerFault):
            raise self.end
        yield self.end
