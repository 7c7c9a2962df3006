"""From the models and LoRAs on disk to what is offered, and an order's check against its offer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from workers.engine import schedulers
from workers.engine.catalog import ModelSource
from workers.engine.loras.library import LoraSource
from workers.protocol import COUNT_MAX, GUIDANCE_MAX, LORAS_MAX, SIDE_MAX, STEPS_MAX, LoraOffer, ModelOffer, ProblemField, RunOrder

#: What a model of a family can wear that is called after another.
_WEARS = {"animatediff": "sd15"}
_SCALES = (2, 4)


def offer_of(source: ModelSource, *, loaded: bool, best_batch: int | None = None, alone: str = "") -> ModelOffer:
    """What a model's configuration and card allow, and what was measured of it."""
    shape, card = source.shape, source.card
    names = shape.schedulers or schedulers.NAMES
    clips = shape.frames_max or 1
    return ModelOffer(
        name=source.name,
        family=lora_family(source),
        title=source.title,
        default_width=shape.default_width,
        default_height=shape.default_height,
        size_multiple=shape.size_multiple,
        side_min=shape.side_min,
        side_max=min(SIDE_MAX, card.side_max or shape.side_max),
        max_pixels=shape.max_pixels,
        default_steps=card.default_steps if card.default_steps is not None else shape.default_steps,
        steps_min=card.steps_min,
        steps_max=min(STEPS_MAX, card.steps_max),
        default_guidance=card.default_guidance if card.default_guidance is not None else shape.default_guidance,
        guidance_max=GUIDANCE_MAX,
        schedulers=names,
        default_scheduler=card.default_scheduler if card.default_scheduler in names else shape.scheduler,
        kinds=shape.kinds,
        count_max=COUNT_MAX,
        loras_max=LORAS_MAX,
        default_frames=shape.default_frames or 1,
        frames_max=clips,
        scales=_SCALES if "upscale" in shape.kinds else (),
        best_batch=1 if alone else best_batch,
        alone=alone,
        loaded=loaded,
    )


def lora_family(source: ModelSource) -> str:
    """The family whose LoRAs a model can wear, which is what is told of it."""
    return _WEARS.get(source.family, source.family)


def lora_offer_of(lora: LoraSource) -> LoraOffer:
    """What is told of a LoRA."""
    return LoraOffer(name=lora.name, family=lora.family, title=lora.title, triggers=lora.triggers, weight=lora.weight)


def complaints(order: RunOrder, offer: ModelOffer) -> tuple[ProblemField, ...]:
    """What is wrong with an order for this model, field by field; empty when it can be made."""
    found = [*_beyond_ability(order, offer), *_wrong_for_kind(order)]
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
    return tuple(found)


def _beyond_ability(order: RunOrder, offer: ModelOffer) -> list[ProblemField]:
    found: list[ProblemField] = []
    if order.kind not in offer.kinds:
        found.append(ProblemField(field="kind", detail=f"{offer.name} makes {', '.join(offer.kinds)}, not {order.kind}."))
    if order.count > offer.count_max:
        found.append(ProblemField(field="count", detail=f"{offer.name} makes at most {offer.count_max} pictures of one order."))
    if len(order.loras) > offer.loras_max:
        found.append(ProblemField(field="loras", detail=f"{offer.name} mixes at most {offer.loras_max} LoRAs."))
    if order.scheduler is not None and order.scheduler not in offer.schedulers:
        reason = schedulers.why_not(order.scheduler, offer.family) or f"{offer.name} does not offer the scheduler {order.scheduler!r}."
        found.append(ProblemField(field="scheduler", detail=reason))
    if order.frames is not None and order.frames > offer.frames_max:
        found.append(ProblemField(field="frames", detail=f"{offer.name} makes clips of at most {offer.frames_max} frames."))
    if order.scale is not None and order.scale not in offer.scales:
        found.append(ProblemField(field="scale", detail=f"{offer.name} does not enlarge {order.scale} times."))
    return found


_FROM_A_PICTURE = frozenset({"image_to_image", "inpaint", "edit", "upscale"})


def _wrong_for_kind(order: RunOrder) -> list[ProblemField]:
    found: list[ProblemField] = []
    if order.kind in _FROM_A_PICTURE and order.image is None:
        found.append(ProblemField(field="image", detail=f"{order.kind} needs a picture to start from."))
    if order.kind == "inpaint" and order.mask is None:
        found.append(ProblemField(field="mask", detail="inpaint needs a mask that says what may be painted."))
    if order.kind == "upscale":
        scale = order.scale or _SCALES[0]
        if max(order.width, order.height) * scale > SIDE_MAX:
            found.append(ProblemField(field="scale", detail=f"The enlarged picture would have a side of more than {SIDE_MAX} pixels."))
    return found


def lora_complaints(order: RunOrder, source: ModelSource, loras: Mapping[str, LoraSource]) -> tuple[ProblemField, ...]:
    """What is wrong with an order's LoRAs, all of which are known here."""
    family, found = lora_family(source), []
    twice = [name for name, times in Counter(use.name for use in order.loras).items() if times > 1]
    found += [ProblemField(field="loras", detail=f"The LoRA {name!r} is named more than once.") for name in twice]
    for lora in (loras[use.name] for use in order.loras):
        if lora.family != family:
            detail = f"The LoRA {lora.name!r} is for {lora.family} models; {source.name} is of the family {family}."
            found.append(ProblemField(field="loras", detail=detail))
        elif None not in (lora.text_width, source.text_width) and lora.text_width != source.text_width:
            detail = f"The LoRA {lora.name!r} was made for another model than {source.name}: it reads text of another width."
            found.append(ProblemField(field="loras", detail=detail))
    return tuple(found)
