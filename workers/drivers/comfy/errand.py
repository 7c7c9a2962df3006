"""What one lease brought, as prompts: together where the server can, in portions where it must, alone where a batch is refused."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from flows.graph import GraphError
from flows.server import Served
from jobs.batch import BatchKey
from jobs.errors import BadPicture, RunForgotten, WorkerBusy, WorkerFault, WorkerUnreachable
from jobs.request import Order
from jobs.run import FaultKind, RunCancelled, RunFailed
from workers.drivers.comfy.abilities import Abilities
from workers.drivers.comfy.client import ComfyClient, Refused
from workers.drivers.comfy.ear import Ear
from workers.drivers.comfy.member import Member
from workers.drivers.comfy.outcome import End, File, Outcome, by_item
from workers.drivers.comfy.patience import Patience
from workers.drivers.comfy.prompt import Life, Prompt
from workers.drivers.comfy.rows import FOLDER, Row, batch_ids, graph_for, input_file, single_ids

_log = logging.getLogger(__name__)

ReadPicture = Callable[[str], Awaitable[bytes]]


@dataclass(kw_only=True)
class Bench:
    """What the errands of one server share."""

    client: ComfyClient
    ear: Ear
    patience: Patience
    read_picture: ReadPicture
    abilities: Abilities | None = None
    loaded: str | None = None
    """The model of the last prompt: ComfyUI does not say what is in memory."""
    limits: dict[str, int] = field(default_factory=dict)
    """The largest batch that fitted into its memory, by model."""
    stale: bool = False
    """Whether it refused what we thought it had."""
    forgotten: int = 0
    """How often it lost a prompt: each time it was restarted."""
    uploaded: set[str] = field(default_factory=set)


class Errand:
    """Runs that were leased together, on their way. Ends every member, whatever happens."""

    knows_all = True
    """Whether every row of its prompts belongs to a member."""

    def __init__(self, bench: Bench, members: Sequence[Member], dispatch: str) -> None:
        self._bench = bench
        self.members = list(members)
        self._ids = iter(batch_ids(dispatch))
        self._prompt: Prompt | None = None
        self._in_prompt: list[Row] = []

    async def run(self) -> None:
        """Make everything. Raises nothing but cancellation."""
        try:
            for served, rows in self._portions():
                await self._make(served, rows)
        except WorkerFault as fault:
            self._end_all(fault)
        except Exception:  # noqa: BLE001  task boundary: a surprise here must not end the driver's other errands
            _log.exception("an errand for a ComfyUI server failed")
            self._end_all(WorkerUnreachable("worker_unreachable", reason="the driver stumbled"))
        finally:
            self._end_all(WorkerUnreachable("worker_unreachable", reason="the driver was stopped"))

    async def cancel(self, member: Member) -> None:
        """Throw a member's pictures away; stop the prompt once nobody waits for it."""
        member.cancelled = True
        prompt = self._prompt
        alone = not any(other.is_live and not other.cancelled for other in self._members_of(self._in_prompt))
        if prompt is None or not any(row.key == member.run.key for row in self._in_prompt) or not alone:
            member.finish(RunCancelled(key=member.run.key))
            if prompt is None or not alone:
                return
        await prompt.stop()

    def _portions(self) -> Iterator[tuple[Served, list[Row]]]:
        """Rows that may share a pass. Members whose model or kind this server lacks are handed back."""
        groups: dict[BatchKey, list[Member]] = {}
        for member in self.members:
            groups.setdefault(BatchKey.of(member.run.order, strict=True), []).append(member)
        for group in groups.values():
            order = group[0].run.order
            abilities = self._bench.abilities
            served = abilities.served.get((order.model, order.kind)) if abilities else None
            if served is None:
                for member in group:
                    member.finish(WorkerBusy("worker_busy", reason=f"this server does not have {order.model} now"))
                continue
            for member in group:
                member.notes = _notes(served, member.run.order)
            yield served, [row for member in group for row in member.rows]

    async def _make(self, served: Served, rows: list[Row]) -> None:
        """Rows of one batch key, as large as memory and the flow allow, one by one where a batch is refused."""
        waiting, alone = list(rows), not served.batch
        while waiting := self._wanted(waiting):
            name = served.offer.name
            size = 1 if alone else max(1, min(served.flow.batch_max, self._bench.limits.get(name, served.flow.batch_max)))
            portion = waiting[:size]
            outcome = await self._made(served, portion)
            if outcome.end is End.DONE:
                waiting = waiting[size:]
            elif outcome.end is End.MEMORY and len(portion) > 1:
                self._bench.limits[name] = max(1, len(portion) // 2)
                self._bench.loaded = None  # the server unloads everything after it
                _log.warning("%s: a batch of %d does not fit, %d from now on", name, len(portion), self._bench.limits[name])
            elif outcome.end in (End.CANNOT_BATCH, End.JOB) and len(portion) > 1:
                alone = True  # which of them it was shows when each is made by itself
                _log.info("%s: made one by one: %s", name, outcome.detail)
            else:
                self._give_up(portion, outcome)
                waiting = waiting[size:]

    def _wanted(self, rows: Sequence[Row]) -> list[Row]:
        live = {member.run.key for member in self.members if member.is_live and not member.cancelled}
        return [row for row in rows if row.key in live]

    async def _made(self, served: Served, rows: list[Row]) -> Outcome:
        """One prompt, from its graph to its pictures in the members' hands."""
        batch = served.batch and len(rows) > 1
        ids = [next(self._ids) for _ in range(3)] if batch else single_ids(rows[0].key, rows[0].index)
        try:
            graph = graph_for(served, rows, self._bench.abilities.loras if self._bench.abilities else {}, batch=batch)
        except GraphError as error:
            return Outcome(end=End.JOB, detail=str(error))
        await self._upload(rows)
        await self._make_room(served.offer.name)
        prompt = Prompt(self._bench.client, self._bench.ear, self._bench.patience, ids)
        try:
            self._prompt, self._in_prompt = prompt, rows
            await prompt.post(graph, previews="none" if batch else "latent2rgb")
            self._bench.loaded = served.offer.name
            return await self.followed(prompt, rows, batch=batch)
        except Refused as refusal:
            self._bench.stale = self._bench.stale or refusal.stale
            raise WorkerUnreachable("worker_unreachable", reason=f"it refuses the flow {served.flow.name}: {refusal.detail}") from refusal
        finally:
            self._prompt, self._in_prompt = None, []

    async def followed(self, prompt: Prompt, rows: list[Row], *, batch: bool) -> Outcome:
        """Follow a posted prompt and hand out its pictures."""
        self._prompt, self._in_prompt = prompt, rows
        for member in self._members_of(rows):
            member.prompts.add(prompt.id)
            member.accept()
        try:
            outcome = await prompt.follow(lambda life: self._tell(life, rows))
        except RunForgotten:
            self._bench.forgotten += 1
            self._bench.loaded = None
            raise
        except WorkerUnreachable:
            await self._stop_quietly(prompt)
            raise
        if outcome.end is End.DONE:
            await self._hand_out(outcome, rows, batch=batch)
        elif outcome.end is End.INTERRUPTED and prompt.stopping:
            self._end_cancelled(rows)
            return Outcome(end=End.DONE)
        return outcome

    async def _stop_quietly(self, prompt: Prompt) -> None:
        try:
            await prompt.stop()
        except WorkerFault as fault:
            _log.info("prompt %s could not be stopped: %s", prompt.id, fault)

    async def _hand_out(self, outcome: Outcome, rows: Sequence[Row], *, batch: bool) -> None:
        names = [row.name for row in rows]
        named = by_item(outcome.files, names, all_of_them=self.knows_all) if batch else _only(outcome.files, rows)
        company = {row.key for row in rows}
        members = {member.run.key: member for member in self._members_of(rows)}
        for member in members.values():
            member.seconds += outcome.seconds
            member.shared_with = max(member.shared_with, len(company) - 1)
        async with asyncio.TaskGroup() as group:
            for row in rows:
                if (member := members[row.key]).is_live and not member.cancelled:
                    group.create_task(self._fetch(member, row, named[row.name]), name=f"fetch {row.name}")
        self._end_cancelled(rows)

    async def _fetch(self, member: Member, row: Row, file: File) -> None:
        """Three tries; a picture that stays away costs its own run alone."""
        fault: WorkerFault | None = None
        for pause in (0.0, *self._bench.patience.doubt[:2]):
            await asyncio.sleep(pause)
            try:
                data = await self._bench.client.view(filename=file.filename, subfolder=file.subfolder, kind=file.type)
            except BadPicture as bad:
                member.finish(bad)
                return
            except WorkerUnreachable as error:
                fault = error
            else:
                member.keep(row, data)
                return
        member.finish(fault or WorkerUnreachable("worker_unreachable", reason="a picture could not be fetched"))

    def _tell(self, life: Life, rows: Sequence[Row]) -> None:
        fraction = min(1.0, life.step / life.total) if life.total else 0.0
        nameless = life.previews.pop(None, None)
        for member in self._members_of(rows):
            mine = [row for row in rows if row.key == member.run.key]
            shown = [life.previews.pop(row.name, None) for row in mine]
            # A preview that does not say whose it is shows item 0: nobody else may see it.
            preview = next((one for one in shown if one is not None), nameless if len(rows) == 1 else None)
            member.progress(fraction * len(mine), preview)

    def _members_of(self, rows: Sequence[Row]) -> list[Member]:
        keys = {row.key for row in rows}
        return [member for member in self.members if member.run.key in keys]

    def _end_cancelled(self, rows: Sequence[Row]) -> None:
        for member in self._members_of(rows):
            if member.cancelled:
                member.finish(RunCancelled(key=member.run.key))

    def _give_up(self, rows: Sequence[Row], outcome: Outcome) -> None:
        """These rows end without a picture, by whom it blames."""
        for member in self._members_of(rows):
            member.finish(self._end_for(member, outcome))

    def _end_for(self, member: Member, outcome: Outcome) -> RunFailed | WorkerFault:
        key, detail, words = member.run.key, outcome.detail, outcome.words
        if outcome.end is End.MEMORY:
            return RunFailed(key=key, kind=FaultKind.OUT_OF_MEMORY, code="out_of_memory", detail=detail)
        if outcome.end in (End.JOB, End.CANNOT_BATCH):
            return RunFailed(key=key, kind=FaultKind.JOB, code="graph_failed", detail=detail, words=words)
        if outcome.end is End.INTERRUPTED:
            return WorkerUnreachable("worker_unreachable", reason="somebody interrupted the prompt")
        return RunFailed(key=key, kind=FaultKind.INFRA, code="comfy_failed", detail=detail)

    def _end_all(self, fault: WorkerFault) -> None:
        for member in self.members:
            member.finish(RunCancelled(key=member.run.key) if member.cancelled else fault)

    async def _upload(self, rows: Sequence[Row]) -> None:
        """Inputs that this server has not had from us yet; named by digest, so that once is enough until it restarts."""
        wanted = {digest for row in rows for digest in row.order.inputs} - self._bench.uploaded
        for digest in wanted:
            try:
                data = await self._bench.read_picture(digest)
            except FileNotFoundError:
                raise WorkerUnreachable("worker_unreachable", reason="an input picture is gone") from None
            await self._bench.client.upload(data, f"{input_file(digest)}", FOLDER)
            self._bench.uploaded.add(digest)

    async def _make_room(self, model: str) -> None:
        if self._bench.loaded not in (None, model):
            await self._bench.client.free()


def _only(files: Sequence[File], rows: Sequence[Row]) -> dict[str, File]:
    """The one result of a prompt made alone. Raises BadPicture for none or several."""
    if len(files) != 1:
        raise BadPicture("bad_picture", reason=f"{len(files)} results for one request")
    return {rows[0].name: files[0]}


class Adoption(Errand):
    """A prompt from before our restart, followed for those of its people who come back for it."""

    knows_all = False

    def __init__(self, bench: Bench, prompt_id: str, *, batch: bool) -> None:
        super().__init__(bench, (), "")
        self._id = prompt_id
        self._batch = batch
        self._rows: list[Row] = []

    def join(self, member: Member, rows: Sequence[Row]) -> None:
        """Hand these rows' pictures to ``member``."""
        self.members.append(member)
        self._rows += rows
        member.prompts.add(self._id)
        member.accept()

    async def run(self) -> None:
        """Follow the prompt to its end. Raises nothing but cancellation; rows that it cannot give are to be leased anew."""
        prompt = Prompt(self._bench.client, self._bench.ear, self._bench.patience, [self._id])
        try:
            outcome = await self.followed(prompt, self._rows, batch=self._batch)
            if outcome.end is not End.DONE and self._batch:
                self._end_all(WorkerBusy("worker_busy", reason=f"the batch has to be made anew: {outcome.detail}"))
            elif outcome.end is not End.DONE:
                self._give_up(self._rows, outcome)
        except WorkerFault as fault:
            self._end_all(fault)
        except Exception:  # noqa: BLE001  task boundary, as above
            _log.exception("a prompt of a ComfyUI server could not be taken up again")
            self._end_all(WorkerUnreachable("worker_unreachable", reason="the driver stumbled"))


def _notes(served: Served, order: Order) -> tuple[str, ...]:
    """What a flow's graphs have no place for, where they read words at all. A run taken up after a restart has none."""
    slots = served.flow.single.slots
    ignored = order.negative and "prompt" in slots and "negative" not in slots
    return ("negative_ignored",) if ignored else ()
