"""What a ComfyUI server has, read from its ``/object_info``, and what a flow lacks there. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from flows.comfy import PACK, PACK_VERSION, ComfyFlow, ComfyModel
from flows.graph import SLOTS, Kind, Template
from jobs.offer import ModelOffer

_FOLDERS: Mapping[tuple[str, str], str] = {
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints",
    ("UNETLoader", "unet_name"): "diffusion_models",
    ("CLIPLoader", "clip_name"): "text_encoders",
    ("DualCLIPLoader", "clip_name1"): "text_encoders",
    ("DualCLIPLoader", "clip_name2"): "text_encoders",
    ("VAELoader", "vae_name"): "vae",
    ("LoraLoader", "lora_name"): "loras",
    ("LoraLoaderModelOnly", "lora_name"): "loras",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
}
"""Where ComfyUI's own loaders look, below its ``models/``."""

_ANY = ("*", "")
CHOICES_MAX = 5_000
"""Choices of one input that are kept: a server with more files than this offers the first."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input of a node class: its type, or the choices that the server has for it."""

    type: str
    choices: tuple[str, ...] | None = None
    required: bool = True
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class NodeClass:
    """A node class as a server describes it."""

    inputs: Mapping[str, Input]
    outputs: tuple[str, ...]


Nodes = Mapping[str, NodeClass]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why a server cannot serve a flow, or only one by one: a sentence for the operator."""

    flow: str
    model: str
    sentence: str
    batch_only: bool = False
    """Whether only the batch is affected, so that pictures are made one by one."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model that a server can make pictures with by a flow."""

    flow: ComfyFlow
    offer: ModelOffer
    files: Mapping[str, str]
    batch: bool
    """Whether several people can share a pass there."""


def read_nodes(told: Mapping[str, Any]) -> dict[str, NodeClass]:
    """``/object_info`` (whole or of one class). What is not of the known shape is left out, never an error."""
    nodes: dict[str, NodeClass] = {}
    for name, node in told.items():
        if isinstance(node, dict) and isinstance(node.get("input"), dict):
            inputs: dict[str, Input] = {}
            for group in ("optional", "required"):
                for label, spec in _items(node["input"].get(group)):
                    inputs[str(label)] = _input(spec, required=group == "required")
            outputs = node.get("output")
            types = tuple(str(kind)[:60] for kind in outputs) if isinstance(outputs, list) else ()
            nodes[str(name)] = NodeClass(inputs=inputs, outputs=types)
    return nodes


def _items(group: Any) -> Sequence[tuple[Any, Any]]:
    return list(group.items()) if isinstance(group, dict) else []


def _input(spec: Any, *, required: bool) -> Input:
    if not isinstance(spec, list) or not spec:
        return Input(type="*", required=required)
    more = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    choices = spec[0] if isinstance(spec[0], list) else more.get("options") if spec[0] == "COMBO" else None
    if isinstance(choices, list):
        return Input(type="COMBO", choices=tuple(one for one in map(str, choices[:CHOICES_MAX]) if _is_text(one)), required=required)
    return Input(type=str(spec[0])[:60], required=required, low=_number(more.get("min")), high=_number(more.get("max")))


def _is_text(told: str) -> bool:
    """Whether it can be told again: half a letter can stand in JSON, but neither in a name of ours nor in an answer."""
    try:
        told.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(value: Any) -> float | None:
    """None also for what is beyond any limit that a node can have."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e300 else None


def pack_fault(nodes: Nodes) -> str | None:
    """Why this server makes pictures of several people one by one, or None where it batches them."""
    missing = [name for name in PACK if name not in nodes]
    if len(missing) == len(PACK):
        return "it lacks darkroom's node pack (copy comfy_custom_nodes into its custom_nodes folder)"
    version = nodes["DarkroomSave"].inputs.get("version") if "DarkroomSave" in nodes else None
    if missing or version is None or version.high is None or version.high < PACK_VERSION:
        return "its copy of darkroom's node pack is too old (copy comfy_custom_nodes anew)"
    if version.low is not None and version.low > PACK_VERSION:
        return "its copy of darkroom's node pack is newer than this darkroom"
    return None


def examine(flow: ComfyFlow, models: Sequence[ComfyModel], nodes: Nodes) -> tuple[list[Served], list[Fault]]:
    """What ``flow`` can make on a server with ``models`` (its own or its lenders'), and what is missing there."""
    told = [Fault(flow=flow.name, model="", sentence=sentence) for sentence in _graph_faults(flow, flow.single, nodes)]
    batch_told: list[Fault] = []
    if flow.batch is not None:
        pack = pack_fault(nodes)
        reasons = [pack] if pack else _graph_faults(flow, flow.batch, nodes)
        batch_told = [Fault(flow=flow.name, model="", sentence=reason, batch_only=True) for reason in reasons]
    served: list[Served] = []
    missing: list[Fault] = []
    for model in models:
        found, faults = _files(flow, model, nodes)
        missing += faults
        if not told:
            served += [_served(flow, model, files, nodes, batch=flow.batch is not None and not batch_told) for files in found]
    return served, told + missing + batch_told


def _served(flow: ComfyFlow, model: ComfyModel, files: Mapping[str, str], nodes: Nodes, *, batch: bool) -> Served:
    name = stem(files[next(iter(model.files))]) if model.each else model.name
    offer = model.offer(
        name=name[:100],
        title=model.title if not model.each else name[:100],
        kinds=(flow.kind,),
        schedulers=tuple(flow.schedulers),
        count_max=10 if flow.kind != "animate" else 1,
        loras_max=8 if flow.loras is not None and "LoraLoader" in nodes else 0,
    )
    return Served(flow=flow, offer=offer, files=files, batch=batch)


def stem(file: str) -> str:
    """A file's name without folder and ending; servers on Windows write folders with a backslash."""
    return file.replace("\\", "/").rpartition("/")[2].rpartition(".")[0] or file


def _files(flow: ComfyFlow, model: ComfyModel, nodes: Nodes) -> tuple[list[dict[str, str]], list[Fault]]:
    """Each set of files that the server has for ``model``, or what it lacks."""
    chosen: dict[str, str] = {}
    faults: list[Fault] = []
    several: list[str] = []
    for index, (slot, globs) in enumerate(model.files.items()):
        choices = _choices(flow, slot, nodes)
        found = matching(choices, globs)
        if found:
            chosen[slot] = found[0]
            several = found if index == 0 and model.each else several
        else:
            place = f"models/{_folder(flow, slot)}"
            wanted = " or ".join(globs[:3])
            faults.append(Fault(flow=flow.name, model=model.name, sentence=f"no file for {slot} ({wanted}) in {place}"))
    if faults:
        return [], faults
    first = next(iter(model.files))
    return [{**chosen, first: file} for file in several] if model.each else [chosen], []


def _choices(flow: ComfyFlow, slot: str, nodes: Nodes) -> tuple[str, ...]:
    for template in flow.templates:
        for use in template.uses:
            if use.slot == slot and use.class_type in nodes:
                known = nodes[use.class_type].inputs.get(use.input)
                return (known.choices or ()) if known else ()
    return ()


def matching(choices: Sequence[str], globs: Sequence[str]) -> list[str]:
    """The files that fit, best glob first; compared without capitals, with their folder or without."""
    found: dict[str, None] = {}
    for glob in globs:
        for file in sorted(choices):
            plain = file.replace("\\", "/").lower()
            if fnmatchcase(plain, glob.lower()) or fnmatchcase(plain.rpartition("/")[2], glob.lower()):
                found[file] = None
    return list(found)


def _folder(flow: ComfyFlow, slot: str) -> str:
    if slot in flow.folders:
        return flow.folders[slot]
    places = [_FOLDERS.get((use.class_type, use.input)) for template in flow.templates for use in template.uses if use.slot == slot]
    return next((place for place in places if place), slot)


def _graph_faults(flow: ComfyFlow, template: Template, nodes: Nodes) -> list[str]:
    """Nodes, inputs, values and links that this server would refuse."""
    faults: list[str] = []
    for name in sorted(template.classes - set(nodes)):
        pack = flow.packs.get(name)
        faults.append(f"no node {name}" + (f" (install {pack} into its custom_nodes folder)" if pack else " (is this ComfyUI too old?)"))
    if faults:
        return faults
    for name, node in template.nodes.items():
        known = nodes[node["class_type"]]
        place = f"node {name!r} ({node['class_type']})"
        faults += [
            f"{place}: the input {label} is missing" for label, one in known.inputs.items() if one.required and label not in node["inputs"]
        ]
        for label, value in node["inputs"].items():
            if label in known.inputs:
                faults += _value_faults(f"{place}, input {label}", value, known.inputs[label], template, nodes)
    return faults


def _value_faults(place: str, value: Any, known: Input, template: Template, nodes: Nodes) -> list[str]:
    if isinstance(value, list):
        outputs = nodes[template.nodes[value[0]]["class_type"]].outputs
        given = outputs[value[1]] if value[1] < len(outputs) else None
        if given is None:
            return [f"{place}: {value[0]!r} has no output {value[1]}"]
        fits = given in _ANY or known.type in _ANY or given in known.type.split(",")
        return [] if fits else [f"{place}: takes {known.type}, is linked to {given}"]
    if isinstance(value, str) and value.startswith("$"):
        return _slot_faults(place, value[1:], known)
    if known.choices is not None:
        return [] if str(value) in known.choices else [f"{place}: this server does not know {value!r}"]
    if known.type in ("INT", "FLOAT") and (isinstance(value, str) or not _within(value, known)):
        return [f"{place}: {value!r} is out of its bounds"]
    return []


_TYPES: Mapping[str, tuple[Kind, ...]] = {
    "INT": (Kind.WHOLE,),
    "FLOAT": (Kind.FIGURE, Kind.WHOLE),
    "STRING": (Kind.TEXT, Kind.NAME, Kind.TEXTS, Kind.NAMES, Kind.WHOLES, Kind.FIGURES),
    "COMBO": (Kind.NAME, Kind.FILE),
}


def _slot_faults(place: str, slot: str, known: Input) -> list[str]:
    wanted = _TYPES.get(known.type)
    if wanted is None or SLOTS.get(slot, Kind.FILE) in wanted:
        return []
    return [f"{place}: takes {known.type}, not the slot ${slot}"]


def _within(value: float, known: Input) -> bool:
    return (known.low is None or value >= known.low) and (known.high is None or value <= known.high)
