"""A worker without a GPU, speaking the worker protocol over real HTTP, that misbehaves on demand.

It draws a flat picture in a colour of its prompt, so that tests can tell pictures apart. Faults by name: ``500``, ``html``,
``hang`` (accepts, never moves), ``truncated``, ``wrong_size``, ``wrong_digest``, ``drop_stream``, ``oom``, ``refuse``, ``full``,
``die`` (forgets everything). As a process of its own, to be killed: ``python -m tests.fake_worker --port 8001``.
"""

import argparse
import asyncio
import hashlib
import io
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from PIL import Image

from workers import protocol

OFFER = {
    "name": "house", "family": "sd15", "title": "House model", "default_width": 128, "default_height": 128, "size_multiple": 32,
    "side_min": 64, "side_max": 256, "max_pixels": 65536, "default_steps": 12, "steps_min": 1, "steps_max": 60,
    "default_guidance": 3.0, "schedulers": ["ddim"], "default_scheduler": "ddim", "loaded": True,
}  # fmt: skip


def colour_of(prompt: str) -> tuple[int, int, int]:
    digest = hashlib.sha256(prompt.encode()).digest()
    return digest[0], digest[1], digest[2]


ABLE = {
    "kinds": ["text_to_image", "image_to_image", "upscale", "animate"], "count_max": 10, "loras_max": 8, "scales": [2, 4],
}  # fmt: skip
"""What an offer says of a worker that can do more than pictures from words."""

LORAS = [
    {"name": "film-grain", "family": "sd15", "title": "Film grain", "triggers": ["grainy"], "weight": 0.8},
    {"name": "noir", "family": "sd15", "title": "Black and white", "triggers": [], "weight": 1.0},
    {"name": "other-family", "family": "sdxl", "title": "", "triggers": [], "weight": 1.0},
]


def picture(order: dict, *, size: tuple[int, int] | None = None, index: int = 0) -> bytes:
    """A PNG in the prompt's colour, a little darker for each further picture of the order; a clip blinks."""
    out = io.BytesIO()
    larger = (order.get("scale") or 1) if order.get("kind") == "upscale" else 1
    size = size or (order["width"] * larger, order["height"] * larger)
    colour = tuple(max(0, channel - 9 * index) for channel in colour_of(order["prompt"]))
    image = Image.new("RGB", size, colour)
    if order.get("kind") == "animate":
        frames = [Image.new("RGB", size, (n * 7 % 256, 40, 200)) for n in range(1, order["frames"])]
        image.save(out, "WEBP", save_all=True, append_images=frames, duration=round(1000 / order["fps"]), loop=0, lossless=True)
    else:
        image.save(out, "PNG")
    return out.getvalue()


class FakeWorker:
    def __init__(
        self, *, step_seconds: float = 0.005, max_batch: int = 4, abilities: dict | None = None, loras: list[dict] | None = None
    ) -> None:
        self.step_seconds = step_seconds
        self.max_batch = max_batch
        self.offer = OFFER | (abilities or {})
        self.loras = loras or []
        self.more_models: list[dict] = []
        """Offered beside its own, each by what it has otherwise."""
        self.inputs: dict[str, bytes] = {}
        self.faults: list[str] = []
        """Each run takes the next one; the empty list means to behave."""
        self.shared_with = 1
        """The company that every run is said to have had."""
        self.notes: list[str] = []
        """What every run's end says its person should know."""
        self.preview: str | None = None
        """Base64 of what every step shows."""
        self.sentence = ""
        """What its refusals say, where it is not what they usually do."""
        self.always: str | None = None
        self.instance = "one"
        self.orders: dict[str, dict] = {}
        self.state: dict[str, str] = {}
        self.started: Counter[str] = Counter()
        self.cancelled: set[str] = set()
        self.acknowledged: set[str] = set()
        self.fault_of: dict[str, str | None] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        """Cleared: runs stand still after their first step."""
        self.url = ""
        self.alive = True
        self._alone: list[asyncio.Task[None]] = []

    def restart(self) -> None:
        """Forget every run, as a new process does."""
        self.instance += "+"
        self.orders.clear()
        self.state.clear()
        self.fault_of.clear()

    @asynccontextmanager
    async def serve(self, *, port: int = 0) -> AsyncIterator["FakeWorker"]:
        app = web.Application(middlewares=[self._mood])
        app.add_routes([
            web.get("/v1/capabilities", self._capabilities), web.get("/v1/runs", self._list), web.put("/v1/runs/{key}", self._put),
            web.get("/v1/runs/{key}/events", self._events), web.get("/v1/runs/{key}/pictures/{i}", self._picture),
            web.put("/v1/inputs/{sha256}", self._input), web.post("/v1/runs/{key}/ack", self._ack), web.delete("/v1/runs/{key}", self._delete),
        ])  # fmt: skip
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            for task in self._alone:
                task.cancel()
            await asyncio.gather(*self._alone, return_exceptions=True)
            await runner.cleanup()

    @web.middleware
    async def _mood(self, request: web.Request, handler):
        if not self.alive:
            assert request.transport is not None
            request.transport.abort()
        if self.always == "500":
            return web.Response(status=500, text="boom")
        if self.always == "html":
            return web.Response(text="<html>tunnel not found</html>", content_type="text/html")
        return await handler(request)

    async def _capabilities(self, _):
        running = sum(self.orders[key].get("count", 1) for key, state in self.state.items() if state == "running")
        return web.json_response({
            "protocol_version": protocol.PROTOCOL_VERSION, "worker_name": "fake", "instance_id": self.instance, "software": "test",
            "device": {"kind": "cpu", "name": "Fake CPU", "precision": "float32", "memory_total": None, "memory_free": None},
            "models": [self.offer, *({**self.offer, **other} for other in self.more_models)], "loras": self.loras, "max_batch": self.max_batch, "free_places": max(0, self.max_batch - running), "previews": False, "draining": False,
        })  # fmt: skip

    async def _list(self, _):
        runs = [
            {"key": key, "params_hash": order["params_hash"], "model": order["model"], "state": self.state[key], "step": 0,
             "total_steps": order["steps"], "elapsed_seconds": 0.0, "end": None}
            for key, order in self.orders.items() if self.state[key] == "running"
        ]  # fmt: skip
        return web.json_response({"instance_id": self.instance, "runs": runs})

    async def _input(self, request: web.Request):
        self.inputs[request.match_info["sha256"]] = await request.read()
        return web.Response(status=204)

    async def _put(self, request: web.Request):
        key = request.match_info["key"]
        order = protocol.RunOrder.model_validate_json(await request.read()).model_dump()
        missing = [sha256 for sha256 in (order["image"], order["mask"]) if sha256 and sha256 not in self.inputs]
        if missing:
            return self._problem(409, "input_missing")
        if key not in self.orders:
            fault = self.fault_of[key] = self.faults.pop(0) if self.faults else None
            if fault == "500":
                return web.Response(status=500, text="boom")
            if fault == "html":
                return web.Response(text="<html>", content_type="text/html", status=502)
            if fault == "full":
                return self._problem(429, "full")
            if fault == "refuse":
                return self._problem(422, "bad_order")
            self.orders[key] = order
            self.state[key] = "running"
            self.started[key] += 1
            self._alone.append(asyncio.create_task(self._live(key)))
        return web.json_response(
            {"key": key, "params_hash": order["params_hash"], "model": "house", "state": "accepted", "step": 0, "total_steps": order["steps"],
             "elapsed_seconds": 0.0, "end": None}, status=202,
        )  # fmt: skip

    async def _live(self, key: str) -> None:
        """A run goes on whether anybody listens or not: its host may have been killed."""
        async for _ in self._story(key):
            pass

    def _problem(self, status: int, code: str) -> web.Response:
        return web.json_response({"code": code, "detail": self.sentence or f"a sentence about {code}", "fields": []}, status=status)

    async def _events(self, request: web.Request):
        key = request.match_info["key"]
        if key not in self.orders:
            return self._problem(404, "unknown_run")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        async for event in self._story(key):
            try:
                await response.write(json.dumps(event).encode() + b"\n")
            except ConnectionResetError:  # the host was killed: that is what some tests are about
                break
            if event["type"] == "progressed" and self.fault_of.get(key) == "drop_stream":
                self.fault_of[key] = None
                assert request.transport is not None
                request.transport.abort()
                break
        return response

    async def _story(self, key: str) -> AsyncIterator[dict]:
        order, fault = self.orders[key], self.fault_of[key]
        yield {"type": "accepted", "sequence": 0, "key": key, "state": "accepted", "total_steps": order["steps"]}
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "oom":
            self.state[key] = "failed"
            yield {"type": "failed", "sequence": 1, "code": "out_of_memory", "detail": "no room", "kind": "out_of_memory"}
            return
        for step in range(1, order["steps"] + 1):
            await asyncio.sleep(self.step_seconds)
            if key in self.cancelled:
                self.state[key] = "cancelled"
                yield {"type": "cancelled", "sequence": step, "reason": "requested"}
                return
            yield {"type": "progressed", "sequence": step, "state": "running", "step": step, "total_steps": order["steps"],
                   "elapsed_seconds": step * self.step_seconds, "preview_b64": self.preview}  # fmt: skip
            while not self.gate.is_set() and key not in self.cancelled:
                await asyncio.sleep(0.005)
        if key not in self.orders:  # the process was restarted meanwhile
            return
        self.state[key] = "finished"
        files = [self._bytes(key, index) for index in range(order["count"])]
        yield {"type": "finished", "sequence": 999, "seconds": 0.1, "shared_with": self.shared_with, "passes": order["steps"], "notes": self.notes,
               "pictures": [self._described(data, order, index, fault) for index, data in enumerate(files)]}  # fmt: skip

    def _described(self, data: bytes, order: dict, index: int, fault: str | None) -> dict:
        with Image.open(io.BytesIO(data)) if fault != "truncated" else Image.new("RGB", (order["width"], order["height"])) as image:
            width, height = image.size
        digest = hashlib.sha256(data).hexdigest() if fault != "wrong_digest" else "0" * 64
        kind = "image/webp" if order["kind"] == "animate" else "image/png"
        size = {"width": order["width"], "height": order["height"]} if fault == "wrong_size" else {"width": width, "height": height}
        return {"index": index, "sha256": digest, "bytes": len(data), "content_type": kind, **size, "seed": (order["seed"] + index) % 2**63}

    def _bytes(self, key: str, index: int = 0) -> bytes:
        fault, order = self.fault_of[key], self.orders[key]
        data = picture(order, size=(32, 32) if fault == "wrong_size" else None, index=index)
        return data[:-30] if fault == "truncated" else data

    async def _picture(self, request: web.Request):
        key = request.match_info["key"]
        kind = "image/webp" if self.orders[key]["kind"] == "animate" else "image/png"
        return web.Response(body=self._bytes(key, int(request.match_info["i"])), content_type=kind)

    async def _ack(self, request: web.Request):
        key = request.match_info["key"]
        self.acknowledged.add(key)
        return web.Response(status=204)

    async def _delete(self, request: web.Request):
        key = request.match_info["key"]
        if key not in self.orders:
            return self._problem(404, "unknown_run")
        self.cancelled.add(key)
        return web.json_response(
            {"key": key, "params_hash": self.orders[key]["params_hash"], "model": "house", "state": "cancelled", "step": 0,
             "total_steps": 1, "elapsed_seconds": 0.0, "end": None}
        )  # fmt: skip


async def _serve_until_killed(port: int, step_seconds: float, max_batch: int) -> None:
    worker = FakeWorker(step_seconds=step_seconds, max_batch=max_batch)
    worker.instance = secrets.token_hex(8)  # each process is another one, as a real worker's is
    async with worker.serve(port=port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--step-seconds", type=float, default=0.04)
    parser.add_argument("--max-batch", type=int, default=4)
    options = parser.parse_args()
    asyncio.run(_serve_until_killed(options.port, options.step_seconds, options.max_batch))
