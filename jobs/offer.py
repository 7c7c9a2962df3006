"""What a model can do, as its worker measured or read it, and how a request is fitted to it."""

from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from jobs.errors import InvalidRequest
from jobs.request import COUNT_MAX, LORAS_MAX, Order, Request

_T = TypeVar("_T", int, float)


class ModelOffer(BaseModel):
    """One model that some worker has. Sizes in pixels; every limit is inclusive."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=100)
    family: str = Field(min_length=1, max_length=40)
    title: str = Field(default="", max_length=200)
    default_width: int = Field(ge=8, le=16_384)
    default_height: int = Field(ge=8, le=16_384)
    size_multiple: int = Field(ge=1, le=1_024)
    side_min: int = Field(ge=8, le=16_384)
    side_max: int = Field(ge=8, le=16_384)
    max_pixels: int = Field(ge=64, le=2**28)
    default_steps: int = Field(ge=1, le=1_000)
    steps_min: int = Field(default=1, ge=1, le=1_000)
    steps_max: int = Field(default=60, ge=1, le=1_000)
    default_guidance: float = Field(ge=0, le=100)
    guidance_max: float = Field(default=20.0, ge=0, le=100)
    kinds: tuple[str, ...] = ("text_to_image",)
    """What it can be asked for; kinds that this version does not know are carried and never asked for."""
    count_max: int = Field(default=1, ge=1, le=COUNT_MAX)
    """Pictures of one job."""
    schedulers: tuple[str, ...] = ()
    loras_max: int = Field(default=0, ge=0, le=LORAS_MAX)
    """LoRAs that one picture can mix; 0 where the model takes none."""
    default_strength: float = Field(default=0.6, ge=0, le=1)
    default_frames: int = Field(default=16, ge=1, le=256)
    frames_max: int = Field(default=16, ge=1, le=256)
    default_fps: int = Field(default=8, ge=1, le=60)
    scales: tuple[Literal[2, 4], ...] = ()
    """The factors by which it can enlarge."""
    batch_by: Literal["step", "request"] = "step"
    """Whether rows go their own way in a shared pass, or whole requests are batched and share every setting."""
    best_batch: int | None = Field(default=None, ge=1)
    """The largest batch that this worker was measured to gain from; None where nobody measured."""

    def fit(self, request: Request, *, seed: int) -> Order:
        """Fill the blanks of ``request`` with this model's defaults and check its limits.

        Raises InvalidRequest naming the field, never rounds silently.
        """
        filled = {
            "model": self.name,
            "width": _or(request.width, self.default_width),
            "height": _or(request.height, self.default_height),
            "steps": _or(request.steps, self.default_steps),
            "guidance": _or(request.guidance, self.default_guidance),
            "seed": _or(request.seed, seed),
        }
        order = Order.model_validate({**request.model_dump(), **filled, **self._filled_for_kind(request)})
        self._check_abilities(order)
        self._check_figures(order)
        return order

    def size_like(self, width: int, height: int) -> tuple[int, int]:
        """The size nearest to this shape (pixels) that the model takes: what a picture is brought to before it is worked on."""
        fewer = min(1.0, (self.max_pixels / (width * height)) ** 0.5, self.side_max / width, self.side_max / height)
        more = max(fewer, min(self.side_min / min(width, height), self.side_max / max(width, height)))
        return self._near(width * more), self._near(height * more)

    def _near(self, side: float) -> int:
        step = self.size_multiple
        low = -(-self.side_min // step) * step
        return min(max(int(side) // step * step, low), self.side_max // step * step)

    def _filled_for_kind(self, request: Request) -> dict[str, int | float | None]:
        """What only some kinds have: how much may change, how many frames how fast, how much larger."""
        changes = request.kind in ("image_to_image", "inpaint")
        moves = request.kind == "animate"
        return {
            "strength": _or(request.strength, self.default_strength) if changes else None,
            "frames": _or(request.frames, self.default_frames) if moves else None,
            "fps": _or(request.fps, self.default_fps) if moves else None,
            "scale": _or(request.scale, min(self.scales, default=2)) if request.kind == "upscale" else None,
        }

    def _check_abilities(self, order: Order) -> None:
        if order.kind not in self.kinds:
            raise InvalidRequest("invalid_kind", field="kind", model=self.name)
        if order.count > self.count_max:
            raise InvalidRequest("invalid_count", field="count", max=self.count_max)
        if order.scheduler is not None and order.scheduler not in self.schedulers:
            raise InvalidRequest("invalid_scheduler", field="scheduler", names=sorted(self.schedulers))
        if len(order.loras) > self.loras_max:
            raise InvalidRequest("invalid_loras", field="loras", max=self.loras_max)
        if (order.frames or 0) > self.frames_max:
            raise InvalidRequest("invalid_frames", field="frames", max=self.frames_max)
        if order.scale is not None and order.scale not in self.scales:
            raise InvalidRequest("invalid_scale", field="scale", scales=sorted(self.scales))

    def _check_figures(self, order: Order) -> None:
        if not self.steps_min <= order.steps <= self.steps_max:
            raise InvalidRequest("invalid_steps", field="steps", min=self.steps_min, max=self.steps_max)
        if not 0 <= order.guidance <= self.guidance_max:
            raise InvalidRequest("invalid_guidance", field="guidance", max=self.guidance_max)
        for field, side in (("width", order.width), ("height", order.height)):
            if not self.side_min <= side <= self.side_max:
                raise InvalidRequest("invalid_side", field=field, min=self.side_min, max=self.side_max)
            if side % self.size_multiple:
                raise InvalidRequest("invalid_multiple", field=field, multiple=self.size_multiple, **_nearest(self, side))
        if order.width * order.height > self.max_pixels:
            raise InvalidRequest("invalid_pixels", field="size", max=self.max_pixels)


class LoraOffer(BaseModel):
    """A LoRA that some worker has."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=100)
    family: str = Field(min_length=1, max_length=40)
    """The family of models that it was made for."""
    title: str = Field(default="", max_length=200)
    triggers: tuple[str, ...] = ()
    """Words that its maker says to put into the prompt."""
    weight: float = Field(default=1.0, ge=0, le=2)
    """What it is used with where nothing else is said."""


def _or(value: _T | None, default: _T) -> _T:
    return default if value is None else value


def _nearest(offer: ModelOffer, side: int) -> dict[str, int]:
    step = offer.size_multiple
    low = max(offer.side_min, side // step * step)
    return {"low": low, "high": min(offer.side_max, low + step)}
