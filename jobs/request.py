"""What a person asks for. Checked for shape here, for a flow's limits in :mod:`jobs.offer` and ``flows``."""

import hashlib
import json
import unicodedata
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

PROMPT_MAX = 2_000
"""Characters. Longer than any text encoder reads, short enough for one Discord option (6000) and one database row."""

SEED_MAX = 2**63 - 1
"""The largest seed: a signed 64-bit integer, which both databases store and torch.Generator takes."""

RequestKind = Literal["text_to_image"]


class Request(BaseModel):
    """A wish as it was typed: ``None`` means "the model's own default", filled in by the desk.

    Sizes in pixels. Unknown fields are refused, numbers are never guessed from text (strict).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: RequestKind = "text_to_image"
    prompt: str = Field(min_length=1, max_length=PROMPT_MAX)
    negative: str = Field(default="", max_length=PROMPT_MAX)
    model: str | None = Field(default=None, min_length=1, max_length=100)
    width: int | None = Field(default=None, ge=8, le=16_384)
    height: int | None = Field(default=None, ge=8, le=16_384)
    steps: int | None = Field(default=None, ge=1, le=1_000)
    guidance: float | None = Field(default=None, ge=0, le=100)
    seed: int | None = Field(default=None, ge=0, le=SEED_MAX)

    @field_validator("prompt", "negative")
    @classmethod
    def _printable(cls, text: str) -> str:
        """Normalise to NFC and drop what no database or encoder takes: NUL, control characters, lone surrogates."""
        kept = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
        return unicodedata.normalize("NFC", kept).strip()

    @field_validator("prompt")
    @classmethod
    def _not_blank(cls, text: str) -> str:
        if not text:
            raise ValueError("the prompt is empty")
        return text


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

    @property
    def params_hash(self) -> str:
        """SHA-256 (hex) of the canonical JSON: the same order, the same hash, on every host."""
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(body.encode()).hexdigest()
