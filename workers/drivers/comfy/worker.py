"""One ComfyUI server as a worker of the pool: runs that were leased together become one prompt.

A prompt lives in a task of this driver, not in the stream of the run that began it: a neighbour whose lease is lost must not
take the others' pictures along. A single run of a batch is cancelled by throwing its picture away.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp

from flows.comfy import ComfyFlow
from jobs.errors import RunForgotten, WorkerBusy, WorkerFault
from jobs.run import Run, RunEvent, RunKey, WorkerReport
from workers.drivers.comfy.abilities import Abilities, read_abilities
from workers.drivers.comfy.adoption import find_rows
from workers.drivers.comfy.client import ComfyClient
from workers.drivers.comfy.ear import Ear
from workers.drivers.comfy.errand import Adoption, Bench, Errand, ReadPicture
from workers.drivers.comfy.member import Member
from workers.drivers.comfy.patience import Patience
from workers.drivers.comfy.rows import rows_of, single_ids

_log = logging.getLogger(__name__)

ERRANDS_MAX = 2
"""Prompts on one server: one runs, one waits. The rest stays where fairness can move it, and a crash loses less."""


@dataclass(kw_only=True)
class _Gathering:
    """A lease whose runs are arriving."""

    dispatch: str
    together: int
    members: list[Member] = field(default_factory=list)
    full: asyncio.Event = field(default_factory=asyncio.Event)


class ComfyWorker:
    """Drives one server. Its tasks live between ``async with`` and the end of that block; prompts then stay with the server."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        session: aiohttp.ClientSession,
        flows: Sequence[ComfyFlow],
        read_picture: ReadPicture,
        key: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._name = name
        self._flows = tuple(flows)
        self._patience = patience or Patience()
        client = ComfyClient(url=url, session=session, key=key, patience=self._patience)
        self._bench = Bench(client=client, ear=Ear(client, self._patience), patience=self._patience, read_picture=read_picture)
        self._probed_at = float("-inf")
        self._instance = uuid.uuid4().hex[:12]
        self._members: dict[RunKey, Member] = {}
        self._gatherings: dict[str, _Gathering] = {}
        self._errands: dict[str, Errand] = {}
        self._tasks = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._start(self._bench.ear.run(), "socket")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    @property
    def name(self) -> str:
        """Stable over restarts of the host."""
        return self._name

    def use(self, flows: Sequence[ComfyFlow]) -> None:
        """Make things by these flows from the next look on. What is under way ends by the former ones."""
        self._flows = tuple(flows)
        self._bench.stale = True

    async def report(self) -> WorkerReport:
        """Its health at every call, what it can make now and then. Raises WorkerUnreachable."""
        bench = self._bench
        if bench.abilities is None or bench.stale or time.monotonic() - self._probed_at > self._patience.probe_every:
            await self._probe()
        else:
            await self._greet()
        assert bench.abilities is not None  # _probe sets it or raises
        offers = bench.abilities.offers(bench.limits)
        largest = max((offer.best_batch or 1 for offer in offers), default=1)
        return WorkerReport(
            name=self._name,
            instance=f"{self._instance}-{bench.forgotten}",
            device=bench.abilities.device,
            models=offers,
            loaded=frozenset({bench.loaded} if bench.loaded else ()),
            max_batch=largest,
            room=0 if self._errands or self._gatherings else largest,
            loras=bench.abilities.lora_offers,
            running=tuple(key for key, member in self._members.items() if member.is_live),
            notes=(f"Pictures are made one by one: {bench.abilities.pack}.",) if bench.abilities.pack else (),
        )

    async def run(self, run: Run, *, resume: bool = False) -> AsyncGenerator[RunEvent, None]:
        """Start the run with those leased together with it, or attach to it, and follow it to its end."""
        member = self._members.get(run.key)
        if member is None:
            member = await self._adopted(run) if resume else await self._taken(run)
        async with aclosing(member.events()) as events:
            async for event in events:
                yield event

    async def cancel(self, key: RunKey) -> None:
        """Stop it: at once when neighbours go on, else as soon as the server says so. An unknown run is looked for by its id."""
        member = self._members.get(key)
        if member is None:
            await self._cancel_unknown(key)
            return
        for gathering in self._gatherings.values():
            if member in gathering.members:
                member.cancelled = True
        for errand in [errand for errand in self._errands.values() if member in errand.members and member.is_live]:
            await errand.cancel(member)

    async def acknowledge(self, key: RunKey) -> None:
        """Forget the run, and take its prompts out of the server's history once none of our runs needs them."""
        member = self._members.get(key)
        if member is None or member.is_live:
            return
        del self._members[key]
        needed = {prompt for other in self._members.values() for prompt in other.prompts}
        if done := sorted(member.prompts - needed):
            await self._bench.client.forget(done)

    async def _greet(self) -> None:
        """Whether it is well; one that was away may come back as another."""
        try:
            await self._bench.client.queue_length()
        except WorkerFault:
            self._bench.stale = True
            raise

    def prompts_of(self, key: RunKey) -> tuple[str, ...]:
        """The ids under which a run stands on the server, as far as this driver knows: for operators and measurements."""
        member = self._members.get(key)
        return tuple(sorted(member.prompts)) if member is not None else ()

    async def _probe(self) -> None:
        before = self._bench.abilities
        self._bench.abilities = await read_abilities(self._bench.client, self._flows)
        self._bench.stale = False
        self._probed_at = time.monotonic()
        self._notice(before, self._bench.abilities)

    def _notice(self, before: Abilities | None, now: Abilities) -> None:
        if before is None or before.pack != now.pack:
            how = f"pictures are made one by one: {now.pack}" if now.pack else "several people share a pass"
            _log.info("worker %s: %d models; %s", self._name, len({name for name, _ in now.served}), how)
        if before is None and not now.served:
            _log.warning("worker %s: no flow has its files there; `darkroom flows check` says which are missing", self._name)

    async def _taken(self, run: Run) -> Member:
        """A member of its lease's gathering. Raises WorkerBusy, WorkerUnreachable."""
        if self._bench.abilities is None:
            await self._probe()
        if run.key in self._members:  # another stream of the same run was quicker
            return self._members[run.key]
        dispatch = run.dispatch or str(run.key)
        if dispatch in self._errands:  # its lease went without it
            dispatch = str(run.key)
        gathering = self._gatherings.get(dispatch)
        if gathering is None:
            if len(self._errands) + len(self._gatherings) >= ERRANDS_MAX:
                raise WorkerBusy("worker_busy", reason="two prompts of ours are there")
            gathering = self._gatherings[dispatch] = _Gathering(dispatch=dispatch, together=run.together if run.dispatch else 1)
            self._start(self._carry(gathering), f"prompt {dispatch}")
        member = self._members[run.key] = Member(run)
        gathering.members.append(member)
        if len(gathering.members) >= gathering.together:
            gathering.full.set()
        return member

    async def _carry(self, gathering: _Gathering) -> None:
        try:
            async with asyncio.timeout(self._patience.gather):
                await gathering.full.wait()
        except TimeoutError:
            pass
        del self._gatherings[gathering.dispatch]
        await self._run(gathering.dispatch, Errand(self._bench, gathering.members, gathering.dispatch))

    async def _run(self, name: str, errand: Errand) -> None:
        self._errands[name] = errand
        try:
            await errand.run()
        finally:
            self._errands.pop(name, None)

    async def _adopted(self, run: Run) -> Member:
        """A member of the prompts that were posted for it before our restart. Raises RunForgotten."""
        found = await find_rows(self._bench.client, rows_of(run), run.dispatch or str(run.key))
        if found is None:
            raise RunForgotten("worker_unreachable", reason="the server does not know the prompt")
        if run.key in self._members:
            return self._members[run.key]
        member = self._members[run.key] = Member(run)
        for prompt, (rows, batch) in found.items():
            errand = self._errands.get(prompt)
            if isinstance(errand, Adoption):
                errand.join(member, rows)
            else:
                adoption = Adoption(self._bench, prompt, batch=batch)
                adoption.join(member, rows)
                self._errands[prompt] = adoption
                self._start(self._run(prompt, adoption), f"prompt {prompt}")
        return member

    async def _cancel_unknown(self, key: RunKey) -> None:
        """A run of a driver that is gone: made alone, its prompt has an id that follows from its key."""
        for prompt in single_ids(key, 0):
            if await self._bench.client.job_state(prompt) in ("pending", "in_progress"):
                await self._bench.client.cancel(prompt)

    def _start(self, work: Coroutine[object, object, None], name: str) -> None:
        task = self._tasks.create_task(work, name=f"{self._name}: {name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
