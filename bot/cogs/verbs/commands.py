"""/edit, /animate, /upscale, /vary: the verbs as commands, for a file that somebody brings or a picture made here."""

from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.cogs.imagine import suggest
from bot.cogs.imagine.ask import request_of
from bot.cogs.imagine.localised import localised
from bot.cogs.intake import Intake, Upload
from bot.cogs.interactions import answer_in_time, locale_of, user_of
from bot.cogs.taking import Taker
from bot.cogs.verbs import derive
from bot.cogs.verbs.cog import VerbsCog
from bot.cogs.verbs.menus import read_source
from jobs.errors import InvalidRequest, JobNotFound
from jobs.job import Job, JobId, UserId
from jobs.ports import Fleet, JobStore, PictureStore
from jobs.request import Request
from jobs.words import say


def named(*names: str, **keys: str) -> Any:
    """All languages for a command's options; ``keys``: options whose texts have another name in the catalogue."""
    known = {**{name: name for name in names}, **keys}
    texts = {name: localised(f"command.{key}") for name, key in known.items()}
    about = {name: localised(f"command.{key}_about") for name, key in known.items()}

    def decorate(command: Any) -> Any:
        return app_commands.rename(**texts)(app_commands.describe(**about)(command))

    return decorate


class VerbCommands(commands.Cog):
    """Where no picture is given, the last one is meant: the one kept by "Use as input", else the newest made."""

    def __init__(self, *, verbs: VerbsCog, store: JobStore, pictures: PictureStore, fleet: Fleet, taker: Taker, intake: Intake) -> None:
        self._verbs = verbs
        self._store = store
        self._pictures = pictures
        self._fleet = fleet
        self._taker = taker
        self._intake = intake

    @app_commands.command(name=localised("command.edit"), description=localised("command.edit_what"))
    @named("prompt", "image", "job", "strength", "model")
    @app_commands.guild_only()
    async def edit(
        self,
        interaction: discord.Interaction,
        prompt: str,
        image: discord.Attachment | None = None,
        job: str | None = None,
        strength: float | None = None,
        model: str | None = None,
    ) -> None:
        """By instruction where a model here follows those, else painted over."""

        async def work() -> str:
            offer = self._verbs.model_for("edit", wanted=model)
            source = await self.source(interaction, image, job)
            request = derive.edit(source, offer, words=_words(prompt), strength=_share(strength))
            return await self._take(interaction, request)

        await answer_in_time(interaction, work())

    @app_commands.command(name=localised("command.vary"), description=localised("command.vary_what"))
    @named("image", "job", "strength", "prompt", "count", "model")
    @app_commands.guild_only()
    async def vary(
        self,
        interaction: discord.Interaction,
        image: discord.Attachment | None = None,
        job: str | None = None,
        strength: float | None = None,
        prompt: str | None = None,
        count: int | None = None,
        model: str | None = None,
    ) -> None:
        """Pictures like this one."""

        async def work() -> str:
            offer = self._verbs.model_for("image_to_image", wanted=model)
            source = await self.source(interaction, image, job)
            words = prompt or source.prompt
            change = _share(strength)
            request = derive.vary(source, offer, strength=derive.SUBTLE if change is None else change, prompt=_words(words))
            return await self._take(interaction, self._several(request, count))

        await answer_in_time(interaction, work())

    @app_commands.command(name=localised("command.upscale"), description=localised("command.upscale_what"))
    @named("image", "job", "scale")
    @app_commands.choices(scale=[app_commands.Choice(name="2×", value=2), app_commands.Choice(name="4×", value=4)])
    @app_commands.guild_only()
    async def upscale(
        self,
        interaction: discord.Interaction,
        image: discord.Attachment | None = None,
        job: str | None = None,
        scale: int | None = None,
    ) -> None:
        """The same picture, larger."""

        async def work() -> str:
            offer = self._verbs.model_for("upscale")
            source = await self.source(interaction, image, job)
            return await self._take(interaction, derive.upscale(source, offer, scale=scale))

        await answer_in_time(interaction, work())

    @app_commands.command(name=localised("command.animate"), description=localised("command.animate_what"))
    @named("prompt", "image", "job", "frames", "fps", "model")
    @app_commands.guild_only()
    async def animate(
        self,
        interaction: discord.Interaction,
        prompt: str,
        image: discord.Attachment | None = None,
        job: str | None = None,
        frames: int | None = None,
        fps: int | None = None,
        model: str | None = None,
    ) -> None:
        """A clip from words, and from a picture where one is given."""

        async def work() -> str:
            offer = self._verbs.model_for("animate", wanted=model)
            source = await self.source(interaction, image, job) if image or job else None
            request = derive.animate(source, offer, prompt=_words(prompt))
            return await self._take(interaction, self._changed(request, frames=frames, fps=fps))

        await answer_in_time(interaction, work())

    async def _take(self, interaction: discord.Interaction, request: Request) -> str:
        return await self._taker.take(interaction, request)

    def _several(self, request: Request, count: int | None) -> Request:
        return request if count is None else self._changed(request, count=count)

    def _changed(self, request: Request, **changes: Any) -> Request:
        values = {**request.model_dump(), **{name: value for name, value in changes.items() if value is not None}}
        return request_of(values, offers=self._fleet.offers(), usual=self._fleet.default_model)

    async def source(self, interaction: discord.Interaction, image: discord.Attachment | None, job: str | None) -> derive.Source:
        """The file that was brought, the picture that was named, the one kept as input, or the newest.

        Raises InvalidRequest, JobNotFound, and what discord.py raises.
        """
        user_id = user_of(interaction)
        if image is not None:
            return await self._intake.take(Upload.of(image), user_id=user_id)
        kept = job or (await self._taker.usual(interaction)).input
        if kept:
            return await self._named(kept, user_id)
        for made in await self._store.recent(user_id, limit=20):
            if made.pictures and made.order.kind != "animate":
                return derive.source_of(made, made.pictures[0].index + 1)
        raise InvalidRequest("no_source", field="image")

    async def _named(self, text: str, user_id: UserId) -> derive.Source:
        """``job``, ``job:2``, or ``file:<sha256>`` for one that was brought."""
        if text.startswith("file:"):
            return await read_source(self._pictures, text.removeprefix("file:"))
        job_id, _, number = text.strip().partition(":")
        made = await self._store.get(JobId(job_id))
        if made is None or made.user_id != user_id:
            raise JobNotFound(job_id[:60])
        return derive.source_of(made, int(number) if number.isdecimal() else 1)

    async def suggest_jobs(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        """The person's newest pictures."""
        return [
            app_commands.Choice(name=one.name, value=one.value)
            for one in picture_suggestions(await self._store.recent(user_of(interaction), limit=60), current, locale_of(interaction))
        ]

    @edit.autocomplete("job")
    async def _edit_jobs(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return await self.suggest_jobs(interaction, current)

    @vary.autocomplete("job")
    async def _vary_jobs(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return await self.suggest_jobs(interaction, current)

    @upscale.autocomplete("job")
    async def _upscale_jobs(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return await self.suggest_jobs(interaction, current)

    @animate.autocomplete("job")
    async def _animate_jobs(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return await self.suggest_jobs(interaction, current)

    @edit.autocomplete("model")
    async def _edit_models(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        able = {name: offer for name, offer in self._fleet.offers().items() if {"edit", "image_to_image"} & set(offer.kinds)}
        return self._models(able, current, None)

    @vary.autocomplete("model")
    async def _vary_models(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return self._models(self._fleet.offers(), current, "image_to_image")

    @animate.autocomplete("model")
    async def _animate_models(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return self._models(self._fleet.offers(), current, "animate")

    def _models(self, offers: Any, current: str, kind: str | None) -> list[app_commands.Choice[str]]:
        found = suggest.models(offers, current, usual=self._fleet.default_model, kind=kind)
        return [app_commands.Choice(name=one.name, value=one.value) for one in found]


def picture_suggestions(jobs: list[Job], typed: str, locale: str | None) -> list[suggest.Suggestion]:
    """Pictures of these jobs whose words hold what was typed; several of one job are numbered."""
    words = typed.casefold().split()
    found: list[suggest.Suggestion] = []
    for job in jobs:
        if all(word in f"{job.order.prompt} {job.id}".casefold() for word in words):
            found += [_suggestion(job, picture.index + 1, locale) for picture in job.pictures]
    return found[: suggest.CHOICES_MAX]


def _suggestion(job: Job, n: int, locale: str | None) -> suggest.Suggestion:
    several = len(job.pictures) > 1
    title = " ".join(job.order.prompt.split())[:70] or say(f"kind.{job.order.kind}", locale)
    name = f"{title} · {say('act.picture_n', locale, n=n)}" if several else title
    return suggest.Suggestion(name=name[:100], value=f"{job.id}:{n}" if several else job.id)


def _words(text: str) -> str:
    if not text.strip():
        raise InvalidRequest("empty_prompt", field="prompt")
    return text


def _share(strength: float | None) -> float | None:
    if strength is not None and not 0 <= strength <= 1:
        raise InvalidRequest("invalid_strength", field="strength")
    return strength
