"""One prompt on one server, from its posting to its end: HTTP is the truth, the socket makes it quick.

An id is written down before it is posted (it follows from the lease), and after doubt the server is asked for it: ComfyUI
runs a prompt that is posted twice twice. A 404 for an id that we did not cancel means that the server forgot it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.graph import RESULT_NODE, SAMPLER_NODE
from jobs.errors import RunForgotten, WorkerUnreachable
from workers.drivers.comfy.client import ComfyClient, Unanswered
from workers.drivers.comfy.ear import Ear
from workers.drivers.comfy.messages import Told
from workers.drivers.comfy.outcome import End, Outcome, read_outcome
from workers.drivers.comfy.patience import Patience

_FINAL = ("completed", "failed", "cancelled")


@dataclass(kw_only=True)
class Life:
    """What was heard of a prompt."""

    step: int = 0
    total: int = 0
    ending: bool = False
    previews: dict[str | None, bytes] = field(default_factory=dict)
    """The newest by item; None for a preview that does not say whose it is."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    heard_at: float = float("-inf")
    """When the socket last spoke of it, on the monotonic clock."""
    alive_at: float = field(default_factory=time.monotonic)
    """When anything last showed that it comes nearer."""
    step_seconds: float = 0.0

    def hear(self, told: Told) -> None:
        """Take in an event: only assignments, nothing that could hold up the socket's reader."""
        now = time.monotonic()
        if told.step and told.node in (SAMPLER_NODE, ""):
            if told.step > self.step:
                self.step_seconds = max(self.step_seconds, now - self.alive_at if self.step else 0.0)
            self.step, self.total = told.step, told.total
        if told.preview is not None:
            self.previews[told.item] = told.preview
        self.ending = self.ending or told.ending or told.ended
        self.heard_at = self.alive_at = now
        self.changed.set()


class Prompt:
    """A graph under our ids, posted, followed, stopped."""

    def __init__(self, client: ComfyClient, ear: Ear, patience: Patience, ids: Sequence[str]) -> None:
        self._client = client
        self._ear = ear
        self._patience = patience
        self._ids = list(ids)
        self.id = self._ids[0]
        self.life = Life()
        self.stopping = False
        self._queue = -1
        self._last_look = 0.0
        self._missing = 0
        self._endings = 0
        self._failing_since = 0.0

    async def post(self, graph: Mapping[str, Any], *, previews: str) -> None:
        """Queue the graph. Raises Refused for one that this server cannot take, WorkerUnreachable."""
        for name in self._ids:
            self.id = name
            client_id = await self._ear.connected()
            self._ear.listen(self.id, self.life.hear)
            try:
                await self._client.submit(graph, self.id, client_id=client_id, previews=previews)
            except Unanswered:
                if await self._turned_up():
                    return
                self._ear.stop(self.id)
                await self._client.cancel(self.id)  # should it arrive after all
            else:
                return
        raise WorkerUnreachable("worker_unreachable", reason="it takes no prompt: every posting was left unanswered")

    async def _turned_up(self) -> bool:
        """Whether a prompt whose posting was not answered is there: three looks over some seconds."""
        for pause in self._patience.doubt:
            await asyncio.sleep(pause)
            try:
                if await self._client.job_state(self.id) is not None:
                    return True
            except Unanswered:
                continue
        return False

    async def adopt(self) -> bool:
        """Take up a prompt from before our restart, if the server knows it; its events went to a socket that is gone."""
        return await self._client.job_state(self.id) is not None

    async def follow(self, tell: Callable[[Life], None]) -> Outcome:
        """Wait for its end; ``tell`` hears of every change and, in silence, now and then. Raises WorkerUnreachable, RunForgotten."""
        told = time.monotonic()
        try:
            while True:
                if await self._waited():
                    tell(self.life)
                    told = time.monotonic()
                if (outcome := await self._looked_patiently()) is not None:
                    return outcome
                self._check_bounds()
                if time.monotonic() - told > self._patience.tell:
                    tell(self.life)
                    told = time.monotonic()
        finally:
            self._ear.stop(self.id)

    async def _waited(self) -> bool:
        """Until something was heard or the next look is due; whether something was heard."""
        if self.life.ending:
            await asyncio.sleep(self._patience.poll if self._failing_since else self._patience.poll_ending)
            return False
        talks = time.monotonic() - self.life.heard_at < self._patience.poll
        due = self._last_look + (self._patience.poll_talking if talks else self._patience.poll) - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, due)):
                await self.life.changed.wait()
        except TimeoutError:
            return False
        self.life.changed.clear()
        return True

    async def _looked_patiently(self) -> Outcome | None:
        """A look that fails is made again until it has failed for too long: the prompt may go on all the while."""
        try:
            outcome = await self._looked()
        except WorkerUnreachable:
            now = time.monotonic()
            self._failing_since = self._failing_since or now
            if now - self._failing_since > self._patience.outage:
                raise
            self._last_look = now
            return None
        self._failing_since = 0.0
        return outcome

    async def _looked(self) -> Outcome | None:
        """Ask the server where it stands, if that is due."""
        now = time.monotonic()
        every = self._patience.poll_talking if now - self.life.heard_at < self._patience.poll else self._patience.poll
        if not self.life.ending and now - self._last_look < every:
            return None
        self._last_look = now
        if self.life.ending and (entry := await self._client.history(self.id)) is not None:
            return read_outcome(entry, RESULT_NODE)
        if self.life.ending and self._endings < self._patience.poll / self._patience.poll_ending:
            self._endings += 1  # history comes milliseconds after the word of success
            return None
        self.life.ending, self._endings = False, 0
        return await self._state()

    async def _state(self) -> Outcome | None:
        state = await self._client.job_state(self.id)
        if state is None:
            return await self._not_there()
        self._missing = 0
        if state in _FINAL:
            entry = await self._client.history(self.id)
            if entry is None:
                raise WorkerUnreachable("worker_unreachable", reason="its history lost a finished prompt")
            return read_outcome(entry, RESULT_NODE)
        await self._note_queue(state)
        return None

    async def _not_there(self) -> Outcome | None:
        """A 404: ours if we cancelled it while it waited; twice in a row, the server forgot it."""
        if self.stopping:
            return Outcome(end=End.INTERRUPTED)
        self._missing += 1
        if self._missing >= 2:
            raise RunForgotten("worker_unreachable", reason="the server forgot the prompt: it was restarted")
        await asyncio.sleep(self._patience.missing)
        self._last_look = 0.0
        return None

    async def _note_queue(self, state: str) -> None:
        """While it waits behind others' prompts, a queue that gets shorter is a sign of life."""
        length = await self._client.queue_length() if state == "pending" else -1
        if length != self._queue:
            self._queue = length
            self.life.alive_at = time.monotonic()

    def _check_bounds(self) -> None:
        """A server whose worker thread died answers for ever and never moves. Raises WorkerUnreachable."""
        life = self.life
        bound = self._patience.first_step if not life.step else max(self._patience.between_steps, 10 * life.step_seconds)
        if time.monotonic() - life.alive_at > bound:
            raise WorkerUnreachable(
                "worker_unreachable", reason="it answers, but the prompt does not move: only a restart of ComfyUI helps"
            )

    async def stop(self) -> None:
        """Cancel it, by its id alone; `follow` then ends."""
        self.stopping = True
        await self._client.cancel(self.id)
        self._last_look = 0.0
        self.life.changed.set()
