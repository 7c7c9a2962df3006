"""An event loop whose time is virtual and whose order comes from a seed. It can kill or stop a whole host between two callbacks.

Every callback runs in a context, and a context says which host it belongs to (``HOST``), so a host is all the callbacks of
its context. Callbacks of one host keep asyncio's promised order; which host goes next is drawn. A killed host's callbacks are
dropped: no ``finally`` runs, as after ``kill -9``. A stopped one's wait, as after SIGSTOP, and its timers fire late.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

HOST: ContextVar[int] = ContextVar("HOST", default=0)
"""Which host a callback belongs to; 0 is the world outside: people, workers, Discord."""


class Deadlock(AssertionError):
    """Nothing is ready and no timer is set, yet the scenario has not ended."""


class _Task(asyncio.Task):
    """Hashed by number: a TaskGroup keeps its tasks in a set, whose order must not depend on addresses."""

    _count = 0

    def __init__(self, *args: Any, **kw: Any) -> None:
        _Task._count += 1
        self._number = _Task._count
        self.host = HOST.get()
        super().__init__(*args, **kw)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimLoop(asyncio.AbstractEventLoop):
    """Virtual seconds from 0. ``steps[host]`` counts callbacks, so that a kill can name its moment exactly."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._now = 0.0
        self._ready: dict[int, deque[asyncio.Handle]] = {0: deque()}
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self._tasks: list[_Task] = []
        self.steps: dict[int, int] = {}
        self.stopped: set[int] = set()
        self.dead: set[int] = set()
        self.before_step: Callable[[int, int], None] | None = None
        """Called with (host, its step) before each callback of a host; may kill it."""
        self.broken: list[dict[str, Any]] = []
        """What reached the exception handler: nothing may."""

    # ---- running ---------------------------------------------------------------------------------------------------

    def run_until(self, done: Callable[[], bool], *, limit: float) -> bool:
        """Run until ``done`` (asked after each advance of time) or virtual ``limit``; whether it was done."""
        asyncio._set_running_loop(self)
        try:
            while True:
                while self._run_one():
                    pass
                if done():
                    return True
                if self._now >= limit:
                    return False
                self._advance(limit)
        finally:
            asyncio._set_running_loop(None)

    def _run_one(self) -> bool:
        hosts = [host for host, queue in self._ready.items() if queue and host not in self.stopped]
        if not hosts:
            return False
        host = hosts[0] if len(hosts) == 1 else self._rng.choice(hosts)
        if host and self.before_step is not None:
            self.steps[host] = step = self.steps.get(host, 0) + 1
            self.before_step(host, step)
            if host in self.dead:
                return True
        queue = self._ready[host]
        if queue:
            handle = queue.popleft()
            if not handle._cancelled:
                handle._run()
        return True

    def _advance(self, limit: float) -> None:
        while self._timers and self._timers[0][2]._cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            raise Deadlock("nothing will ever happen again")
        self._now = max(self._now, min(self._timers[0][0], limit))
        while self._timers and self._timers[0][0] <= self._now:
            _, _, timer = heapq.heappop(self._timers)
            if not timer._cancelled:
                self._push(timer)

    def _push(self, handle: asyncio.Handle) -> None:
        host = handle._context.get(HOST, 0)
        if host not in self.dead:
            self._ready.setdefault(host, deque()).append(handle)

    def kill(self, host: int) -> None:
        """Drop everything of this host, now and for ever. Its tasks stay referenced: collected, they would run ``finally``."""
        self.dead.add(host)
        self._ready.pop(host, None)

    def pending_tasks(self, host: int) -> list[asyncio.Task]:
        """Tasks of a host that have not ended."""
        return [task for task in self._tasks if not task.done() and task.host == host]

    # ---- what asyncio asks of a loop ---------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable, *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, copy_context() if context is None else context)
        self._push(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Callable, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        return self.call_at(self._now + max(0.0, delay), callback, *args, context=context)

    def call_at(self, when: float, callback: Callable, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, copy_context() if context is None else context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def outside(self, delay: float, callback: Callable, *args: Any) -> asyncio.TimerHandle:
        """A timer of the world, whoever sets it: no host's death stops it."""
        return self.call_at(self._now + delay, callback, *args, context=Context())

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is dropped when its time comes."""

    def create_future(self) -> asyncio.Future:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task:
        task = _Task(coro, loop=self, name=name, context=context)
        task._log_destroy_pending = False
        if context is not None:
            task.host = context.get(HOST, 0)
        self._tasks.append(task)
        if len(self._tasks) > 4000:
            self._tasks = [kept for kept in self._tasks if not kept.done()]
        return task

    def run_in_executor(self, executor: Any, func: Callable, *args: Any) -> asyncio.Future:
        """Another thread's work: done at once, told some virtual milliseconds later."""
        future = self.create_future()
        self.call_later(self._rng.uniform(0.0, 0.01), self._run_for, future, func, args)
        return future

    @staticmethod
    def _run_for(future: asyncio.Future, func: Callable, args: tuple) -> None:
        if future.cancelled():
            return
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  whoever waits for the thread hears it
            future.set_exception(error)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.broken.append(context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False
