"""Reads ``definitions/`` once; an error names the file and the field."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable

from pydantic import BaseModel, ConfigDict, Field

from flows.comfy import ComfyFlow, read_comfy_flow
from flows.reading import FlowError, read_definition
from jobs.offer import ModelOffer
from jobs.request import RequestKind

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", re.ASCII)

__all__ = ["Catalog", "Flow", "FlowError", "read_catalog"]


class Flow(BaseModel):
    """One recipe: what it makes, what it is called, and the models it knows without being told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: RequestKind
    title: dict[str, str] = Field(min_length=1)
    default_model: str
    models: tuple[ModelOffer, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Every flow: one by kind for all engines, and any number that tell how a ComfyUI server makes it."""

    flows: Mapping[str, Flow]
    comfy: tuple[ComfyFlow, ...] = field(default=())

    def flow(self, kind: str) -> Flow:
        """The recipe for a kind of request. Raises KeyError."""
        return self.flows[kind]

    @property
    def shipped(self) -> Mapping[str, ModelOffer]:
        """The models that flows know before any worker spoke, by name."""
        return {offer.name: offer for flow in self.flows.values() for offer in flow.models}


def read_catalog(definitions: Traversable | None = None, *, more: Sequence[Traversable] = ()) -> Catalog:
    """Read every ``<folder>/flow.toml`` of ``definitions`` (default: what ships) and of ``more``. Raises FlowError.

    A folder with a ``comfy.json`` is a flow for ComfyUI; one of the same name in ``more`` takes the shipped one's place.
    """
    flows: dict[str, Flow] = {}
    comfy: dict[str, ComfyFlow] = {}
    for root in (definitions or files("flows") / "definitions", *more):
        for folder in sorted(root.iterdir(), key=lambda folder: folder.name):
            if not folder.is_dir() or folder.name[0] in "._":
                continue
            if not _NAME.fullmatch(folder.name):
                place = f"flows/definitions/{ascii(folder.name)[1:-1]}"
                raise FlowError(f"{place}: a flow's folder is named in letters, digits, dots, _ and - alone")
            if (folder / "comfy.json").is_file():
                comfy[folder.name] = read_comfy_flow(folder)
            else:
                flow = read_definition(Flow, folder)
                flows[flow.kind] = flow
    catalog = Catalog(flows=flows, comfy=tuple(comfy.values()))
    _check_borrowed(catalog.comfy)
    return catalog


def _check_borrowed(comfy: Sequence[ComfyFlow]) -> None:
    """Flows that serve another flow's models must name one that has some."""
    owners = {flow.name for flow in comfy if flow.models}
    for flow in comfy:
        for name in flow.models_of:
            if name not in owners:
                raise FlowError(f"flows/definitions/{flow.name}/flow.toml: models_of: there is no flow {name!r} with models")
