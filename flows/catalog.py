"""Reads ``definitions/`` once; an error names the file and the field."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.offer import ModelOffer
from jobs.request import RequestKind


class FlowError(ValueError):
    """A flow's definition is wrong; the sentence names the file and the field."""


class Flow(BaseModel):
    """One recipe: what it makes, what it is called, and the models it knows without being told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: RequestKind
    title: dict[str, str] = Field(min_length=1)
    default_model: str
    models: tuple[ModelOffer, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Every flow, by kind."""

    flows: Mapping[str, Flow]

    def flow(self, kind: str) -> Flow:
        """The recipe for a kind of request. Raises KeyError."""
        return self.flows[kind]

    @property
    def shipped(self) -> Mapping[str, ModelOffer]:
        """The models that flows know before any worker spoke, by name."""
        return {offer.name: offer for flow in self.flows.values() for offer in flow.models}


def read_catalog(definitions: Traversable | None = None) -> Catalog:
    """Read every ``<folder>/flow.toml``. Raises FlowError."""
    root = definitions or files("flows") / "definitions"
    flows = [_read(folder / "flow.toml", folder.name) for folder in root.iterdir() if folder.is_dir() and folder.name[0] not in "._"]
    return Catalog(flows={flow.kind: flow for flow in flows})


def _read(file: Traversable, name: str) -> Flow:
    try:
        return Flow.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise FlowError(f"flows/definitions/{name} has no flow.toml") from error
    except tomllib.TOMLDecodeError as error:
        raise FlowError(f"flows/definitions/{name}/flow.toml: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise FlowError(f"flows/definitions/{name}/flow.toml: {field}: {first['msg']}") from error
