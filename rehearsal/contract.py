"""Recorded traffic against Discord's published description, kept as facts in `contract_facts.json`.

Requests the twin accepted are checked closed (a key the description does not know is a finding), its own answers and the
gateway's MESSAGE_*, CHANNEL_* and THREAD_* bodies open. What the description gets wrong or leaves loose is tolerated by
name, and counted: a tolerance that nobody named is a finding.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rehearsal.derive_contract import FACTS, key

Json = dict[str, Any]

TOLERATED = {
    "snowflake-int": "overwrites, parent_id, references and kept attachments come as numbers",
    "bitfield-string": "permission bits come as decimal strings",
    "query-bool": "wait=1 and with_response=1: the docs allow it, the description says true or false",
    "extra-keys": "tts on edits and updates, nsfw on commands, flags in embeds, type of a forum's post, whole kept attachments and media",
    "query-forum": "use_nested_fields=1: the library's post in a forum says that its message lies in `message`, as the docs have it",
}
# Where extra keys are tolerated: (how the finding's place ends, keys).
EXTRA = (
    ("", frozenset({"tts", "nsfw", "id", "dm_permission", "enforce_nonce"})),
    ("attachments[]", frozenset({"size", "url", "proxy_url", "content_type", "width", "height", "spoiler", "flags",
                                 "placeholder", "placeholder_version", "ephemeral", "spoilered"})),
    ("media", frozenset({"proxy_url", "height", "width", "content_type", "loading_state", "attachment_id", "flags",
                         "placeholder", "placeholder_version"})),
    ("file", frozenset({"proxy_url", "height", "width", "content_type", "loading_state", "attachment_id", "flags",
                        "placeholder", "placeholder_version"})),
    ("embeds[]", frozenset({"flags", "type"})),
    ("components[]", frozenset({"name", "size"})),
    ("POST /channels/{}/threads request", frozenset({"type"})),
)  # fmt: skip


@dataclass(kw_only=True)
class Report:
    """What a check found: `findings` as sentences, how often each tolerance was used, how many records were read."""

    findings: list[str] = field(default_factory=list)
    tolerances: Counter[str] = field(default_factory=Counter)
    checked: int = 0


@dataclass(slots=True)
class Look:
    """One value being compared."""

    closed: bool
    where: str
    problems: list[str] = field(default_factory=list)
    used: Counter[str] = field(default_factory=Counter)


class Contract:
    """The facts, ready to compare with."""

    def __init__(self) -> None:
        facts = json.loads(FACTS.read_text())
        self.routes: Json = facts["routes"]
        self._gateway: Json = facts["gateway"]
        self._schemas: Json = facts["schemas"]

    def check(self, records: Iterable[Json]) -> Report:
        """Compare records of `GET /control/recording`."""
        report = Report()
        for record in records:
            if record["kind"] == "rest" and record["status"] < 300:
                self._rest(record, report)
            elif record["kind"] == "gateway" and record["way"] == "out":
                self._event(record, report)
        return report

    def _rest(self, record: Json, report: Report) -> None:
        name = key(record["method"], record["template"])
        route = self.routes.get(name)
        if route is None:
            report.findings.append(f"{name}: the description has no such route")
            return
        report.checked += 1
        body = record["body"]
        if body not in ("", None) and "body" in route:
            self._report(report, f"{name} request", route["body"], body, closed=True)
        for query, value in record["query"].items():
            self._query(report, name, route, query, value)
        schema = route["answers"].get(str(record["status"]), ...)
        if schema is ...:
            report.findings.append(f"{name}: the description knows no answer {record['status']}")
        elif schema is not None:
            self._report(report, f"{name} answer", schema, record["answer"], closed=False)

    def _query(self, report: Report, name: str, route: Json, query: str, value: str) -> None:
        schema = route["query"].get(query)
        if (name, query) == ("POST /channels/{}/threads", "use_nested_fields"):
            report.tolerances["query-forum"] += 1
        elif schema is None:
            report.findings.append(f"{name}: the description knows no query {query!r}")
        elif schema.get("t") == ["boolean"]:
            report.tolerances["query-bool"] += value not in ("true", "false")
        elif schema.get("t") == ["integer"]:
            self._report(report, f"{name} query {query}", schema, int(value), closed=True)

    def _event(self, record: Json, report: Report) -> None:
        kind, _, action = record["t"].partition("_")
        if kind in self._gateway and action in ("CREATE", "UPDATE"):
            report.checked += 1
            self._report(report, record["t"], self._gateway[kind], record["d"], closed=False)

    def _report(self, report: Report, where: str, schema: Any, value: Any, *, closed: bool) -> None:
        look = Look(closed, where)
        self._compare(look, "", schema, value)
        report.findings += [f"{where}{problem}" for problem in look.problems]
        report.tolerances += look.used

    def _compare(self, look: Look, at: str, schema: Json, value: Any) -> None:
        if "ref" in schema:
            self._reference(look, at, schema["ref"], value)
            return
        if "all" in schema:
            for part in schema["all"]:
                self._compare(look, at, part, value)
        if "one" in schema:
            self._variant(look, at, schema["one"], value)
        if "e" in schema and value not in schema["e"]:
            look.problems.append(f"{at}: {value!r} is none of {schema['e'][:12]}")
        if "t" in schema and self._typed(look, at, schema, value):
            self._inside(look, at, schema, value)

    def _reference(self, look: Look, at: str, name: str, value: Any) -> None:
        if name == "SnowflakeType" and isinstance(value, int) and not isinstance(value, bool) and look.closed:
            look.used["snowflake-int"] += 1
            return
        self._compare(look, at, self._schemas[name], value)

    def _variant(self, look: Look, at: str, variants: list[Json], value: Any) -> None:
        """The variant with the fewest problems speaks; one whose `type` fits speaks before all others."""
        best: Look | None = None
        for variant in variants:
            tried = Look(look.closed, look.where)
            self._compare(tried, at, variant, value)
            weight = len(tried.problems) + 100 * self._other_kind(variant, value)
            if best is None or weight < len(best.problems):
                best = tried if weight == len(tried.problems) else best or tried
            if not tried.problems:
                break
        if best is not None:
            look.problems += best.problems
            look.used += best.used

    def _other_kind(self, variant: Json, value: Any) -> bool:
        while "ref" in variant:
            variant = self._schemas[variant["ref"]]
        if not isinstance(value, dict):
            return "object" in variant.get("t", [])
        kind = variant.get("p", {}).get("type", {})
        while "ref" in kind:
            kind = self._schemas[kind["ref"]]
        return "p" not in variant or ("e" in kind and value.get("type") not in kind["e"])

    def _typed(self, look: Look, at: str, schema: Json, value: Any) -> bool:
        types = schema["t"]
        if any(_is(kind, value) for kind in types):
            return True
        if "integer" in types and isinstance(value, str) and value.isdigit():
            look.used["bitfield-string"] += 1
        else:
            look.problems.append(f"{at}: {_short(value)} is not {' or '.join(types)}")
        return False

    def _inside(self, look: Look, at: str, schema: Json, value: Any) -> None:
        if isinstance(value, dict):
            self._object(look, at, schema, value)
        elif isinstance(value, list):
            self._bounds(look, at, schema, len(value), "least", "most")
            for item in value:
                self._compare(look, f"{at}[]", schema.get("i", {}), item)
        elif isinstance(value, str):
            self._bounds(look, at, schema, len(value), "minlen", "maxlen")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self._bounds(look, at, schema, value, "min", "max")

    def _bounds(self, look: Look, at: str, schema: Json, size: float, low: str, high: str) -> None:
        if size < schema.get(low, size) or size > schema.get(high, size):
            look.problems.append(f"{at}: {size} is not within {schema.get(low)} and {schema.get(high)}")

    def _object(self, look: Look, at: str, schema: Json, value: Json) -> None:
        known = schema.get("p", {})
        look.problems += [f"{at}.{name}: missing" for name in schema.get("r", []) if name not in value]
        for name, child in value.items():
            if name in known:
                self._compare(look, f"{at}.{name}", known[name], child)
            elif "more" in schema:
                self._compare(look, f"{at}.{name}", schema["more"], child)
            elif look.closed and known:
                self._extra(look, at, name, child)

    def _extra(self, look: Look, at: str, name: str, child: Any) -> None:
        if any(name in keys and (at.endswith(end) or look.where + at == end) for end, keys in EXTRA):
            look.used["extra-keys"] += 1
        else:
            look.problems.append(f"{at}.{name}: not in the description")


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    names: dict[str, Any] = {
        "string": str, "integer": int, "number": int | float, "array": list, "object": dict, "null": type(None),
        "boolean": bool,
    }  # fmt: skip
    return isinstance(value, names[kind])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."
