"""Which models are in memory: loaded on demand beside the running passes, the least recently used leaving first."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Set
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType

from workers.engine.catalog import ModelSource
from workers.engine.errors import ModelUnreadable, RunFailure
from workers.engine.families.base import Family
from workers.engine.ports import Backend

_log = logging.getLogger(__name__)

#: A model that came stays so long while others wait for it, whoever waits for another.
RESIDENCY_SECONDS = 20.0


class Residents:
    """Models in memory. Used by the engine thread alone; loading goes on in a thread of its own.

    `wake` is called from that thread when a load ended, so that an idle engine looks.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        most: int,
        wake: Callable[[], None],
        residency_seconds: float = RESIDENCY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._residency = residency_seconds
        self._clock = clock
        self._since: dict[str, float] = {}
        self._most = most
        self._wake = wake
        self._loaded: OrderedDict[str, Family] = OrderedDict()
        #: Models that did not fit beside others: they are tried once more alone.
        self._needs_all: set[str] = set()
        self._unavailable: dict[str, str] = {}
        self._loading: tuple[str, Future[Family]] | None = None
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="darkroom-load")

    @property
    def names(self) -> frozenset[str]:
        """The models in memory."""
        return frozenset(self._loaded)

    @property
    def unavailable(self) -> Mapping[str, str]:
        """Models that could not be loaded, and why. They are not offered again by this process."""
        return MappingProxyType(dict(self._unavailable))

    def get(self, name: str) -> Family | None:
        """A model that is in memory, which counts as a use."""
        if name in self._loaded:
            self._loaded.move_to_end(name)
        return self._loaded.get(name)

    def want(self, source: ModelSource, *, in_use: Set[str], wanted: Set[str] = frozenset()) -> None:
        """Begin to load a model, unless another is being loaded or there is no room: then ask again later.

        Models in use are not put out: the passes that hold them end soon enough. Nor are those that came just now and are
        `wanted` by others who wait: two models that do not fit together would put each other out for ever.
        """
        if self._loading is not None or source.name in self._loaded:
            return
        if not self._make_room(source, in_use, wanted):
            return
        _log.info("Loading the model %s", source.name)
        future = self._loader.submit(self._backend.load, source)
        self._loading = (source.name, future)
        future.add_done_callback(lambda _: self._wake())

    def arrived(self) -> tuple[str, RunFailure | None] | None:
        """The model whose loading ended since the last call, and why it failed if it did.

        One that did not fit beside others has not failed yet: ask for it again.
        """
        if self._loading is None or not self._loading[1].done():
            return None
        name, future = self._loading
        self._loading = None
        error = future.exception()
        if error is None:
            self._loaded[name] = future.result()
            self._since[name] = self._clock()
            _log.info("The model %s is loaded", name)
            return name, None
        if self._backend.is_out_of_memory(error) and self._loaded and name not in self._needs_all:
            self._needs_all.add(name)
            return None
        failure = self._failure(name, error)
        self._unavailable[name] = failure.detail
        return name, failure

    def forget_all(self) -> None:
        """Let every model go and end the loader; a load under way is awaited."""
        self._loader.shutdown(wait=True, cancel_futures=True)
        self._loaded.clear()

    def _make_room(self, source: ModelSource, in_use: Set[str], wanted: Set[str]) -> bool:
        most = 1 if source.name in self._needs_all else self._most
        while len(self._loaded) >= most or (self._loaded and not self._backend.has_room(source)):
            free = [name for name in self._loaded if name not in in_use and not (name in wanted and self._is_new(name))]
            # The least recently used of those that nobody waits for; else of all that may go.
            leaving = next((name for name in free if name not in wanted), next(iter(free), None))
            if leaving is None:
                return False
            _log.info("The model %s makes room", leaving)
            del self._loaded[leaving]
            self._since.pop(leaving, None)
            self._backend.release_memory()
        return True

    def _is_new(self, name: str) -> bool:
        return self._clock() - self._since.get(name, -self._residency) < self._residency

    def _failure(self, name: str, error: BaseException) -> RunFailure:
        if isinstance(error, ModelUnreadable):
            return RunFailure("model_unavailable", str(error), blame="infra")
        if self._backend.is_out_of_memory(error):
            self._backend.release_memory()
            return RunFailure("out_of_memory", f"The model {name} does not fit into memory.", blame="out_of_memory")
        _log.error("The model %s could not be loaded", name, exc_info=error)
        return RunFailure("model_unavailable", f"Loading the model {name} raised {type(error).__name__}.", blame="infra")
