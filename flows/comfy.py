"""A flow for ComfyUI: what it makes, with which files of a server, and its graphs for one picture and for a batch."""

from collections.abc import Sequence
from importlib.resources.abc import Traversable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flows.graph import SLOTS, GraphError, Template, read_template
from flows.reading import FlowError, read_definition
from jobs.offer import ModelOffer
from jobs.request import RequestKind

Globs = tuple[str, ...]
"""Names of files, best first; ``*`` and ``?`` stand for anything, capitals do not matter."""
Link = tuple[str, int]

PACK = ("CLIPTextEncodeBatch", "DarkroomGuider", "DarkroomLoad", "DarkroomNoise", "DarkroomSampler", "DarkroomSave")
"""Nodes of our pack by which a server shows that it has it."""
PACK_VERSION = 1
"""The version of the node pack that the batch graphs are written for; ``DarkroomSave`` tells which ones a server serves."""


class ComfyModel(ModelOffer):
    """A model that a flow makes pictures with: its limits, and the files that a server must have."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    files: dict[str, Annotated[Globs, Field(min_length=1)]] = Field(min_length=1)
    """By slot of the graph (``ckpt_name``, ``unet_name``, …); the first match on a server is taken."""
    each: bool = False
    """Whether every matching file of the first slot is a model of its own, named by its file."""

    def offer(self, **changes: object) -> ModelOffer:
        """What requests are fitted to."""
        own = self.model_dump(exclude={"files", "each"})
        return ModelOffer.model_validate({**own, "batch_by": "request", **changes})


class LoraPlace(BaseModel):
    """Where LoRAs go into a graph, and which of a server's fit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Link
    clip: Link | None = None
    files: Globs


class ComfyFlow(BaseModel):
    """A folder of ``definitions/``: flow.toml with comfy.json and, where several people can share a pass, batch.json."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str
    kind: RequestKind
    title: dict[str, str] = Field(min_length=1)
    models: tuple[ComfyModel, ...] = ()
    models_of: tuple[str, ...] = ()
    """Flows whose models this one serves too."""
    schedulers: dict[str, tuple[str, str]] = Field(default_factory=dict)
    """What people may choose, and ComfyUI's sampler and scheduler for it; the first is the default."""
    loras: LoraPlace | None = None
    batch_max: int = Field(default=8, ge=1, le=64)
    cost: float = Field(default=1.0, gt=0, le=10_000)
    """A hint: seconds of one step for a million pixels, in units of SDXL's."""
    folders: dict[str, str] = Field(default_factory=dict)
    """Where a slot's file belongs, below ``models/``, for loaders that are not ComfyUI's own."""
    packs: dict[str, str] = Field(default_factory=dict)
    """The custom node pack that a node class comes with, for the operator."""
    single: Template
    batch: Template | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "ComfyFlow":
        if bool(self.models) == bool(self.models_of):
            raise ValueError("either models or models_of, not both")
        if self.schedulers and not {"sampler", "scheduler"} & self.single.slots:
            raise ValueError("schedulers: the graph has no slot for them")
        for place in (self.loras.model, self.loras.clip) if self.loras else ():
            if place is not None and any(place[0] not in template.nodes for template in self.templates):
                raise ValueError(f"loras: there is no node {place[0]!r}")
        wanted = {slot for template in self.templates for slot in template.slots} - set(SLOTS)
        for model in self.models:
            if set(model.files) != wanted:
                raise ValueError(f"models.{model.name}.files: the graphs have the slots {sorted(wanted)}, here are {sorted(model.files)}")
        return self

    @property
    def templates(self) -> tuple[Template, ...]:
        """The graph for one and, where there is one, that for many."""
        return (self.single,) if self.batch is None else (self.single, self.batch)

    def chosen(self, scheduler: str | None) -> tuple[str, str]:
        """ComfyUI's (sampler, scheduler) for a choice, None being the default. Raises GraphError."""
        if not self.schedulers:
            return "euler", "normal"  # the graph has no slot for it
        name = scheduler or next(iter(self.schedulers))
        if name not in self.schedulers:
            raise GraphError(f"the flow {self.name} has no scheduler {name!r}")
        return self.schedulers[name]


def read_comfy_flow(folder: Traversable) -> ComfyFlow:
    """Read flow.toml, comfy.json and batch.json. Raises FlowError naming the file."""
    slots = _file_slots(folder)
    single = _template(folder, "comfy.json", slots)
    batch = _template(folder, "batch.json", slots) if (folder / "batch.json").is_file() else None
    return read_definition(ComfyFlow, folder, name=folder.name, single=single, batch=batch)


class _Files(BaseModel):
    files: dict[str, Globs] = Field(default_factory=dict)


class _Slots(BaseModel):
    """The part of a definition that must be known before its graphs can be read."""

    models: tuple[_Files, ...] = ()


def _file_slots(folder: Traversable) -> Sequence[str]:
    told = read_definition(_Slots, folder)
    return sorted({slot for model in told.models for slot in model.files} | set(_FILES_OF_OTHERS))


_FILES_OF_OTHERS = ("ckpt_name", "unet_name", "clip_name", "clip_name1", "clip_name2", "vae_name")
"""Slots of files that a flow with ``models_of`` takes over; for its own models the flow names its slots itself."""


def _template(folder: Traversable, file: str, slots: Sequence[str]) -> Template:
    try:
        return read_template((folder / file).read_text(encoding="utf-8"), files=slots)
    except (GraphError, UnicodeDecodeError) as error:
        raise FlowError(f"flows/definitions/{folder.name}/{file}: {error}") from error
