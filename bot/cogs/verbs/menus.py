"""The message menu: right-click any picture in any channel and go on from it."""

from collections.abc import Awaitable, Callable

import discord
from discord import app_commands, ui
from discord.ext import commands

from bot.cogs.imagine.localised import localised
from bot.cogs.intake import Intake, Upload, address_of
from bot.cogs.interactions import Answer, Reply, answer_in_time, locale_of, open_form, user_of
from bot.cogs.members import Members
from bot.cogs.parts import Address, button, panel, row
from bot.cogs.photos.courier import gallery_items
from bot.cogs.photos.text import shown
from bot.cogs.preferring import Choices
from bot.cogs.switchboard import Press
from bot.cogs.taking import Taker
from bot.cogs.verbs import cards, derive, forms
from bot.cogs.verbs.cog import VerbsCog
from jobs.errors import InvalidRequest
from jobs.job import Job, JobId
from jobs.ports import JobStore, PictureStore
from jobs.request import Request
from jobs.words import say

_PNG_HEADER = b"\x89PNG\r\n\x1a\n"


class PictureMenus(commands.Cog):
    """Edit this, Animate, Use as reference, Image info, Describe."""

    def __init__(
        self,
        *,
        verbs: VerbsCog,
        store: JobStore,
        pictures: PictureStore,
        members: Members,
        choices: Choices,
        taker: Taker,
        intake: Intake,
    ) -> None:
        self._verbs = verbs
        self._store = store
        self._pictures = pictures
        self._members = members
        self._choices = choices
        self._taker = taker
        self._intake = intake
        self.menus = [
            app_commands.ContextMenu(name=localised("menu.edit"), callback=self._edit),
            app_commands.ContextMenu(name=localised("menu.animate"), callback=self._animate),
            app_commands.ContextMenu(name=localised("menu.use"), callback=self._use),
            app_commands.ContextMenu(name=localised("menu.info"), callback=self._info),
            app_commands.ContextMenu(name=localised("menu.describe"), callback=self._describe),
        ]

    async def _edit(self, interaction: discord.Interaction, message: discord.Message) -> None:
        job = await self._own_job(interaction, message)
        if job is None:
            await answer_in_time(interaction, self._brought(interaction, message))
            return
        offer = self._verbs.model_for("edit", job)
        await open_form(interaction, forms.edit_form(job, 1, locale_of(interaction), follows="edit" in offer.kinds))

    async def _animate(self, interaction: discord.Interaction, message: discord.Message) -> None:
        job = await self._own_job(interaction, message)
        self._verbs.model_for("animate", job)
        if job is None:
            await answer_in_time(interaction, self._brought(interaction, message))
            return
        await open_form(interaction, forms.animate_form(job, 1, locale_of(interaction)))

    async def _use(self, interaction: discord.Interaction, message: discord.Message) -> None:
        async def work() -> str:
            job = await self._own_job(interaction, message)
            kept = f"{job.id}:1" if job else f"file:{(await self._bring(interaction, message)).sha256}"
            await self._choices.change(user_of(interaction), {"input": kept})
            return say("act.used", locale_of(interaction))

        await answer_in_time(interaction, work())

    async def _info(self, interaction: discord.Interaction, message: discord.Message) -> None:
        async def work() -> Answer:
            job = await self._record_of(interaction, message)
            if job is None:
                return say("menu.not_ours", locale_of(interaction))
            starred = await self._members.is_favourite(job.user_id, job.id)
            return Reply(card=cards.details(job, locale_of(interaction), is_favourite=starred, mine=job.user_id == user_of(interaction)))

        await answer_in_time(interaction, work())

    async def _describe(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """The words that it was made from. No caption is made up for what was not made here."""

        async def work() -> Answer:
            locale = locale_of(interaction)
            job = await self._record_of(interaction, message)
            if job is None:
                return say("menu.not_ours", locale)
            return say("menu.described", locale, prompt=shown(job.order.prompt, limit=1500))

        await answer_in_time(interaction, work())

    async def _record_of(self, interaction: discord.Interaction, message: discord.Message) -> Job | None:
        """Our record of the picture: by the message's buttons, else by the file's bytes. Raises InvalidRequest where it is private."""
        job = await self._job_of(message)
        if job is None:
            uploads = uploads_in(message)
            digest = await self._intake.digest(uploads[0]) if uploads else None
            job_id = await self._members.maker_of(digest) if digest else None
            job = await self._store.get(job_id) if job_id else None
        if job is not None and job.user_id != user_of(interaction) and not await self._members.is_open(job.id):
            raise InvalidRequest("record_private", field="job")
        return job

    async def _own_job(self, interaction: discord.Interaction, message: discord.Message) -> Job | None:
        job = await self._job_of(message)
        return job if job is not None and job.user_id == user_of(interaction) and job.order.kind != "animate" else None

    async def _job_of(self, message: discord.Message) -> Job | None:
        job_id = job_in(message, me=message.guild.me.id if message.guild and message.guild.me else 0)
        return await self._store.get(job_id) if job_id else None

    async def _bring(self, interaction: discord.Interaction, message: discord.Message) -> derive.Source:
        uploads = uploads_in(message)
        if not uploads:
            raise InvalidRequest("no_picture_there", field="image")
        return await self._intake.take(uploads[0], user_id=user_of(interaction))

    async def _brought(self, interaction: discord.Interaction, message: discord.Message) -> Reply:
        """Somebody else's picture is taken in first (its link dies), then its verbs are offered."""
        source = await self._bring(interaction, message)
        locale = locale_of(interaction)
        buttons = [
            button(Address(area="src", subject=source.sha256, verb=verb), f"act.{verb}", locale)
            for verb in ("edit", "vary", "upscale", "animate")
        ]
        return Reply(card=panel(ui.TextDisplay(say("menu.brought", locale)), row(*buttons)))

    async def on_press(self, press: Press) -> None:
        """A verb on a picture that was brought: its id is the file's own digest."""
        acts: dict[str, Callable[[Press], Awaitable[None]]] = {
            "edit": self._edit_brought,
            "animate": self._animate_brought,
            "vary": self._vary_brought,
            "upscale": self._upscale_brought,
        }
        await acts[press.address.verb](press)

    async def _edit_brought(self, press: Press) -> None:
        offer = self._verbs.model_for("edit")
        if not press.is_form:
            await open_form(press.interaction, forms.edit_file_form(press.address.subject, press.locale, follows="edit" in offer.kinds))
            return
        await self._take(press, lambda source: derive.edit(source, offer, words=forms.words_of(press, "prompt")))

    async def _animate_brought(self, press: Press) -> None:
        offer = self._verbs.model_for("animate")
        if not press.is_form:
            await open_form(press.interaction, forms.animate_file_form(press.address.subject, press.locale))
            return
        await self._take(press, lambda source: derive.animate(source, offer, prompt=forms.words_of(press, "prompt")))

    async def _vary_brought(self, press: Press) -> None:
        offer = self._verbs.model_for("image_to_image")
        if not press.is_form:
            await open_form(press.interaction, forms.vary_file_form(press.address.subject, press.locale))
            return
        words = forms.words_of(press, "prompt")
        await self._take(press, lambda source: derive.vary(source, offer, strength=derive.STRONG, prompt=words))

    async def _upscale_brought(self, press: Press) -> None:
        offer = self._verbs.model_for("upscale")
        await self._take(press, lambda source: derive.upscale(source, offer))

    async def _take(self, press: Press, make: Callable[[derive.Source], Request]) -> None:
        async def work() -> str:
            source = await self.file_source(press.address.subject)
            return await self._taker.take(press.interaction, make(source))

        await answer_in_time(press.interaction, work())

    async def file_source(self, sha256: str) -> derive.Source:
        """A picture that was taken in, by its digest. Whose it is, the ledger judges at the submission."""
        return await read_source(self._pictures, sha256)


async def read_source(pictures: PictureStore, sha256: str) -> derive.Source:
    """The picture of this digest with its size, from the first bytes of the PNG. Raises InvalidRequest when it is gone."""
    try:
        data = await pictures.read(sha256)
    except FileNotFoundError as error:
        raise InvalidRequest("source_gone", field="image") from error
    if not data.startswith(_PNG_HEADER):
        raise InvalidRequest("source_gone", field="image")
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    return derive.Source(sha256=sha256, width=width, height=height)


def job_in(message: discord.Message, *, me: int) -> JobId | None:
    """The job that a message of ours is about, from the ids of its buttons."""
    if message.author.id != me:
        return None
    for component in walk(message.components):
        address = Address.parse(str(getattr(component, "custom_id", "")))
        if address is not None and address.area == "job":
            return JobId(address.subject)
    return None


def walk(components: object) -> list[object]:
    """Every component of a message, nested ones too."""
    found: list[object] = []
    for component in components if isinstance(components, list | tuple) else []:
        found.append(component)
        found += walk(getattr(component, "children", None))
    return found


def uploads_in(message: discord.Message) -> list[Upload]:
    """The pictures that a message shows: attachments, else those of its galleries. Of one from elsewhere, Discord's own copy."""
    attached = [Upload.of(a) for a in message.attachments if (a.content_type or "image/").startswith("image/")]
    media = [item.media for item in gallery_items(message.components)]
    named = [next((url for url in (one.url, one.proxy_url) if url and address_of(url)), None) for one in media]
    return attached or [Upload(url=url, size=0) for url in named if url]
