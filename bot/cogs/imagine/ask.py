"""What a member typed, as a request. Every fault is named here: what Discord refuses, it refuses unkindly."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from jobs.errors import InvalidRequest
from jobs.offer import ModelOffer
from jobs.request import PROMPT_MAX, Request

_SIZE = re.compile(r"\s*(\d{1,9})\s*[x×X*]\s*(\d{1,9})\s*")
_WHOLE = re.compile(r"\s*(\d{1,40})\s*")

CHOICES_MAX = 25
"""Suggestions that Discord takes for one option."""


def read_request(
    *,
    prompt: str,
    model: str | None,
    size: str | None,
    steps: int | None,
    seed: str | None,
    offers: Mapping[str, ModelOffer],
    usual: str,
) -> Request:
    """The request of these options. ``offers`` are for the limits in the sentences, ``usual`` names the default model.

    Raises InvalidRequest, naming the field.
    """
    width, height = _read_size(size)
    values: dict[str, Any] = {"prompt": prompt, "model": model or None, "steps": steps, "seed": _read_seed(seed)}
    values |= {"width": width, "height": height}
    try:
        return Request.model_validate(values)
    except ValidationError as error:
        raise _named(error, values, offers, usual) from error


def _read_size(size: str | None) -> tuple[int | None, int | None]:
    if size is None or not size.strip():
        return None, None
    match = _SIZE.fullmatch(size)
    if match is None:
        raise InvalidRequest("invalid_size", field="size")
    return int(match[1]), int(match[2])


def _read_seed(seed: str | None) -> int | None:
    if seed is None or not seed.strip():
        return None
    match = _WHOLE.fullmatch(seed)
    if match is None:
        raise InvalidRequest("invalid_seed", field="seed")
    return int(match[1])


def _named(
    error: ValidationError, values: Mapping[str, Any], offers: Mapping[str, ModelOffer], usual: str
) -> InvalidRequest:
    """The first fault in this door's words."""
    offer = offers.get(values["model"] or usual)
    field = str(error.errors()[0]["loc"][0])
    match field:
        case "prompt":
            length = len(values["prompt"])
            if length > PROMPT_MAX:
                return InvalidRequest("prompt_too_long", field=field, length=length, max=PROMPT_MAX)
            return InvalidRequest("empty_prompt", field=field)
        case "steps":
            low, high = (offer.steps_min, offer.steps_max) if offer else (1, 1000)
            return InvalidRequest("invalid_steps", field=field, min=low, max=high)
        case "width" | "height":
            low, high = (offer.side_min, offer.side_max) if offer else (8, 16_384)
            return InvalidRequest("invalid_side", field=field, min=low, max=high)
        case "seed":
            return InvalidRequest("invalid_seed", field=field)
        case "model":
            return InvalidRequest("unknown_model", field=field, model=str(values["model"])[:100], models=sorted(offers))
        case _:
            return InvalidRequest("invalid_field", field=field, hint="")


def sizes_of(offer: ModelOffer) -> list[tuple[int, int]]:
    """Sizes worth suggesting: the model's own first, then portrait, landscape and square ones within its limits."""
    found = [(offer.default_width, offer.default_height)]
    for across, down in ((2, 3), (3, 2), (3, 4), (4, 3), (9, 16), (16, 9), (1, 1)):
        area = offer.default_width * offer.default_height
        scale = (area / (across * down)) ** 0.5
        found.append((_fit(across * scale, offer), _fit(down * scale, offer)))
    usable = [(w, h) for w, h in found if w * h <= offer.max_pixels]
    return list(dict.fromkeys(usable))[:CHOICES_MAX]


def _fit(side: float, offer: ModelOffer) -> int:
    step = offer.size_multiple
    low, high = -(-offer.side_min // step) * step, offer.side_max // step * step
    return max(low, min(high, round(side / step) * step))
