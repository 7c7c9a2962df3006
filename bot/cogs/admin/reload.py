"""Reads the operator's files again while the bot runs: rules, quotas, voices, flows."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bot.cogs.admin.deeds import Deed, Done
from bot.cogs.photos.text import shown
from bot.cogs.safety.gates import Gates
from bot.cogs.safety.quotas import read_quotas
from bot.cogs.safety.rules import read_file, shipped_rules
from bot.cogs.voices.persona import read_folder, shipped
from bot.cogs.voices.speaker import Speaker
from jobs.words import say


class ReadFlows(Protocol):
    """Reads the flows of the host (:class:`bot.flow_reload.FlowReload`)."""

    async def __call__(self, *, apply: bool) -> int:
        """How many there are; with ``apply`` they are taken over. Raises ValueError: then nothing is changed."""
        ...


@dataclass(frozen=True, kw_only=True)
class Told:
    """What became of one kind of file: how many entries it has now, or why it cannot be used."""

    what: str
    count: int = 0
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where the operator's files are."""

    rules: Path | None
    quotas: Path | None
    personas: Path | None
    waiting_limit: int


class Reloader:
    """Each kind by itself: one that cannot be used leaves its former contents in force, and the others are taken all the same."""

    def __init__(self, *, files: Files, gates: Gates, speaker: Speaker, flows: ReadFlows | None) -> None:
        self._files = files
        self._gates = gates
        self._speaker = speaker
        self._flows = flows

    async def read(self, *, apply: bool) -> list[Told]:
        """Read everything; with ``apply`` what can be used counts from now on. Raises nothing for what is in the files."""
        kinds: Mapping[str, Callable[[bool], Awaitable[int]]] = {"rules": self._rules, "quotas": self._quotas, "personas": self._personas}
        if self._flows is not None:
            kinds = {**kinds, "flows": self._read_flows}
        return [await _told(what, partial(read, apply)) for what, read in kinds.items()]

    async def _rules(self, apply: bool) -> int:
        own = await asyncio.to_thread(read_file, self._files.rules)
        if apply:
            self._gates.use(rules=[*shipped_rules(), *own])
        return len(own)

    async def _quotas(self, apply: bool) -> int:
        quotas = await asyncio.to_thread(read_quotas, self._files.quotas, waiting=self._files.waiting_limit)
        if apply:
            self._gates.use(quotas=quotas)
        return len(quotas.roles)

    async def _personas(self, apply: bool) -> int:
        own = await asyncio.to_thread(read_folder, self._files.personas)
        if apply:
            self._speaker.use({**shipped(), **own})
        return len(own)

    async def _read_flows(self, apply: bool) -> int:
        assert self._flows is not None
        return await self._flows(apply=apply)


class Reload:
    """The files again, as something that is asked first."""

    def __init__(self, reloader: Reloader) -> None:
        self._reloader = reloader

    async def foretell(self, deed: Deed, locale: str) -> str:
        """What would be read; what would be refused and why."""
        return _said("reload.looked", await self._reloader.read(apply=False), locale)

    async def do(self, deed: Deed, locale: str) -> Done:
        """Take over what can be used."""
        told = await self._reloader.read(apply=True)
        refused = ", ".join(one.what for one in told if one.refused)
        return Done(words=_said("reload.done", told, locale), subject="", facts={"refused": refused})


def _said(head: str, told: Sequence[Told], locale: str) -> str:
    """A line for each kind of file, with the fault of what is refused."""
    lines = [f"**{say(head, locale)}**"]
    for one in told:
        what = say(f"reload.{one.what}", locale, n=one.count)
        refused = say("reload.refused", locale, kind=say(f"kinds.{one.what}", locale), why=shown(one.refused, limit=500))
        lines.append(f"- {refused if one.refused else what}")
    return "\n".join(lines)


async def _told(what: str, read: Callable[[], Awaitable[Any]]) -> Told:
    try:
        return Told(what=what, count=await read())
    except (ValueError, OSError) as error:  # what these files raise, text that is no UTF-8 among it
        return Told(what=what, refused=str(error)[:600])
