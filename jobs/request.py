"""What a person asks for. Checked for shape here, for a flow's limits in :mod:`jobs.offer` and ``flows``."""

import hashlib
import json
import unicodedata
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

PROMPT_MAX = 2_000
"""Characters. Longer than any text encoder reads, short enough for one Discord option (6000) and one database row."""

SEED_MAX = 2**63 - 1
"""The largest seed: a signed 64-bit integer, which both databases store and torch.Generator takes."""

RequestKind = Literal["text_to_image", "image_to_image", "inpaint", "edit", "upscale", "animate"]
"""What can be asked for. ``edit`` follows an instruction (Kontext); a variation is an ``image_to_image`` with a parent."""

COUNT_MAX = 10
"""Pictures of one job: what one Discord message shows."""

LORAS_MAX = 8

_FROM_A_PICTURE: frozenset[RequestKind] = frozenset({"image_to_image", "inpaint", "edit", "upscale"})
_WITHOUT_WORDS: frozenset[RequestKind] = frozenset({"upscale"})

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class LoraUse(BaseModel):
    """A LoRA of the worker's by its name, and how strongly it is mixed in."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=100)
    weight: float = Field(default=1.0, ge=0, le=2)


class Request(BaseModel):
    """A wish as it was typed: ``None`` means "the model's own default", filled in by the desk.

    Sizes in pixels. Unknown fields are refused, numbers are never guessed from text (strict).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: RequestKind = "text_to_image"
    prompt: str = Field(max_length=PROMPT_MAX)
    negative: str = Field(default="", max_length=PROMPT_MAX)
    model: str | None = Field(default=None, min_length=1, max_length=100)
    width: int | None = Field(default=None, ge=8, le=16_384)
    height: int | None = Field(default=None, ge=8, le=16_384)
    steps: int | None = Field(default=None, ge=1, le=1_000)
    guidance: float | None = Field(default=None, ge=0, le=100)
    seed: int | None = Field(default=None, ge=0, le=SEED_MAX)
    count: int = Field(default=1, ge=1, le=COUNT_MAX)
    """Pictures, with the seeds seed, seed + 1, …"""
    loras: Annotated[tuple[LoraUse, ...], Field(max_length=LORAS_MAX, strict=False)] = ()
    scheduler: str | None = Field(default=None, min_length=1, max_length=60)
    image: Annotated[Sha256 | None, Field(validate_default=True)] = None
    """The picture to start from, as the door put it into the PictureStore (checked and drawn anew)."""
    mask: Annotated[Sha256 | None, Field(validate_default=True)] = None
    """White where an inpainting may paint, of the picture's size; in the PictureStore too."""
    strength: float | None = Field(default=None, ge=0, le=1)
    """How much of the picture may change: 0 nothing, 1 everything."""
    frames: int | None = Field(default=None, ge=1, le=256)
    fps: int | None = Field(default=None, ge=1, le=60)
    scale: Literal[2, 4] | None = None
    parent: str | None = Field(default=None, min_length=1, max_length=64)
    """The job this one descends from; no part of what is made."""

    @field_validator("prompt", "negative")
    @classmethod
    def _printable(cls, text: str) -> str:
        """Normalise to NFC and drop what no database or encoder takes: NUL, control characters, lone surrogates."""
        kept = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
        return unicodedata.normalize("NFC", kept).strip()

    @field_validator("prompt")
    @classmethod
    def _not_blank(cls, text: str, told: ValidationInfo) -> str:
        if not text and told.data.get("kind") not in _WITHOUT_WORDS:
            raise ValueError("the prompt is empty")
        return text

    @field_validator("loras")
    @classmethod
    def _once_each(cls, loras: tuple[LoraUse, ...]) -> tuple[LoraUse, ...]:
        if len({use.name for use in loras}) < len(loras):
            raise ValueError("a LoRA is named twice")
        return loras

    @field_validator("image")
    @classmethod
    def _image_where_needed(cls, image: str | None, told: ValidationInfo) -> str | None:
        kind = told.data.get("kind")
        if image is None and kind in _FROM_A_PICTURE:
            raise ValueError("this kind of request starts from a picture")
        if image is not None and kind == "text_to_image":
            raise ValueError("a picture from words alone takes no picture")
        return image

    @field_validator("mask")
    @classmethod
    def _mask_where_needed(cls, mask: str | None, told: ValidationInfo) -> str | None:
        if (mask is None) == (told.data.get("kind") == "inpaint"):
            raise ValueError("inpainting needs a mask, and nothing else takes one")
        return mask


class Order(BaseModel):
    """A request with every blank filled: what a worker gets, and what the picture is judged against."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: RequestKind = "text_to_image"
    prompt: str
    negative: str = ""
    model: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    count: int = 1
    loras: tuple[LoraUse, ...] = ()
    scheduler: str | None = None
    image: str | None = None
    mask: str | None = None
    strength: float | None = None
    frames: int | None = None
    fps: int | None = None
    scale: Literal[2, 4] | None = None
    parent: str | None = None

    @property
    def params_hash(self) -> str:
        """SHA-256 (hex) of the canonical JSON: the same order, the same hash, on every host.

        Fields at their defaults are left out, so that a version that knows more fields finds the same hash.
        """
        wish = self.model_dump(mode="json", exclude={"parent"}, exclude_defaults=True)
        body = json.dumps(wish, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(body.encode()).hexdigest()

    @property
    def rows(self) -> int:
        """Rows of a forward pass that it takes: one a picture; a clip counts as one."""
        return self.count

    @property
    def inputs(self) -> tuple[str, ...]:
        """The digests of the pictures it starts from."""
        return tuple(digest for digest in (self.image, self.mask) if digest is not None)

    @property
    def seeds(self) -> tuple[int, ...]:
        """One a picture."""
        return tuple((self.seed + index) % (SEED_MAX + 1) for index in range(self.count))
