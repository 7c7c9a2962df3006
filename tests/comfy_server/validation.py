"""ComfyUI's own refusals of a graph, from a table of interface facts."""

import json
from pathlib import Path

TABLE = json.loads((Path(__file__).parent / "nodes.json").read_text(encoding="utf-8"))
OURS = ("CLIPTextEncodeBatch", "Darkroom")


def object_info(files: dict[str, list[str]], *, pack: bool | int) -> dict:
    """What ``/object_info`` says of every class: the table, with this server's files as choices."""
    told = {}
    for name, node in TABLE.items():
        if name.startswith(OURS) and not pack:
            continue
        node = json.loads(json.dumps(node))
        for group in node["input"].values():
            for label, spec in group.items():
                if spec[0] == [] and label in files:
                    spec[0] = list(files[label])
        if name == "DarkroomSave" and pack is not True:
            node["input"]["required"]["version"][1] = {"min": 0, "max": pack - 1}
        told[name] = {**node, "name": name, "category": "test", "python_module": "nodes"}
    return told


def refusal(graph, nodes: dict, inputs: set[str]) -> dict | None:
    """The body of a 400, or None for a graph that may run."""
    for key, node in graph.items():
        if node["class_type"] not in nodes:
            extra = {"node_id": key, "class_type": node["class_type"], "node_title": node["class_type"]}
            return {"error": {"type": "missing_node_type", "message": "not found", "details": "", "extra_info": extra}, "node_errors": {}}
    outputs = [key for key, node in graph.items() if nodes[node["class_type"]]["output_node"]]
    if not outputs:
        return {"error": {"type": "prompt_no_outputs", "message": "", "details": "", "extra_info": {}}, "node_errors": {}}
    errors = {}
    for key, node in graph.items():
        found = _faults(node, graph, nodes, inputs)
        if found:
            errors[key] = {"errors": found, "dependent_outputs": outputs, "class_type": node["class_type"]}
    if not errors:
        return None
    return {"error": {"type": "prompt_outputs_failed_validation", "message": "", "details": "", "extra_info": {}}, "node_errors": errors}


def _faults(node: dict, graph: dict, nodes: dict, inputs: set[str]) -> list[dict]:
    spec = nodes[node["class_type"]]["input"]
    found = [_fault("required_input_missing", label) for label in spec.get("required", {}) if label not in node["inputs"]]
    known = {**spec.get("optional", {}), **spec.get("required", {})}
    for label, value in node["inputs"].items():
        if label in known:
            found += _value_faults(label, value, known[label], graph, nodes, inputs)
    return found


def _value_faults(label, value, spec, graph, nodes, inputs) -> list[dict]:
    kind, limits = spec[0], spec[1] if len(spec) > 1 else {}
    if isinstance(value, list):
        given = nodes[graph[value[0]]["class_type"]]["output"][value[1]]
        return [] if given == kind or "*" in (given, kind) else [_fault("return_type_mismatch", label)]
    if label in ("image", "mask") and isinstance(kind, list):
        return [] if value in inputs else [_fault("custom_validation_failed", label)]
    if isinstance(kind, list):
        return [] if value in kind else [_fault("value_not_in_list", label, received=value)]
    if kind in ("INT", "FLOAT"):
        if isinstance(value, str | bool):
            return [_fault("invalid_input_type", label)]
        if "min" in limits and value < limits["min"]:
            return [_fault("value_smaller_than_min", label)]
        if "max" in limits and value > limits["max"]:
            return [_fault("value_bigger_than_max", label)]
    return []


def _fault(kind: str, label: str, received=None) -> dict:
    return {"type": kind, "message": "", "details": "", "extra_info": {"input_name": label, "received_value": received}}
