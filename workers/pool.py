"""One loop per GPU URL: ask how it is, take up what it still runs, fill its free places. Host side, no torch."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from jobs.dispatcher import Dispatcher
from jobs.errors import StoreUnavailable, WorkerBusy, WorkerFault
from jobs.events import JobCancelRequested, JobFact, JobLeased, JobStarted
from jobs.feed import Feed
from jobs.offer import LoraOffer, ModelOffer
from jobs.planner import WorkerView
from jobs.ports import Clock, Worker
from jobs.run import WorkerReport
from workers.breaker import Breaker, Circuit
from workers.guarded import Guarded

_log = logging.getLogger(__name__)

_REMEMBER_EVERY = 3600.0
"""Seconds after which an unchanged worker is remembered anew: one that is not heard of for a week shapes no pool any more."""
_ADOPT_EVERY = 5.0
"""Seconds between looks for runs whose host is gone."""


class OfferMemory(Protocol):
    """Remembers what workers offered, so that a restarted host knows models whose workers are down."""

    async def recall(self) -> Mapping[str, Sequence[ModelOffer]]:
        """What each worker offered last, by the worker's name."""
        ...

    async def remember(self, name: str, offers: Sequence[ModelOffer], loras: Sequence[str] = ()) -> None:
        """Keep this worker's offers and the names of its LoRAs in place of its former ones."""
        ...


@dataclass(kw_only=True)
class Member:
    """A worker of the pool and what is known of it."""

    worker: Worker
    breaker: Breaker
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    report: WorkerReport | None = None
    """The last report; None while it does not answer."""
    places: int = 0
    """Runs of ours it could have in all, at the time of the report."""
    instance: str = ""
    remembered_at: float = float("-inf")
    adopted_at: float = float("-inf")
    trouble: str = ""
    """Why it does not answer, for the operator."""
    surprises: set[str] = field(default_factory=set)
    """Kinds of errors that nobody thought of, each logged once."""


class Pool:
    """The Fleet of one host."""

    def __init__(
        self,
        *,
        workers: Sequence[Worker],
        dispatcher: Dispatcher,
        feed: Feed,
        clock: Clock,
        shipped: Mapping[str, ModelOffer],
        default_model: str,
        memory: OfferMemory,
        max_batch: int,
        poll: float = 2.0,
        breaker_pause: float = 15.0,
    ) -> None:
        self._dispatcher = dispatcher
        self._feed = feed
        self._clock = clock
        self._offers: dict[str, ModelOffer] = dict(shipped)
        self._default_model = default_model
        self._had: set[str] = set()
        """Models that some worker had, now or as far back as the memory goes."""
        self._memory = memory
        self._max_batch = max_batch
        self._poll = poll
        self._cancels = asyncio.Event()
        self.members = [
            Member(worker=Guarded(worker), breaker=Breaker(now=clock.monotonic, pause=breaker_pause)) for worker in workers
        ]

    # ---- the Fleet port --------------------------------------------------------------------------------------------

    def online(self) -> list[WorkerReport]:
        """Workers that answer now and are not kept out by their breaker."""
        return [
            member.report
            for member in self.members
            if member.report is not None and not member.report.draining and member.breaker.circuit is not Circuit.OPEN
        ]

    def views(self) -> list[WorkerView]:
        """Those workers as planning sees them, by the names that leases carry."""
        return [
            self._dispatcher.view(member.worker.name, member.report, room=max(0, member.places - self._rows(member)))
            for member in self.members
            if member.report is not None and member.report in self.online()
        ]

    def has_other(self, model: str, worker: str) -> bool:
        """Whether a worker that answers, other than this one, has the model."""
        return any(model in view.models for view in self.views() if view.name != worker)

    def offers(self) -> Mapping[str, ModelOffer]:
        """Every model known, by name."""
        return self._offers

    def ship(self, shipped: Mapping[str, ModelOffer], default_model: str) -> None:
        """The operator's flows were read anew: these models are known without a worker's word. What a worker offers itself stands."""
        offered = {offer.name for report in self.online() for offer in report.models}
        self._offers.update({name: offer for name, offer in shipped.items() if name not in offered})
        self._default_model = default_model
        self.look_again()

    def loras(self) -> Mapping[str, LoraOffer]:
        """Every LoRA of those that answer, by name."""
        return {lora.name: lora for report in self.online() for lora in report.loras}

    @property
    def default_model(self) -> str:
        """The model of a request that names none: the flow's own, or where no worker ever had it, the first that draws from words."""
        if self._default_model in self._had:
            return self._default_model
        drawing = (offer.name for report in self.online() for offer in report.models if "text_to_image" in offer.kinds)
        return next(drawing, self._default_model)

    # ---- its loops -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve every worker until cancelled. Runs that are under way are left to their workers, to be taken up again."""
        with suppress(StoreUnavailable):
            for offers in (await self._memory.recall()).values():
                self._offers.update({offer.name: offer for offer in offers})
                self._had.update(offer.name for offer in offers)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._dispatcher.keep_leases(), name="leases")
            group.create_task(self._dispatcher.expire(), name="janitor")
            group.create_task(self._listen(group), name="wake")
            group.create_task(self._pass_on(), name="cancels from elsewhere")
            for member in self.members:
                group.create_task(self._serve(member, group), name=f"worker {member.worker.name}")

    async def _listen(self, group: asyncio.TaskGroup) -> None:
        """Wake every loop when something may have become possible, and pass wishes to cancel on at once."""
        with self._feed.subscribe() as events:
            async for event in events:
                if isinstance(event, JobCancelRequested):
                    # Should this event be replaced by a newer one unread, the next renewal passes the wish on.
                    group.create_task(self._dispatcher.cancel(event.job.id), name=f"cancel {event.job.id}")
                elif isinstance(event, JobFact) and not isinstance(event, JobLeased | JobStarted):
                    self.look_again()

    def look_again(self) -> None:
        """Something may have become possible: every worker's loop looks now instead of at its next turn."""
        for member in self.members:
            member.wake.set()

    def pass_on_cancels(self) -> None:
        """Somebody wants a job stopped that runs here, as another host heard: ask the ledger now instead of at the next renewal."""
        self._cancels.set()

    async def _pass_on(self) -> None:
        while True:
            await self._cancels.wait()
            self._cancels.clear()
            await self._dispatcher.renew()

    async def _serve(self, member: Member, group: asyncio.TaskGroup) -> None:
        asked = float("-inf")
        while True:
            member.wake.clear()
            if member.report is None or self._clock.monotonic() - asked >= self._poll:
                await self._ask(member, group)
                asked = self._clock.monotonic()
            await self._fill(member, group)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll):
                    await member.wake.wait()

    async def _ask(self, member: Member, group: asyncio.TaskGroup) -> None:
        """How it is. Whatever is strange about one worker is that worker's trouble, never the end of the host and its other workers."""
        try:
            await self._hear(member, group)
        except Exception as surprise:  # noqa: BLE001  task boundary: an answer may surprise us anywhere from its parsing to its storing
            self._stumbled(member, surprise)

    def _stumbled(self, member: Member, surprise: Exception) -> None:
        trouble = f"its answer made the host stumble: {type(surprise).__name__}"
        if trouble not in member.surprises:
            member.surprises.add(trouble)
            _log.error("worker %s: %s", member.worker.name, trouble, exc_info=surprise)
        member.report, member.trouble = None, trouble

    async def _hear(self, member: Member, group: asyncio.TaskGroup) -> None:
        running = self._rows(member)
        try:
            report = await member.worker.report()
        except WorkerBusy as busy:  # it starts or drains: not a fault
            member.report, member.trouble = None, str(busy.details.get("reason", busy))
            return
        except WorkerFault as fault:
            if member.report is not None or not member.trouble:
                _log.warning("worker %s does not answer: %s", member.worker.name, fault)
            member.report, member.trouble = None, str(fault.details.get("reason", fault))
            return
        if member.report is None:
            _log.info("worker %s is there: %s, %d models", member.worker.name, report.device, len(report.models))
        member.places = min(report.max_batch, report.room + running, self._max_batch)
        await self._learn(member, report)
        await self._take_up(member, report, group)
        member.report, member.trouble = report, ""

    async def _learn(self, member: Member, report: WorkerReport) -> None:
        same = member.report is not None and (member.report.models, member.report.loras) == (report.models, report.loras)
        if same and self._clock.monotonic() - member.remembered_at < _REMEMBER_EVERY:
            return
        self._offers.update({offer.name: offer for offer in report.models})
        self._had.update(offer.name for offer in report.models)
        with suppress(StoreUnavailable):
            await self._memory.remember(member.worker.name, report.models, [lora.name for lora in report.loras])
            member.remembered_at = self._clock.monotonic()

    async def _take_up(self, member: Member, report: WorkerReport, group: asyncio.TaskGroup) -> None:
        known = member.instance == report.instance
        if known and self._clock.monotonic() - member.adopted_at < _ADOPT_EVERY:
            return
        member.adopted_at = self._clock.monotonic()
        try:
            taken = await self._dispatcher.take_up(member.worker, member.breaker, group)
        except StoreUnavailable as error:
            _log.warning("runs on %s not taken up yet: %s", member.worker.name, error)
            return
        member.instance = report.instance
        if taken:
            _log.info("worker %s: took up %d runs again", member.worker.name, taken)

    def _rows(self, member: Member) -> int:
        return self._dispatcher.rows_on(member.worker.name)

    async def _fill(self, member: Member, group: asyncio.TaskGroup) -> None:
        if member.report is None or member.report.draining:
            return
        running = self._rows(member)
        room = member.breaker.room(member.places - running, running)
        if room < 1:
            return
        try:
            await self._dispatcher.fill(member.worker, member.report, member.breaker, group, room=room)
        except StoreUnavailable as error:
            _log.warning("nothing claimed for %s: %s", member.worker.name, error)
        except Exception as surprise:  # noqa: BLE001  task boundary: what it offers may surprise the planning, too
            self._stumbled(member, surprise)
