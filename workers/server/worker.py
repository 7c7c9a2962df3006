"""The worker's use cases, between the HTTP routes and the engine. Lives on the event loop, the engine on its thread."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version

from workers.engine.catalog import Builtin, Catalog, ModelSource, discover
from workers.engine.errors import sayable
from workers.engine.loop import Engine, EngineSettings
from workers.engine.loras.library import LoraLibrary
from workers.engine.memory import table
from workers.engine.memory.calibrate import frames_of
from workers.engine.memory.weights import stamp_of
from workers.engine.ports import Backend
from workers.engine.run import LoraUse, Report, RunSpec
from workers.protocol import (
    PREVIEW_BYTES_MAX,
    PROTOCOL_VERSION,
    Capabilities,
    Device,
    Health,
    ModelOffer,
    RefusedModel,
    RunKey,
    RunList,
    RunOrder,
)
from workers.server.inputs import Inputs
from workers.server.ledger import Entry, Ledger
from workers.server.offers import complaints, lora_complaints, lora_offer_of, offer_of
from workers.server.problems import Refused
from workers.server.settings import WorkerSettings

_log = logging.getLogger(__name__)

#: How often the models folder is looked through for what an operator put there.
_RESCAN_SECONDS = 30.0


class Worker:
    """Takes runs, hands them to the engine, keeps what became of them.

    Rescan first, then use it as an async context manager, which starts the engine and ends it.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        builtin: Mapping[str, Builtin],
        make_backend: Callable[[], Backend],
        library: LoraLibrary | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.settings = settings
        self.instance_id = secrets.token_hex(8)
        self.ledger = ledger or Ledger(time.monotonic)
        self.inputs = Inputs(time.monotonic)
        self._library = library or LoraLibrary(None)
        self.ready = asyncio.Event()
        #: Set when the process must end: it drains, or the engine died and whoever supervises it must start another.
        self.ending = asyncio.Event()
        self.death: BaseException | None = None
        self._builtin = builtin
        self._catalog = Catalog()
        self._best: dict[str, int] = {}
        self._draining = False
        self._engine = Engine(
            make_backend,
            lambda: self._catalog.models,
            EngineSettings(
                max_batch=settings.max_batch,
                models_in_memory=settings.models_in_memory,
                preview_bytes=PREVIEW_BYTES_MAX,
            ),
            on_ready=lambda: self._from_engine(self.ready.set),
            on_death=lambda error: self._from_engine(lambda: self._died(error)),
        )

    async def __aenter__(self) -> Worker:
        self._loop = asyncio.get_running_loop()
        self._engine.start()
        if self._catalog.models:
            self._engine.preload(next(iter(self._catalog.models)))
        return self

    async def __aexit__(self, *_: object) -> None:
        # The engine may be in the middle of a step or a load; joining it must not hold the loop.
        await asyncio.to_thread(self._engine.stop)

    def _from_engine(self, call: Callable[[], object]) -> None:
        """Pass a word from the engine's threads to the loop."""
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            # The loop is closed: the process is ending and nobody listens any more.
            _log.debug("A word of the engine came after the end")

    def _died(self, error: BaseException) -> None:
        self.death = error
        self.ending.set()

    async def rescan(self) -> None:
        """Look through the models folder and its LoRAs again."""
        self._catalog = await asyncio.to_thread(discover, self.settings.models, self._builtin)
        await asyncio.to_thread(self._library.look)
        self._best = await asyncio.to_thread(self._measured)

    def _measured(self) -> dict[str, int]:
        """The size that still gains of each model that was measured on this device as it is now."""
        facts, path = self._engine.facts, self.settings.measured
        if facts is None or path is None:
            return {}
        found = table.read(path, device=facts.device.label)
        return {name: best for name, source in self._catalog.models.items() if (best := _best_of(found, source)) is not None}

    async def keep_rescanning(self) -> None:
        """Look through the models folder for ever. At first when the device is known, whose measurements are kept there."""
        await self.ready.wait()
        while True:
            try:
                await self.rescan()
            except OSError as error:  # the folder is away: what was found before stands
                _log.warning("the models cannot be looked through: %s", error)
            await asyncio.sleep(_RESCAN_SECONDS)

    @property
    def health(self) -> Health:
        """Whether runs are taken."""
        status = "ready" if self.ready.is_set() else "starting"
        status = "draining" if self._draining else status
        status = "failed" if self.death is not None else status
        return Health(status=status, protocol_version=PROTOCOL_VERSION, instance_id=self.instance_id)

    def capabilities(self) -> Capabilities:
        """What is offered now. Raises Refused until the engine is up."""
        facts = self._engine.facts
        if facts is None:
            raise _not_ready()
        device = facts.device
        return Capabilities(
            protocol_version=PROTOCOL_VERSION,
            worker_name=sayable(self.settings.name),
            instance_id=self.instance_id,
            software=_software(),
            device=Device(
                kind=device.kind,
                name=device.name,
                precision=device.precision,
                memory_total=device.memory_total,
                memory_free=device.memory_free,
            ),
            models=tuple(self._offer(name) for name in self._models),
            refused_models=tuple(RefusedModel(name=name, reason=why) for name, why in self._refused.items()),
            loras=tuple(lora_offer_of(lora) for lora in self._library.loras.values()),
            max_batch=self.settings.max_batch,
            free_places=self._free_places,
            previews=True,
            draining=self._draining,
        )

    @property
    def _refused_models(self) -> Mapping[str, str]:
        """What lies there and is not served: by its files, or because loading it failed."""
        facts = self._engine.facts
        unavailable = facts.unavailable if facts else {}
        return {**self._catalog.refused, **{name: sayable(why) for name, why in unavailable.items()}}

    @property
    def _refused(self) -> Mapping[str, str]:
        return {**self._refused_models, **{f"loras/{name}": why for name, why in self._library.refused.items()}}

    @property
    def _models(self) -> list[str]:
        return [name for name in self._catalog.models if name not in self._refused_models]

    def _offer(self, name: str) -> ModelOffer:
        facts = self._engine.facts
        loaded = facts is not None and name in facts.loaded
        alone = "" if facts is None else facts.alone.get(name, "")
        return offer_of(self._catalog.models[name], loaded=loaded, best_batch=self._best.get(name), alone=alone)

    @property
    def _free_places(self) -> int:
        if self._draining or self.death is not None:
            return 0
        return max(0, self.settings.max_batch - self.ledger.rows)

    def runs(self) -> RunList:
        """Every run that is not acknowledged, oldest first."""
        return RunList(instance_id=self.instance_id, runs=tuple(entry.status() for entry in self.ledger))

    def find(self, key: RunKey) -> Entry:
        """A run. Raises Refused for one that is not here."""
        entry = self.ledger.get(key)
        if entry is None:
            detail = f"There is no run {key}: never taken, acknowledged, or too long ago."
            raise Refused(HTTPStatus.NOT_FOUND, "unknown_run", detail)
        return entry

    def put(self, key: RunKey, order: RunOrder) -> tuple[Entry, bool]:
        """Take a run, or find it taken: then False. Raises Refused."""
        known = self.ledger.get(key)
        if known is not None:
            if known.order.params_hash != order.params_hash:
                detail = f"The run {key} was ordered with other parameters before."
                raise Refused(HTTPStatus.CONFLICT, "conflict", detail)
            return known, False
        self._refuse_stale(key)
        # The newer lease has made the older one void, whether or not the newer order can be taken.
        for older in self.ledger.of_job(key.job_id):
            self.cancel(older, reason="superseded")
        self._refuse_bad(order)
        self._refuse_full(order)
        return self._begin(key, order, self.inputs.of(order)), True

    def _begin(self, key: RunKey, order: RunOrder, given: tuple[bytes | None, bytes | None]) -> Entry:
        entry = self.ledger.add(key, order)

        def tell(report: Report) -> None:
            self._from_engine(lambda: self.ledger.apply(entry, report))

        spec = _spec(order, *given, scheduler=order.scheduler or self._catalog.models[order.model].card.default_scheduler)
        entry.run = self._engine.submit(str(key), spec, tell, give_up_seconds=order.give_up_seconds)
        return entry

    def cancel(self, entry: Entry, *, reason: str) -> None:
        """Ask for a run's end; it comes by itself, as an end of the entry."""
        if entry.run is not None and not entry.has_ended:
            entry.cancel_reason = entry.cancel_reason or reason
            self._engine.cancel(entry.run)

    def _refuse_stale(self, key: RunKey) -> None:
        newest = max((entry.key.epoch for entry in self.ledger.of_job(key.job_id)), default=-1)
        if newest > key.epoch:
            detail = f"The job {key.job_id} was leased again since: epoch {newest} is here, {key.epoch} comes too late."
            raise Refused(HTTPStatus.CONFLICT, "stale_epoch", detail)

    def _refuse_bad(self, order: RunOrder) -> None:
        if order.model not in self._models:
            reason = self._refused_models.get(order.model, "There is no such model on this worker.")
            detail = f"The model {order.model!r} cannot be had: {reason}"
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "unknown_model", detail)
        unknown = [use.name for use in order.loras if use.name not in self._library.loras]
        if unknown:
            reason = next((why for name, why in self._library.refused.items() if name.startswith(unknown[0] + ".")), "There is none here.")
            detail = f"The LoRA {unknown[0]!r} cannot be had: {reason}"
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "unknown_lora", detail)
        fields = complaints(order, self._offer(order.model))
        fields += lora_complaints(order, self._catalog.models[order.model], self._library.loras)
        if fields:
            detail = f"The order is wrong: {fields[0].detail}"
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_order", detail, fields=fields)

    def _refuse_full(self, order: RunOrder) -> None:
        if self._draining or self.death is not None:
            detail = "This worker is ending and takes no more runs; others do."
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "draining", detail)
        if not self.ready.is_set():
            raise _not_ready()
        # An order of more pictures than places has them made in turns, but not before it has all places.
        if self._free_places < min(order.count, self.settings.max_batch):
            detail = f"Of {self.settings.max_batch} places {self._free_places} are free, too few for this; ask again when more are."
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "full", detail)

    def begin_draining(self) -> None:
        """Take no more runs, finish those that are here, and end."""
        self._draining = True
        self.ending.set()

    async def drained(self) -> None:
        """Wait until every run has ended, then until every picture was acknowledged, for `drain_seconds` at most."""
        while self.ledger.under_way:
            await self.ledger.changed()
        try:
            async with asyncio.timeout(self.settings.drain_seconds):
                while any(entry.pictures for entry in self.ledger):
                    await self.ledger.changed()
        except TimeoutError:
            _log.warning("Ending with results that no host has fetched")


def _best_of(found: table.Table, source: ModelSource) -> int | None:
    shape = source.shape
    size = {"width": shape.default_width, "height": shape.default_height, "frames": frames_of(source)}
    return found.best(source.name, stamp_of(source), **size) if any(one.model == source.name for one in found.curves) else None


def _spec(order: RunOrder, image: bytes | None, mask: bytes | None, *, scheduler: str | None) -> RunSpec:
    larger = (order.scale or 2) if order.kind == "upscale" else 1
    return RunSpec(
        model=order.model,
        kind=order.kind,
        prompt=order.prompt,
        negative=order.negative,
        width=order.width * larger,
        height=order.height * larger,
        steps=order.steps,
        guidance=order.guidance,
        seed=order.seed,
        scheduler=scheduler,
        previews=order.previews,
        count=order.count,
        loras=tuple(LoraUse(name=use.name, weight=use.weight) for use in order.loras),
        image=image,
        mask=mask,
        strength=order.strength,
        frames=order.frames,
        fps=order.fps,
        scale=order.scale,
    )


def _not_ready() -> Refused:
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, "starting", "The worker is starting; ask again in a few seconds.")


def _software() -> str:
    try:
        return f"darkroom {version('darkroom')}"
    except PackageNotFoundError:
        return "darkroom"
