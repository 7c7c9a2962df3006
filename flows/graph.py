"""Fills a ComfyUI graph for one picture or a whole batch. Pure.

A template is a graph in ComfyUI's API format whose open values are slots, whole strings such as ``"$prompt"``. Only a slot is
ever replaced, in one pass, by a value whose type the slot knows: a person's words cannot become a link, a node or a file name,
and a text that looks like a slot stays a text.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Graph = dict[str, dict[str, Any]]
"""Nodes by id: ``{"class_type": …, "inputs": {name: value or [node, output]}}``."""

NODES_MAX = 200
"""The most nodes of a template: what a flow needs is a tenth of it."""
TEXT_MAX = 4_000
RESULT_NODE = "result"
"""The id that a template gives the node whose files are the answer."""
SAMPLER_NODE = "sampler"
"""The id of the node whose progress is the picture's."""

_NODE = re.compile(r"[A-Za-z0-9_:.-]{1,40}", re.ASCII)
_SLOT = re.compile(r"\$([a-z][a-z0-9_]{0,39})", re.ASCII)
_EMBEDDING = re.compile(r"embedding\s*:", re.IGNORECASE)


class GraphError(ValueError):
    """A template or a value for it is wrong; one sentence says which."""


class Kind(StrEnum):
    """What a slot takes."""

    TEXT = "text"
    """A person's words."""
    WHOLE = "whole"
    FIGURE = "figure"
    NAME = "name"
    """A word of our own making, for files, folders and samplers."""
    FILE = "file"
    """A file that the server itself named."""
    TEXTS = "texts"
    """Lists go into one string as JSON, which the node pack reads."""
    WHOLES = "wholes"
    FIGURES = "figures"
    NAMES = "names"


SLOTS: Mapping[str, Kind] = {
    "prompt": Kind.TEXT, "negative": Kind.TEXT, "seed": Kind.WHOLE, "guidance": Kind.FIGURE, "image": Kind.NAME, "name": Kind.NAME,
    "prompts": Kind.TEXTS, "negatives": Kind.TEXTS, "seeds": Kind.WHOLES, "guidances": Kind.FIGURES, "images": Kind.NAMES,
    "names": Kind.NAMES,
    "count": Kind.WHOLE, "steps": Kind.WHOLE, "sampler": Kind.NAME, "scheduler": Kind.NAME, "width": Kind.WHOLE, "height": Kind.WHOLE,
    "strength": Kind.FIGURE, "mask": Kind.NAME, "frames": Kind.WHOLE, "fps": Kind.WHOLE, "scaled_width": Kind.WHOLE,
    "scaled_height": Kind.WHOLE, "folder": Kind.NAME,
}  # fmt: skip
"""Every slot that the driver fills; a flow's own files come beside them."""

_NAMES_OF_FILES = re.compile(r"[A-Za-z0-9_./+-]{1,120}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Use:
    """Where a slot stands: ``node``'s ``input``, of class ``class_type``."""

    slot: str
    node: str
    class_type: str
    input: str


@dataclass(frozen=True, kw_only=True)
class Template:
    """A checked graph with slots."""

    nodes: Mapping[str, Mapping[str, Any]]
    uses: tuple[Use, ...]

    @property
    def slots(self) -> frozenset[str]:
        """The names of its slots."""
        return frozenset(use.slot for use in self.uses)

    @property
    def classes(self) -> frozenset[str]:
        """The node classes that a server must have."""
        return frozenset(node["class_type"] for node in self.nodes.values())


def read_template(text: str, *, files: Sequence[str] = ()) -> Template:
    """Read API-format JSON whose slots are `SLOTS` and ``files``. Raises GraphError."""
    try:
        nodes = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GraphError(f"not JSON: {error}") from error
    if not isinstance(nodes, dict) or not 1 <= len(nodes) <= NODES_MAX:
        raise GraphError(f"not a graph of 1 to {NODES_MAX} nodes in API format")
    known = {*SLOTS, *files}
    uses: list[Use] = []
    for name, node in nodes.items():
        uses += _checked_node(name, node, nodes, known)
    if RESULT_NODE not in nodes:
        raise GraphError(f"no node is called {RESULT_NODE!r}: the one whose files are the answer")
    return Template(nodes=nodes, uses=tuple(uses))


def _checked_node(name: str, node: Any, nodes: Mapping[str, Any], known: set[str]) -> list[Use]:
    if not _NODE.fullmatch(name) or not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
        raise GraphError(f"node {name[:40]!r} has no class_type: is this a graph in API format?")
    inputs = node.get("inputs")
    if not isinstance(inputs, dict) or not set(node) <= {"class_type", "inputs", "_meta"}:
        raise GraphError(f"node {name!r} has no inputs, or more than class_type, inputs and _meta")
    uses: list[Use] = []
    for label, value in inputs.items():
        if isinstance(value, list):
            _check_link(name, label, value, nodes)
        elif isinstance(value, str) and value.startswith("$"):
            match = _SLOT.fullmatch(value)
            if match is None or match[1] not in known:
                raise GraphError(f"node {name!r}, input {label!r}: there is no slot {value!r}")
            uses.append(Use(slot=match[1], node=name, class_type=node["class_type"], input=label))
        elif not isinstance(value, str | int | float | bool) or (isinstance(value, float) and not math.isfinite(value)):
            raise GraphError(f"node {name!r}, input {label!r}: neither a link nor a plain value")
    return uses


def _check_link(name: str, label: str, value: list[Any], nodes: Mapping[str, Any]) -> None:
    if len(value) != 2 or not isinstance(value[0], str) or type(value[1]) is not int or value[1] < 0:
        raise GraphError(f"node {name!r}, input {label!r}: a link is [node, output]")
    if value[0] not in nodes:
        raise GraphError(f"node {name!r}, input {label!r}: there is no node {value[0]!r}")


def fill(template: Template, values: Mapping[str, Any], *, files: Mapping[str, str]) -> Graph:
    """The graph with every slot filled. Raises GraphError for a value that is missing or not of its slot's type."""
    filled = {use.slot: _checked_value(use.slot, values, files) for use in template.uses}
    return {
        name: {
            "class_type": node["class_type"],
            "inputs": {label: _value(value, filled) for label, value in node["inputs"].items()},
        }
        for name, node in template.nodes.items()
    }


def _value(value: Any, filled: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return list(value)
    return filled[value[1:]] if isinstance(value, str) and value.startswith("$") else value


def _checked_value(slot: str, values: Mapping[str, Any], files: Mapping[str, str]) -> Any:
    kind = SLOTS.get(slot, Kind.FILE)
    value = files.get(slot) if kind is Kind.FILE else values.get(slot)
    if value is None:
        raise GraphError(f"nothing fills the slot ${slot}")
    one = _ITEM_OF.get(kind)
    if one is None:
        return _checked(slot, kind, value)
    return json.dumps([_checked(slot, one, item) for item in value], ensure_ascii=False)


_ITEM_OF = {Kind.TEXTS: Kind.TEXT, Kind.WHOLES: Kind.WHOLE, Kind.FIGURES: Kind.FIGURE, Kind.NAMES: Kind.NAME}


def _checked(slot: str, kind: Kind, value: Any) -> Any:
    if kind is Kind.WHOLE and type(value) is int and 0 <= value < 2**63:
        return value
    if kind is Kind.FIGURE and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if kind is Kind.TEXT and isinstance(value, str) and len(value) <= TEXT_MAX:
        return harmless(value)
    if kind is Kind.NAME and isinstance(value, str) and _NAMES_OF_FILES.fullmatch(value) and ".." not in value:
        return value
    if kind is Kind.FILE and isinstance(value, str) and value:
        return value
    raise GraphError(f"the slot ${slot} takes a {kind}, not {type(value).__name__}")


def harmless(text: str) -> str:
    """A person's words without the one form that names files of the server: ``embedding:name``. Weights such as (word:1.3) stay."""
    return _EMBEDDING.sub("embedding ", text)


def with_loras(graph: Graph, *, model: tuple[str, int], clip: tuple[str, int] | None, loras: Sequence[tuple[str, float]]) -> Graph:
    """The graph with a chain of LoRA loaders after ``model`` (and ``clip``): (file, strength) each, the first nearest to the model."""
    if not loras:
        return graph
    last = f"lora-{len(loras) - 1}"
    moved = {tuple(model): [last, 0]} | ({tuple(clip): [last, 1]} if clip else {})
    rewired: Graph = {
        name: {**node, "inputs": {label: _moved(value, moved) for label, value in node["inputs"].items()}} for name, node in graph.items()
    }
    before_model, before_clip = list(model), list(clip) if clip else None
    for index, (file, strength) in enumerate(loras):
        inputs: dict[str, Any] = {"model": before_model, "lora_name": file, "strength_model": float(strength)}
        if before_clip is not None:
            inputs |= {"clip": before_clip, "strength_clip": float(strength)}
        rewired[f"lora-{index}"] = {"class_type": "LoraLoaderModelOnly" if before_clip is None else "LoraLoader", "inputs": inputs}
        before_model, before_clip = [f"lora-{index}", 0], [f"lora-{index}", 1] if before_clip is not None else None
    return rewired


def _moved(value: Any, moved: Mapping[tuple[Any, ...], list[Any]]) -> Any:
    return moved.get(tuple(value), value) if isinstance(value, list) else value
