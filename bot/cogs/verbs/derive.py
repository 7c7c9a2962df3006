"""From a job that is done to the next request. Pure: what each verb keeps, changes and names as its parent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.cogs.imagine.ask import request_of
from jobs.errors import InvalidRequest
from jobs.job import Job, JobId
from jobs.offer import ModelOffer
from jobs.request import Order, Request, RequestKind

SUBTLE, STRONG = 0.35, 0.7
"""How much of the picture a variation may change."""

EDIT_STRENGTH = 0.65
"""For an edit by a model that follows no instructions: enough to follow the words, little enough to keep the scene."""


class NobodyCan(InvalidRequest):
    """No worker of this house offers what was asked; the sentence says which verb."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"nobody_can_{kind}", field="kind")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A picture to go on from. Sizes in pixels; ``job`` is None for a file that somebody brought."""

    sha256: str
    width: int
    height: int
    job: JobId | None = None
    order: Order | None = None

    @property
    def prompt(self) -> str:
        """The words that it was made from."""
        return self.order.prompt if self.order else ""


def source_of(job: Job, n: int) -> Source:
    """The ``n``-th picture of a job, from 1. Raises InvalidRequest when there is none, or when it is a clip."""
    pictures = [picture for picture in job.pictures if picture.index == n - 1]
    if not pictures or job.order.kind == "animate":
        raise InvalidRequest("source_gone", field="picture")
    picture = pictures[0]
    return Source(sha256=picture.sha256, width=picture.width, height=picture.height, job=job.id, order=job.order)


def choose(offers: Mapping[str, ModelOffer], kind: str, *, wanted: str | None, usual: str) -> ModelOffer | None:
    """The model for a kind of request: the wanted one if it can, else the usual one, else any by name. None when nobody can."""
    able = {name: offer for name, offer in offers.items() if kind in offer.kinds}
    for name in (wanted, usual, *sorted(able)):
        if name in able:
            return able[name]
    return None


def reroll(job: Job) -> Request:
    """The same wish with a new seed."""
    return _again(job.order, seed=None, parent=job.id)


def repeat(job: Job) -> Request:
    """The same wish with the same seed: the same pictures."""
    return _again(job.order, parent=job.id)


def remix(job: Job, *, prompt: str, negative: str) -> Request:
    """Other words, a new seed, everything else kept."""
    return _again(job.order, prompt=prompt, negative=negative, seed=None, parent=job.id)


def vary(source: Source, offer: ModelOffer, *, strength: float, prompt: str | None = None) -> Request:
    """Pictures like this one."""
    order = source.order
    kept: dict[str, Any] = {}
    if order is not None and order.model == offer.name:
        kept = {"negative": order.negative, "steps": order.steps, "guidance": order.guidance, "loras": _loras(order)}
        kept["scheduler"] = order.scheduler
    return _from_picture("image_to_image", source, offer, prompt=prompt or source.prompt, strength=strength, **kept)


def edit(source: Source, offer: ModelOffer, *, words: str, strength: float | None = None) -> Request:
    """What the words ask for: by instruction where the model follows those, else painted over by image to image."""
    if "edit" in offer.kinds:
        return _from_picture("edit", source, offer, prompt=words)
    return vary(source, offer, strength=EDIT_STRENGTH if strength is None else strength, prompt=words)


def upscale(source: Source, offer: ModelOffer, *, scale: int | None = None) -> Request:
    """The same picture, larger."""
    return _from_picture("upscale", source, offer, prompt=source.prompt, scale=scale)


def animate(source: Source | None, offer: ModelOffer, *, prompt: str, frames: int | None = None, fps: int | None = None) -> Request:
    """A clip, from words, and from a picture where there is one."""
    if source is None:
        values = {"kind": "animate", "prompt": prompt, "model": offer.name, "frames": frames, "fps": fps}
        return request_of(values, offers={offer.name: offer}, usual=offer.name)
    return _from_picture("animate", source, offer, prompt=prompt, frames=frames, fps=fps)


def _from_picture(kind: RequestKind, source: Source, offer: ModelOffer, **values: Any) -> Request:
    width, height = offer.size_like(source.width, source.height)
    base = {"kind": kind, "model": offer.name, "image": source.sha256, "parent": source.job, "width": width, "height": height}
    return request_of({**base, **values}, offers={offer.name: offer}, usual=offer.name)


def _again(order: Order, **changes: Any) -> Request:
    return request_of({**order.model_dump(), "loras": _loras(order), **changes}, offers={}, usual="")


def _loras(order: Order) -> tuple[dict[str, Any], ...]:
    return tuple(use.model_dump() for use in order.loras)
