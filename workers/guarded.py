"""A driver whose surprises stay its worker's own trouble: whatever an answer makes of our code, the host and its other workers go on."""

import logging
import traceback
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from jobs.errors import DarkroomError, WorkerUnreachable
from jobs.ports import Worker
from jobs.run import Run, RunEvent, RunKey, WorkerReport

_log = logging.getLogger(__name__)


class Guarded:
    """A :class:`jobs.ports.Worker` around another: what that one raises beside our own errors becomes WorkerUnreachable."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._told: set[str] = set()

    @property
    def name(self) -> str:
        """The driver's own."""
        return self._worker.name

    async def report(self) -> WorkerReport:
        """See the port."""
        with self._guard():
            return await self._worker.report()

    async def run(self, run: Run, *, resume: bool = False) -> AsyncGenerator[RunEvent, None]:
        """See the port."""
        with self._guard():
            async with aclosing(self._worker.run(run, resume=resume)) as events:
                async for event in events:
                    yield event

    async def cancel(self, key: RunKey) -> None:
        """See the port."""
        with self._guard():
            await self._worker.cancel(key)

    async def acknowledge(self, key: RunKey) -> None:
        """See the port."""
        with self._guard():
            await self._worker.acknowledge(key)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except DarkroomError:
            raise
        except Exception as surprise:  # noqa: BLE001  boundary: this is what the class is for
            reason = f"its answer made the host stumble: {type(surprise).__name__}"
            if reason not in self._told:
                self._told.add(reason)
                # Where, but not what the error says: it may quote an answer, and that a prompt.
                _log.error("worker %s: %s\n%s", self.name, reason, "".join(traceback.format_tb(surprise.__traceback__)[-4:]))
            raise WorkerUnreachable("worker_unreachable", reason=reason) from None
