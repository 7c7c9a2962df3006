"""What a model can do, as its worker measured or read it, and how a request is fitted to it."""

from pydantic import BaseModel, ConfigDict, Field

from jobs.errors import InvalidRequest
from jobs.request import Order, Request


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

    def fit(self, request: Request, *, seed: int) -> Order:
        """Fill the blanks of ``request`` with this model's defaults and check its limits.

        Raises InvalidRequest naming the field, never rounds silently.
        """
        order = Order(
            kind=request.kind,
            prompt=request.prompt,
            negative=request.negative,
            model=self.name,
            width=self.default_width if request.width is None else request.width,
            height=self.default_height if request.height is None else request.height,
            steps=self.default_steps if request.steps is None else request.steps,
            guidance=self.default_guidance if request.guidance is None else request.guidance,
            seed=seed if request.seed is None else request.seed,
        )
        self._check(order)
        return order

    def _check(self, order: Order) -> None:
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


def _nearest(offer: ModelOffer, side: int) -> dict[str, int]:
    step = offer.size_multiple
    low = max(offer.side_min, side // step * step)
    return {"low": low, "high": min(offer.side_max, low + step)}
