"""Finding the prompts of runs from before our restart: their ids follow from the lease, their rows from the graph."""

import json
from typing import Any

from flows.graph import RESULT_NODE
from workers.drivers.comfy.client import ComfyClient
from workers.drivers.comfy.rows import Row, batch_ids, single_ids

Found = dict[str, tuple[list[Row], bool]]
"""Rows by the prompt that makes them, and whether that is a batch."""


async def find_rows(client: ComfyClient, rows: list[Row], dispatch: str) -> Found | None:
    """The prompts that make (or made) these rows, by prompt id; None where a row is in none of them.

    A batch's names are read from its graph: after halving, which rows a prompt has is known to nobody else.
    """
    found: Found = {}
    missing: list[Row] = []
    for row in rows:
        for prompt in single_ids(row.key, row.index):
            if await client.job_state(prompt) is not None:
                found[prompt] = ([row], False)
                break
        else:
            missing.append(row)
    unknown = 0
    for prompt in batch_ids(dispatch) if missing and dispatch else ():
        if await client.job_state(prompt) is None:
            unknown += 1
            if unknown == 3:  # three ids belong to one posting
                break
            continue
        unknown = 0
        names = _names(await client.graph_of(prompt))
        if mine := [row for row in missing if row.name in names]:
            found[prompt] = (mine, True)
            missing = [row for row in missing if row not in mine]
    return None if missing else found


def _names(graph: dict[str, Any] | None) -> set[str]:
    node = (graph or {}).get(RESULT_NODE)
    told = node.get("inputs", {}).get("names") if isinstance(node, dict) and isinstance(node.get("inputs"), dict) else None
    try:
        names = json.loads(told) if isinstance(told, str) else []
    except (ValueError, RecursionError):
        return set()
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
