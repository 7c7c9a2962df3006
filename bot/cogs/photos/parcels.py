"""The pictures of a job in as many messages as they need: what fits goes as it is, what is too large smaller, the rest as a link.

The first message is the result with all its buttons; the others only show. Each is named by the first picture in it (nonce and mark),
and each file by its picture, so that what came before a crash is known from the channel, whatever the limits were then.
"""

import asyncio
import io
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import discord

from bot.cogs.photos import result
from bot.cogs.photos.memory import marker_of
from bot.cogs.photos.shrink import REQUEST_LIMIT, SLACK, Copy, first_group, fitted
from jobs.job import Job, JobId, Picture
from jobs.ports import Delivery, DeliveryKind, PictureStore
from jobs.words import say

TOO_LARGE = 40005

SURE_LIMIT = 8 * 1024 * 1024
"""Bytes of a second try after a refusal: under every limit that Discord has had since 2017."""

LAST_LIMIT = 1024 * 1024
"""Bytes of a third try; after it no file goes, and the words do."""

LINK_SECONDS = 7 * 24 * 3600.0
"""How long the link to an original holds."""

LinkOf = Callable[[JobId, int, float], str]
"""The address of a job's picture (from 0), for so many seconds."""

Send = Callable[..., Awaitable[discord.Message]]
"""``send(delivery, job, view, files, nonce=, is_first=)``: the first calls its owner."""


@dataclass(kw_only=True)
class _Sending:
    """What is under way."""

    delivery: Delivery
    job: Job
    waiting: dict[int, bytes]
    """By number, in order: what is not in the channel yet."""
    first: int | None
    extras: result.Extras
    gone: list[int] = field(default_factory=list)
    """Whose file retention took."""

    @property
    def locale(self) -> str:
        return self.delivery.place.locale


class Parcels:
    """Sends them."""

    def __init__(self, *, pictures: PictureStore, send: Send, link_of: LinkOf | None = None) -> None:
        self._pictures = pictures
        self._send = send
        self._link_of = link_of

    async def deliver(
        self, delivery: Delivery, job: Job, *, limit: int, extras: result.Extras, first: int | None = None, shown: Collection[int] = ()
    ) -> int | None:
        """Post what is not ``shown`` yet; the id of the first message (``first``, where that came before).

        None where no file is left of any picture. ``limit``: bytes that Discord says a file may have here. Raises what discord.py raises.
        """
        work = _Sending(delivery=delivery, job=job, waiting={}, first=first, extras=extras)
        for picture in job.pictures:
            if picture.index not in shown:
                await self._read(work, picture)
        if not work.waiting and first is None:
            return None
        limits = deque((limit, SURE_LIMIT, LAST_LIMIT, 0))
        while work.waiting or work.first is None:
            try:
                await self._send_all(work, limits[0])
            except discord.HTTPException as error:
                if (error.status != 413 and error.code != TOO_LARGE) or len(limits) == 1:
                    raise
                limits.popleft()  # the limit that Discord tells of is sometimes higher than the one it holds
        return work.first

    async def _read(self, work: _Sending, picture: Picture) -> None:
        try:
            work.waiting[picture.index] = await self._pictures.read(picture.sha256)
        except FileNotFoundError:
            work.gone.append(picture.index)

    async def _send_all(self, work: _Sending, limit: int) -> None:
        is_clip = work.job.order.kind == "animate"
        # Encoding takes seconds of CPU: not on the loop.
        tried = {index: await asyncio.to_thread(fitted, data, limit, is_clip=is_clip) for index, data in work.waiting.items()}
        made = {index: copy for index, copy in tried.items() if copy is not None}
        unfit = [index for index in tried if index not in made]
        while made or work.first is None or unfit:
            group = first_group(made, limit=limit)
            message = await self._send_one(work, {index: made[index] for index in group}, unfit)
            work.first = work.first or message.id
            for index in (*group, *unfit):
                work.waiting.pop(index, None)
                made.pop(index, None)
            unfit = []

    async def _send_one(self, work: _Sending, group: Mapping[int, Copy], unfit: Collection[int]) -> discord.Message:
        delivery, job = work.delivery, work.job
        by_index = {picture.index: picture for picture in job.pictures}
        files = [discord.File(io.BytesIO(copy.data), filename=file_name(delivery, index, copy.ending)) for index, copy in group.items()]
        prints = [result.Print(name=file.filename, picture=by_index[index]) for index, file in zip(group, files, strict=True)]
        notes = self._notes(work, [index for index, copy in group.items() if copy.smaller], unfit)
        if work.first is None:
            view = result.result(job, prints, marker=_mark(job, delivery, 0), extras=replace(work.extras, notes=notes))
            return await self._send(delivery, job, view, files, nonce=delivery.id, is_first=True)
        number = min((*group, *unfit))
        view = result.further(job, prints, notes, marker=_mark(job, delivery, number))
        return await self._send(delivery, job, view, files, nonce=f"{delivery.id}-{number}", is_first=False)

    def _notes(self, work: _Sending, smaller: Collection[int], unfit: Collection[int]) -> list[str]:
        notes = [say("photo.smaller", work.locale)] if smaller else []
        wanted = [*smaller, *unfit]
        if wanted and self._link_of is not None:
            links = ", ".join(f"[{index + 1}]({self._link_of(work.job.id, index, LINK_SECONDS)})" for index in sorted(wanted))
            until = discord.utils.utcnow().timestamp() + LINK_SECONDS
            notes.append(say("delivery.original", work.locale, n=len(wanted), links=links, when=f"<t:{int(until)}:f>"))
        elif unfit:
            notes.append(say("delivery.too_large", work.locale, n=len(unfit)))
        by_index = {picture.index: picture for picture in work.job.pictures}
        notes += [say("photo.gone", work.locale, seed=by_index[index].seed) for index in work.gone]
        work.gone.clear()  # told once
        return notes


def may_be_split(job: Job) -> bool:
    """Whether its pictures together are more than one request may bring."""
    return sum(picture.size for picture in job.pictures) > REQUEST_LIMIT - SLACK


def file_name(delivery: Delivery, index: int, ending: str) -> str:
    """A file's name: the delivery, and the picture's number where it is not the first."""
    return f"{delivery.id}{f'-{index}' if index else ''}.{ending}"


def shown_in(delivery: Delivery, urls: Collection[str]) -> set[int]:
    """The numbers of the pictures that these addresses show, of those of this delivery."""
    stems = [url.partition("?")[0].rpartition("/")[2].rpartition(".")[0] for url in urls]
    found = {stem.removeprefix(delivery.id).removeprefix("-") or "0" for stem in stems if stem.startswith(delivery.id)}
    return {int(number) for number in found if number.isdecimal()}


def further_marks(job: Job) -> set[int]:
    """The marks of the messages that may follow the first."""
    return {marker_of(job.id, job.generation, DeliveryKind.PICTURE, picture.index) for picture in job.pictures if picture.index}


def _mark(job: Job, delivery: Delivery, number: int) -> int:
    return marker_of(job.id, delivery.generation, delivery.kind, number or delivery.part)

