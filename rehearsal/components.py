"""Message components: Discord's rules for legacy rows and for components V2, and the form in which they are stored.

Limits: developer docs, components/reference. Nested components count; gallery items do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rehearsal.errors import Form

Path = tuple[str | int, ...]
Json = dict[str, Any]

ROW, BUTTON, SELECT, TEXT_INPUT, USERS, ROLES, MENTIONABLES, CHANNELS = 1, 2, 3, 4, 5, 6, 7, 8
SECTION, TEXT, THUMBNAIL, GALLERY, FILE, SEPARATOR, CONTAINER = 9, 10, 11, 12, 13, 14, 17
LABEL, UPLOAD, RADIO, CHECKS, CHECK = 18, 19, 21, 22, 23
SELECTS = frozenset({SELECT, USERS, ROLES, MENTIONABLES, CHANNELS})
IN_CONTAINER = frozenset({ROW, SECTION, TEXT, GALLERY, FILE, SEPARATOR})
TOP_V2 = IN_CONTAINER | {CONTAINER}

MOST_COMPONENTS = 40
MOST_TEXT = 4000

KEYS: dict[int, tuple[str, ...]] = {
    ROW: ("components",),
    BUTTON: ("style", "label", "emoji", "custom_id", "url", "sku_id", "disabled"),
    SELECT: ("custom_id", "options", "placeholder", "min_values", "max_values", "disabled", "required"),
    SECTION: ("components", "accessory"),
    TEXT: ("content",),
    THUMBNAIL: ("media", "description", "spoiler"),
    GALLERY: ("items",),
    FILE: ("file", "spoiler"),
    SEPARATOR: ("divider", "spacing"),
    CONTAINER: ("components", "accent_color", "spoiler"),
}
for _kind in SELECTS - {SELECT}:
    KEYS[_kind] = (*KEYS[SELECT], "default_values", "channel_types")
# What Discord fills in where a bot says nothing.
DEFAULTS: dict[int, Json] = {
    CONTAINER: {"accent_color": None, "spoiler": False},
    THUMBNAIL: {"description": None, "spoiler": False},
    FILE: {"spoiler": False, "name": None, "size": None},
    SEPARATOR: {"divider": True, "spacing": 1},
} | {kind: {"min_values": 1, "max_values": 1} for kind in SELECTS}


def walk(components: list[Json]) -> Iterator[Json]:
    """Every component, nested ones and accessories too."""
    for node in components:
        yield node
        yield from walk(node.get("components") or [])
        if isinstance(node.get("accessory"), dict):
            yield from walk([node["accessory"]])
        if isinstance(node.get("component"), dict):
            yield from walk([node["component"]])


def texts(components: list[Json]) -> list[str]:
    """The text displays' contents."""
    return [node["content"] for node in walk(components) if node["type"] == TEXT]


def find(components: list[Json], custom_id: str) -> Json | None:
    """The component with that custom_id."""
    for node in walk(components):
        if node.get("custom_id") == custom_id:
            return node
    return None


@dataclass(slots=True)
class Tree:
    """One validation: what was seen so far."""

    form: Form
    count: int = 0
    text: int = 0
    custom_ids: set[str] = field(default_factory=set)
    ids: set[int] = field(default_factory=set)

    def custom_id(self, path: Path, node: Json) -> None:
        """A custom_id of 1-100 characters, once per message."""
        value = self.form.text((*path, "custom_id"), node.get("custom_id"), low=1, high=100, required=True)
        if value and value in self.custom_ids:
            self.form.add((*path, "custom_id"), "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated")
        self.custom_ids.add(value or "")

    def number(self, path: Path, node: Json) -> None:
        """The component's own id: 32 bits, once per message; 0 means none."""
        value = self.form.number((*path, "id"), node.get("id"), low=0, high=2**31 - 1)
        if value and value in self.ids:
            self.form.add((*path, "id"), "COMPONENT_DUPLICATE_ID", "Component id cannot be duplicated")
        if value:
            self.ids.add(value)


def validate(form: Form, value: Any, *, v2: bool) -> list[Json]:
    """Check a `components` field; the list to store, each component with an id."""
    tree = Tree(form)
    given = form.items(("components",), value, high=MOST_COMPONENTS if v2 else 5)
    allowed = TOP_V2 if v2 else frozenset({ROW})
    stored = [_component(tree, ("components", i), node, allowed, v2) for i, node in enumerate(given)]
    if tree.count > MOST_COMPONENTS:
        words = f"The total number of components must be {MOST_COMPONENTS} or fewer, not {tree.count}."
        form.add(("components",), "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED", words)
    if v2 and tree.text > MOST_TEXT:
        words = f"The total length of text must be {MOST_TEXT} or fewer, not {tree.text}."
        form.add(("components",), "COMPONENT_MAX_TOTAL_TEXT_LENGTH_EXCEEDED", words)
    if not form.errors:
        _give_ids(stored, tree.ids)
    return stored


def _give_ids(stored: list[Json], taken: set[int]) -> None:
    free = 1
    for node in walk(stored):
        if not node.get("id"):
            while free in taken:
                free += 1
            node["id"] = free
            taken.add(free)


def _component(tree: Tree, path: Path, node: Any, allowed: frozenset[int] | set[int], v2: bool) -> Json:
    kind = node.get("type") if isinstance(node, dict) else None
    if not isinstance(kind, int) or isinstance(kind, bool) or kind not in allowed:
        choices = ", ".join(str(k) for k in sorted(allowed))
        tree.form.add((*path, "type"), "UNION_TYPE_CHOICES", f'Value of field "type" must be one of ({choices}).')
        return {"type": 0}
    tree.count += 1
    tree.number(path, node)
    stored: Json = {"type": kind, "id": node.get("id") or 0}
    stored |= {key: node[key] for key in KEYS[kind] if node.get(key) is not None}
    stored |= {key: value for key, value in DEFAULTS.get(kind, {}).items() if key not in stored}
    _CHECKS[kind](tree, path, stored, v2)
    return stored


def _children(tree: Tree, path: Path, node: Json, *, low: int, high: int, allowed: frozenset[int], v2: bool) -> None:
    given = tree.form.items((*path, "components"), node.get("components"), low=low, high=high, required=True)
    children = [_component(tree, (*path, "components", i), child, allowed, v2) for i, child in enumerate(given)]
    node["components"] = children


def _row(tree: Tree, path: Path, node: Json, v2: bool) -> None:
    _children(tree, path, node, low=1, high=5, allowed=SELECTS | {BUTTON}, v2=v2)
    width = sum(1 if child["type"] == BUTTON else 5 for child in node["components"])
    if width > 5:
        tree.form.add((*path, "components"), "COMPONENT_LAYOUT_WIDTH_EXCEEDED", "Layout component is too wide.")


def _button(tree: Tree, path: Path, node: Json, v2: bool) -> None:
    form = tree.form
    style = form.number((*path, "style"), node.get("style"), low=1, high=6, required=True)
    form.text((*path, "label"), node.get("label"), high=80)
    if style != 6 and not node.get("label") and not node.get("emoji"):
        form.add((*path, "label"), "BASE_TYPE_REQUIRED", "A button needs a label or an emoji")
    if style == 5:
        form.text((*path, "url"), node.get("url"), low=1, high=512, required=True)
        if node.get("custom_id") is not None:
            words = "A custom id and url cannot both be specified"
            form.add((*path, "custom_id"), "BUTTON_COMPONENT_CUSTOM_ID_URL_MUTUALLY_EXCLUSIVE", words)
    elif style != 6:
        if node.get("url") is not None:
            words = "Buttons of this style cannot have a url"
            form.add((*path, "url"), "BUTTON_COMPONENT_INVALID_STYLE_URL", words)
        tree.custom_id(path, node)


def _options(form: Form, path: Path, node: Json, low: int, high: int) -> int:
    given = form.items((*path, "options"), node.get("options"), low=low, high=high, required=True)
    values: set[str] = set()
    for i, option in enumerate(given):
        at = (*path, "options", i)
        if not isinstance(option, dict):
            form.add(at, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
            continue
        form.text((*at, "label"), option.get("label"), low=1, high=100, required=True)
        value = form.text((*at, "value"), option.get("value"), low=1, high=100, required=True)
        form.text((*at, "description"), option.get("description"), high=100)
        if value in values:
            words = "The specified option value is already used"
            form.add((*at, "value"), "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED", words)
        values.add(value or "")
    return len(given)


def check_select(tree: Tree, path: Path, node: Json, v2: bool) -> None:
    """Selects of every kind, in messages and modals."""
    form = tree.form
    tree.custom_id(path, node)
    form.text((*path, "placeholder"), node.get("placeholder"), high=150)
    most = _options(form, path, node, 1, 25) if node["type"] == SELECT else 25
    low = form.number((*path, "min_values"), node.get("min_values"), low=0, high=25)
    high = form.number((*path, "max_values"), node.get("max_values"), low=1, high=25)
    if (1 if low is None else low) > (1 if high is None else high):
        form.add((*path, "min_values"), "SELECT_COMPONENT_MIN_VALUES_GREATER_THAN_MAX", "min_values exceeds max_values")
    if (high or 1) > most:
        form.add((*path, "max_values"), "SELECT_COMPONENT_MAX_VALUES_EXCEEDS_OPTIONS", "max_values exceeds the options")


def check_group(tree: Tree, path: Path, node: Json, low: int) -> None:
    """Radio and check box groups of modals."""
    tree.custom_id(path, node)
    _options(tree.form, path, node, low, 10)


def _section(tree: Tree, path: Path, node: Json, v2: bool) -> None:
    _children(tree, path, node, low=1, high=3, allowed=frozenset({TEXT}), v2=v2)
    accessory = node.get("accessory")
    if accessory is None:
        tree.form.add((*path, "accessory"), "BASE_TYPE_REQUIRED", "This field is required")
        return
    node["accessory"] = _component(tree, (*path, "accessory"), accessory, frozenset({BUTTON, THUMBNAIL}), v2)


def _text(tree: Tree, path: Path, node: Json, v2: bool) -> None:
    content = tree.form.text((*path, "content"), node.get("content"), low=1, high=MOST_TEXT, required=True)
    tree.text += len(content or "")


def _media(form: Form, path: Path, holder: Json, key: str, *, attached: bool = False) -> None:
    media = holder.get(key)
    if not isinstance(media, dict) or not isinstance(media.get("url"), str):
        form.add((*path, key, "url"), "BASE_TYPE_REQUIRED", "This field is required")
        holder[key] = {"url": ""}
        return
    url = media["url"]
    schemes = ("attachment://",) if attached else ("attachment://", "http://", "https://")
    if not url.startswith(schemes) and not (attached and "/attachments/" in url):
        words = f'Scheme "{url.partition(":")[0]}" is not supported. Scheme must be one of {schemes}.'
        form.add((*path, key, "url"), "URL_TYPE_INVALID_SCHEME", words)
    form.text((*path, key, "url"), url, low=1, high=2048)
    holder[key] = {"url": url}


def _described(form: Form, path: Path, node: Json) -> None:
    form.text((*path, "description"), node.get("description"), high=1024)


def _thumbnail(tree: Tree, path: Path, node: Json, v2: bool) -> None:
    _media(tree.form, path, node, "media")
    _described(tree.form, path, node)


def _gallery(tree: Tree, path: Path, node: Json, v2: bool) -> None:
    given = tree.form.items((*path, "items"), node.get("items"), low=1, high=10, required=True)
    items: list[Json] = []
    for i, item in enumerate(given):
        item = item if isinstance(item, dict) else {}
        kept = {key: item[key] for key in ("media", "description", "spoiler") if item.get(key) is not None}
        _media(tree.form, (*path, "items", i), kept, "media")
        _described(tree.form, (*path, "items", i), kept)
        items.append({"spoiler": False, "description": None} | kept)
    node["items"] = items


def _file(tree: Tree, path: Path, node: Json, v2: bool) -> None:
    _media(tree.form, path, node, "file", attached=True)


def _separator(tree: Tree, path: Path, node: Json, v2: bool) -> None:
    tree.form.number((*path, "spacing"), node.get("spacing"), low=1, high=2)


def _container(tree: Tree, path: Path, node: Json, v2: bool) -> None:
    tree.form.number((*path, "accent_color"), node.get("accent_color"), low=0, high=0xFFFFFF)
    _children(tree, path, node, low=1, high=MOST_COMPONENTS, allowed=IN_CONTAINER, v2=v2)


_CHECKS = {
    ROW: _row,
    BUTTON: _button,
    SECTION: _section,
    TEXT: _text,
    THUMBNAIL: _thumbnail,
    GALLERY: _gallery,
    FILE: _file,
    SEPARATOR: _separator,
    CONTAINER: _container,
} | dict.fromkeys(SELECTS, check_select)


def media_holders(components: list[Json]) -> Iterator[tuple[Json, str]]:
    """Every place that shows a file: `(holder, key)` with the media item under `holder[key]`."""
    for node in walk(components):
        if node["type"] == THUMBNAIL:
            yield node, "media"
        elif node["type"] == FILE:
            yield node, "file"
        elif node["type"] == GALLERY:
            for item in node["items"]:
                yield item, "media"
