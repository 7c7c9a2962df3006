"""The buttons under a picture: each press is judged anew from the ledger, so it works on messages of any age."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import discord
from discord.ext import commands

from bot.cogs.interactions import Reply, answer_in_time, open_form, tell, turn_into
from bot.cogs.members import Members
from bot.cogs.photos.courier import gallery_items
from bot.cogs.photos.stopping import stop_job
from bot.cogs.preferring import Choices
from bot.cogs.switchboard import Press
from bot.cogs.taking import Taker
from bot.cogs.verbs import cards, derive, forms
from jobs.desk import Desk
from jobs.job import Job, JobId, UserId
from jobs.offer import ModelOffer
from jobs.ports import Fleet, JobStore
from jobs.request import Request
from jobs.words import say


class Prints(Protocol):
    """The messages in which a job's pictures hang."""

    async def take_down(self, job: Job) -> None:
        """Delete them; harmless when they are gone."""
        ...


Act = Callable[[Press, Job, int], Awaitable[None]]


class VerbsCog(commands.Cog):
    """Presses on ids of the area ``job``."""

    def __init__(
        self, *, desk: Desk, store: JobStore, fleet: Fleet, taker: Taker, members: Members, choices: Choices, prints: Prints
    ) -> None:
        self._desk = desk
        self._store = store
        self._members = members
        self._choices = choices
        self._prints = prints
        self._also: Prints | None = None
        self._fleet = fleet
        self._taker = taker
        self._whole: dict[str, Act] = {
            "reroll": self._reroll,
            "again": self._repeat,
            "retry": self._repeat,
            "remix": self._remix,
            "details": self._details,
            "star": self._star,
            "unstar": self._star,
            "delete": self._ask_delete,
            "delete-sure": self._delete,
        }
        self._of_picture: dict[str, Act] = {
            "vary": self._ask_vary,
            "vary-subtle": self._vary,
            "vary-strong": self._vary,
            "upscale": self._upscale,
            "edit": self._edit,
            "animate": self._animate,
            "pick": self._pick,
            "use": self._use,
        }

    def add_gallery(self, publish: Act, prints: Prints) -> None:
        """Where pictures can be published, and where they hang besides."""
        self._of_picture["publish"] = publish
        self._also = prints

    async def on_press(self, press: Press) -> None:
        """Find the job, see that it is the presser's, and do what the button says."""
        verb, job_id, user_id = press.address.verb, JobId(press.address.subject), UserId(press.user_id)
        if verb == "cancel":
            await answer_in_time(press.interaction, stop_job(self._desk, job_id, user_id, press.locale))
            return
        job = await self._store.get(job_id)
        act = self._whole.get(verb) or self._of_picture.get(verb)
        if job is None or act is None:
            await tell(press.interaction, say("limit.expired_button", press.locale))
        elif job.user_id != user_id:
            await tell(press.interaction, say("limit.not_yours", press.locale))
        elif verb in self._of_picture:
            await self._on_picture(press, job, act)
        else:
            await act(press, job, 0)

    async def _on_picture(self, press: Press, job: Job, act: Act) -> None:
        """Which picture is meant: the button's own, the select's, or ask."""
        number = int(press.values[0]) if press.values and press.values[0].isdecimal() else press.address.n
        if number == 0 and len(job.pictures) > 1:
            await tell(press.interaction, Reply(card=cards.ask_which(job, press.address.verb, press.locale)))
            return
        if press.address.verb != "publish":
            derive.source_of(job, number or 1)  # says kindly that it is gone, before a form is filled in for nothing
        await act(press, job, number or 1)

    async def _take(self, press: Press, request: Request) -> None:
        await answer_in_time(press.interaction, self._taker.take(press.interaction, request))

    async def _reroll(self, press: Press, job: Job, _: int) -> None:
        await self._take(press, derive.reroll(job))

    async def _repeat(self, press: Press, job: Job, _: int) -> None:
        await self._take(press, derive.repeat(job))

    async def _remix(self, press: Press, job: Job, _: int) -> None:
        if not press.is_form:
            await open_form(press.interaction, forms.remix_form(job, press.locale))
            return
        request = derive.remix(job, prompt=forms.words_of(press, "prompt"), negative=press.typed("negative"))
        await self._take(press, request)

    async def _details(self, press: Press, job: Job, _: int) -> None:
        starred = await self._members.is_favourite(job.user_id, job.id)
        await tell(press.interaction, Reply(card=cards.details(job, press.locale, is_favourite=starred)))

    async def _star(self, press: Press, job: Job, _: int) -> None:
        wanted = press.address.verb == "star"

        async def work() -> Reply:
            await self._members.favour(job.user_id, job.id, favourite=wanted)
            return Reply(card=cards.details(job, press.locale, is_favourite=wanted))

        await turn_into(press.interaction, work())

    async def _ask_delete(self, press: Press, job: Job, _: int) -> None:
        await tell(press.interaction, Reply(card=cards.ask_delete(job, press.locale)))

    async def _delete(self, press: Press, job: Job, _: int) -> None:
        async def work() -> str:
            for prints in (self._also, self._prints):
                if prints is not None:
                    await prints.take_down(job)
            await self._members.discard(job.user_id, job.id)
            return say("act.deleted", press.locale)

        await answer_in_time(press.interaction, work())

    async def _use(self, press: Press, job: Job, n: int) -> None:
        async def work() -> str:
            await self._choices.change(job.user_id, {"input": f"{job.id}:{n}"})
            return say("act.used", press.locale)

        await answer_in_time(press.interaction, work())

    async def _ask_vary(self, press: Press, job: Job, n: int) -> None:
        self.model_for("image_to_image", job)
        await tell(press.interaction, Reply(card=cards.ask_vary(job, n, press.locale)))

    async def _vary(self, press: Press, job: Job, n: int) -> None:
        offer = self.model_for("image_to_image", job)
        strength = derive.SUBTLE if press.address.verb == "vary-subtle" else derive.STRONG
        await self._take(press, derive.vary(derive.source_of(job, n), offer, strength=strength))

    async def _upscale(self, press: Press, job: Job, n: int) -> None:
        await self._take(press, derive.upscale(derive.source_of(job, n), self.model_for("upscale", job)))

    async def _edit(self, press: Press, job: Job, n: int) -> None:
        offer = self.model_for("edit", job)
        if not press.is_form:
            await open_form(press.interaction, forms.edit_form(job, n, press.locale, follows="edit" in offer.kinds))
            return
        await self._take(press, derive.edit(derive.source_of(job, n), offer, words=forms.words_of(press, "prompt")))

    async def _animate(self, press: Press, job: Job, n: int) -> None:
        offer = self.model_for("animate", job)
        if not press.is_form:
            await open_form(press.interaction, forms.animate_form(job, n, press.locale))
            return
        await self._take(press, derive.animate(derive.source_of(job, n), offer, prompt=forms.words_of(press, "prompt")))

    async def _pick(self, press: Press, job: Job, n: int) -> None:
        url = picture_url(press.interaction.message, n)
        await tell(press.interaction, Reply(card=cards.one_picture(job, n, press.locale, url=url)))

    def model_for(self, kind: str, job: Job | None = None, *, wanted: str | None = None) -> ModelOffer:
        """Who does it here: the model that made the picture if it can, else another. Raises NobodyCan."""
        offers = self._fleet.offers()
        usual = job.order.model if job else self._fleet.default_model
        offer = derive.choose(offers, kind, wanted=wanted, usual=usual)
        if offer is None and kind == "edit":  # without a model that follows instructions the words paint it anew
            offer = derive.choose(offers, "image_to_image", wanted=wanted, usual=usual)
        if offer is None:
            raise derive.NobodyCan(kind)
        return offer


def picture_url(message: discord.Message | None, n: int) -> str | None:
    """The address of the ``n``-th picture that the message shows."""
    items = gallery_items(message.components) if message else []
    return items[n - 1].media.url if 0 < n <= len(items) else None
