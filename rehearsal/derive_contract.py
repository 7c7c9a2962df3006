"""Boil Discord's published OpenAPI description down to the facts about the routes served here.

`python -m rehearsal.derive_contract openapi.json` writes `contract_facts.json`. The description is Discord's own
(discord-api-spec, MIT licence); it is not kept here, only what this derives: keys, types, limits, enumerations.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from rehearsal import app

FACTS = Path(__file__).with_name("contract_facts.json")
GATEWAY = {"MESSAGE": "MessageResponse", "CHANNEL": "GuildChannelResponse", "THREAD": "ThreadResponse"}
_BOUNDS = {
    "maxLength": "maxlen", "minLength": "minlen", "maxItems": "most", "minItems": "least", "minimum": "min",
    "maximum": "max",
}  # fmt: skip
Json = dict[str, Any]


def key(method: str, template: str) -> str:
    """How a route is called in the facts: `POST /channels/{}/messages`."""
    return f"{method.upper()} " + re.sub(r"\{[^}]+\}", "{}", template)


class Boiler:
    """Collects the schemas that the served routes reach."""

    def __init__(self, description: Json) -> None:
        self._schemas: Json = description["components"]["schemas"]
        self.kept: Json = {}

    def schema(self, given: Any) -> Any:
        """A schema without prose: `t` types, `p` properties, `r` required, `i` items, `one` variants, `e` values."""
        if "$ref" in given:
            name = given["$ref"].rpartition("/")[2]
            if name not in self.kept:
                self.kept[name] = None  # first, because schemas contain themselves
                self.kept[name] = self.schema(self._schemas[name])
            return {"ref": name}
        told: Json = {short: given[long] for long, short in _BOUNDS.items() if long in given}
        if "type" in given:
            told["t"] = given["type"] if isinstance(given["type"], list) else [given["type"]]
        if "properties" in given:
            told["p"] = {name: self.schema(child) for name, child in given["properties"].items()}
            told["r"] = given.get("required", [])
        if isinstance(given.get("items"), dict):
            told["i"] = self.schema(given["items"])
        return told | self._variants(given)

    def _variants(self, given: Json) -> Json:
        if "const" in given:
            return {"e": [given["const"]]}
        if "enum" in given:
            return {"e": given["enum"]}
        variants = given.get("oneOf") or given.get("anyOf")
        if variants and all("const" in v for v in variants):
            return {"e": [v["const"] for v in variants]}
        told: Json = {"one": [self.schema(v) for v in variants]} if variants else {}
        if "allOf" in given:
            told["all"] = [self.schema(v) for v in given["allOf"]]
        if isinstance(given.get("additionalProperties"), dict):
            told["more"] = self.schema(given["additionalProperties"])
        return told


def derive(description: Json) -> Json:
    """The facts."""
    boiler = Boiler(description)
    known = {key(m, path): op for path, ops in description["paths"].items() for m, op in ops.items() if m != "parameters"}
    routes: Json = {}
    for method, template in sorted(app.routes().table()):
        operation = known.get(key(method, template))
        if operation is not None:
            routes[key(method, template)] = _route(boiler, operation)
    gateway = {name: boiler.schema({"$ref": f"#/components/schemas/{ref}"}) for name, ref in GATEWAY.items()}
    source = "derived from discord/discord-api-spec (MIT), API v10"
    return {"source": source, "routes": routes, "gateway": gateway, "schemas": boiler.kept}


def _route(boiler: Boiler, operation: Json) -> Json:
    told: Json = {"answers": {}}
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        told["body"] = boiler.schema(body["schema"])
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            content = answer.get("content", {}).get("application/json")
            told["answers"][status] = None if content is None else boiler.schema(content["schema"])
    query = [p for p in operation.get("parameters", []) if p.get("in") == "query"]
    told["query"] = {p["name"]: boiler.schema(p["schema"]) for p in query}
    return told


def main() -> int:
    """Write the facts; exit status 2 without a description."""
    if len(sys.argv) != 2:
        sys.stderr.write("Usage: python -m rehearsal.derive_contract openapi.json\n")
        return 2
    description = json.loads(Path(sys.argv[1]).read_text())
    FACTS.write_text(_lines(derive(description)))
    return 0


def _lines(facts: Json) -> str:
    """One fact a line, so that a new description shows as a small difference."""
    parts = []
    for name, part in facts.items():
        if isinstance(part, dict):
            rows = [f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'), sort_keys=True)}" for k, v in sorted(part.items())]
            parts.append(f"{json.dumps(name)}:{{\n" + ",\n".join(rows) + "\n}")
        else:
            parts.append(f"{json.dumps(name)}:{json.dumps(part)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main())
