"""HTTP with one ComfyUI server. Every answer is hostile until parsed: capped while it is read, never redirected.

An answer that is not ComfyUI's (HTML of a tunnel or a proxy, a 5xx) is the server's fault and is named as what it is.
"""

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from jobs.errors import BadPicture, WorkerUnreachable
from workers.drivers.comfy.patience import Patience

_JSON_MAX = 32 * 1024 * 1024
"""``/object_info`` of a server with hundreds of node packs has a few megabytes."""
_FILE_MAX = 64 * 1024 * 1024


class Unanswered(WorkerUnreachable):
    """The request may have reached the server or not: look before asking again."""


class Refused(Exception):
    """ComfyUI's 400: what is wrong with a graph. ``stale`` says that the server has other files or nodes than we thought."""

    def __init__(self, *, kind: str, detail: str, stale: bool = False) -> None:
        self.kind = kind
        self.detail = detail
        self.stale = stale
        super().__init__(f"{kind}: {detail}")


def headers_of(key: str | None) -> dict[str, str]:
    """What every call and the socket's handshake carry. ``user:password`` is basic authentication, anything else a bearer's token."""
    headers = {"ngrok-skip-browser-warning": "1"}
    if key and ":" in key:
        headers["Authorization"] = "Basic " + base64.b64encode(key.encode()).decode()
    elif key:
        headers["Authorization"] = f"Bearer {key}"
    return headers


class ComfyClient:
    """The calls that the driver needs, by their routes in ComfyUI's server.py."""

    def __init__(self, *, url: str, session: aiohttp.ClientSession, key: str | None, patience: Patience) -> None:
        self.url = URL(url)
        self.headers = headers_of(key)
        self.session = session
        self.patience = patience
        self._old = False
        """Whether ``/api/jobs`` is missing (before v0.6)."""

    async def queue_length(self) -> int:
        """Prompts that run or wait, whoever posted them: the cheapest sign of health."""
        told = await self.json("GET", "prompt", seconds=self.patience.probe)
        count = told.get("exec_info", {}).get("queue_remaining") if isinstance(told.get("exec_info"), dict) else None
        if not isinstance(count, int):
            raise WorkerUnreachable("worker_unreachable", reason="its answer is not ComfyUI's")
        return count

    async def stats(self) -> dict[str, Any]:
        """Version, arguments, devices and their memory."""
        return await self.json("GET", "system_stats", seconds=self.patience.probe)

    async def node(self, name: str) -> dict[str, Any]:
        """``{name: description}``, or ``{}`` where the server has no such node."""
        return await self.json("GET", f"object_info/{name}", seconds=self.patience.probe)

    async def submit(self, graph: Mapping[str, Any], prompt_id: str, *, client_id: str, previews: str) -> None:
        """Queue a graph under our own id. Raises Refused, Unanswered, WorkerUnreachable (then it was surely not queued).

        ``number`` is never sent: with one, a 500 may have queued the prompt.
        """
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": client_id, "extra_data": {"preview_method": previews}}
        try:
            told = await self.json("POST", "prompt", body=body)
        except Unanswered:
            raise
        except WorkerUnreachable as error:
            if isinstance(error.__cause__, aiohttp.ClientConnectorError) or error.details.get("status") in (401, 403, 404, 413):
                raise
            raise Unanswered("worker_unreachable", reason=error.details.get("reason", "")) from error
        if told.get("prompt_id") != prompt_id:
            raise WorkerUnreachable("worker_unreachable", reason="this ComfyUI is too old: it makes its own prompt ids (0.3.45 is needed)")
        if told.get("node_errors"):  # half of the graph was queued
            await self.cancel(prompt_id)
            raise Refused(kind="node_errors", detail=_node_errors(told["node_errors"]))

    async def job_state(self, prompt_id: str) -> str | None:
        """``pending in_progress completed failed cancelled``, or None for an id that the server does not know."""
        if self._old:
            return await self._job_state_of_old(prompt_id)
        async with self.call("GET", f"api/jobs/{prompt_id}") as response:
            if response.status == 404:
                if "json" in (response.content_type or ""):
                    return None
                self._old = True
                return await self._job_state_of_old(prompt_id)
            told = await self._told(response)
        state = told.get("status")
        return state if isinstance(state, str) else None

    async def _job_state_of_old(self, prompt_id: str) -> str | None:
        entry = await self.history(prompt_id)
        if entry is not None:
            return "completed" if _status(entry).get("status_str") == "success" else "failed"
        told = await self.json("GET", "queue")
        for part, state in (("queue_running", "in_progress"), ("queue_pending", "pending")):
            items = told.get(part)
            for item in items if isinstance(items, list) else []:
                if isinstance(item, list) and len(item) > 1 and item[1] == prompt_id:
                    return state
        return None

    async def history(self, prompt_id: str) -> dict[str, Any] | None:
        """What became of a prompt, or None as long as it has not ended."""
        entry = (await self.json("GET", f"history/{prompt_id}")).get(prompt_id)
        return entry if isinstance(entry, dict) else None

    async def graph_of(self, prompt_id: str) -> dict[str, Any] | None:
        """The graph of one of our prompts, wherever it stands; None for an unknown id."""
        entry = await self.history(prompt_id)
        if entry is not None:
            return _graph(entry.get("prompt"))
        told = await self.json("GET", "queue")
        for part in ("queue_running", "queue_pending"):
            items = told.get(part)
            for item in items if isinstance(items, list) else []:
                if isinstance(item, list) and len(item) > 2 and item[1] == prompt_id:
                    return _graph(item)
        return None

    async def cancel(self, prompt_id: str) -> None:
        """Stop this prompt and no other, whether it waits or runs. Never the bare forms: they stop whoever runs."""
        async with self.call("POST", f"api/jobs/{prompt_id}/cancel", body={}) as response:
            if response.status == 200:
                return
        await self.quietly("POST", "queue", {"delete": [prompt_id]})
        await self.quietly("POST", "interrupt", {"prompt_id": prompt_id})

    async def forget(self, prompt_ids: Sequence[str]) -> None:
        """Take ended prompts out of the server's history: its memory, and people's words."""
        await self.quietly("POST", "history", {"delete": list(prompt_ids)})

    async def free(self) -> None:
        """Let it unload models once it is idle: another one is coming."""
        await self.quietly("POST", "free", {"unload_models": True, "free_memory": False})

    async def upload(self, data: bytes, name: str, folder: str) -> None:
        """Put an input picture where graphs find it; named by its digest, so that a repeat costs nothing."""
        form = aiohttp.FormData()
        form.add_field("image", data, filename=name, content_type="image/png")
        for field, value in (("subfolder", folder), ("type", "input"), ("overwrite", "true")):
            form.add_field(field, value)
        async with self.call("POST", "upload/image", form=form, seconds=self.patience.transfer) as response:
            told = await self._told(response)
        if told.get("name") != name or told.get("subfolder") != folder:
            raise WorkerUnreachable("worker_unreachable", reason="it stored an input under another name")

    async def view(self, *, filename: str, subfolder: str, kind: str) -> bytes:
        """A file of its output. The names go into the query alone and never near a path of ours."""
        query = {"filename": filename, "subfolder": subfolder, "type": kind}
        async with self.call("GET", "view", query=query, seconds=self.patience.transfer) as response:
            if response.status != 200:
                raise WorkerUnreachable("worker_unreachable", reason=f"a finished file could not be fetched: HTTP {response.status}")
            if (response.content_type or "").startswith("text/html"):
                raise WorkerUnreachable("worker_unreachable", reason=_html(self.url))
            return await _read(response, _FILE_MAX)

    async def json(self, method: str, path: str, *, body: Any = None, seconds: float | None = None) -> dict[str, Any]:
        """A JSON object, whatever else it may be. Raises Refused for a 400, WorkerUnreachable."""
        async with self.call(method, path, body=body, seconds=seconds) as response:
            return await self._told(response)

    async def quietly(self, method: str, path: str, body: Any) -> None:
        """A call whose failure is harmless."""
        try:
            async with self.call(method, path, body=body, seconds=self.patience.probe):
                pass
        except WorkerUnreachable:
            pass

    async def _told(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        if "json" not in (response.content_type or ""):
            raise WorkerUnreachable("worker_unreachable", reason=_not_json(self.url, response), status=response.status)
        body = await _read(response, _JSON_MAX)
        try:
            told = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise WorkerUnreachable("worker_unreachable", reason=f"broken JSON ({len(body)} bytes)") from error
        if response.status == 400 and isinstance(told, dict):
            raise _refusal(told)
        if response.status != 200 or not isinstance(told, dict):
            raise WorkerUnreachable("worker_unreachable", reason=f"HTTP {response.status}", status=response.status)
        return told

    @asynccontextmanager
    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        form: aiohttp.FormData | None = None,
        query: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One exchange; whatever breaks on the way is Unanswered, a redirect is refused (its target would get our password)."""
        limits = aiohttp.ClientTimeout(total=seconds or self.patience.answer, sock_connect=self.patience.connect)
        try:
            async with self.session.request(
                method, self.url / path, json=body, data=form, params=query, headers=self.headers, timeout=limits, allow_redirects=False
            ) as response:
                if 300 <= response.status < 400:
                    raise WorkerUnreachable(
                        "worker_unreachable", reason="it redirects elsewhere, which is not followed", status=response.status
                    )
                yield response
        except aiohttp.ClientConnectorError as error:
            raise WorkerUnreachable("worker_unreachable", reason=_plain(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unanswered("worker_unreachable", reason=_plain(error)) from error


def _plain(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _not_json(url: URL, response: aiohttp.ClientResponse) -> str:
    if response.status in (401, 403):
        return f"HTTP {response.status}: whatever guards it wants another COMFY_API_KEY"
    if (response.content_type or "") == "text/html":
        return _html(url) if response.status == 200 else f"HTTP {response.status} with a web page: its proxy or tunnel does not reach it"
    return f"HTTP {response.status}, no JSON"


def _html(url: URL) -> str:
    return f"a web page instead of ComfyUI's answer: {url.host} is a login or a tunnel's warning page"


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    if (response.content_length or 0) > most:
        raise BadPicture("bad_picture", reason="an answer too large")
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(65_536):
        size += len(part)
        if size > most:
            raise BadPicture("bad_picture", reason="an answer too large")
        parts.append(part)
    return b"".join(parts)


def _refusal(told: dict[str, Any]) -> Refused:
    """ComfyUI's 400 in one sentence; of the graph only class and input names are repeated, never a text."""
    error = told.get("error")
    kind = str(error.get("type", "")) if isinstance(error, dict) else ""
    if kind == "missing_node_type" and isinstance(error, dict):
        extra = error.get("extra_info")
        name = extra.get("class_type", "?") if isinstance(extra, dict) else "?"
        return Refused(kind=kind, detail=f"this server has no node {str(name)[:60]}", stale=True)
    errors = told.get("node_errors")
    detail = _node_errors(errors)
    return Refused(kind=kind or "refused", detail=detail or kind, stale="value_not_in_list" in detail)


def _node_errors(errors: Any) -> str:
    parts: list[str] = []
    for node in list(errors.values())[:5] if isinstance(errors, dict) else []:
        for one in node.get("errors", [])[:3] if isinstance(node, dict) else []:
            extra = one.get("extra_info") if isinstance(one, dict) else None
            label = extra.get("input_name", "?") if isinstance(extra, dict) else "?"
            parts.append(
                f"{str(node.get('class_type'))[:60]}.{str(label)[:60]}: {str(one.get('type'))[:60] if isinstance(one, dict) else '?'}"
            )
    return "; ".join(parts)[:300]


def _graph(item: Any) -> dict[str, Any] | None:
    graph = item[2] if isinstance(item, list) and len(item) > 2 else None
    return graph if isinstance(graph, dict) else None


def _status(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    status = entry.get("status")
    return status if isinstance(status, dict) else {}
