"""Runs as rows of prompts: names, ids and the values that fill a flow's graph."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.graph import Graph, GraphError, fill, with_loras
from flows.server import Served
from jobs.request import Order
from jobs.run import Run, RunKey

FOLDER = "darkroom"
"""Our folder among a server's inputs and temporary files."""

_SPACE = uuid.UUID("6f4f1f0c-8a53-4c40-9d1b-6d61726b726d")


def prompt_id(text: str) -> str:
    """ComfyUI's id for what ``text`` names; canonical lower case, else it is refused."""
    return str(uuid.uuid5(_SPACE, text))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One picture of a run."""

    key: RunKey
    index: int
    order: Order

    @property
    def name(self) -> str:
        """What its file and its previews are called: tells strangers nothing, and fits any file system."""
        return prompt_id(f"row {self.key}/{self.index}").replace("-", "")

    @property
    def seed(self) -> int:
        """Its own."""
        return self.order.seeds[self.index]


def rows_of(run: Run) -> list[Row]:
    """One a picture; a clip is one."""
    return [Row(key=run.key, index=index, order=run.order) for index in range(run.order.count)]


def batch_ids(dispatch: str) -> list[str]:
    """The ids under which the prompts of one lease may stand, in the order in which they are used."""
    return [prompt_id(f"batch {dispatch}/{number}") for number in range(16)]


def single_ids(key: RunKey, index: int) -> list[str]:
    """The ids under which a row made alone may stand: a second one only after the first was surely never queued."""
    return [prompt_id(f"single {key}/{index}/{attempt}") for attempt in range(3)]


def graph_for(served: Served, rows: Sequence[Row], loras: Mapping[tuple[str, str], str], *, batch: bool) -> Graph:
    """The graph that makes these rows. Raises GraphError for an order that the flow cannot fill."""
    flow, order = served.flow, rows[0].order
    template = flow.batch if batch and flow.batch is not None else flow.single
    graph = fill(template, _values(served, rows), files=served.files)
    if not order.loras:
        return graph
    if flow.loras is None:
        raise GraphError(f"the flow {flow.name} takes no LoRAs")
    uses: list[tuple[str, float]] = []
    for use in order.loras:
        file = loras.get((served.offer.family, use.name))
        if file is None:
            raise GraphError(f"this server has no LoRA {use.name!r} for {served.offer.family}")
        uses.append((file, use.weight))
    return with_loras(graph, model=flow.loras.model, clip=flow.loras.clip, loras=uses)


def _values(served: Served, rows: Sequence[Row]) -> dict[str, Any]:
    order = rows[0].order
    sampler, scheduler = served.flow.chosen(order.scheduler)
    scale = order.scale or 1
    return {
        "prompt": order.prompt,
        "negative": order.negative,
        "seed": rows[0].seed,
        "guidance": order.guidance,
        "name": rows[0].name,
        "image": input_file(order.image) and f"{FOLDER}/{input_file(order.image)}",
        "mask": input_file(order.mask) and f"{FOLDER}/{input_file(order.mask)}",
        "prompts": [row.order.prompt for row in rows],
        "negatives": [row.order.negative for row in rows],
        "seeds": [row.seed for row in rows],
        "guidances": [row.order.guidance for row in rows],
        "images": [file for row in rows if (file := input_file(row.order.image)) is not None],
        "names": [row.name for row in rows],
        "count": len(rows),
        "steps": order.steps,
        "sampler": sampler,
        "scheduler": scheduler,
        "width": order.width,
        "height": order.height,
        "strength": order.strength,
        "frames": order.frames,
        "fps": order.fps,
        "scaled_width": order.width * scale,
        "scaled_height": order.height * scale,
        "folder": FOLDER,
    }


def input_file(digest: str | None) -> str | None:
    """What an input picture is called on the server."""
    return None if digest is None else f"{digest}.png"
