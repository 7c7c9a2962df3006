"""Publish, vote, remix, take back."""

import asyncio
import hashlib
import io
import logging
from collections.abc import Callable
from typing import Any

import discord
from discord.ext import commands

from bot.cogs.gallery.cards import Consent, consent_card, hung
from bot.cogs.gallery.store import Gallery
from bot.cogs.intake import Intake
from bot.cogs.interactions import NETWORK_FAULTS, Answer, Reply, answer_in_time, open_form, tell, turn_into
from bot.cogs.parts import Address, Form, button, field, panel, row
from bot.cogs.photos.budget import Budget
from bot.cogs.photos.shrink import copies
from bot.cogs.switchboard import Press
from bot.cogs.taking import Taker
from bot.cogs.verbs import derive, forms
from bot.cogs.verbs.cog import VerbsCog
from jobs.errors import DarkroomError, InvalidRequest
from jobs.job import Job, JobId, Picture
from jobs.ports import JobStore, PictureStore
from jobs.request import PROMPT_MAX
from jobs.words import say

_log = logging.getLogger(__name__)

POST_TIMEOUT = 30.0
READ_BACK = 200
"""Messages of the gallery that are looked through for one whose answer was lost."""


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
        find_channel: Callable[[], discord.TextChannel | None],
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

    async def ask(self, press: Press, job: Job, n: int) -> None:
        """Publish… was pressed: what may others see?"""
        await tell(press.interaction, self._consent(job, Consent(n=n), press.locale))

    def _consent(self, job: Job, consent: Consent, locale: str) -> Reply:
        return Reply(card=consent_card(job, consent, f"<#{self._channel().id}>", locale))

    def _channel(self) -> discord.TextChannel:
        channel = self._find_channel()
        if channel is None:
            raise GalleryClosed("gallery_none")
        mine = channel.permissions_for(channel.guild.me)
        if not (mine.view_channel and mine.send_messages and mine.attach_files):
            raise GalleryClosed("gallery_forbidden", channel=channel.name)
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
            await answer_in_time(press.interaction, self._undo(press))

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
        """Ledger first, then the post under a nonce of its number: pressing twice, or again after a lost answer, hangs it once."""
        channel = self._channel()
        picture = next((p for p in job.pictures if p.index == consent.n - 1), None)
        if picture is None:
            raise InvalidRequest("source_gone", field="picture")
        values = {
            "job_id": job.id, "index": picture.index, "user_id": job.user_id, "guild_id": str(channel.guild.id),
            "channel_id": str(channel.id), "show_prompt": consent.show_prompt, "allow_remix": consent.allow_remix,
        }  # fmt: skip
        seq, before = await self._gallery.begin(values)
        if before == "posted":
            return say("gallery.already", press.locale, channel=f"<#{channel.id}>")
        message_id = await self._posted_before(channel, seq) if before == "posting" else None
        if message_id is None:
            message_id = await self._post(channel, job, picture, consent, seq)
        await self._gallery.posted(seq, str(message_id))
        undo = button(Address(area="pub", subject=str(seq), verb="undo"), "gallery.undo", press.locale)
        words = say("gallery.published", press.locale, link=f"https://discord.com/channels/{channel.guild.id}/{channel.id}/{message_id}")
        return Reply(card=panel(discord.ui.TextDisplay(words), row(undo)))

    async def _post(self, channel: discord.TextChannel, job: Job, picture: Picture, consent: Consent, seq: int) -> int:
        try:
            original = await self._pictures.read(picture.sha256)
        except FileNotFoundError as error:
            raise InvalidRequest("source_gone", field="picture") from error
        is_clip = job.order.kind == "animate"
        (copy,) = await asyncio.to_thread(copies, [original], limit=channel.guild.filesize_limit, is_clip=is_clip)
        file = discord.File(io.BytesIO(copy.data), filename=f"gallery-{seq}.{copy.ending}")
        card = hung(job, picture, file.filename, consent, seq, marker=marker_of(seq), locale=str(channel.guild.preferred_locale))
        await self._budget.spend()
        async with asyncio.timeout(POST_TIMEOUT):
            message = await channel.send(view=card, file=file, nonce=f"pub-{seq}-{picture.sha256[:8]}", silent=True)
        return message.id

    async def _posted_before(self, channel: discord.TextChannel, seq: int) -> int | None:
        """A post whose answer was lost: found by its first component's id."""
        me = self._client.user.id if self._client.user else 0
        async with asyncio.timeout(POST_TIMEOUT):
            async for message in channel.history(limit=READ_BACK):
                if message.author.id == me and any(getattr(part, "id", None) == marker_of(seq) for part in message.components):
                    return message.id
        return None

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

    async def _undo(self, press: Press) -> str:
        found = await self._hanging(press)
        if found is None:
            return say("gallery.gone", press.locale)
        if found["user_id"] != press.user_id:
            return say("limit.not_yours", press.locale)
        await self.take_back(found)
        return say("gallery.undone", press.locale)

    async def take_back(self, found: dict[str, Any]) -> None:
        """Remove it from the gallery. The message first: what a crash leaves is a row too many, not a picture too many."""
        try:
            await self._budget.spend()
            async with asyncio.timeout(POST_TIMEOUT):
                channel = self._client.get_partial_messageable(int(found["channel_id"]), guild_id=int(found["guild_id"]))
                await channel.get_partial_message(int(found["message_id"])).delete()
        except discord.NotFound:
            _log.info("publication %s was gone before", found["seq"])
        await self._gallery.undone(found["seq"])

    async def take_down(self, job: Job) -> None:
        """Its maker deletes the pictures: nothing of them stays in the gallery."""
        for found in await self._gallery.of_job(job.id):
            if found["message_id"]:
                try:
                    await self.take_back({**found})
                except NETWORK_FAULTS as error:
                    _log.warning("publication %s was not taken down: %s", found["seq"], error)
                    raise


def marker_of(seq: int) -> int:
    """A number for the ``id`` of the message's first component: history returns it, unlike the nonce."""
    return int.from_bytes(hashlib.sha256(f"publication|{seq}".encode()).digest()[:4]) % (2**31 - 1) + 1
