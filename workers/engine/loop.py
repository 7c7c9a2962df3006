"""The step loop: one thread that owns every forward pass of the denoisers.

A run is one row of the passes for each of its pictures. A row waits until its model is in memory, is prepared on a thread
of its own (texts, first noise, given pictures), joins at the next step where there is a place, takes part in one pass a
step with all others of its model and pass key, and leaves when it is done or cancelled; a third thread develops it. Passes
of different models or sizes take turns, step by step. Order within one turn: hear of new runs, cancellations and what the
other threads finished, let go of the cancelled, have the waiting prepared, let the prepared join, one pass.

The engine knows nothing of HTTP or asyncio, and no torch is imported before `start`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from workers.engine.catalog import ModelSource
from workers.engine.developing import Darkroom
from workers.engine.errors import EngineError, RunFailure
from workers.engine.families.base import Family
from workers.engine.parity import Canary
from workers.engine.passes import Limits, Workbench
from workers.engine.ports import Backend, DeviceFacts
from workers.engine.residents import Residents
from workers.engine.run import Broken, Developing, Row, Run, RunSpec, Stopped, Tell

_log = logging.getLogger(__name__)

#: A waiting run passed over for so long holds back younger runs, so that the pass it waits for drains.
PATIENCE_SECONDS = 10.0
_STOPPED = RunFailure("engine_stopped", "The worker was stopped.", blame="infra")
#: How often an engine without runs in a pass looks at deadlines and at what is loading.
_LOOK_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What an operator chooses. A preview has at most `preview_bytes` and follows its last after `preview_seconds`."""

    #: Rows of one pass, and of all passes under way together.
    max_batch: int = 8
    models_in_memory: int = 2
    preview_bytes: int = 24 * 1024
    preview_seconds: float = 0.5


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """The engine at one moment. A new object replaces it; nobody changes it."""

    device: DeviceFacts
    loaded: frozenset[str]
    #: Models that could not be loaded, and why.
    unavailable: Mapping[str, str]
    #: Models that failed their parity check and so make their pictures one at a time, and what was seen.
    alone: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class _Wake:
    """Look around: a model arrived, a run was cancelled."""


@dataclass(frozen=True)
class _Stop:
    """End, breaking what still runs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Prepared:
    """Rows that can join, each with why it cannot."""

    rows: Sequence[Row]
    failures: Sequence[RunFailure | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Developed:
    """Rows that the darkroom holds no longer."""

    rows: Sequence[Row]


@dataclass(frozen=True, eq=False)
class _Died:
    """Another thread of the engine met what it cannot go on after."""

    error: BaseException


@dataclass(frozen=True)
class _Want:
    """Have this model in memory if there is room, for who comes first."""

    model: str


class Engine:
    """Serves runs until it is stopped. `submit`, `cancel`, `preload`, `stop` and the properties are for any thread.

    `make_backend` is called on the engine's thread: importing torch takes seconds that nobody else should wait for.
    `sources` is asked at each load, so that models may appear while the engine runs.
    """

    def __init__(
        self,
        make_backend: Callable[[], Backend],
        sources: Callable[[], Mapping[str, ModelSource]],
        settings: EngineSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_ready: Callable[[], None] = lambda: None,
        on_death: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self._make_backend = make_backend
        self._sources = sources
        self._settings = settings
        self._clock = clock
        self._on_ready = on_ready
        self._on_death = on_death
        self._inbox: queue.SimpleQueue[_Word] = queue.SimpleQueue()
        self._facts: EngineFacts | None = None
        # Where rows are, in the order they came: a row is in one of these, or forgotten.
        self._waiting: list[Row] = []
        self._preparing: list[Row] = []
        self._ready: list[Row] = []
        self._live: list[Row] = []
        self._developing: list[Row] = []
        self._alone: dict[str, str] = {}
        self._canary = Canary()
        self._turns: list[Hashable] = []
        self._stopping = False
        self._idle = True
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._main, name="darkroom-engine", daemon=True)

    @property
    def facts(self) -> EngineFacts | None:
        """The newest facts; None until torch is up."""
        return self._facts

    def start(self) -> None:
        """Begin; returns at once. `on_ready` is called when runs are served, `on_death` if that ends by an error."""
        self._thread.start()

    def submit(self, key: str, spec: RunSpec, tell: Tell, *, give_up_seconds: float | None = None) -> Run:
        """Hand a run in. `tell` hears of it from the engine's threads; its last report is Made, Broken or Stopped."""
        now = self._clock()
        give_up_at = None if give_up_seconds is None else now + give_up_seconds
        run = Run(key=key, spec=spec, tell=tell, give_up_at=give_up_at, arrived_at=now)
        self._inbox.put(run)
        if self._ended.is_set():
            self._refuse_leftovers(_STOPPED)
        return run

    def cancel(self, run: Run) -> None:
        """Stop a run alone. It is told Stopped once it computes no more, or Made where that came first."""
        run.cancel.set()
        self._inbox.put(_Wake())

    def preload(self, model: str) -> None:
        """Load a model before anybody asks for it."""
        self._inbox.put(_Want(model))

    def stop(self, *, timeout: float = 30.0) -> None:
        """Break what still runs (Broken, ``engine_stopped``) and end the threads."""
        self._inbox.put(_Stop())
        if self._thread.is_alive():
            self._thread.join(timeout)

    # What follows runs on the engine's thread alone.

    def _main(self) -> None:
        try:
            self._begin()
            while not self._stopping:
                self._listen()
                self._turn()
        except BaseException as error:  # noqa: BLE001 - the last thing this thread does is to say that it died
            # A refusal of ours (no such device, packages missing) needs no traceback; its owner says it in a sentence.
            _log.critical("The engine died", exc_info=None if isinstance(error, EngineError) else error)
            self._end(RunFailure("engine_error", f"The engine died of {type(error).__name__}.", blame="infra"))
            self._on_death(error)
        else:
            self._end(_STOPPED)

    def _begin(self) -> None:
        self._backend = self._make_backend()
        self._backend.enter_thread()
        self._residents = Residents(self._backend, most=self._settings.models_in_memory, wake=lambda: self._inbox.put(_Wake()))
        self._bench = Workbench(self._backend, Limits(self._settings.max_batch, self._clock))
        self._preparer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="darkroom-prepare", initializer=self._backend.enter_thread)
        self._darkroom = Darkroom(
            self._bench,
            preview_bytes=self._settings.preview_bytes,
            after=lambda rows: self._inbox.put(_Developed(rows=rows)),
            enter_thread=self._backend.enter_thread,
        )
        self._look()
        self._on_ready()

    def _end(self, failure: RunFailure) -> None:
        if self._facts is not None:
            # What is done is developed; what is being prepared ends with the others below.
            self._preparer.shutdown(wait=True, cancel_futures=True)
            self._darkroom.close()
        for row in self._rows():
            row.run.finish(Broken(failure=failure))
        self._waiting, self._preparing, self._ready, self._live, self._developing = [], [], [], [], []
        # Whoever submits after this flag empties the inbox itself; whoever did before is found in it here.
        self._ended.set()
        self._refuse_leftovers(failure)
        if self._facts is not None:
            self._residents.forget_all()

    def _rows(self) -> Iterable[Row]:
        return [*self._live, *self._ready, *self._preparing, *self._waiting, *self._developing]

    def _refuse_leftovers(self, failure: RunFailure) -> None:
        while True:
            try:
                word = self._inbox.get_nowait()
            except queue.Empty:
                return
            if isinstance(word, Run):
                word.finish(Broken(failure=failure))

    def _listen(self) -> None:
        """Take what came in; where the last turn had nothing to compute, wait for it."""
        if self._idle:
            try:
                self._take(self._inbox.get(timeout=_LOOK_SECONDS if self._waiting else None))
            except queue.Empty:
                return
        self._drain_inbox()

    def _drain_inbox(self) -> None:
        while not self._inbox.empty():
            self._take(self._inbox.get())

    def _take(self, word: _Word) -> None:
        match word:
            case Run():
                self._waiting += word.rows
            case _Prepared():
                self._take_prepared(word)
            case _Developed():
                self._developing = [row for row in self._developing if row not in word.rows]
            case _Died():
                raise word.error
            case _Stop():
                self._stopping = True
            case _Want():
                source = self._sources().get(word.model)
                if source is not None:
                    self._residents.want(source, in_use=self._in_use())
            case _Wake():
                pass

    def _turn(self) -> None:
        self._let_go()
        self._welcome_models()
        self._call_up()
        self._join()
        self._idle = not self._live
        if self._live:
            self._pass()

    def _let_go(self) -> None:
        """Runs that were cancelled or gave up leave here, and nowhere else, so that no pass ever carries them again."""
        now = self._clock()
        for run in _runs_of([*self._live, *self._ready, *self._waiting]):
            if run.cancel.is_set():
                self._leave(run, Stopped())
            elif run.give_up_at is not None and now >= run.give_up_at:
                failure = RunFailure("deadline", "The run was not done in the time its host gave it.", blame="infra")
                self._leave(run, Broken(failure=failure))

    def _leave(self, run: Run, report: Stopped | Broken) -> None:
        """End a run. Rows of it that are being prepared or developed are let go when their thread gives them back."""
        for rows in (self._waiting, self._ready, self._live):
            rows[:] = [row for row in rows if row.run is not run]
        for row in run.rows:
            row.state = None if row not in self._developing else row.state
        run.finish(report)

    def _in_use(self) -> set[str]:
        return {row.spec.model for row in (*self._live, *self._ready, *self._preparing, *self._developing)}

    def _welcome_models(self) -> None:
        arrived = self._residents.arrived()
        if arrived is None:
            return
        name, failure = arrived
        if failure is not None:
            _log.warning("The model %s is not available: %s", name, failure.detail)
            for run in _runs_of([row for row in self._waiting if row.spec.model == name]):
                self._leave(run, Broken(failure=failure))
        elif (family := self._residents.get(name)) is not None and family.alone is not None:
            self._end_batching(name, family.alone)
        self._look()

    def _look(self) -> None:
        self._facts = EngineFacts(
            device=self._backend.device(),
            loaded=self._residents.names,
            unavailable=self._residents.unavailable,
            alone=MappingProxyType(dict(self._alone)),
        )

    def _call_up(self) -> None:
        """Have the waiting prepared whose model is in memory, oldest first, each model's together.

        As many are prepared ahead as fill all places once more: who waits for a place joins at the very next step.
        """
        places = 2 * self._settings.max_batch - len(self._live) - len(self._ready) - len(self._preparing)
        called: dict[str, list[Row]] = {}
        for row in list(self._waiting):
            if row.run.has_ended:
                continue
            if self._residents.get(row.spec.model) is None:
                self._ask_for(row.run, in_use=self._in_use() | called.keys())
                if self._clock() - row.run.arrived_at > PATIENCE_SECONDS and self._in_use():
                    break
            elif places > 0:
                places -= 1
                called.setdefault(row.spec.model, []).append(row)
        for model, rows in called.items():
            self._prepare(model, rows)

    def _ask_for(self, run: Run, *, in_use: set[str]) -> None:
        model = run.spec.model
        source = self._sources().get(model)
        if source is None or model in self._residents.unavailable:
            why = self._residents.unavailable.get(model, f"The model {model} is not here any more.")
            self._leave(run, Broken(failure=RunFailure("model_unavailable", why, blame="infra")))
        else:
            self._residents.want(source, in_use=in_use, wanted=self._wanted_before(run))

    def _wanted_before(self, run: Run) -> set[str]:
        """Models that others wait for, which keeps them for a while; not from one who has waited long already."""
        if self._clock() - run.arrived_at > PATIENCE_SECONDS:
            return set()
        return {row.spec.model for row in self._waiting} - {run.spec.model}

    def _prepare(self, model: str, rows: Sequence[Row]) -> None:
        family = self._family(model)
        self._waiting = [row for row in self._waiting if row not in rows]
        self._preparing += rows

        def prepare() -> None:
            self._inbox.put(_Prepared(rows=rows, failures=self._bench.prepare(family, rows)))

        future = self._preparer.submit(prepare)
        # An error that is no Exception ends the engine, on the engine's thread.
        future.add_done_callback(self._hear_of_death)

    def _hear_of_death(self, done: Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._inbox.put(_Died(error))

    def _take_prepared(self, word: _Prepared) -> None:
        self._preparing = [row for row in self._preparing if row not in word.rows]
        for row, failure in zip(word.rows, word.failures, strict=True):
            if failure is not None:
                self._leave(row.run, Broken(failure=failure))
            elif row.run.has_ended:
                row.state = None
            else:
                self._ready.append(row)

    def _join(self) -> None:
        """Who is ready takes the free places, oldest first."""
        places = self._settings.max_batch - len(self._live)
        joining, self._ready = self._ready[:places], self._ready[places:]
        self._live += joining
        for run in _runs_of(joining):
            run.stepped(self._clock())
            run.notes = tuple(dict.fromkeys((*run.notes, *(note for row in joining if row.run is run for note in row.state.notes))))
            run.tell(run.progress)

    def _family(self, model: str) -> Family:
        family = self._residents.get(model)
        if family is None:
            raise LookupError(f"the model {model} left while it was in use")
        return family

    def _pass(self) -> None:
        """One step for the rows of one model and pass key; the others have their turn next."""
        groups: dict[Hashable, list[Row]] = {}
        for row in self._live:
            groups.setdefault(self._key(row), []).append(row)
        self._turns = [key for key in self._turns if key in groups] + [key for key in groups if key not in self._turns]
        key = self._turns.pop(0)
        self._turns.append(key)
        model = groups[key][0].spec.model
        # Without batching the oldest row goes through all its steps before the next one begins.
        rows = groups[key][:1] if model in self._alone else groups[key]
        family = self._family(model)
        predictions = self._bench.denoise(family, key, rows)
        if len(rows) > 1 and self._looked_wrong(family, rows, predictions):
            return
        self._advance(family, key, rows, predictions)

    def _key(self, row: Row) -> Hashable:
        model = row.spec.model
        return (model,) if model in self._alone else (model, self._family(model).pass_key(row.spec))

    def _looked_wrong(self, family: Family, rows: Sequence[Row], predictions: Sequence[Any]) -> bool:
        """Let the canary look. Where it falls, all rows of the model begin anew, alone: their latents cannot be trusted."""
        model = rows[0].spec.model
        if not self._canary.is_due(model):
            return False
        states, precision = [row.state for row in rows], self._backend.device().precision
        why = self._bench.look(partial(self._canary.look, family, states, predictions, model=model, precision=precision))
        if why is None:
            return False
        self._end_batching(model, why)
        again = [row for row in (*self._live, *self._ready) if row.spec.model == model]
        self._live = [row for row in self._live if row not in again]
        self._ready = [row for row in self._ready if row not in again]
        for row in again:
            row.state, row.steps_done = None, 0
        self._waiting = [*again, *self._waiting]
        return True

    def _end_batching(self, model: str, why: str) -> None:
        _log.critical("BATCHING IS OFF for the model %s: %s", model, why)
        self._alone[model] = why
        self._look()

    def _advance(self, family: Family, key: Hashable, rows: Sequence[Row], predictions: Sequence[Any]) -> None:
        for row, prediction in zip(rows, predictions, strict=True):
            if row.run.has_ended:
                continue
            failure = prediction if isinstance(prediction, RunFailure) else self._bench.step(family, row, prediction)
            if failure is not None:
                self._leave(row.run, Broken(failure=failure))
            else:
                row.steps_done = row.state.steps_done
        alive = [row for row in rows if not row.run.has_ended]
        for run in _runs_of(alive):
            run.stepped(self._clock())
            run.tell(run.progress)
        self._develop(family, key, [row for row in alive if row.state.is_done])
        for run in _runs_of([row for row in alive if row.run.spec.previews]):
            self._preview(family, run)

    def _preview(self, family: Family, run: Run) -> None:
        """Of a run of several pictures the first that is under way is shown."""
        now = self._clock()
        if run.previewed_at is not None and now - run.previewed_at < self._settings.preview_seconds:
            return
        row = next((row for row in self._live if row.run is run), None)
        if row is not None:
            run.previewed_at = now
            self._darkroom.preview(family, run, family.glimpse(row.state))

    def _develop(self, family: Family, key: Hashable, rows: Sequence[Row]) -> None:
        if not rows:
            return
        self._live = [row for row in self._live if row not in rows]
        self._developing += rows
        for run in _runs_of(rows):
            if all((row.state is not None and row.state.is_done) or row.picture is not None for row in run.rows):
                run.tell(Developing())
        self._darkroom.develop(family, key, rows)


def _runs_of(rows: Sequence[Row]) -> list[Run]:
    return list({id(row.run): row.run for row in rows}.values())


_Word = Run | _Wake | _Stop | _Want | _Prepared | _Developed | _Died
