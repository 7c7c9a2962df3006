"""``darkroom.json`` in a model's folder, or ``NAME.json`` beside a single file: what its files cannot say."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.engine.errors import ModelUnreadable

_BYTES_MAX = 64 * 1024


class ModelCard(BaseModel):
    """An operator's words and defaults for a model; all optional."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    title: Annotated[str, Field(max_length=200)] = ""
    #: None is the family's own.
    default_steps: Annotated[int, Field(ge=1, le=150)] | None = None
    steps_min: Annotated[int, Field(ge=1, le=150)] = 1
    steps_max: Annotated[int, Field(ge=1, le=150)] = 60
    default_guidance: Annotated[float, Field(ge=0, le=30)] | None = None
    default_scheduler: str | None = None
    #: For a file that holds a denoiser alone: the model folder that has the rest.
    base: Annotated[str, Field(max_length=100)] = ""
    side_max: Annotated[int, Field(ge=8, le=4096)] | None = None


def read_card(path: Path, *, default: ModelCard) -> ModelCard:
    """Read a card, or `default` where there is none. Raises ModelUnreadable that names the file and the field."""
    try:
        with path.open("rb") as file:
            text = file.read(_BYTES_MAX + 1)
    except FileNotFoundError:
        return default
    except OSError as error:
        raise ModelUnreadable(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(text) > _BYTES_MAX:
        raise ModelUnreadable(f"{path.name} is larger than {_BYTES_MAX} bytes; it should say a few words.")
    try:
        return ModelCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ModelUnreadable(f"{path.name}: {where}: {first['msg']}.") from error
