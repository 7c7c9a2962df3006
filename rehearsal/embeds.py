"""Embeds: their limits (developer docs, resources/message#embed-object) and the form in which they are stored."""

from __future__ import annotations

from typing import Any

from rehearsal.errors import Form

MOST_EMBEDS = 10
MOST_CHARACTERS = 6000
Json = dict[str, Any]


def validate(form: Form, value: Any) -> list[Json]:
    """Check an `embeds` field; the list to store."""
    total = 0
    stored: list[Json] = []
    for i, embed in enumerate(form.items(("embeds",), value, high=MOST_EMBEDS)):
        if not isinstance(embed, dict):
            form.add(("embeds", i), "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
            continue
        total += _embed(form, ("embeds", i), embed)
        stored.append({key: item for key, item in embed.items() if item is not None} | {"type": "rich"})
    if total > MOST_CHARACTERS:
        form.add(("embeds",), "MAX_EMBED_SIZE_EXCEEDED", f"Embed size exceeds maximum size of {MOST_CHARACTERS}")
    return stored


def _part(embed: Json, name: str) -> Json:
    part = embed.get(name)
    return part if isinstance(part, dict) else {}


def _embed(form: Form, path: tuple[str | int, ...], embed: Json) -> int:
    texts = [
        form.text((*path, "title"), embed.get("title"), high=256),
        form.text((*path, "description"), embed.get("description"), high=4096),
        form.text((*path, "footer", "text"), _part(embed, "footer").get("text"), high=2048),
        form.text((*path, "author", "name"), _part(embed, "author").get("name"), high=256),
    ]
    for i, item in enumerate(form.items((*path, "fields"), embed.get("fields"), high=25)):
        item = item if isinstance(item, dict) else {}
        texts.append(form.text((*path, "fields", i, "name"), item.get("name"), low=1, high=256, required=True))
        texts.append(form.text((*path, "fields", i, "value"), item.get("value"), low=1, high=1024, required=True))
    form.number((*path, "color"), embed.get("color"), low=0, high=0xFFFFFF)
    for name in ("image", "thumbnail"):
        form.text((*path, name, "url"), _part(embed, name).get("url"), high=2048)
    return sum(len(text or "") for text in texts)
