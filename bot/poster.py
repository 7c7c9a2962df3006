"""The outbox's loop: take rows, post them, tell the outbox what became of each. Knows no Discord.

Rows of one channel go one after the other; channels go side by side, so that one that hangs holds up nobody else.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jobs.errors import LeaseLost, StoreUnavailable
from jobs.events import JobFact
from jobs.feed import Feed
from jobs.ports import Clock, Delivery, Outbox

_log = logging.getLogger(__name__)

SEND_TIMEOUT = 45.0
"""Seconds for one delivery. Under half a lease: who takes the row over reads back only after this request is dead."""

POLL = 1.5
"""Seconds between looks at the outbox when no fact woke the loop: rows that come due, and other hosts' rows."""

IN_HAND = 200
"""Rows taken and not yet settled. More than a person can have, so that one hanging channel never fills it alone."""

TRIES_MAX = 10
"""For refusals that only an admin can mend. An outage of Discord counts for nothing: it is waited for."""


@dataclass(frozen=True, kw_only=True)
class Posted:
    """It is in the channel (or was, and somebody deleted it)."""

    message_id: str


@dataclass(frozen=True, kw_only=True)
class TryLater:
    """Not now. ``patient`` faults are retried for ever; others die after ``TRIES_MAX``."""

    reason: str
    after: float | None = None
    """Seconds that Discord asked for; None takes the back-off."""
    patient: bool = True


@dataclass(frozen=True, kw_only=True)
class Hopeless:
    """It can never be posted."""

    reason: str


Outcome = Posted | TryLater | Hopeless


class Courier(Protocol):
    """Posts one delivery. Its own errors are outcomes; what it raises is a bug."""

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Post it, or find that it was posted before."""
        ...


@dataclass(frozen=True, kw_only=True)
class _InHand:
    delivery: Delivery
    taken_at: float


class Poster:
    """Delivers the outbox. One a process; several processes share the outbox by its leases."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        courier: Courier,
        feed: Feed,
        clock: Clock,
        on_posted: Callable[[Delivery, str], None] | None = None,
        send_timeout: float = SEND_TIMEOUT,
        poll: float = POLL,
    ) -> None:
        self._outbox = outbox
        self._courier = courier
        self._feed = feed
        self._clock = clock
        self._on_posted = on_posted
        self._send_timeout = send_timeout
        self._lease = 2 * send_timeout + 10.0
        self._poll = poll
        self._lanes: dict[str, deque[_InHand]] = {}
        self._wake = asyncio.Event()
        self._stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until ``stop``; then end what is being sent and give the other rows back."""
        async with asyncio.TaskGroup() as group:
            listener = group.create_task(self._listen(), name="poster: facts")
            stopper = group.create_task(self._wake_at(stop), name="poster: stop")
            while not stop.is_set():
                self._wake.clear()
                taken = await self._take(group)
                if not taken:
                    await self._nap()
            self._stopping = True
            listener.cancel()
            stopper.cancel()

    async def _listen(self) -> None:
        """A committed fact may have written rows: look at once, so that a picture is posted within milliseconds."""
        with self._feed.subscribe() as news:
            async for event in news:
                if isinstance(event, JobFact):
                    self._wake.set()

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _nap(self) -> None:
        try:
            async with asyncio.timeout(self._poll):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _take(self, group: asyncio.TaskGroup) -> int:
        room = IN_HAND - sum(len(lane) for lane in self._lanes.values())
        if room < 1:
            return 0
        try:
            taken = await self._outbox.take(limit=room, lease_seconds=self._lease)
        except StoreUnavailable as error:
            _log.warning("the outbox cannot be read: %s", error)
            await self._clock.sleep(self._poll)
            return 0
        now = self._clock.monotonic()
        for delivery in taken:
            self._hand_out(_InHand(delivery=delivery, taken_at=now), group)
        return len(taken)

    def _hand_out(self, row: _InHand, group: asyncio.TaskGroup) -> None:
        channel = row.delivery.place.channel_id
        lane = self._lanes.get(channel)
        if lane is None:
            lane = self._lanes[channel] = deque()
            group.create_task(self._drive(channel, lane), name=f"poster: channel {channel}")
        lane.append(row)

    async def _drive(self, channel: str, lane: deque[_InHand]) -> None:
        try:
            while lane:
                await self._settle(lane[0])
                lane.popleft()
        finally:
            del self._lanes[channel]
            self._wake.set()  # a later row of these jobs may be due now

    async def _settle(self, row: _InHand) -> None:
        # A lane that was slow may come to a row too late to finish within its lease: somebody else would post it too.
        late = self._clock.monotonic() - row.taken_at > self._lease - self._send_timeout - 5
        if late or self._stopping:
            outcome: Outcome = TryLater(reason="not tried: no time left", after=0.0)
        else:
            outcome = await self._deliver(row.delivery)
        try:
            await self._record(row.delivery, outcome)
        except LeaseLost:
            _log.warning("delivery %s was taken over by another poster", row.delivery.id)
        except StoreUnavailable as error:  # its lease ends, and the next poster reads the channel back
            _log.warning("delivery %s: its outcome could not be stored: %s", row.delivery.id, error)

    async def _deliver(self, delivery: Delivery) -> Outcome:
        try:
            async with asyncio.timeout(self._send_timeout):
                return await self._courier.deliver(delivery)
        except TimeoutError:
            return TryLater(reason="timeout")
        except StoreUnavailable as error:
            return TryLater(reason=str(error))
        except Exception:  # noqa: BLE001  one row with a bug in it must not stop everybody's deliveries
            _log.exception("delivery %s (%s) broke", delivery.id, delivery.kind)
            return TryLater(reason="bug", patient=False)

    async def _record(self, delivery: Delivery, outcome: Outcome) -> None:
        match outcome:
            case Posted(message_id=message_id):
                await self._outbox.sent(delivery, message_id)
                if self._on_posted is not None:
                    self._on_posted(delivery, message_id)
            case TryLater(reason=reason, patient=False) if delivery.attempts >= TRIES_MAX:
                await self._give_up(delivery, reason)
            case TryLater(reason=reason, after=after):
                delay = backoff(delivery.attempts - 1) if after is None else after
                await self._outbox.later(delivery, delay_seconds=delay, reason=reason)
            case Hopeless(reason=reason):
                await self._give_up(delivery, reason)

    async def _give_up(self, delivery: Delivery, reason: str) -> None:
        _log.error("delivery %s (%s of job %s) is given up: %s", delivery.id, delivery.kind, delivery.job_id, reason)
        await self._outbox.dead(delivery, reason)


def backoff(attempts: int) -> float:
    """Seconds: 1, 2, 4 … at most two minutes, with up to a half of jitter so that rows do not come back in step."""
    return min(120.0, 2.0 ** min(attempts, 10)) * random.uniform(0.5, 1.0)  # noqa: S311  spreads retries, guards nothing
