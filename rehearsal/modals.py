"""Modals: what a bot may open, and what a member's answers become."""

from __future__ import annotations

from typing import Any

from rehearsal import components
from rehearsal.components import Tree
from rehearsal.errors import Form

Json = dict[str, Any]
IN_LABEL = components.SELECTS | {
    components.TEXT_INPUT,
    components.UPLOAD,
    components.RADIO,
    components.CHECKS,
    components.CHECK,
}
TOP = (components.ROW, components.TEXT, components.LABEL)


def validate(data: Json) -> Json:
    """Check a modal; the form to keep. Raises 50035."""
    form = Form()
    tree = Tree(form)
    form.text(("data", "custom_id"), data.get("custom_id"), low=1, high=100, required=True)
    form.text(("data", "title"), data.get("title"), low=1, high=45, required=True)
    given = form.items(("data", "components"), data.get("components"), low=1, high=5, required=True)
    kept = [_top(tree, ("data", "components", i), node) for i, node in enumerate(given)]
    form.check()
    free = 1
    for node in components.walk(kept):
        node["id"] = node.get("id") or free
        free += 1
    return {"custom_id": data["custom_id"], "title": data["title"], "components": kept}


def _refuse(tree: Tree, path: components.Path, choices: Any) -> Json:
    words = ", ".join(str(c) for c in sorted(choices))
    tree.form.add((*path, "type"), "UNION_TYPE_CHOICES", f'Value of field "type" must be one of ({words}).')
    return {"type": 0}


def _top(tree: Tree, path: components.Path, node: Any) -> Json:
    kind = node.get("type") if isinstance(node, dict) else None
    if not isinstance(kind, int) or kind not in TOP:
        return _refuse(tree, path, TOP)
    if kind == components.TEXT:
        tree.form.text((*path, "content"), node.get("content"), low=1, high=4000, required=True)
        return dict(node)
    if kind == components.ROW:
        inner = tree.form.items((*path, "components"), node.get("components"), low=1, high=1, required=True)
        fields = [_field(tree, (*path, "components", 0), f, frozenset({components.TEXT_INPUT}), old=True) for f in inner]
        return {"type": kind, "components": fields}
    tree.form.text((*path, "label"), node.get("label"), low=1, high=45, required=True)
    tree.form.text((*path, "description"), node.get("description"), high=100)
    inner = _field(tree, (*path, "component"), node.get("component"), IN_LABEL)
    return {key: node[key] for key in ("type", "id", "label", "description") if node.get(key) is not None} | {"component": inner}


def _field(tree: Tree, path: components.Path, node: Any, allowed: frozenset[int], *, old: bool = False) -> Json:
    kind = node.get("type") if isinstance(node, dict) else None
    if not isinstance(kind, int) or kind not in allowed:
        return _refuse(tree, path, allowed)
    kept = {key: value for key, value in node.items() if value is not None}
    if kind in components.SELECTS:
        components.check_select(tree, path, kept, True)
    elif kind == components.TEXT_INPUT:
        _text_input(tree, path, kept, old=old)
    elif kind == components.UPLOAD:
        tree.custom_id(path, kept)
        tree.form.number((*path, "min_values"), kept.get("min_values"), low=0, high=10)
        tree.form.number((*path, "max_values"), kept.get("max_values"), low=1, high=10)
    elif kind == components.CHECK:
        tree.custom_id(path, kept)
    else:
        components.check_group(tree, path, kept, 2 if kind == components.RADIO else 1)
    return kept


def _text_input(tree: Tree, path: components.Path, node: Json, *, old: bool) -> None:
    form = tree.form
    tree.custom_id(path, node)
    form.number((*path, "style"), node.get("style"), low=1, high=2, required=True)
    form.text((*path, "label"), node.get("label"), high=45, required=old)
    form.text((*path, "placeholder"), node.get("placeholder"), high=100)
    form.text((*path, "value"), node.get("value"), high=4000)
    form.number((*path, "min_length"), node.get("min_length"), low=0, high=4000)
    form.number((*path, "max_length"), node.get("max_length"), low=1, high=4000)


class BadAnswer(Exception):
    """A member's answer the client would not let through; the text says why."""


def fields(modal: Json) -> list[Json]:
    """The fields a member fills in."""
    return [n for n in components.walk(modal["components"]) if n["type"] not in TOP]


def submitted(modal: Json, answers: Json) -> list[Json]:
    """The `components` of a submission. Raises BadAnswer."""
    known = {node["custom_id"] for node in fields(modal)}
    strange = sorted(set(answers) - known)
    if strange:
        raise BadAnswer(f"The modal has no field {strange[0]!r}; it has: {', '.join(sorted(known))}.")
    told: list[Json] = []
    for top in modal["components"]:
        if top["type"] == components.TEXT:
            told.append({"type": top["type"], "id": top["id"]})
        elif top["type"] == components.ROW:
            inner = [_answer(node, answers) for node in top["components"]]
            told.append({"type": top["type"], "id": top["id"], "components": inner})
        else:
            told.append({"type": top["type"], "id": top["id"], "component": _answer(top["component"], answers)})
    return told


def _answer(node: Json, answers: Json) -> Json:
    given = answers.get(node["custom_id"])
    told = {"type": node["type"], "id": node["id"], "custom_id": node["custom_id"]}
    if node["type"] == components.TEXT_INPUT:
        return told | {"value": _typed(node, node.get("value", "") if given is None else given)}
    if node["type"] == components.CHECK:
        return told | {"value": bool(node.get("default", False) if given is None else given)}
    if node["type"] == components.RADIO:
        return told | {"value": _radio(node, given)}
    return told | {"values": _several(node, given)}


def _typed(node: Json, given: Any) -> str:
    name = node.get("label") or node["custom_id"]
    if not isinstance(given, str):
        raise BadAnswer(f"{name!r} takes text.")
    if node.get("required", True) and not given:
        raise BadAnswer(f"{name!r} is required.")
    low, high = node.get("min_length") or 0, node.get("max_length") or 4000
    if given and not low <= len(given) <= high:
        raise BadAnswer(f"{name!r} takes {low} to {high} characters, not {len(given)}.")
    return given


def _radio(node: Json, given: Any) -> str | None:
    if given is None:
        given = next((o["value"] for o in node["options"] if o.get("default")), None)
    if given is None and node.get("required", True):
        raise BadAnswer(f"{node['custom_id']!r} is required.")
    if given is not None and given not in [o["value"] for o in node["options"]]:
        raise BadAnswer(f"{given!r} is no choice of {node['custom_id']!r}.")
    return given


def _several(node: Json, given: Any) -> list[str]:
    values = [given] if isinstance(given, str) else given
    if values is None:
        values = [o["value"] for o in node.get("options", []) if o.get("default")]
    if not isinstance(values, list):
        raise BadAnswer(f"{node['custom_id']!r} takes a list.")
    return picked(node, [str(v) for v in values])


def picked(node: Json, values: list[str]) -> list[str]:
    """The values a member picks in a select, a check box group or a file upload. Raises BadAnswer."""
    options = [o["value"] for o in node.get("options", [])]
    if "options" in node and not set(values) <= set(options):
        raise BadAnswer(f"{min(set(values) - set(options))!r} is no choice of {node['custom_id']!r}.")
    low = node.get("min_values")
    low = (1 if node.get("required", True) else 0) if low is None else low
    high = node.get("max_values") or (len(options) if node["type"] == components.CHECKS else 1)
    if not values and not node.get("required", True):
        return values
    if not low <= len(values) <= high or len(set(values)) != len(values):
        raise BadAnswer(f"{node['custom_id']!r} takes {low} to {high} different values, not {len(values)}.")
    return values
