"""/history, /show, /rerun."""

import asyncio
import io
from collections import OrderedDict
from collections.abc import Sequence

import discord
from discord import app_commands
from discord.ext import commands

from bot.cogs.archive.pages import ON_A_PAGE, WORDS_MAX, Query, page_card
from bot.cogs.archive.zipping import pack
from bot.cogs.imagine.localised import localised
from bot.cogs.interactions import Answer, Reply, answer_in_time, locale_of, turn_into, user_of
from bot.cogs.members import Members
from bot.cogs.photos.result import Extras, Print, result
from bot.cogs.photos.shrink import copies, thumbnail
from bot.cogs.switchboard import Press
from bot.cogs.taking import Taker
from bot.cogs.verbs import derive
from bot.cogs.verbs.commands import named, picture_suggestions
from jobs.errors import InvalidRequest, JobNotFound
from jobs.job import Job, JobId, Picture, UserId
from jobs.ports import JobStore, PictureStore
from jobs.words import say

THUMBNAILS = 600
"""Small pictures kept in memory, some ten kilobytes each."""

ZIP_JOBS = 100


class ArchiveCog(commands.Cog):
    """Everything here is shown to its owner only."""

    def __init__(self, *, members: Members, store: JobStore, pictures: PictureStore, taker: Taker, file_limit: int) -> None:
        self._members = members
        self._store = store
        self._pictures = pictures
        self._taker = taker
        self._file_limit = file_limit
        self._small: OrderedDict[str, bytes] = OrderedDict()

    @app_commands.command(name=localised("command.history"), description=localised("command.history_about"))
    @named("search", "favourites")
    @app_commands.guild_only()
    async def history(self, interaction: discord.Interaction, search: str | None = None, favourites: bool = False) -> None:
        """Pages of small pictures."""
        query = Query(words=" ".join((search or "").split()), favourites=favourites)
        if len(query.words.encode()) > WORDS_MAX:
            raise InvalidRequest("search_too_long", field="search", max=WORDS_MAX)
        await answer_in_time(interaction, self._page(user_of(interaction), query, 0, locale_of(interaction)))

    @app_commands.command(name=localised("command.show"), description=localised("command.show_about"))
    @named("job")
    @app_commands.guild_only()
    async def show(self, interaction: discord.Interaction, job: str) -> None:
        """One of one's photos, with live buttons, wherever one is."""
        await answer_in_time(interaction, self._shown(user_of(interaction), job, interaction))

    @app_commands.command(name=localised("command.rerun"), description=localised("command.rerun_about"))
    @named("job")
    @app_commands.guild_only()
    async def rerun(self, interaction: discord.Interaction, job: str) -> None:
        """The same picture again: everything equal, the seed too."""

        async def work() -> str:
            made = await self._own(user_of(interaction), job)
            return await self._taker.take(interaction, derive.repeat(made))

        await answer_in_time(interaction, work())

    @show.autocomplete("job")
    async def _show_jobs(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return await self._suggest(interaction, current)

    @rerun.autocomplete("job")
    async def _rerun_jobs(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return await self._suggest(interaction, current)

    async def _suggest(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        jobs = await self._store.recent(user_of(interaction), limit=60)
        found = {one.value.partition(":")[0]: one for one in picture_suggestions(jobs, current, locale_of(interaction))}
        return [app_commands.Choice(name=one.name, value=value) for value, one in found.items()]

    async def on_press(self, press: Press) -> None:
        """A page turned, a photo opened, a ZIP asked for."""
        query = Query.unpack(press.address.subject)
        if press.address.verb == "open":
            await answer_in_time(press.interaction, self._shown(press.user_id, "".join(press.values[:1]), press.interaction))
        elif press.address.verb == "zip":
            await answer_in_time(press.interaction, self._zip(press.user_id, query, press.locale))
        else:
            await turn_into(press.interaction, self._page(press.user_id, query, press.address.n, press.locale))

    async def _page(self, user_id: UserId, query: Query, page: int, locale: str) -> Reply:
        found = await self._members.search(
            user_id,
            words=query.words,
            model=None,
            favourites=query.favourites,
            with_pictures=True,
            skip=page * ON_A_PAGE,
            limit=ON_A_PAGE + 1,
        )
        jobs = list(found[:ON_A_PAGE])
        small = [await self._thumbnail(job) for job in jobs]
        names = [f"{number}.webp" if data else None for number, data in enumerate(small, 1)]
        files = [discord.File(io.BytesIO(data), filename=f"{number}.webp") for number, data in enumerate(small, 1) if data]
        return Reply(card=page_card(jobs, names, query, page, locale, more=len(found) > ON_A_PAGE), files=files)

    async def _thumbnail(self, job: Job) -> bytes | None:
        sha256 = job.pictures[0].sha256
        known = self._small.get(sha256)
        if known is None:
            try:
                known = await asyncio.to_thread(thumbnail, await self._pictures.read(sha256))
            except FileNotFoundError:
                return None
            self._small[sha256] = known
            if len(self._small) > THUMBNAILS:
                self._small.popitem(last=False)
        return known

    async def _own(self, user_id: UserId, job: str) -> Job:
        made = await self._store.get(JobId(job.strip().partition(":")[0]))
        if made is None or made.user_id != user_id:
            raise JobNotFound(job[:60])
        return made

    async def _shown(self, user_id: UserId, job_id: str, interaction: discord.Interaction) -> Reply:
        job = await self._own(user_id, job_id)
        originals = await self._originals(job)
        limit = interaction.guild.filesize_limit if interaction.guild else self._file_limit
        made = await asyncio.to_thread(copies, [data for _, data in originals], limit=limit, is_clip=job.order.kind == "animate")
        names = [f"{job.id}-{picture.index}.{copy.ending}" for (picture, _), copy in zip(originals, made, strict=True)]
        files = [discord.File(io.BytesIO(copy.data), filename=name) for name, copy in zip(names, made, strict=True)]
        prints = [Print(name=name, picture=picture) for (picture, _), name in zip(originals, names, strict=True)]
        gone = [] if originals else [say("photo.gone", locale_of(interaction), seed=job.order.seed)]
        return Reply(card=result(job, prints, marker=1, extras=Extras(notes=gone)), files=files)

    async def _originals(self, job: Job) -> list[tuple[Picture, bytes]]:
        found: list[tuple[Picture, bytes]] = []
        for picture in job.pictures:
            try:
                found.append((picture, await self._pictures.read(picture.sha256)))
            except FileNotFoundError:
                continue
        return found

    async def _zip(self, user_id: UserId, query: Query, locale: str) -> Answer:
        jobs = await self._members.search(
            user_id, words=query.words, model=None, favourites=query.favourites, with_pictures=True, skip=0, limit=ZIP_JOBS
        )
        packed = await asyncio.to_thread(pack, await self.files_of(jobs), limit=self._file_limit)
        if not packed.count:
            return say("history.nothing", locale)
        words = say("history.zipped", locale, n=packed.count)
        if packed.left_out:
            words += f" {say('history.left_out', locale, n=packed.left_out)}"
        return Reply(words=words, files=[discord.File(io.BytesIO(packed.data), filename="darkroom.zip")])

    async def files_of(self, jobs: Sequence[Job]) -> list[tuple[Job, int, bytes]]:
        """Originals, newest first, no more than one message holds twice over: what is read is held in memory."""
        found: list[tuple[Job, int, bytes]] = []
        room = 2 * self._file_limit
        for job in jobs:
            for picture, data in await self._originals(job):
                room -= len(data)
                if room < 0:
                    return found
                found.append((job, picture.index, data))
        return found
