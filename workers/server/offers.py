"""From the models on disk to what is offered, and an order's check against its offer."""

from __future__ import annotations

from workers.engine import schedulers
from workers.engine.catalog import ModelSource
from workers.protocol import GUIDANCE_MAX, SIDE_MAX, STEPS_MAX, ModelOffer, ProblemField, RunOrder


def offer_of(source: ModelSource, *, loaded: bool) -> ModelOffer:
    """What a model's configuration and card allow."""
    shape, card = source.shape, source.card
    names = schedulers.NAMES
    return ModelOffer(
        name=source.name,
        family=source.family,
        title=source.title,
        default_width=shape.default_width,
        default_height=shape.default_height,
        size_multiple=shape.size_multiple,
        side_min=shape.side_min,
        side_max=min(SIDE_MAX, card.side_max or shape.side_max),
        max_pixels=shape.max_pixels,
        default_steps=card.default_steps,
        steps_min=card.steps_min,
        steps_max=min(STEPS_MAX, card.steps_max),
        default_guidance=card.default_guidance,
        guidance_max=GUIDANCE_MAX,
        schedulers=names,
        default_scheduler=card.default_scheduler if card.default_scheduler in names else shape.scheduler,
        loaded=loaded,
    )


def complaints(order: RunOrder, offer: ModelOffer) -> tuple[ProblemField, ...]:
    """What is wrong with an order for this model, field by field; empty when it can be made."""
    found = _beyond_ability(order, offer)
    for field, side in (("width", order.width), ("height", order.height)):
        if not offer.side_min <= side <= offer.side_max or side % offer.size_multiple:
            rule = f"{field} must be a multiple of {offer.size_multiple} from {offer.side_min} to {offer.side_max}"
            found.append(ProblemField(field=field, detail=f"{rule}, not {side}."))
    if order.width * order.height > offer.max_pixels:
        detail = f"{order.width}x{order.height} has more than the {offer.max_pixels} pixels of this model."
        found.append(ProblemField(field="width", detail=detail))
    if not offer.steps_min <= order.steps <= offer.steps_max:
        detail = f"steps must be from {offer.steps_min} to {offer.steps_max}, not {order.steps}."
        found.append(ProblemField(field="steps", detail=detail))
    if not offer.guidance_min <= order.guidance <= offer.guidance_max:
        detail = f"guidance must be from {offer.guidance_min:g} to {offer.guidance_max:g}, not {order.guidance:g}."
        found.append(ProblemField(field="guidance", detail=detail))
    if order.scheduler is not None and (reason := schedulers.why_not(order.scheduler)):
        found.append(ProblemField(field="scheduler", detail=reason))
    return tuple(found)


def _beyond_ability(order: RunOrder, offer: ModelOffer) -> list[ProblemField]:
    found: list[ProblemField] = []
    if order.kind not in offer.kinds:
        found.append(ProblemField(field="kind", detail=f"{offer.name} makes {', '.join(offer.kinds)}, not {order.kind}."))
    if order.count > offer.count_max:
        found.append(ProblemField(field="count", detail=f"{offer.name} makes at most {offer.count_max} pictures of one order."))
    if len(order.loras) > offer.loras_max:
        found.append(ProblemField(field="loras", detail=f"{offer.name} mixes at most {offer.loras_max} LoRAs."))
    return found
