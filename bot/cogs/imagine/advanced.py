"""The Advanced form of /imagine: words, shape, LoRAs and a picture to start from, on one page. Pure."""

from collections.abc import Mapping
from typing import Any

import discord
from discord import ui

from bot.cogs.imagine.ask import ASPECTS, Typed, shaped
from bot.cogs.imagine.draft import Draft
from bot.cogs.parts import Address, Choice, Form, field, radio
from jobs.offer import LoraOffer, ModelOffer
from jobs.request import LORAS_MAX, PROMPT_MAX
from jobs.words import say

LORAS_SHOWN = 25


def advanced_form(typed: Typed, draft: Draft, offer: ModelOffer, loras: Mapping[str, LoraOffer], locale: str | None) -> Form:
    """The form, filled with what was typed so far."""
    parts: list[ui.Item[Any]] = [
        field("prompt", "form.prompt", locale, value=typed.prompt, long=True, required=True, limit=PROMPT_MAX),
        field("negative", "form.negative", locale, value=typed.negative or "", long=True, limit=PROMPT_MAX),
        radio("aspect", say("form.aspect", locale), [_aspect(offer, aspect, typed.aspect) for aspect in ASPECTS]),
    ]
    fitting = sorted((lora for lora in loras.values() if lora.family == offer.family), key=lambda lora: lora.name.lower())
    if fitting and offer.loras_max:
        parts.append(_lora_select(fitting, typed, min(offer.loras_max, LORAS_MAX), locale))
    if "image_to_image" in offer.kinds:
        upload: ui.FileUpload[Any] = ui.FileUpload(custom_id="reference", required=False, min_values=0, max_values=1)
        parts.append(ui.Label(text=say("form.reference", locale)[:45], component=upload))
    return Form(Address(area="ask", subject=draft.pack(), verb="advanced"), say("form.advanced", locale), *parts)


def _aspect(offer: ModelOffer, aspect: str, chosen: str | None) -> Choice:
    width, height = shaped(offer, *map(int, aspect.split(":")))
    return Choice(label=f"{aspect} · {width}×{height}", value=aspect, chosen=aspect == (chosen or "").strip())


def _lora_select(fitting: list[LoraOffer], typed: Typed, most: int, locale: str | None) -> ui.Label[Any]:
    mentioned = (typed.lora or "").lower()
    # Those already named come first, so that they are among the 25 that a select can show.
    fitting.sort(key=lambda lora: lora.name.lower() not in mentioned)
    options = [
        discord.SelectOption(
            label=(lora.title or lora.name)[:100], value=lora.name, description=", ".join(lora.triggers)[:100] or None,
            default=bool(mentioned) and lora.name.lower() in mentioned,
        )
        for lora in fitting[:LORAS_SHOWN]
    ]  # fmt: skip
    select: ui.Select[Any] = ui.Select(custom_id="loras", options=options, min_values=0, max_values=min(most, len(options)), required=False)
    return ui.Label(text=say("form.loras", locale)[:45], description=say("form.loras_hint", locale)[:100], component=select)
