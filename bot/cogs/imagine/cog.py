"""/imagine: one line for beginners, everything for the others, one form for both."""

from dataclasses import replace
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.cogs.imagine import suggest
from bot.cogs.imagine.advanced import advanced_form
from bot.cogs.imagine.ask import ASPECTS, Typed, read_loras, read_request, read_shape, request_of
from bot.cogs.imagine.draft import Draft
from bot.cogs.imagine.localised import localised
from bot.cogs.intake import Intake, uploads_of
from bot.cogs.interactions import answer_in_time, open_form
from bot.cogs.switchboard import Press
from bot.cogs.taking import Taker
from bot.cogs.verbs import derive
from jobs.errors import InvalidRequest
from jobs.offer import ModelOffer
from jobs.ports import Fleet
from jobs.request import Request
from jobs.words import say

_OPTIONS = ("prompt", "model", "lora", "negative", "aspect", "size", "steps", "guidance", "seed", "count", "advanced")
_CHOICES = [app_commands.Choice(name=localised(f"aspect.{aspect.replace(':', '_')}"), value=aspect) for aspect in ASPECTS]


class ImagineCog(commands.Cog):
    """Takes requests. No limits are given to Discord: what it refuses by itself, it refuses without a kind word."""

    def __init__(self, *, fleet: Fleet, taker: Taker, intake: Intake) -> None:
        self._fleet = fleet
        self._taker = taker
        self._intake = intake

    # The seed is text: Discord's numbers end at 2^53, a seed at 2^63.
    @app_commands.command(name=localised("command.imagine"), description=localised("command.imagine_about"))
    @app_commands.rename(**{name: localised(f"command.{name}") for name in _OPTIONS})
    @app_commands.describe(**{name: localised(f"command.{name}_about") for name in _OPTIONS})
    @app_commands.choices(aspect=_CHOICES)
    @app_commands.guild_only()
    async def imagine(
        self,
        interaction: discord.Interaction,
        prompt: str,
        model: str | None = None,
        lora: str | None = None,
        negative: str | None = None,
        aspect: str | None = None,
        size: str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: str | None = None,
        count: int | None = None,
        advanced: bool = False,
    ) -> None:
        """Find or make the person's studio, enqueue, and say where the photo will come."""
        typed = Typed(
            prompt=prompt, model=model, lora=lora, negative=negative, aspect=aspect, size=size, steps=steps, guidance=guidance,
            seed=seed, count=count,
        )  # fmt: skip
        usual = await self._taker.usual(interaction)
        typed = replace(typed, model=typed.model or usual.model, size=typed.size or (None if typed.aspect else usual.size))
        if advanced:
            await self._open(interaction, typed)
        else:
            await answer_in_time(interaction, self._take(interaction, typed))

    async def _take(self, interaction: discord.Interaction, typed: Typed) -> str:
        request = read_request(typed, offers=self._fleet.offers(), usual=self._fleet.default_model)
        return await self._taker.take(interaction, request)

    async def _open(self, interaction: discord.Interaction, typed: Typed) -> None:
        """The form; what was typed is checked before, as far as the form does not show it."""
        offers = self._fleet.offers()
        request = read_request(replace(typed, prompt=typed.prompt or "x"), offers=offers, usual=self._fleet.default_model)
        offer = self._offer(typed.model)
        explicit = (request.width, request.height) if typed.size else (None, None)
        draft = Draft(
            model=typed.model, steps=request.steps, guidance=request.guidance, seed=request.seed, count=request.count,
            width=explicit[0], height=explicit[1],
        )  # fmt: skip
        form = advanced_form(typed, draft, offer, self._fleet.loras(), str(interaction.locale))
        await open_form(interaction, form)

    def _offer(self, name: str | None) -> ModelOffer:
        offers = self._fleet.offers()
        wanted = name or self._fleet.default_model
        if wanted not in offers:
            raise InvalidRequest("unknown_model", field="model", model=wanted[:100], models=sorted(offers))
        return offers[wanted]

    async def on_press(self, press: Press) -> None:
        """The Advanced form came back."""
        await answer_in_time(press.interaction, self._take_form(press))

    async def _take_form(self, press: Press) -> str:
        try:
            draft = Draft.unpack(press.address.subject, self._fleet.offers())
        except ValueError:  # no form of ours
            return say("limit.expired_button", press.locale)
        offer = self._offer(draft.model)
        values = self._values(press, draft, offer)
        uploads = uploads_of(press.interaction)
        if uploads:
            source = await self._intake.take(uploads[0], user_id=press.user_id)
            values |= {"kind": "image_to_image", "image": source.sha256, "strength": derive.EDIT_STRENGTH}
            if values["width"] is None:
                values["width"], values["height"] = offer.size_like(source.width, source.height)
        request: Request = request_of(values, offers=self._fleet.offers(), usual=self._fleet.default_model)
        return await self._taker.take(press.interaction, request)

    def _values(self, press: Press, draft: Draft, offer: ModelOffer) -> dict[str, Any]:
        width, height = draft.width, draft.height
        if press.typed("aspect"):
            width, height = read_shape(None, press.typed("aspect"), offer)
        chosen = press.fields.get("loras", ())
        offered = self._fleet.loras()
        mix = ",".join(f"{name}:{offered[name].weight:g}" for name in chosen if name in offered) if isinstance(chosen, tuple) else ""
        return {
            "prompt": press.typed("prompt"), "negative": press.typed("negative"), "model": offer.name, "loras": read_loras(mix),
            "steps": draft.steps, "guidance": draft.guidance, "seed": draft.seed, "count": draft.count or 1, "width": width,
            "height": height,
        }  # fmt: skip

    @imagine.autocomplete("model")
    async def suggest_models(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        """Models whose name or title holds what was typed."""
        found = suggest.models(self._fleet.offers(), current, usual=self._fleet.default_model, kind="text_to_image")
        return [app_commands.Choice(name=one.name, value=one.value) for one in found]

    @imagine.autocomplete("lora")
    async def suggest_loras(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        """LoRAs that fit the model chosen so far, completing the last of several."""
        offer = self._fleet.offers().get(getattr(interaction.namespace, "model", None) or self._fleet.default_model)
        found = suggest.loras(self._fleet.loras(), current, family=offer.family if offer else None)
        return [app_commands.Choice(name=one.name, value=one.value) for one in found]

    @imagine.autocomplete("size")
    async def suggest_sizes(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        """Sizes that suit the model chosen so far."""
        offer = self._fleet.offers().get(getattr(interaction.namespace, "model", None) or self._fleet.default_model)
        own = f"{offer.default_width}x{offer.default_height}" if offer else ""
        choices: list[app_commands.Choice[str]] = []
        for size in suggest.sizes(offer, current):
            name = size.replace("x", "×")
            if size == own:
                name = say("command.size_usual", str(interaction.locale), size=name)
            choices.append(app_commands.Choice(name=name, value=size))
        return choices
