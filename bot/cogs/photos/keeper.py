"""Keeps every waiting card true: place, time, steps, preview. Edits may be dropped; the newest state wins.

A status change is shown at once; anything else at most once in three seconds a channel, and only when it can be seen.
The last edit of a card is not made here but by the outbox (CLOSE), so that it happens even if this process dies.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from itertools import count

from bot.cogs.interactions import NETWORK_FAULTS
from bot.cogs.photos.budget import Budget
from bot.cogs.photos.courier import DELETED, DiscordCourier
from bot.cogs.photos.memory import CardMemory, fingerprint
from jobs.desk import Desk, QueueSnapshot
from jobs.errors import DarkroomError, StoreUnavailable
from jobs.events import JobCancelRequested, JobEvent, JobFact, JobProgressed, JobRequeued, JobStarted
from jobs.feed import Feed
from jobs.job import Job, JobId, JobState
from jobs.ports import Clock, Delivery, DeliveryKind, JobStore, Outbox
from jobs.words import say

_log = logging.getLogger(__name__)

EDIT_EVERY = 3.0
"""Seconds between two edits of progress in a channel. Discord takes about 5 posts and edits in 5 s there."""

EDIT_TIMEOUT = 20.0
LOOK_EVERY = 3.0
"""Seconds between two readings of the queue, for everybody's place at once."""

TAKE_UP_EVERY = 30.0
"""Seconds between two searches for unfinished jobs that no event told of: from before a restart, or other hosts'."""

BREATH = 0.2


@dataclass
class _Card:
    job: Job
    message_id: int | None = None
    asked_at: float = field(default=float("-inf"))
    """When the outbox was last asked for the message id."""
    urgent: bool = False
    dirty: bool = False
    turn: int = 0
    """When it became dirty, in marks."""
    editing: bool = False


class CardKeeper:
    """Edits the cards of unfinished jobs while this process has Discord's connection."""

    def __init__(
        self,
        *,
        desk: Desk,
        store: JobStore,
        outbox: Outbox,
        feed: Feed,
        memory: CardMemory,
        courier: DiscordCourier,
        budget: Budget,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._store = store
        self._outbox = outbox
        self._feed = feed
        self._memory = memory
        self._courier = courier
        self._budget = budget
        self._clock = clock
        self._cards: dict[JobId, _Card] = {}
        self._edited_at: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._turns = count()

    async def run(self) -> None:
        """Keep cards until cancelled."""
        with self._feed.subscribe() as news:  # before the first search, so that nothing falls between
            async with asyncio.TaskGroup() as group:
                group.create_task(self._take_up_for_ever(), name="cards: take up")
                group.create_task(self._look_for_ever(), name="cards: places")
                group.create_task(self._edit_for_ever(group), name="cards: edits")
                async for event in news:
                    self._hear(event)

    def card_posted(self, delivery: Delivery, message_id: str) -> None:
        """The poster says that this card has its message."""
        card = self._cards.get(delivery.job_id)
        if delivery.kind is DeliveryKind.CARD and card is not None and message_id != DELETED:
            card.message_id = int(message_id)
            self._mark(card)

    def _hear(self, event: JobEvent) -> None:
        if isinstance(event, JobProgressed):
            card = self._cards.get(event.job_id)
            if card is not None:
                self._mark(card)
            return
        self._memory.note_making(event.job)
        if event.job.state.is_terminal:
            self._cards.pop(event.job.id, None)
        elif event.job.place is not None:
            self._heard_fact(event)

    def _heard_fact(self, event: JobFact) -> None:
        card = self._cards.setdefault(event.job.id, _Card(job=event.job))
        if card.job.version > event.job.version:
            return
        card.job = event.job
        memo = self._memory.memo(event.job.id)
        if isinstance(event, JobRequeued):
            memo.note = _note(card.job, event)
            memo.progress = None
        elif isinstance(event, JobStarted):
            memo.note = None
        # A lease is followed by its start within moments: one edit for both.
        card.urgent = card.urgent or isinstance(event, (JobRequeued, JobStarted, JobCancelRequested))
        self._mark(card)

    def _mark(self, card: _Card) -> None:
        if not card.dirty:
            card.dirty, card.turn = True, next(self._turns)
        self._wake.set()

    async def _take_up_for_ever(self) -> None:
        while True:
            try:
                for job in await self._store.unfinished():
                    self._memory.note_making(job)
                    if job.place is not None and job.id not in self._cards:
                        self._mark(self._cards.setdefault(job.id, _Card(job=job)))
                await self._drop_ended()
            except StoreUnavailable as error:
                _log.warning("cards wait for the ledger: %s", error)
            await self._clock.sleep(TAKE_UP_EVERY)

    async def _drop_ended(self) -> None:
        """Forget what ended in another process: no event of it came here."""
        for job_id in list(self._cards):
            job = await self._store.get(job_id)
            if job is None or job.state.is_terminal:
                self._cards.pop(job_id, None)
            if job is not None:
                self._memory.note_making(job)
        self._memory.prune(self._cards)
        channels = {card.job.place.channel_id for card in self._cards.values() if card.job.place}
        self._edited_at = {channel: at for channel, at in self._edited_at.items() if channel in channels}

    async def _look_for_ever(self) -> None:
        """One reading of the queue for all waiting cards; only those whose line would change are marked."""
        while True:
            await self._clock.sleep(LOOK_EVERY)
            waiting = [card for card in self._cards.values() if card.job.state is JobState.QUEUED]
            late = [card for card in self._cards.values() if card.job.state.is_active]
            try:
                snapshot = await self._desk.snapshot() if waiting else None
            except StoreUnavailable as error:
                _log.warning("places wait for the ledger: %s", error)
                continue
            for card in waiting:
                if snapshot is not None and self._place_changed(card, snapshot):
                    self._mark(card)
            for card in late:  # nothing may come from a worker that hangs, and the promise still passes
                self._mark(card)

    def _place_changed(self, card: _Card, snapshot: QueueSnapshot) -> bool:
        memo = self._memory.memo(card.job.id)
        sight = self._memory.sight(card.job, self._desk.outlook(card.job, snapshot))
        return fingerprint(sight.outlook) != memo.shown

    async def _edit_for_ever(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            for card in self._due():
                card.editing, card.dirty, card.urgent = True, False, False
                group.create_task(self._edit_safely(card), name=f"card {card.job.id}")
            if any(card.dirty for card in self._cards.values()):
                await self._clock.sleep(BREATH)
                self._wake.set()

    def _due(self) -> list[_Card]:
        """At most one card a channel: those whose status changed first, then whoever waits longest."""
        now = self._clock.monotonic()
        busy = {self._channel(card) for card in self._cards.values() if card.editing}
        due: list[_Card] = []
        for card in sorted(self._cards.values(), key=lambda card: (not card.urgent, card.turn)):
            channel = self._channel(card)
            rested = card.urgent or now - self._edited_at.get(channel, float("-inf")) >= EDIT_EVERY
            if card.dirty and rested and channel not in busy:
                busy.add(channel)
                due.append(card)
        return due

    @staticmethod
    def _channel(card: _Card) -> str:
        return card.job.place.channel_id if card.job.place else ""

    async def _edit_safely(self, card: _Card) -> None:
        try:
            async with asyncio.timeout(EDIT_TIMEOUT):
                await self._edit(card)
        except NETWORK_FAULTS as error:
            _log.info("the card of job %s was not edited: %s: %s", card.job.id, type(error).__name__, error)
        except DarkroomError as error:
            _log.warning("the card of job %s was not edited: %s", card.job.id, error)
        finally:
            card.editing = False

    async def _edit(self, card: _Card) -> None:
        if card.message_id is None and not await self._find_message(card):
            return
        memo = self._memory.memo(card.job.id)
        async with memo.lock:
            # Read under the lock: if the job has not ended by now, its CLOSE comes after this edit.
            sight = await self._memory.look(card.job.id)
            if sight is None or sight.job.state.is_terminal or sight.fingerprint == memo.shown:
                return
            if not self._budget.spare():
                card.dirty = True
                return
            assert card.message_id is not None
            self._edited_at[self._channel(card)] = self._clock.monotonic()
            await self._courier.edit_card(sight, card.message_id)
            memo.shown = sight.fingerprint

    async def _find_message(self, card: _Card) -> bool:
        """The card's message, from the outbox: asked for rarely, since the poster tells of new ones."""
        now = self._clock.monotonic()
        if now - card.asked_at < LOOK_EVERY:
            return False
        card.asked_at = now
        found = await self._outbox.message_of(card.job.id, card.job.generation, DeliveryKind.CARD)
        if found is None or found == DELETED:
            return False
        card.message_id = int(found)
        return True


def _note(job: Job, event: JobRequeued) -> str:
    locale = job.place.locale if job.place else None
    worker = event.reason.details.get("worker")
    if event.reason.code in ("worker_unreachable", "lease_lost") and worker:
        return say("why.moved", locale, gpu=worker)
    return say("photo.back", locale)
