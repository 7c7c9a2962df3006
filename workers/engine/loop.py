"""The step loop: one thread that owns every forward pass.

A run waits until its model is in memory, joins at the next step, takes part in one pass a step with all others of its
model and size, and leaves when it is done or cancelled. Passes of different models or sizes take turns, step by step.
Order within one turn: hear of new runs and cancellations, let go of the cancelled, let the waiting join, one pass.

The engine knows nothing of HTTP or asyncio, and no torch is imported before `start`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from workers.engine import pictures
from workers.engine.catalog import ModelSource
from workers.engine.errors import EngineError, RunFailure
from workers.engine.families.base import Family
from workers.engine.passes import Limits, Workbench
from workers.engine.ports import Backend, DeviceFacts
from workers.engine.residents import Residents
from workers.engine.run import Broken, Developing, Made, MadePicture, Preview, Progress, Run, RunSpec, Stopped, Tell

_log = logging.getLogger(__name__)

#: A waiting run passed over for so long holds back younger runs, so that the pass it waits for drains.
PATIENCE_SECONDS = 10.0
_STOPPED = RunFailure("engine_stopped", "The worker was stopped.", blame="infra")
#: How often an engine without runs in a pass looks at deadlines and at what is loading.
_LOOK_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What an operator chooses. A preview has at most `preview_bytes` and follows its last after `preview_seconds`."""

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


@dataclass(frozen=True)
class _Wake:
    """Look around: a model arrived, a run was cancelled."""


@dataclass(frozen=True)
class _Stop:
    """End, breaking what still runs."""


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
        self._inbox: queue.SimpleQueue[Run | _Wake | _Stop | _Want] = queue.SimpleQueue()
        self._facts: EngineFacts | None = None
        self._waiting: list[Run] = []
        self._live: list[Run] = []
        self._turns: list[Hashable] = []
        self._stopping = False
        self._idle = True
        self._ended = threading.Event()
        # Writing PNG and WebP holds no torch; done elsewhere, it keeps nobody's step waiting.
        self._darkroom = ThreadPoolExecutor(max_workers=1, thread_name_prefix="darkroom-develop")
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
        self._residents = Residents(self._backend, most=self._settings.models_in_memory, wake=lambda: self._inbox.put(_Wake()))
        self._bench = Workbench(self._backend, Limits(self._settings.max_batch, self._clock))
        self._look()
        self._on_ready()

    def _end(self, failure: RunFailure) -> None:
        for run in (*self._waiting, *self._live):
            run.tell(Broken(failure=failure))
        self._waiting, self._live = [], []
        # Whoever submits after this flag empties the inbox itself; whoever did before is found in it here.
        self._ended.set()
        self._refuse_leftovers(failure)
        self._darkroom.shutdown(wait=True)
        if self._facts is not None:
            self._residents.forget_all()

    def _refuse_leftovers(self, failure: RunFailure) -> None:
        while True:
            try:
                word = self._inbox.get_nowait()
            except queue.Empty:
                return
            if isinstance(word, Run):
                word.tell(Broken(failure=failure))

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

    def _take(self, word: Run | _Wake | _Stop | _Want) -> None:
        match word:
            case Run():
                self._waiting.append(word)
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
        self._join()
        self._idle = not self._live
        if self._live:
            self._pass()

    def _let_go(self) -> None:
        """Runs that were cancelled or gave up leave here, and nowhere else, so that no pass ever carries them again."""
        now = self._clock()
        for run in [*self._waiting, *self._live]:
            if run.cancel.is_set():
                self._leave(run, Stopped())
            elif run.give_up_at is not None and now >= run.give_up_at:
                failure = RunFailure("deadline", "The run was not done in the time its host gave it.", blame="infra")
                self._leave(run, Broken(failure=failure))

    def _leave(self, run: Run, report: Stopped | Broken) -> None:
        self._forget(run)
        run.tell(report)

    def _forget(self, run: Run) -> None:
        run.state = None
        for runs in (self._waiting, self._live):
            if run in runs:
                runs.remove(run)

    def _in_use(self) -> set[str]:
        return {run.spec.model for run in self._live}

    def _welcome_models(self) -> None:
        arrived = self._residents.arrived()
        if arrived is None:
            return
        name, failure = arrived
        if failure is not None:
            _log.warning("The model %s is not available: %s", name, failure.detail)
            for run in [run for run in self._waiting if run.spec.model == name]:
                self._leave(run, Broken(failure=failure))
        self._look()

    def _look(self) -> None:
        self._facts = EngineFacts(
            device=self._backend.device(),
            loaded=self._residents.names,
            unavailable=self._residents.unavailable,
        )

    def _join(self) -> None:
        """Prepare the waiting whose model is in memory, oldest first, each model's together."""
        joining: dict[str, list[Run]] = {}
        for run in list(self._waiting):
            family = self._residents.get(run.spec.model)
            if family is None:
                self._ask_for(run, in_use=self._in_use() | joining.keys())
                if self._clock() - run.arrived_at > PATIENCE_SECONDS and self._live:
                    break
                continue
            if len(self._live) + sum(map(len, joining.values())) < self._settings.max_batch:
                joining.setdefault(run.spec.model, []).append(run)
        for model, runs in joining.items():
            self._admit(model, runs)

    def _ask_for(self, run: Run, *, in_use: set[str]) -> None:
        model = run.spec.model
        source = self._sources().get(model)
        if source is None or model in self._residents.unavailable:
            why = self._residents.unavailable.get(model, f"The model {model} is not here any more.")
            self._leave(run, Broken(failure=RunFailure("model_unavailable", why, blame="infra")))
        else:
            self._residents.want(source, in_use=in_use)

    def _admit(self, model: str, runs: list[Run]) -> None:
        family = self._family(model)
        for run, failure in zip(runs, self._bench.prepare(family, runs), strict=True):
            self._waiting.remove(run)
            if failure is not None:
                self._leave(run, Broken(failure=failure))
                continue
            self._live.append(run)
            run.stepped(self._clock())
            run.tell(self._progress(run))

    def _family(self, model: str) -> Family:
        family = self._residents.get(model)
        if family is None:
            raise LookupError(f"the model {model} left while it was in use")
        return family

    def _pass(self) -> None:
        """One step for the runs of one model and size; the others have their turn next."""
        groups: dict[Hashable, list[Run]] = {}
        for run in self._live:
            groups.setdefault((run.spec.model, self._family(run.spec.model).pass_key(run.spec)), []).append(run)
        self._turns = [key for key in self._turns if key in groups] + [key for key in groups if key not in self._turns]
        key = self._turns.pop(0)
        self._turns.append(key)
        runs = groups[key]
        family = self._family(runs[0].spec.model)
        for run, prediction in zip(runs, self._bench.denoise(family, key, runs), strict=True):
            self._advance(family, run, prediction)

    def _advance(self, family: Family, run: Run, prediction: Any) -> None:
        failure = prediction if isinstance(prediction, RunFailure) else self._bench.step(family, run, prediction)
        if failure is not None:
            self._leave(run, Broken(failure=failure))
            return
        run.stepped(self._clock())
        run.tell(self._progress(run))
        if run.state.is_done:
            self._develop(family, run)
        elif run.spec.previews:
            self._preview(family, run)

    @staticmethod
    def _progress(run: Run) -> Progress:
        total, done = run.state.total_steps, run.state.steps_done
        eta = None if run.step_seconds is None else run.step_seconds * (total - done)
        return Progress(step=done, total_steps=total, eta_seconds=eta, in_company_of=run.company)

    def _preview(self, family: Family, run: Run) -> None:
        now = self._clock()
        if run.previewed_at is not None and now - run.previewed_at < self._settings.preview_seconds:
            return
        run.previewed_at = now
        pixels = self._bench.preview(family, run)
        if not isinstance(pixels, RunFailure):
            self._darkroom.submit(_tell_preview, run, pixels, self._settings.preview_bytes)

    def _develop(self, family: Family, run: Run) -> None:
        run.tell(Developing())
        pixels = self._bench.decode(family, run)
        notes = run.state.notes
        self._forget(run)
        if isinstance(pixels, RunFailure):
            run.tell(Broken(failure=pixels))
        else:
            self._darkroom.submit(_tell_made, run, pixels, notes)


def _tell_preview(run: Run, pixels: Any, bytes_max: int) -> None:
    webp = pictures.preview(pixels, bytes_max=bytes_max)
    if webp is not None:
        run.tell(Preview(webp=webp))


def _tell_made(run: Run, pixels: Any, notes: tuple[str, ...]) -> None:
    height, width = pixels.shape[:2]
    try:
        png = pictures.png(pixels)
    except Exception as error:  # noqa: BLE001 - whatever happens, the run's host must hear of its end
        _log.error("A picture could not be written", exc_info=error)
        run.tell(Broken(failure=RunFailure("engine_error", "The picture could not be written.", blame="infra")))
        return
    picture = MadePicture(data=png, media_type="image/png", width=width, height=height, seed=run.spec.seed)
    made = Made(pictures=(picture,), shared_with=run.shared_with, passes=run.passes, notes=notes)
    run.tell(made)
