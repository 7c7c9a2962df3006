"""The worker over HTTP: idempotent runs, streams that lose nothing, adoption, drain, and refusals in kind sentences."""

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

pytest.importorskip("numpy", reason="a host without the worker's packages has no engine to test")

import numpy as np
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from tests.workers.fake_backend import FakeBackend, pixels_of, source
from workers.engine.catalog import Catalog
from workers.engine.run import Progress, RunSpec
from workers.protocol import (
    BODY_BYTES_MAX,
    Accepted,
    Cancelled,
    Capabilities,
    Failed,
    Finished,
    Health,
    Heartbeat,
    Problem,
    Progressed,
    RunKey,
    RunList,
    RunOrder,
    RunStatus,
    order_hash,
    parse_event,
)
from workers.server import stream
from workers.server.ledger import Ledger
from workers.server.routes import make_app
from workers.server.settings import SettingsRefused, WorkerSettings
from workers.server.worker import Worker

HASH = "a" * 64


def order(**changes: Any) -> dict[str, Any]:
    return {
        "model": "m", "prompt": "a cat", "width": 16, "height": 16, "steps": 4, "guidance": 3, "seed": 7,
        "params_hash": HASH,
    } | changes  # fmt: skip


class FakeModels(Worker):
    """A worker whose models folder holds models in name only."""

    async def rescan(self) -> None:
        self._catalog = Catalog(models={"m": source("m")}, refused={"evil.ckpt": "evil.ckpt is a pickle."})


class Bench:
    """A worker on loopback over a fake engine, and a client."""

    def __init__(self, backend: FakeBackend, worker: Worker, client: TestClient[Any, Any]) -> None:
        self.backend = backend
        self.worker = worker
        self.client = client

    async def put(self, key: str, body: Any = None, **changes: Any) -> ClientResponse:
        data = body if body is not None else json.dumps(order(**changes))
        return await self.client.put(f"/v1/runs/{key}", data=data)

    async def status(self, key: str) -> RunStatus:
        return RunStatus.model_validate_json(await (await self.client.get(f"/v1/runs/{key}")).read())

    async def until_step(self, key: str, step: int) -> None:
        async with asyncio.timeout(10):
            while (await self.status(key)).step < step:
                await asyncio.sleep(0.01)

    async def until_end(self, key: str) -> RunStatus:
        async with asyncio.timeout(10):
            while not (status := await self.status(key)).state.is_end:
                await asyncio.sleep(0.01)
        return status

    async def events(self, key: str) -> list[Any]:
        async with asyncio.timeout(10), self.client.get(f"/v1/runs/{key}/events") as response:
            assert response.status == 200
            assert response.content_type == "application/x-ndjson"
            return [parse_event(line) async for line in response.content]

    async def picture(self, key: str) -> bytes:
        return await (await self.client.get(f"/v1/runs/{key}/pictures/0")).read()


Make = Callable[..., Any]


@pytest.fixture
async def bench() -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:
        backends: list[FakeBackend] = []

        async def make(backend: FakeBackend | None = None, *, ledger: Ledger | None = None, **settings: Any) -> Bench:
            backend = backend or FakeBackend()
            backends.append(backend)
            worker = FakeModels(WorkerSettings(**settings), builtin={}, make_backend=lambda: backend, ledger=ledger)
            await worker.rescan()
            await stack.enter_async_context(worker)
            await worker.ready.wait()
            client = await stack.enter_async_context(TestClient(TestServer(make_app(worker))))
            return Bench(backend, worker, client)

        yield make
        for backend in backends:
            backend.let_go()
            backend.permit(1000)


async def problem(response: ClientResponse) -> tuple[int, str]:
    """The status and code of a refusal; its sentence must be one."""
    told = Problem.model_validate_json(await response.read())
    assert told.detail[0].isupper()
    assert told.detail.endswith(".")
    return response.status, told.code


async def test_a_run_goes_from_order_to_acknowledged_picture(bench: Make) -> None:
    lab = await bench()
    response = await lab.put("job.1")
    assert response.status == 202
    events = await lab.events("job.1")
    assert isinstance(events[0], Accepted)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert [event.sequence for event in events] == sorted(event.sequence for event in events)
    data = await lab.picture("job.1")
    [told] = finished.pictures
    assert (told.sha256, told.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (told.width, told.height, told.seed, finished.passes, finished.shared_with) == (16, 16, 7, 4, 0)
    with Image.open(io.BytesIO(data)) as image:
        assert image.info == {}, "a picture carries its pixels and nothing else"
        spec = RunSpec(model="m", prompt="a cat", width=16, height=16, steps=4, guidance=3, seed=7)
        assert np.array_equal(np.asarray(image), pixels_of(spec))
    for _ in range(2):
        assert (await lab.client.post("/v1/runs/job.1/ack")).status == 204
    assert await problem(await lab.client.get("/v1/runs/job.1")) == (404, "unknown_run")


async def test_the_same_order_under_the_same_key_starts_once(bench: Make) -> None:
    lab = await bench()
    responses = await asyncio.gather(*(lab.put("job.1") for _ in range(10)))
    assert sorted(response.status for response in responses) == [200] * 9 + [202]
    await lab.until_end("job.1")
    again = await lab.put("job.1")
    assert again.status == 200
    assert RunStatus.model_validate_json(await again.read()).state.is_end
    assert sum(map(len, lab.backend.families["m"].passes)) == 4


async def test_another_order_under_the_same_key_is_refused(bench: Make) -> None:
    lab = await bench()
    await lab.put("job.1")
    assert await problem(await lab.put("job.1", params_hash="b" * 64)) == (409, "conflict")


async def test_a_newer_epoch_supersedes_and_an_older_one_is_refused(bench: Make) -> None:
    lab = await bench(FakeBackend(held=True), max_batch=2)
    await lab.put("job.3", steps=9)
    await lab.put("other.1")
    lab.worker.ledger.drop(RunKey("other", 1))
    assert (await lab.put("job.4")).status == 202
    assert await problem(await lab.put("job.2")) == (409, "stale_epoch")
    lab.backend.let_go()
    old, new = await lab.until_end("job.3"), await lab.until_end("job.4")
    assert isinstance(old.end, Cancelled)
    assert old.end.reason == "superseded"
    assert isinstance(new.end, Finished)


async def test_a_stream_tells_progress_and_a_second_reader_the_same_end(bench: Make) -> None:
    lab = await bench(FakeBackend(held=True))
    await lab.put("job.1", steps=3)
    async with asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(lab.events("job.1")) for _ in range(2)]
        await lab.until_step("job.1", 0)
        lab.backend.let_go()
    first, second = (reader.result() for reader in readers)
    assert first[-1] == second[-1]
    steps = [event.step for event in first if isinstance(event, Progressed)]
    assert steps == sorted(steps)
    assert all(event.total_steps == 3 for event in first if isinstance(event, Progressed | Accepted))


async def test_a_reconnect_is_told_the_present_state_first(bench: Make) -> None:
    lab = await bench(FakeBackend(held=True))
    await lab.put("job.1", steps=9)
    async with lab.client.get("/v1/runs/job.1/events") as broken:
        assert isinstance(parse_event(await broken.content.readline()), Accepted)
    lab.backend.permit(5)
    await lab.until_step("job.1", 5)
    async with lab.client.get("/v1/runs/job.1/events") as again:
        assert isinstance(parse_event(await again.content.readline()), Accepted)
        progressed = parse_event(await again.content.readline())
        assert isinstance(progressed, Progressed)
        assert progressed.step == 5
    lab.backend.let_go()
    await lab.until_end("job.1")
    late = await lab.events("job.1")
    assert [type(event) for event in late] == [Accepted, Finished]


async def test_silence_is_filled_with_heartbeats(bench: Make) -> None:
    lab = await bench(FakeBackend(held=True))
    await lab.put("job.1")
    await lab.until_step("job.1", 0)
    entry = lab.worker.ledger.get(RunKey("job", 1))
    assert entry is not None
    told = []
    async for event in stream.events(entry, heartbeat_seconds=0.01):
        told.append(event)
        if isinstance(event, Heartbeat):
            break
    assert isinstance(told[0], Accepted)
    assert isinstance(told[-1], Heartbeat)


async def test_a_change_while_a_reader_is_about_to_wait_is_not_missed() -> None:
    ledger = Ledger(Clock())
    entry = ledger.add(RunKey("job", 1), RunOrder.model_validate(order()))
    events = stream.events(entry, heartbeat_seconds=60)
    assert isinstance(await anext(events), Accepted)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for step in range(20):
            reader = tasks.create_task(anext(events))
            # The report comes one turn of the loop after the reader has found nothing new.
            report = Progress(step=step, total_steps=20, eta_seconds=None, in_company_of=0)
            asyncio.get_running_loop().call_soon(ledger.apply, entry, report)
            assert isinstance(await reader, Progressed)


async def test_only_so_many_streams_are_open(bench: Make) -> None:
    lab = await bench(FakeBackend(held=True))
    await lab.put("job.1")
    async with AsyncExitStack() as stack:
        for _ in range(4):
            open_stream = await stack.enter_async_context(lab.client.get("/v1/runs/job.1/events"))
            await open_stream.content.readline()
        assert await problem(await lab.client.get("/v1/runs/job.1/events")) == (429, "too_many_streams")


async def test_a_preview_rides_on_progress(bench: Make) -> None:
    lab = await bench(FakeBackend(held=True))
    await lab.put("job.1", steps=9, previews=True)
    lab.backend.permit(1)
    async with asyncio.timeout(10), lab.client.get("/v1/runs/job.1/events") as response:
        async for line in response.content:
            event = parse_event(line)
            if isinstance(event, Progressed) and event.preview_b64 is not None:
                break
    assert event.preview_b64.startswith("UklGR"), "a WebP begins with RIFF"


async def test_cancelling_one_answers_when_it_stopped_and_leaves_the_neighbour(bench: Make) -> None:
    lab = await bench(FakeBackend(held=True))
    await lab.put("mine.1", steps=50)
    await lab.put("theirs.1", steps=6, seed=3)
    lab.backend.permit(3)  # the first pass in company is looked at by the canary, which is a pass too
    await lab.until_step("mine.1", 2)
    async with asyncio.TaskGroup() as tasks:
        deleting = tasks.create_task(lab.client.delete("/v1/runs/mine.1"))
        mine = lab.worker.find(RunKey("mine", 1))
        while mine.cancel_reason is None:
            await asyncio.sleep(0.001)
        assert not deleting.done(), "it answered before the run had stopped"
        lab.backend.let_go()
    response = deleting.result()
    assert response.status == 200
    told = RunStatus.model_validate_json(await response.read())
    assert isinstance(told.end, Cancelled)
    assert told.end.reason == "requested"
    assert isinstance((await lab.until_end("theirs.1")).end, Finished)
    events = await lab.events("mine.1")
    assert isinstance(events[-1], Cancelled)


async def test_cancelling_what_is_done_tells_that_it_is_done(bench: Make) -> None:
    lab = await bench()
    await lab.put("job.1")
    await lab.until_end("job.1")
    response = await lab.client.delete("/v1/runs/job.1")
    assert RunStatus.model_validate_json(await response.read()).state == "finished"
    assert await problem(await lab.client.delete("/v1/runs/nobody.1")) == (404, "unknown_run")


async def test_a_restarted_host_finds_all_runs_to_adopt(bench: Make) -> None:
    lab = await bench(FakeBackend(held=True))
    await lab.put("done.1", steps=1)
    lab.backend.permit(1)
    await lab.until_end("done.1")
    await lab.put("running.7", steps=50)
    told = RunList.model_validate_json(await (await lab.client.get("/v1/runs")).read())
    assert told.instance_id == lab.worker.instance_id
    assert {run.key: run.state.is_end for run in told.runs} == {"done.1": True, "running.7": False}
    assert all(run.params_hash == HASH for run in told.runs)


async def test_a_living_run_cannot_be_acknowledged_away_nor_its_picture_fetched(bench: Make) -> None:
    lab = await bench(FakeBackend(held=True))
    await lab.put("job.1")
    assert await problem(await lab.client.post("/v1/runs/job.1/ack")) == (409, "not_finished")
    assert await problem(await lab.client.get("/v1/runs/job.1/pictures/0")) == (409, "not_finished")


@pytest.mark.parametrize("index", ["1", "-1", "00", "x", "%2e%2e"])
async def test_a_picture_that_is_not_there(bench: Make, index: str) -> None:
    lab = await bench()
    await lab.put("job.1")
    await lab.until_end("job.1")
    assert (await lab.client.get(f"/v1/runs/job.1/pictures/{index}")).status == 404


async def test_failures_are_told_with_their_kind_and_without_the_prompt(bench: Make) -> None:
    lab = await bench(FakeBackend(fits=0))
    await lab.put("job.1", prompt="secret words")
    failed = (await lab.events("job.1"))[-1]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.code) == ("out_of_memory", "out_of_memory")
    assert "secret" not in failed.model_dump_json()


async def test_a_run_gives_up_when_its_host_said_so(bench: Make) -> None:
    lab = await bench(FakeBackend(held=True))
    await lab.put("job.1", give_up_seconds=0.01)
    await asyncio.sleep(0.02)
    lab.backend.let_go()
    end = (await lab.until_end("job.1")).end
    assert isinstance(end, Failed)
    assert (end.code, end.kind) == ("deadline", "infra")


async def test_a_full_worker_says_so_and_has_room_again(bench: Make) -> None:
    lab = await bench(FakeBackend(held=True), max_batch=2)
    await lab.put("a.1")
    await lab.put("b.1")
    can = Capabilities.model_validate_json(await (await lab.client.get("/v1/capabilities")).read())
    assert (can.free_places, can.max_batch) == (0, 2)
    assert await problem(await lab.put("c.1")) == (429, "full")
    lab.backend.let_go()
    await lab.until_end("a.1")
    assert (await lab.put("c.1")).status == 202


async def test_capabilities_tell_models_and_what_was_refused(bench: Make) -> None:
    lab = await bench(name="gpu-1")
    can = Capabilities.model_validate_json(await (await lab.client.get("/v1/capabilities")).read())
    [model] = can.models
    assert (can.worker_name, can.device.kind, model.name, model.size_multiple) == ("gpu-1", "cpu", "m", 8)
    assert can.refused_models[0].reason == "evil.ckpt is a pickle."
    assert can.instance_id == lab.worker.instance_id


async def test_a_model_that_cannot_be_loaded_is_not_offered_again(bench: Make) -> None:
    lab = await bench(FakeBackend(broken={"m"}))
    can = Capabilities.model_validate_json(await (await lab.client.get("/v1/capabilities")).read())
    while can.models:  # the preload fails by itself
        can = Capabilities.model_validate_json(await (await lab.client.get("/v1/capabilities")).read())
    assert {refused.name: refused.reason for refused in can.refused_models}["m"] == "The model m is broken."
    assert await problem(await lab.put("job.2")) == (422, "unknown_model")


BAD_ORDERS: list[tuple[Any, int, str]] = [
    ("{", 400, "malformed"),
    ("", 400, "malformed"),
    ("[]", 422, "bad_order"),
    ("null", 422, "bad_order"),
    (b"\xff\xfe{\x00", 400, "malformed"),
    ('{"a":' * 10_000, 400, "malformed"),
    (json.dumps(order(surprise=1)), 422, "bad_order"),
    (json.dumps(order(state="done")), 422, "bad_order"),
    (json.dumps(order(width="16")), 422, "bad_order"),
    (json.dumps(order(width=16.5)), 422, "bad_order"),
    (json.dumps(order(width=True)), 422, "bad_order"),
    (json.dumps(order(width=513, height=9000)), 422, "bad_order"),
    (json.dumps(order(width=12)), 422, "bad_order"),
    (json.dumps(order(width=8, height=8) | {"width": 40}), 422, "bad_order"),
    (json.dumps(order(steps=0)), 422, "bad_order"),
    (json.dumps(order(steps=-1)), 422, "bad_order"),
    (json.dumps(order(steps=10**9)), 422, "bad_order"),
    (json.dumps(order(steps=149)), 422, "bad_order"),
    (json.dumps(order(guidance=31)), 422, "bad_order"),
    (json.dumps(order(guidance=float("nan"))), 422, "bad_order"),
    (json.dumps(order(guidance=float("inf"))), 422, "bad_order"),
    (json.dumps(order()).replace('"guidance": 3', '"guidance": 1e400'), 422, "bad_order"),
    (json.dumps(order(seed=2**64)), 422, "bad_order"),
    (json.dumps(order(seed=-1)), 422, "bad_order"),
    (json.dumps(order(seed=10**400)), 422, "bad_order"),
    (json.dumps(order(prompt="x" * 5_000)), 422, "bad_order"),
    (json.dumps(order(prompt=None)), 422, "bad_order"),
    (json.dumps(order()).replace("a cat", "\\ud800"), 400, "malformed"),
    (json.dumps(order(scheduler="dpmpp_sde")), 422, "bad_order"),
    (json.dumps(order(scheduler="__import__")), 422, "bad_order"),
    (json.dumps(order(model="nobody")), 422, "unknown_model"),
    (json.dumps(order(model="../../etc")), 422, "unknown_model"),
    (json.dumps(order(model="evil.ckpt")), 422, "unknown_model"),
    (json.dumps(order(kind="clip")), 422, "bad_order"),
    (json.dumps(order(params_hash="")), 422, "bad_order"),
    ("x" * (BODY_BYTES_MAX + 1), 413, "too_large"),
]


async def test_bad_orders_get_a_kind_sentence_and_start_nothing(bench: Make) -> None:
    lab = await bench()
    for body, status, code in BAD_ORDERS:
        assert await problem(await lab.put("job.1", body)) == (status, code), body[:100]
    assert not list(lab.worker.ledger)


@pytest.mark.parametrize("key", ["job", "job.", ".1", "job.01", "job.-1", "job.1.2", "a b.1", "job.٣", "x" * 65 + ".1"])
async def test_bad_keys_are_refused(bench: Make, key: str) -> None:
    lab = await bench()
    assert await problem(await lab.put(key)) == (400, "malformed")


async def test_unknown_addresses_and_methods_are_problems_too(bench: Make) -> None:
    lab = await bench()
    assert await problem(await lab.client.get("/metrics")) == (404, "not_found")
    assert await problem(await lab.client.post("/v1/runs/job.1")) == (405, "method_not_allowed")
    assert await problem(await lab.client.get("/v1/runs/..%2f..%2fetc.1")) == (400, "malformed")


TOKEN = "correct-horse-battery-staple"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ü"])
async def test_strangers_are_refused_everywhere_but_at_health(bench: Make, header: str | None) -> None:
    lab = await bench(token=TOKEN)
    headers = {} if header is None else {"Authorization": header}
    for path in ("/v1/capabilities", "/v1/runs", "/v1/runs/job.1", "/v1/runs/job.1/events", "/nowhere"):
        response = await lab.client.get(path, headers=headers)
        assert await problem(response) == (401, "unauthorized")
    assert await problem(await lab.client.put("/v1/runs/job.1", headers=headers, json=order())) == (401, "unauthorized")
    assert (await lab.client.get("/health", headers=headers)).status == 200


async def test_the_bearer_of_the_token_is_let_in(bench: Make) -> None:
    lab = await bench(token=TOKEN)
    response = await lab.client.get("/v1/capabilities", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status == 200


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Host": "10.0.0.1"}])
async def test_without_a_token_no_web_page_gets_in(bench: Make, headers: dict[str, str]) -> None:
    lab = await bench()
    response = await lab.client.put("/v1/runs/job.1", headers=headers, json=order())
    assert await problem(response) == (403, "forbidden")
    assert not list(lab.worker.ledger)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "10.0.0.1", "example.org", ""])
def test_off_loopback_a_token_is_mandatory(host: str) -> None:
    with pytest.raises(SettingsRefused, match="DARKROOM_WORKER_TOKEN"):
        WorkerSettings(host=host).check()
    WorkerSettings(host=host, token=TOKEN).check()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.3.2.1"])
def test_on_loopback_no_token_is_needed(host: str) -> None:
    WorkerSettings(host=host).check()


def test_a_short_token_is_refused() -> None:
    with pytest.raises(SettingsRefused, match="shorter than 16"):
        WorkerSettings(token="secret").check()


async def test_draining_finishes_what_runs_and_takes_nothing_new(bench: Make) -> None:
    lab = await bench(FakeBackend(held=True))
    await lab.put("job.1")
    lab.worker.begin_draining()
    assert await problem(await lab.put("new.1")) == (503, "draining")
    response = await lab.client.get("/health")
    assert (response.status, Health.model_validate_json(await response.read()).status) == (503, "draining")
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        drained = tasks.create_task(lab.worker.drained())
        lab.backend.let_go()
        await lab.until_end("job.1")
        assert not drained.done(), "it ended before the picture was fetched"
        assert await lab.picture("job.1")
        await lab.client.post("/v1/runs/job.1/ack")


async def test_draining_does_not_wait_for_ever_for_a_host_that_is_gone(bench: Make) -> None:
    lab = await bench(drain_seconds=0.05)
    await lab.put("job.1")
    lab.worker.begin_draining()
    async with asyncio.timeout(10):
        await lab.worker.drained()


async def test_the_death_of_the_engine_is_seen_from_outside(bench: Make) -> None:
    lab = await bench()
    await lab.put("job.1", prompt="deadly")
    end = (await lab.until_end("job.1")).end
    assert isinstance(end, Failed)
    assert end.kind == "infra"
    async with asyncio.timeout(10):
        await lab.worker.ending.wait()
    response = await lab.client.get("/health")
    assert (response.status, Health.model_validate_json(await response.read()).status) == (503, "failed")
    assert await problem(await lab.put("new.1")) == (503, "draining")


class Clock:
    """Time that stands still until it is told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_ends_that_nobody_acknowledges_are_forgotten_after_a_while(bench: Make) -> None:
    clock = Clock()
    lab = await bench(ledger=Ledger(clock, ttl_seconds=60))
    await lab.put("job.1")
    await lab.until_end("job.1")
    clock.now += 59
    assert (await lab.client.get("/v1/runs/job.1")).status == 200
    clock.now += 2
    assert await problem(await lab.client.get("/v1/runs/job.1")) == (404, "unknown_run")


async def test_unfetched_pictures_are_kept_within_bytes_the_oldest_going_first(bench: Make) -> None:
    lab = await bench(ledger=Ledger(Clock(), bytes_max=150))
    sizes = []
    for number in range(3):
        await lab.put(f"job{number}.1")
        await lab.until_end(f"job{number}.1")
        sizes.append(len(await lab.picture(f"job{number}.1")))
    assert sum(sizes) > 150 >= sizes[-1]
    told = RunList.model_validate_json(await (await lab.client.get("/v1/runs")).read())
    assert [run.key for run in told.runs] == [f"job{number}.1" for number in range(3)][-(150 // sizes[0]) :]


def test_the_order_hash_knows_what_changes_the_picture() -> None:
    plain = RunOrder.model_validate(order())
    same = plain.model_copy(update={"previews": False, "give_up_seconds": 5.0, "params_hash": "other-hash"})
    assert order_hash(same) == order_hash(plain)
    for field, value in (("prompt", "x"), ("seed", 8), ("width", 8), ("scheduler", "euler"), ("guidance", 3.5)):
        assert order_hash(plain.model_copy(update={field: value})) != order_hash(plain)
