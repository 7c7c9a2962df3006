"""The server: ComfyUI's routes and socket as measured, one prompt at a time, everything in memory.

``faults`` are taken one a prompt, in order; ``moods`` hold until taken away. By name:

prompts: ``die`` (kill -9 in the middle, back with an empty memory) · ``restart`` (the same, at once) · ``error`` (ValueError in a node) ·
``oom`` · ``oom_plain`` (a RuntimeError that says it in words) · ``drop`` (all sockets, in the middle) · ``late`` (history after success) ·
``success_first`` (never says ``executing: null``) · ``lost_answer`` (queued, connection reset) · ``lost_post`` (reset before it was queued) ·
``500`` (queued, answered 500) · ``half`` (200 with node_errors) · ``cached`` · ``swapped`` (results under each other's names) ·
``extra`` (one result more) · ``missing`` (one less) · ``traversal`` (a result named ../../etc/passwd) · ``gone`` (listed file is 404) ·
``truncated`` · ``huge`` (endless file) · ``wrong_size`` · ``interrupted`` (by somebody else) · ``stubborn`` (ignores cancel until it ends)
moods: ``html`` · ``html_502`` · ``401`` · ``redirect`` · ``garbage`` · ``zombie`` (accepts, never runs) · ``deaf`` (sockets open, say nothing) ·
``no_socket`` · ``reset`` (every connection) · ``old_ids`` · ``no_jobs`` (before v0.6) · ``slow_history`` · ``bomb`` (a JSON answer without end) · ``noise`` (garbage frames,
other clients' events)
"""

import asyncio
import json
import re
import struct
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from tests.comfy_server.meaning import Meaning, NodeError, Reader, picture
from tests.comfy_server.validation import object_info, refusal

FILES = {
    "ckpt_name": ["sd15.safetensors", "sd_xl_base_1.0.safetensors"], "unet_name": ["flux1-dev-Q4_K_S.gguf", "flux1-kontext-dev-Q4_K_S.gguf"],
    "clip_name1": ["clip_l.safetensors"], "clip_name2": ["t5xxl_fp8.safetensors"], "vae_name": ["ae.safetensors"],
    "clip_name": ["qwen_3_4b.safetensors"], "model_name": ["4x-UltraSharp.pth", "mm_sd_v15_v2.ckpt"],
    "lora_name": ["sd15/star.safetensors", "sdxl/moon.safetensors"],
}  # fmt: skip
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class FakeComfy:
    def __init__(self, *, pack: bool | int = True, files: dict[str, list[str]] | None = None, step_seconds: float = 0.003) -> None:
        self.pack = pack
        self.files = {**FILES, **(files or {})}
        if files is None:
            self.files["unet_name"] = [*FILES["unet_name"], "z_image_turbo_bf16.safetensors"]
        self.step_seconds = step_seconds
        self.key: str | None = None
        """The whole Authorization header that a proxy in front wants."""
        self.faults: list[str] = []
        self.error_text = ""
        """What the errors of its nodes quote."""
        self.moods: set[str] = set()
        self.oom_above: int | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        """Cleared: samplers stand still after their first step."""
        self.posted: list[dict] = []
        self.ran: Counter[str] = Counter()
        self.cancels: list[str] = []
        self.freed: list[dict] = []
        self.seen_headers: list[dict[str, str]] = []
        self.requests: Counter[str] = Counter()
        self.uploads: dict[str, bytes] = {}
        self.url = ""
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self._flags: set[str] = set()
        self._fresh()

    def _fresh(self) -> None:
        self.pending: list[dict] = []
        self.running: dict | None = None
        self.history: dict[str, dict] = {}
        self.temp: dict[str, bytes] = {}
        self.number = 0
        self._made: dict[str, dict] = {}
        self._work = asyncio.Event()

    @property
    def nodes(self) -> dict:
        return object_info(self.files, pack=self.pack)

    async def restart(self) -> None:
        """kill -9 and a new process: connections end, memory and temp are empty."""
        for socket in list(self.sockets.values()):
            with suppress(ConnectionError):
                await socket.close()
        self.sockets.clear()
        self._worker.cancel()
        with suppress(asyncio.CancelledError):
            await self._worker
        self._fresh()
        self._worker = asyncio.create_task(self._run_prompts())

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["FakeComfy"]:
        app = web.Application(middlewares=[self._mood], client_max_size=2**27)
        routes = [
            ("GET", "/prompt", self._get_prompt), ("POST", "/prompt", self._post_prompt), ("GET", "/queue", self._get_queue),
            ("POST", "/queue", self._post_queue), ("POST", "/interrupt", self._interrupt), ("GET", "/history/{id}", self._history),
            ("POST", "/history", self._post_history), ("GET", "/view", self._view), ("POST", "/upload/image", self._upload),
            ("GET", "/object_info/{name}", self._object_info), ("GET", "/object_info", self._object_info),
            ("GET", "/system_stats", self._stats), ("GET", "/features", self._features), ("POST", "/free", self._free), ("GET", "/ws", self._ws),
        ]  # fmt: skip
        for method, path, handler in routes:
            app.router.add_route(method, path, handler)
            app.router.add_route(method, f"/api{path}", handler)
        app.router.add_get("/api/jobs/{id}", self._job)
        app.router.add_post("/api/jobs/{id}/cancel", self._cancel)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._worker = asyncio.create_task(self._run_prompts())
        try:
            yield self
        finally:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
            await runner.cleanup()

    @web.middleware
    async def _mood(self, request: web.Request, handler):
        self.requests[f"{request.method} {request.path}"] += 1
        self.seen_headers.append(dict(request.headers))
        if self.key is not None and request.headers.get("Authorization") != self.key:
            return web.Response(status=401, text="<html>who are you</html>", content_type="text/html")
        if "reset" in self.moods:
            request.transport.abort()
            return web.Response()
        if "html" in self.moods:
            return web.Response(text="<html>You are about to visit</html>", content_type="text/html")
        if "html_502" in self.moods:
            return web.Response(status=502, text="<html>bad gateway</html>", content_type="text/html")
        if "redirect" in self.moods:
            return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/"})
        if "garbage" in self.moods:
            return web.Response(text="{" * 5000, content_type="application/json")
        if "bomb" in self.moods:
            return await self._endless(request, "application/json")
        return await handler(request)

    async def _endless(self, request: web.Request, kind: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"\0" * 2**20)
        return response

    # ---- what it knows ----------------------------------------------------------------------------------------------

    async def _object_info(self, request: web.Request):
        name = request.match_info.get("name")
        nodes = self.nodes
        return web.json_response(nodes if name is None else {name: nodes[name]} if name in nodes else {})

    async def _stats(self, _):
        device = {"name": "cuda:0 Fake 4090", "type": "cuda", "index": 0, "vram_total": 24 * 2**30, "vram_free": 20 * 2**30}
        return web.json_response({"system": {"comfyui_version": "0.33.0", "argv": ["main.py"]}, "devices": [device]})

    async def _features(self, _):
        return web.json_response({"supports_preview_metadata": True, "max_upload_size": 104857600})

    async def _free(self, request: web.Request):
        self.freed.append(await request.json())
        return web.Response()

    async def _upload(self, request: web.Request):
        form = await request.post()
        file = form["image"]
        self.uploads[f"{form['subfolder']}/{file.filename}"] = file.file.read()
        return web.json_response({"name": file.filename, "subfolder": form["subfolder"], "type": form["type"]})

    # ---- prompts ----------------------------------------------------------------------------------------------------

    def _remaining(self) -> int:
        return len(self.pending) + (self.running is not None)

    async def _get_prompt(self, _):
        return web.json_response({"exec_info": {"queue_remaining": self._remaining()}})

    async def _post_prompt(self, request: web.Request):
        body = await request.json()
        self.posted.append(body)
        prompt_id = body.get("prompt_id", str(uuid.uuid4()))
        if "old_ids" in self.moods:
            prompt_id = str(uuid.uuid4())
        if not _ID.fullmatch(prompt_id):
            return web.json_response({"error": {"type": "invalid_prompt_id", "message": "", "details": "", "extra_info": {}}, "node_errors": {}}, status=400)
        refused = refusal(body["prompt"], self.nodes, set(self.uploads))
        if refused is not None:
            return web.json_response(refused, status=400)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "lost_post":
            request.transport.abort()
            return web.Response()
        self._queue(prompt_id, body, fault)
        if fault == "lost_answer":
            request.transport.abort()
        if fault == "500":
            return web.Response(status=500, text="Internal Server Error")
        errors = {"9": {"errors": [{"type": "value_not_in_list", "extra_info": {"input_name": "x"}}], "class_type": "X"}} if fault == "half" else {}
        return web.json_response({"prompt_id": prompt_id, "number": self.number, "node_errors": errors})

    def _queue(self, prompt_id: str, body: dict, fault: str) -> None:
        self.number += 1
        self.pending.append({"id": prompt_id, "graph": body["prompt"], "client": body.get("client_id"), "fault": fault, "number": self.number})
        self._work.set()
        self._status()

    def queue_foreign(self) -> str:
        """A prompt of another host, waiting before ours."""
        name = str(uuid.uuid4())
        graph = {"1": {"class_type": "PreviewImage", "inputs": {}}}
        self._queue(name, {"prompt": graph, "client_id": "somebody"}, "")
        return name

    def _item(self, prompt: dict) -> list:
        return [prompt["number"], prompt["id"], prompt["graph"], {"client_id": prompt["client"]}, ["result"]]

    async def _get_queue(self, _):
        running = [self._item(self.running)] if self.running else []
        return web.json_response({"queue_running": running, "queue_pending": [self._item(one) for one in self.pending]})

    async def _post_queue(self, request: web.Request):
        body = await request.json()
        assert "clear" not in body, "a bare clear hits everybody"
        self.pending = [one for one in self.pending if one["id"] not in body["delete"]]
        return web.Response()

    async def _interrupt(self, request: web.Request):
        body = await request.json()
        assert "prompt_id" in body, "a bare interrupt stops whoever runs"
        if self.running and self.running["id"] == body["prompt_id"]:
            self.running["cancelled"] = True
        return web.Response()

    async def _job(self, request: web.Request):
        name = request.match_info["id"]
        if "no_jobs" in self.moods:
            return web.Response(status=404, text="404: Not Found")
        if name in self.history:
            entry = self.history[name]
            state = entry["job"]
        elif self.running and self.running["id"] == name:
            state = "in_progress"
        elif any(one["id"] == name for one in self.pending):
            state = "pending"
        else:
            return web.json_response({"error": "Job not found"}, status=404)
        return web.json_response({"id": name, "status": state})

    async def _cancel(self, request: web.Request):
        name = request.match_info["id"]
        if "no_jobs" in self.moods:
            return web.Response(status=404, text="404: Not Found")
        self.cancels.append(name)
        before = len(self.pending)
        self.pending = [one for one in self.pending if one["id"] != name]
        hit = len(self.pending) < before
        if self.running and self.running["id"] == name:
            self.running["cancelled"] = hit = True
        return web.json_response({"cancelled": hit})

    async def _history(self, request: web.Request):
        if "slow_history" in self.moods:
            await asyncio.sleep(0.3)
        name = request.match_info["id"]
        entry = self.history.get(name)
        return web.json_response({name: {k: v for k, v in entry.items() if k != "job"}} if entry else {})

    async def _post_history(self, request: web.Request):
        body = await request.json()
        assert "clear" not in body
        for name in body["delete"]:
            self.history.pop(name, None)
        return web.Response()

    async def _view(self, request: web.Request):
        name, folder = request.query["filename"], request.query.get("subfolder", "")
        if ".." in name or name.startswith("/"):
            return web.Response(status=400)
        data = self.temp.get(f"{folder}/{name}")
        if data is None:
            return web.Response(status=404)
        if data == b"endless":
            return await self._endless(request, "image/png")
        return web.Response(body=data, content_type="image/png")

    # ---- the worker thread ------------------------------------------------------------------------------------------

    async def _run_prompts(self) -> None:
        while True:
            self._work.clear()
            while self.pending and "zombie" not in self.moods:
                self.running = self.pending.pop(0)
                try:
                    await self._run(self.running)
                finally:
                    self.running = None
                self._status()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await self._work.wait()

    async def _run(self, prompt: dict) -> None:
        name, fault = prompt["id"], prompt["fault"]
        self.ran[name] += 1
        started = time.time() * 1000
        messages: list = [["execution_start", {"prompt_id": name, "timestamp": started}]]
        self._send(prompt, "execution_start", {"prompt_id": name, "timestamp": started})
        self._send(prompt, "execution_cached", {"nodes": [], "prompt_id": name, "timestamp": started})
        try:
            meanings = Reader(prompt["graph"]).meanings() if "result" in prompt["graph"] else []
            await self._sample(prompt, meanings)
            outputs = self._save(prompt, meanings)
            kind, told = "execution_success", {"prompt_id": name, "timestamp": time.time() * 1000}
        except NodeError as error:
            outputs, kind = {}, "execution_error"
            told = {
                "prompt_id": name, "node_id": error.node, "node_type": "SamplerCustomAdvanced", "exception_message": error.message,
                "exception_type": error.kind, "traceback": [], "current_inputs": {"text": ["SECRET of a neighbour"]}, "timestamp": time.time() * 1000,
            }  # fmt: skip
        except InterruptedError:
            outputs, kind, told = {}, "execution_interrupted", {"prompt_id": name, "node_id": "sampler", "timestamp": time.time() * 1000}
        messages.append([kind, told])
        done = kind == "execution_success"
        entry = {
            "prompt": self._item(prompt), "outputs": outputs, "meta": {"last_step": prompt.get("last_step")}, "job": "completed" if done else "cancelled" if "interrupted" in kind else "failed",
            "status": {"status_str": "success" if done else "error", "completed": done, "messages": messages},
        }  # fmt: skip
        await self._end(prompt, entry, kind, told, fault)

    async def _end(self, prompt: dict, entry: dict, kind: str, told: dict, fault: str) -> None:
        if fault == "late":
            self._send(prompt, kind, told)
            await asyncio.sleep(0.15)
            self.history[prompt["id"]] = entry
        else:
            self.history[prompt["id"]] = entry
            self._send(prompt, kind, told)
        if fault != "success_first":
            self._send(prompt, "executing", {"node": None, "prompt_id": prompt["id"]})

    async def _sample(self, prompt: dict, meanings: list[Meaning]) -> None:
        fault = prompt["fault"]
        if self.oom_above is not None and len(meanings) > self.oom_above:
            raise NodeError("torch.OutOfMemoryError", "Allocation on device")
        if fault == "oom":
            raise NodeError("torch.OutOfMemoryError", f"Allocation on device {self.error_text}")
        if fault == "oom_plain":
            raise NodeError("RuntimeError", f"CUDA error: out of memory {self.error_text}")
        if fault == "error" or any("poison" in meaning.prompt for meaning in meanings):
            raise NodeError("ValueError", f"a node stumbled {self.error_text}")
        steps = meanings[0].steps if meanings else 1
        node = "sampler" if "sampler" in prompt["graph"] else "large"
        self._send(prompt, "executing", {"node": node, "display_node": node, "prompt_id": prompt["id"]})
        for step in range(1, steps + 1):
            await asyncio.sleep(self.step_seconds)
            prompt["last_step"] = time.time()
            self._send(prompt, "progress", {"value": step, "max": steps, "prompt_id": prompt["id"], "node": node})
            self._previews(prompt, meanings)
            if step == 1:
                await self._misfortune(prompt)
            while not (self.gate.is_set() or (prompt.get("cancelled") and fault != "stubborn")):
                await asyncio.sleep(0.003)
            if prompt.get("cancelled") and fault != "stubborn":
                raise InterruptedError

    async def _misfortune(self, prompt: dict) -> None:
        fault = prompt["fault"]
        if fault == "interrupted":
            raise InterruptedError
        if fault == "drop":
            for socket in list(self.sockets.values()):
                await socket.close()
        if fault in ("die", "restart"):
            prompt["fault"] = ""
            self._reborn = asyncio.create_task(self.restart())
            await asyncio.sleep(3600)

    def _previews(self, prompt: dict, meanings: list[Meaning]) -> None:
        names = self._names(prompt["graph"])
        for index, _ in enumerate(meanings if names else meanings[:1]):
            told = {"prompt_id": prompt["id"], "node_id": "sampler"}
            if names:
                told["darkroom_item"] = names[index]
            head = json.dumps(told).encode()
            frame = struct.pack(">II", 4, len(head)) + head + b"\xff\xd8preview of " + meanings[index].prompt.encode()
            self._send_bytes(prompt, frame)
        if not names:  # without the flags ComfyUI sends kind 1, which names nobody
            self._send_bytes(prompt, struct.pack(">II", 1, 1) + b"\xff\xd8nameless")

    def _names(self, graph: dict) -> list[str]:
        told = graph.get("result", {}).get("inputs", {}).get("names")
        return json.loads(told) if told else []

    def _save(self, prompt: dict, meanings: list[Meaning]) -> dict:
        if "result" not in prompt["graph"]:
            return {}
        graph, fault = prompt["graph"], prompt["fault"]
        key = json.dumps(graph, sort_keys=True)
        if fault == "cached" and key in self._made:
            return self._made[key]
        names = self._names(graph)
        entries = []
        for index, meaning in enumerate(meanings):
            own = names[index] if names else f"ComfyUI_temp_{uuid.uuid4().hex[:5]}_00001_"
            if fault == "wrong_size":
                meaning = Meaning(**{**meaning.__dict__, "width": 8, "height": 8})
            data = picture(meaning, graph=None if names else graph)
            data = {"truncated": data[: len(data) // 2], "huge": b"endless"}.get(fault, data)
            folder = graph["result"]["inputs"].get("subfolder", "")
            ending = "webp" if meaning.frames > 1 else "png"
            self.temp[f"{folder}/{own}.{ending}"] = data
            entry = {"filename": f"{own}.{ending}", "subfolder": folder, "type": "temp"}
            entries.append({**entry, "item": own} if names else entry)
        entries = self._spoiled(entries, fault)
        kind = "gifs" if meanings[0].frames > 1 else "images"
        self._made[key] = {"result": {kind: entries}}
        return self._made[key]

    def _spoiled(self, entries: list[dict], fault: str) -> list[dict]:
        match fault:
            case "swapped":
                return [{**entries[0], "item": "somebody-else"}, *entries[1:]]
            case "extra":
                return [*entries, {**entries[0], "item": "one-more"}]
            case "missing":
                return entries[1:]
            case "traversal":
                return [{**entry, "filename": "../../etc/passwd"} for entry in entries]
            case "gone":
                return [{**entry, "filename": "x" + entry["filename"]} for entry in entries]
        return entries

    # ---- the socket -------------------------------------------------------------------------------------------------

    async def _ws(self, request: web.Request):
        if "no_socket" in self.moods:
            return web.Response(status=403)
        socket = web.WebSocketResponse(max_msg_size=4 * 2**20)
        await socket.prepare(request)
        client = request.query["clientId"]
        if client in self.sockets:
            raise AssertionError("a reconnect under the same clientId may stay deaf for ever")
        self.sockets[client] = socket
        if "deaf" not in self.moods:
            await socket.send_str(json.dumps({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": client}}))
        async for message in socket:
            if message.type is web.WSMsgType.TEXT and "feature_flags" in message.data:
                self._flags.add(client)
        self.sockets.pop(client, None)
        return socket

    def _send(self, prompt: dict, kind: str, data: dict) -> None:
        self._send_frame(prompt["client"], json.dumps({"type": kind, "data": data}))
        if "noise" in self.moods:
            other = {**data, "prompt_id": str(uuid.uuid4())}
            for frame in ("not json", "[]", json.dumps({"type": kind, "data": other}), json.dumps({"type": "executing", "data": {"node": "3"}})):
                self._send_frame(prompt["client"], frame)
            self._send_frame(prompt["client"], b"\0\0\0\4\xff\xff\xff\xff{")

    def _send_bytes(self, prompt: dict, frame: bytes) -> None:
        if prompt["client"] in self._flags:
            self._send_frame(prompt["client"], frame)

    def _send_frame(self, client: str | None, frame: str | bytes) -> None:
        socket = self.sockets.get(client or "")
        if socket is None or socket.closed or "deaf" in self.moods:
            return
        sending = socket.send_str(frame) if isinstance(frame, str) else socket.send_bytes(frame)
        task = asyncio.ensure_future(sending)
        task.add_done_callback(lambda done: done.exception() if not done.cancelled() else None)

    def _status(self) -> None:
        told = json.dumps({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": self._remaining()}}}})
        for client in list(self.sockets):
            self._send_frame(client, told)
