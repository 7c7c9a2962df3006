"""Publish, vote, remix, take back."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

import discord
from discord.ext import commands

from bot.clock import until_set
from bot.cogs.gallery.cards import Consent, consent_card, hung
from bot.cogs.gallery.store import Gallery
from bot.cogs.gallery.wall import TITLE_MAX, Channel, Hanging, Wall, marker_of, may_hang
from bot.cogs.intake import Intake
from bot.cogs.interactions import NETWORK_FAULTS, Answer, Reply, answer_in_time, open_form, tell, turn_into
from bot.cogs.parts import Address, Form, button, field, panel, row
from bot.cogs.photos.budget import Budget
from bot.cogs.photos.courier import UNKNOWN_MESSAGE
from bot.cogs.photos.shrink import Copy, copies
from bot.cogs.photos.text import plain
from bot.cogs.switchboard import Press
from bot.cogs.taking import Taker
from bot.cogs.verbs import derive, forms
from bot.cogs.verbs.cog import VerbsCog
from jobs.errors import DarkroomError, InvalidRequest
from jobs.job import Job, JobId, Picture
from jobs.ports import JobStore, PictureStore
from jobs.request import PROMPT_MAX
from jobs.words import say
from workers.bare import without_words

_log = logging.getLogger(__name__)


TEND_EVERY, TEND_AT_LEAST = 60.0, 3600.0
"""Seconds between two looks for what is to be taken down; where that fails, up to the second."""


class GalleryClosed(DarkroomError):
    """There is no gallery here, or the bot may not post in it."""


class GalleryCog(commands.Cog):
    """Presses on ids of the area ``pub``; the buttons outlive every process."""

    def __init__(
        self,
        *,
        client: discord.Client,
        gallery: Gallery,
        store: JobStore,
        pictures: PictureStore,
        taker: Taker,
        intake: Intake,
        verbs: VerbsCog,
        budget: Budget,
        find_channel: Callable[[], Channel | None],
        is_adult: Callable[[str | None], bool] = lambda model: False,
    ) -> None:
        self._client = client
        self._gallery = gallery
        self._store = store
        self._pictures = pictures
        self._taker = taker
        self._intake = intake
        self._verbs = verbs
        self._budget = budget
        self._find_channel = find_channel
        self._is_adult = is_adult
        self._wall = Wall(client=client, budget=budget)
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def ask(self, press: Press, job: Job, n: int) -> None:
        """Publish… was pressed: what may others see?"""
        await tell(press.interaction, self._consent(job, Consent(n=n), press.locale))

    def _consent(self, job: Job, consent: Consent, locale: str) -> Reply:
        return Reply(card=consent_card(job, consent, f"<#{self._channel(job).id}>", locale))

    def _channel(self, job: Job) -> Channel:
        channel = self._find_channel()
        if channel is None:
            raise GalleryClosed("gallery_none")
        if not may_hang(channel):
            raise GalleryClosed("gallery_forbidden", channel=channel.name)
        if self._is_adult(job.order.model) and not channel.is_nsfw():
            raise GalleryClosed("gallery_age", channel=channel.name)
        return channel

    async def on_press(self, press: Press) -> None:
        """A choice of consent, the publishing itself, or something on what hangs."""
        verb = press.address.verb
        if verb in ("ask-prompt", "ask-remix", "go"):
            await self._on_own(press)
        elif verb == "vote":
            await answer_in_time(press.interaction, self._vote(press))
        elif verb == "remix":
            await self._remix(press)
        else:
            await self._undo(press)

    async def _on_own(self, press: Press) -> None:
        job = await self._store.get(JobId(press.address.subject))
        if job is None or job.user_id != press.user_id:
            await tell(press.interaction, say("limit.expired_button" if job is None else "limit.not_yours", press.locale))
            return
        consent = Consent.unpack(press.address.n)
        if press.address.verb == "go":
            await answer_in_time(press.interaction, self._publish(press, job, consent))
            return

        async def again() -> Reply:
            return self._consent(job, consent, press.locale)

        await turn_into(press.interaction, again())

    async def _publish(self, press: Press, job: Job, consent: Consent) -> Answer:
        """Ledger first, then the post: pressing twice, after a lost answer, or after a crash hangs it once."""
        channel = self._channel(job)
        picture = next((p for p in job.pictures if p.index == consent.n - 1), None)
        if picture is None:
            raise InvalidRequest("source_gone", field="picture")
        values = {
            "job_id": job.id, "index": picture.index, "user_id": job.user_id, "guild_id": str(channel.guild.id),
            "channel_id": str(channel.id), "show_prompt": consent.show_prompt, "allow_remix": consent.allow_remix,
        }  # fmt: skip
        seq, before = await self._gallery.begin(values)
        if before == "taking":  # a crash came between the two steps of taking it back
            await self._take_back(seq)
            seq, before = await self._gallery.begin(values)
        if before == "posted":
            return say("gallery.already", press.locale, channel=f"<#{channel.id}>")
        message_id = await self._finish(seq, is_doubtful=before == "posting")
        if message_id is None:
            return say("gallery.gone", press.locale)
        undo = button(Address(area="pub", subject=str(seq), verb="undo"), "gallery.undo", press.locale)
        place = message_id if isinstance(channel, discord.ForumChannel) else channel.id
        words = say("gallery.published", press.locale, link=f"https://discord.com/channels/{channel.guild.id}/{place}/{message_id}")
        return Reply(card=panel(discord.ui.TextDisplay(words), row(undo)))

    async def _finish(self, seq: int, *, is_doubtful: bool) -> int | None:
        """Hang what was begun; its message's id, or None when it is not to hang any more."""
        async with self._locks.setdefault(seq, asyncio.Lock()):
            found = await self._gallery.get(seq)
            if found is None or found["state"] not in ("posting", "posted"):
                return None
            if found["state"] == "posted":  # another press was quicker
                return int(found["message_id"])
            channel, job = self._place(found), await self._store.get(JobId(found["job_id"]))
            if channel is None or job is None:
                raise GalleryClosed("gallery_none")
            message_id = await self._wall.find(channel, seq, since=found["made_at"]) if is_doubtful else None
            if message_id is None:
                message_id = await self._hang(channel, job, found)
            if await self._gallery.posted(seq, str(message_id)):
                return message_id
            await self._wall.take_down(channel, message_id)  # it was taken back while it was being hung
            return None

    def _place(self, found: Mapping[str, Any]) -> Channel | None:
        """Where it was to hang, whatever is configured now."""
        channel = self._client.get_channel(int(found["channel_id"]))
        return channel if isinstance(channel, Channel) else None

    async def _hang(self, channel: Channel, job: Job, found: Mapping[str, Any]) -> int:
        picture = next((p for p in job.pictures if p.index == found["index"]), None)
        shown = await self._file(picture, bare=not found["show_prompt"]) if picture else b""
        if picture is None or not shown:
            await self._gallery.undone(found["seq"])
            raise InvalidRequest("source_gone", field="picture")
        (copy,) = await asyncio.to_thread(copies, [shown], limit=channel.guild.filesize_limit, is_clip=job.order.kind == "animate")
        try:
            return await self._wall.hang(channel, hanging_of(job, picture, copy, found, locale=str(channel.guild.preferred_locale)))
        except discord.HTTPException as error:
            if error.code == UNKNOWN_MESSAGE:  # its nonce: it hung, and somebody deleted it
                await self._gallery.undone(found["seq"])
            raise

    async def _file(self, picture: Picture, *, bare: bool) -> bytes:
        """What others may load; nothing where it is gone, or broke so that nobody can say what it holds."""
        try:
            original = await self._pictures.read(picture.sha256)
            return without_words(original) if bare else original  # the file carries the whole order
        except (FileNotFoundError, ValueError) as error:
            _log.warning("a picture to publish cannot be read: %s", error)
            return b""

    async def recover(self) -> None:
        """Bring to an end what a process left between two steps. Raises StoreUnavailable."""
        await self._bring_to_an_end(await self._gallery.unfinished())

    async def _bring_to_an_end(self, unfinished: Sequence[Mapping[str, Any]]) -> int:
        """How many of them could not be, yet."""
        left = 0
        for found in unfinished:
            try:
                if found["state"] == "taking":
                    await self._take_back(found["seq"])
                else:
                    await self._finish(found["seq"], is_doubtful=True)
            except (*NETWORK_FAULTS, DarkroomError) as error:
                left += 1
                _log.warning("publication %s is not finished yet: %s", found["seq"], error)
        return left

    async def tend(self, erased: asyncio.Event) -> None:
        """Take down what is to go, again until it is: at once after ``erased``, else every minute; ever less often what cannot be."""
        pause = TEND_EVERY
        while True:
            await until_set(erased, pause)
            erased.clear()
            await self._client.wait_until_ready()
            try:
                left = await self._bring_to_an_end([found for found in await self._gallery.unfinished() if found["state"] == "taking"])
            except DarkroomError as error:
                left = 1
                _log.warning("what is to be taken down waits for the ledger: %s", error)
            pause = min(2 * pause, TEND_AT_LEAST) if left else TEND_EVERY

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        """Channels are known now."""
        try:
            await self.recover()
        except DarkroomError as error:
            _log.warning("what hangs half in the gallery waits for the ledger: %s", error)

    async def _hanging(self, press: Press) -> dict[str, Any] | None:
        subject = press.address.subject
        found = await self._gallery.get(int(subject)) if subject.isdecimal() and len(subject) < 16 else None
        return {**found} if found and found["state"] == "posted" else None

    async def _vote(self, press: Press) -> str:
        found = await self._hanging(press)
        if found is None:
            return say("gallery.gone", press.locale)
        count, given = await self._gallery.vote(found["seq"], press.user_id)
        return say("gallery.voted" if given else "gallery.unvoted", press.locale, n=count)

    async def _remix(self, press: Press) -> None:
        """Others' words on it. With the prompt shown they begin from that, else from the picture alone."""
        found = await self._hanging(press)
        job = await self._store.get(JobId(found["job_id"])) if found else None
        if found is None or job is None or not found["allow_remix"]:
            await tell(press.interaction, say("gallery.gone", press.locale))
            return
        if not press.is_form:
            prompt = job.order.prompt if found["show_prompt"] else ""
            words = field("prompt", "form.prompt", press.locale, value=prompt, long=True, required=True, limit=PROMPT_MAX)
            await open_form(press.interaction, Form(press.address, say("form.remix", press.locale), words))
            return
        words = forms.words_of(press, "prompt")

        async def work() -> str:
            if found["show_prompt"] and job.order.kind == "text_to_image":
                request = derive.remix(job, prompt=words, negative=job.order.negative)
            else:
                picture = next(p for p in job.pictures if p.index == found["index"])
                source = await self._intake.keep(await self._pictures.read(picture.sha256), user_id=press.user_id)
                request = derive.vary(source, self._verbs.model_for("image_to_image"), strength=derive.STRONG, prompt=words)
            return await self._taker.take(press.interaction, request)

        await answer_in_time(press.interaction, work())

    async def _undo(self, press: Press) -> None:
        found = await self._hanging(press)
        if found is None or found["user_id"] != press.user_id:
            await tell(press.interaction, say("gallery.gone" if found is None else "limit.not_yours", press.locale))
        elif str(press.interaction.channel_id) == found["message_id"]:  # in its own post, which goes: nothing can be said there after
            await self._gallery.taking(found["seq"])
            await tell(press.interaction, say("gallery.undone", press.locale))
            await self._take_back(found["seq"])
        else:
            await answer_in_time(press.interaction, self._undone(press, found["seq"]))

    async def _undone(self, press: Press, seq: int) -> str:
        await self._take_back(seq)
        return say("gallery.undone", press.locale)

    async def _take_back(self, seq: int) -> None:
        """Remove it from the gallery: the decision first, then the message, then the end; a crash between them is taken up."""
        async with self._locks.setdefault(seq, asyncio.Lock()):
            found = await self._gallery.get(seq)
            if found is None or found["state"] == "undone":
                return
            await self._gallery.taking(seq)
            channel = self._place(found)
            message_id = int(found["message_id"]) if found["message_id"] else None
            if found["state"] != "posted" and channel is not None:  # the id may be that of an earlier hanging, or unknown yet
                message_id = await self._wall.find(channel, seq, since=found["made_at"]) or message_id
            if message_id is None and channel is None and not self._knows(int(found["guild_id"])):
                raise GalleryClosed("gallery_none")  # nobody can tell now whether something hangs there
            if message_id is not None:
                await self._wall.take_down(channel or int(found["channel_id"]), message_id)
            await self._gallery.undone(seq)

    def _knows(self, guild_id: int) -> bool:
        guild = self._client.get_guild(guild_id)
        return guild is not None and not guild.unavailable

    async def take_down(self, job: Job) -> None:
        """Its maker deletes the pictures: nothing of them stays in the gallery."""
        for found in await self._gallery.of_job(job.id):
            try:
                await self._take_back(found["seq"])
            except NETWORK_FAULTS as error:
                _log.warning("publication %s was not taken down: %s", found["seq"], error)
                raise


def hanging_of(job: Job, picture: Picture, copy: Copy, found: Mapping[str, Any], *, locale: str) -> Hanging:
    """What hangs of a publication: its words only where they were agreed to, in the title too."""
    seq, n = found["seq"], found["index"] + 1
    consent = Consent(n=n, show_prompt=found["show_prompt"], allow_remix=found["allow_remix"])
    file = f"gallery-{seq}.{copy.ending}"
    title = plain(job.order.prompt, limit=TITLE_MAX) if consent.show_prompt else ""
    return Hanging(
        seq=seq,
        nonce=f"pub-{seq}-{int(found['message_id'] or 0) % 10**8}",
        since=found["made_at"],
        card=hung(job, picture, file, consent, seq, marker=marker_of(seq), locale=locale),
        file=file,
        data=copy.data,
        title=title or say("gallery.title", locale, n=seq),
        words=frozenset({job.order.model.casefold(), "clip" if job.order.kind == "animate" else "photo", job.order.kind}),
    )
