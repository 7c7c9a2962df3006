"""What a member typed, as a request. Every fault is named here: what Discord refuses, it refuses unkindly."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from jobs.errors import InvalidRequest
from jobs.offer import ModelOffer
from jobs.request import COUNT_MAX, LORAS_MAX, PROMPT_MAX, Request

_SIZE = re.compile(r"\s*(\d{1,9})\s*[x×X*]\s*(\d{1,9})\s*")
_WHOLE = re.compile(r"\s*(\d{1,40})\s*")
_ASPECT = re.compile(r"\s*(\d{1,3})\s*[:/]\s*(\d{1,3})\s*")

CHOICES_MAX = 25
"""Suggestions that Discord takes for one option."""

ASPECTS = ("1:1", "2:3", "3:2", "3:4", "4:3", "9:16", "16:9")


@dataclass(frozen=True, kw_only=True)
class Typed:
    """The options of /imagine as they came, unchecked. None: left out."""

    prompt: str = ""
    model: str | None = None
    lora: str | None = None
    negative: str | None = None
    aspect: str | None = None
    size: str | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: str | None = None
    count: int | None = None


def read_request(typed: Typed, *, offers: Mapping[str, ModelOffer], usual: str) -> Request:
    """The request of these options. ``offers`` are for the limits in the sentences, ``usual`` names the default model.

    Raises InvalidRequest, naming the field.
    """
    offer = offers.get(typed.model or usual)
    width, height = read_shape(typed.size, typed.aspect, offer)
    values: dict[str, Any] = {"prompt": typed.prompt, "negative": typed.negative or "", "model": typed.model or None}
    values |= {"steps": typed.steps, "guidance": typed.guidance, "seed": read_seed(typed.seed), "width": width, "height": height}
    values |= {"count": 1 if typed.count is None else typed.count, "loras": read_loras(typed.lora)}
    return request_of(values, offers=offers, usual=usual)


def request_of(values: Mapping[str, Any], *, offers: Mapping[str, ModelOffer], usual: str) -> Request:
    """The request of these fields. Raises InvalidRequest with the sentence of the first field that does not fit."""
    try:
        return Request.model_validate(values)
    except ValidationError as error:
        raise _named(error, values, offers, usual) from error


def read_shape(size: str | None, aspect: str | None, offer: ModelOffer | None) -> tuple[int | None, int | None]:
    """Width and height in pixels from ``832x1216``, or from an aspect such as ``2:3`` at the model's own area."""
    if size and size.strip():
        match = _SIZE.fullmatch(size)
        if match is None:
            raise InvalidRequest("invalid_size", field="size")
        return int(match[1]), int(match[2])
    if not aspect or not aspect.strip() or offer is None:
        return None, None
    match = _ASPECT.fullmatch(aspect)
    if match is None or not int(match[1]) or not int(match[2]):
        raise InvalidRequest("invalid_aspect", field="aspect", aspects=list(ASPECTS))
    return shaped(offer, int(match[1]), int(match[2]))


def read_seed(seed: str | None) -> int | None:
    """A whole number as text. Raises InvalidRequest."""
    if seed is None or not seed.strip():
        return None
    match = _WHOLE.fullmatch(seed)
    if match is None:
        raise InvalidRequest("invalid_seed", field="seed")
    return int(match[1])


def read_loras(text: str | None) -> tuple[dict[str, Any], ...]:
    """``film-grain:0.8, noir:0,4``: names with weights; without one 1. A decimal comma counts as a point.

    Raises InvalidRequest for weights that are none or out of 0 to 2, for a name given twice, for more than eight.
    """
    uses: dict[str, float] = {}
    for part in _parts(text or ""):
        name, colon, weight = part.rpartition(":")
        name, value = (name.strip(), _weight(weight, part)) if colon else (part, 1.0)
        if not name or name in uses:
            raise InvalidRequest("lora_twice" if name else "invalid_lora", field="loras", lora=name or part)
        uses[name] = value
    if len(uses) > LORAS_MAX:
        raise InvalidRequest("invalid_loras", field="loras", max=LORAS_MAX)
    return tuple({"name": name, "weight": weight} for name, weight in uses.items())


def _parts(text: str) -> list[str]:
    """Split at commas, but not at one between two digits of a weight: ``a:0,4, b``."""
    return [part.strip() for part in re.split(r",(?!\d+\s*(?:,|$))|[;\n]", text) if part.strip()]


def _weight(text: str, part: str) -> float:
    match = re.fullmatch(r"\s*(\d{0,2}(?:[.,]\d{1,4})?)\s*", text)
    if match is None or not any(map(str.isdecimal, match[1])):
        raise InvalidRequest("invalid_lora", field="loras", lora=part[:60])
    weight = float(match[1].replace(",", "."))
    if weight > 2:
        raise InvalidRequest("invalid_lora", field="loras", lora=part[:60])
    return weight


def _named(error: ValidationError, values: Mapping[str, Any], offers: Mapping[str, ModelOffer], usual: str) -> InvalidRequest:
    """The first fault in this door's words."""
    offer = offers.get(values.get("model") or usual)
    field = str(error.errors()[0]["loc"][0])
    if field in _RANGES:
        return _out_of_range(field, offer)
    match field:
        case "prompt" | "negative":
            length = len(values[field])
            if length > PROMPT_MAX:
                return InvalidRequest("prompt_too_long", field=field, length=length, max=PROMPT_MAX)
            return InvalidRequest("empty_prompt", field=field)
        case "seed":
            return InvalidRequest("invalid_seed", field=field)
        case "loras":
            return InvalidRequest("invalid_lora", field=field, lora=", ".join(use["name"][:30] for use in values["loras"])[:60])
        case "model":
            return InvalidRequest("unknown_model", field=field, model=str(values["model"])[:100], models=sorted(offers))
        case _:
            return InvalidRequest("invalid_field", field=field, hint="")


_RANGES = ("steps", "width", "height", "guidance", "count", "frames", "fps", "strength")


def _out_of_range(field: str, offer: ModelOffer | None) -> InvalidRequest:
    match field:
        case "steps":
            low, high = (offer.steps_min, offer.steps_max) if offer else (1, 1000)
            return InvalidRequest("invalid_steps", field=field, min=low, max=high)
        case "width" | "height":
            low, high = (offer.side_min, offer.side_max) if offer else (8, 16_384)
            return InvalidRequest("invalid_side", field=field, min=low, max=high)
        case "guidance":
            return InvalidRequest("invalid_guidance", field=field, max=offer.guidance_max if offer else 100)
        case "count":
            return InvalidRequest("invalid_count", field=field, max=offer.count_max if offer else COUNT_MAX)
        case "frames" | "fps":
            return InvalidRequest("invalid_frames", field=field, max=offer.frames_max if offer else 256)
        case _:
            return InvalidRequest("invalid_strength", field=field)


def sizes_of(offer: ModelOffer) -> list[tuple[int, int]]:
    """Sizes worth suggesting: the model's own first, then portrait, landscape and square ones within its limits."""
    found = [(offer.default_width, offer.default_height)]
    found += [shaped(offer, *map(int, aspect.split(":"))) for aspect in (*ASPECTS[1:], ASPECTS[0])]
    usable = [(w, h) for w, h in found if w * h <= offer.max_pixels]
    return list(dict.fromkeys(usable))[:CHOICES_MAX]


def shaped(offer: ModelOffer, across: int, down: int) -> tuple[int, int]:
    """The size of this shape with about the area that the model likes, in pixels."""
    scale = (offer.default_width * offer.default_height / (across * down)) ** 0.5
    return _fit(across * scale, offer), _fit(down * scale, offer)


def _fit(side: float, offer: ModelOffer) -> int:
    step = offer.size_multiple
    low, high = -(-offer.side_min // step) * step, offer.side_max // step * step
    return max(low, min(high, round(side / step) * step))
