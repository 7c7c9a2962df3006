"""Progress over a real socket: complete views, the newest one, to the end and no further."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest
import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus

from jobs.events import JobProgressed
from jobs.job import JobId, JobState
from tests.gateway.scripted_worker import ScriptedWorker
from tests.gateway.studio import served

ASK = {"prompt": "a red fox", "width": 64, "height": 64, "steps": 6}


@asynccontextmanager
async def line(studio):
    async with served(studio) as base, httpx.AsyncClient(base_url=base, timeout=20) as client:
        yield base, client


async def views(client, job_id, **options) -> list[dict]:
    """Every view of an SSE stream until the server ends it."""
    found = []
    async with asyncio.timeout(20), client.stream("GET", f"/api/v1/jobs/{job_id}/events", **options) as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        async for text in stream.aiter_lines():
            if text.startswith("data: "):
                found.append(json.loads(text[6:]))
    return found


async def messages(base, job_id, **options) -> tuple[list[dict], int]:
    """Every message of a socket and its close code."""
    found = []
    async with asyncio.timeout(20), websockets.connect(f"{base.replace('http', 'ws')}/ws/progress/{job_id}", **options) as ws:
        try:
            while True:
                found.append(json.loads(await ws.recv()))
        except ConnectionClosed as closed:
            return found, closed.rcvd.code


async def test_events_begin_with_what_is_and_end_with_the_end(studio, worker):
    worker.step_seconds = 0.03
    async with line(studio) as (_, client):
        job = (await client.post("/api/v1/jobs", json=ASK)).json()
        told = await views(client, job["id"])
    assert told[0]["status"] in ("queued", "leased", "running")
    assert told[-1]["status"] == "done"
    assert told[-1]["pictures"][0]["url"]
    assert [view["seq"] for view in told] == sorted({view["seq"] for view in told})
    steps = [view["progress"]["step"] for view in told if view["progress"]]
    assert steps == sorted(steps)
    assert len(steps) >= 2
    assert all(view["request"]["prompt"] == "a red fox" for view in told)


async def test_events_of_an_ended_job_are_its_end(studio):
    job = await studio.ended((await studio.ask("web:local")).id)
    async with line(studio) as (_, client):
        told = await views(client, job.id)
    assert [view["status"] for view in told] == ["done"]


async def test_a_silent_stream_says_that_it_is_alive(studio_of):
    studio = await studio_of(heartbeat=0.05)
    job = await studio.ask("web:local")
    async with line(studio) as (_, client), asyncio.timeout(10), client.stream("GET", f"/api/v1/jobs/{job.id}/events") as stream:
        async for text in stream.aiter_lines():
            if text == ": still here":
                break


async def test_a_waiting_job_hears_that_the_queue_moved_and_that_workers_left(studio_of):
    worker = ScriptedWorker(max_batch=1)
    worker.gate.clear()
    studio = await studio_of(worker)
    held = await studio.ask("discord:0")
    await studio.until(held.id, lambda job: job.state is JobState.RUNNING)
    first = await studio.ask("discord:1")
    job = await studio.ask("web:local")
    async with line(studio) as (_, client):
        async with asyncio.timeout(20), client.stream("GET", f"/api/v1/jobs/{job.id}/events") as stream:
            told = []
            async for text in stream.aiter_lines():
                if text.startswith("data: "):
                    told.append(json.loads(text[6:]))
                    if len(told) == 1:
                        await studio.desk.cancel(first.id, user_id=first.user_id)
                    elif told[-1]["position"] == 1:
                        worker.alive = False
                    elif told[-1]["why"]["code"] == "offline":
                        break
    assert told[0]["position"] == 2
    assert told[-1]["position"] is None, "nobody can say who is before whom while there is no worker"


async def test_the_socket_speaks_of_stages_steps_and_completion(studio, worker):
    worker.step_seconds = 0.03
    async with line(studio) as (base, client):
        job = (await client.post("/api/v1/jobs", json=ASK)).json()
        told, code = await messages(base, job["id"])
    assert code == 1000
    events = [message["event"] for message in told]
    assert events[0] == "stage_change"
    assert events[-1] == "generation_complete"
    assert events.count("generation_complete") == 1
    steps = [message for message in told if message["event"] == "step_complete"]
    assert steps
    for message in steps:
        assert message["total_steps"] == 6
        assert message["progress"] == pytest.approx(message["step"] / 6, abs=1e-3)
        assert message["elapsed"] >= 0
        assert message["gpu"] == "desk-gpu"
        assert message["preview_url"].startswith(f"/api/v1/jobs/{job['id']}/preview")
        assert message["stage"] in ("sampling", "finishing")
    assert told[-1]["images"] == [f"/api/v1/jobs/{job['id']}/image?index=0"]
    assert [message["seq"] for message in told] == sorted({message["seq"] for message in told})


async def test_a_reconnect_loses_nothing(studio, worker):
    worker.gate.clear()
    worker.halt_at = 3
    async with line(studio) as (base, client):
        job = (await client.post("/api/v1/jobs", json=ASK)).json()
        address = f"{base.replace('http', 'ws')}/ws/progress/{job['id']}"
        async with asyncio.timeout(20), websockets.connect(address) as ws:
            while json.loads(last := await ws.recv())["step"] < 3:
                pass
        async with websockets.connect(address) as ws:
            again = json.loads(await ws.recv())
            assert (again["event"], again["step"]) == ("stage_change", 3)
            assert again["seq"] > json.loads(last)["seq"]
        worker.gate.set()
        told, code = await messages(base, job["id"])
        assert (told[-1]["event"], code) == ("generation_complete", 1000)


async def test_a_failed_and_a_cancelled_job_end_with_an_error_message(studio, worker):
    worker.refuses = "no such word"
    failed = await studio.ended((await studio.ask("web:local")).id)
    worker.refuses = None
    worker.gate.clear()
    running = await studio.ask("web:local")
    async with line(studio) as (base, client):
        told, code = await messages(base, failed.id, additional_headers={"Accept-Language": "es"})
        assert (told[0]["event"], told[0]["code"], code) == ("error", "run_refused", 1000)
        assert told[0]["message"] == "La GPU no puede hacer este pedido: no such word"
        follow = asyncio.create_task(messages(base, running.id))
        await studio.until(running.id, lambda job: job.state == "running")
        await client.delete(f"/api/v1/jobs/{running.id}")
        told, code = await follow
        assert (told[-1]["event"], told[-1]["status"], told[-1]["code"], code) == ("error", "cancelled", "cancelled", 1000)


async def test_somebody_elses_job_and_no_job_close_alike(studio):
    theirs = await studio.ask("discord:42", "a secret wish")
    async with line(studio) as (base, _):
        assert await messages(base, theirs.id) == ([], 4404)
        assert await messages(base, "0" * 26) == ([], 4404)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1"])
async def test_another_sites_page_gets_no_socket(studio, origin):
    job = await studio.ask("web:local")
    async with line(studio) as (base, _):
        with pytest.raises(InvalidStatus) as refused:
            await messages(base, job.id, additional_headers={"Origin": origin})
        assert refused.value.response.status_code == 403
        own, _ = await messages(base, job.id, additional_headers={"Origin": base})
        assert own


async def test_a_rebound_name_gets_no_socket(studio):
    job = await studio.ask("web:local")
    async with line(studio) as (base, _):
        port = base.rpartition(":")[2]
        with socket.create_connection(("127.0.0.1", int(port))) as raw:
            raw.settimeout(5)
            raw.sendall(
                f"GET /ws/progress/{job.id} HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            assert b" 403 " in await asyncio.to_thread(raw.recv, 100)


async def test_a_person_may_follow_only_so_many_at_once_and_closing_one_makes_room(studio_of):
    studio = await studio_of(streams_per_person=2)
    job = await studio.ask("web:local")
    async with line(studio) as (base, client):
        address = f"{base.replace('http', 'ws')}/ws/progress/{job.id}"
        async with client.stream("GET", f"/api/v1/jobs/{job.id}/events") as first, websockets.connect(address) as second:
            lines = first.aiter_lines()
            await anext(lines)
            await second.recv()
            refused = await client.get(f"/api/v1/jobs/{job.id}/events")
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_streams")
            assert await messages(base, job.id) == ([], 1013)
        places = studio.app.state.door.places
        async with asyncio.timeout(5):
            while places.open_by("web:local"):
                await asyncio.sleep(0.01)
        async with websockets.connect(address) as again:
            assert json.loads(await again.recv())["event"] == "stage_change"


@pytest.mark.parametrize("kind", ["events", "socket"])
async def test_a_reader_who_reads_nothing_is_dropped(studio_of, worker, kind):
    studio = await studio_of(worker, write_seconds=0.3)
    worker.gate.clear()
    long = await studio.ask("web:local", "x" * 1990, steps=60)
    await studio.until(long.id, lambda job: job.state == "running")
    places = studio.app.state.door.places
    async with line(studio) as (base, _):
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            raw.connect(("127.0.0.1", int(base.rpartition(":")[2])))
            upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            path = f"/api/v1/jobs/{long.id}/events" if kind == "events" else f"/ws/progress/{long.id}"
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{upgrade if kind == 'socket' else ''}\r\n".encode())
            async with asyncio.timeout(20):
                while not places.open_by("web:local"):
                    await asyncio.sleep(0.01)
                step = JobProgressed(job_id=JobId(long.id), step=1, total_steps=60, elapsed=1, eta=None, worker="desk-gpu")
                n = 0
                while places.open_by("web:local"):
                    n += 1
                    studio.feed.publish(replace(step, elapsed=float(n)))
                    await asyncio.sleep(0.001)
            assert n > 1


async def test_a_large_body_is_refused_before_it_was_sent(studio):
    """200 MB announced, hardly any of it sent: the answer is there at once."""
    async with line(studio) as (base, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
        writer.write(b"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 209715200\r\n\r\n{")
        async with asyncio.timeout(10):
            answer = await reader.read()
        assert b" 413 " in answer.split(b"\r\n")[0]
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "body_too_large"
        writer.close()
    assert await studio.count() == 0


async def test_a_large_body_without_a_length_is_refused_while_it_streams(studio):
    sent = 0

    async def flood():
        nonlocal sent
        for _ in range(3200):  # 200 MB
            sent += 65536
            yield b" " * 65536

    async with line(studio) as (_, client):
        try:
            answer = await client.post("/api/v1/jobs", content=flood(), headers={"content-type": "application/json"})
            assert answer.status_code == 413
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            pass  # a client that does not listen while it sends sees the connection close
        assert sent < 100_000_000
        assert (await client.get("/health")).status_code == 200
    assert await studio.count() == 0


async def test_a_body_that_trickles_is_given_up(studio_of):
    studio = await studio_of(body_seconds=0.2)
    async with line(studio) as (base, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
        writer.write(b"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{")
        async with asyncio.timeout(10):
            assert b" 408 " in await reader.readline()
        writer.close()


async def test_the_stop_ends_open_streams_promptly(studio_of):
    studio = await studio_of()
    job = await studio.ask("web:local")
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        async with served(studio) as base:
            client = httpx.AsyncClient(base_url=base, timeout=20)
            events = asyncio.create_task(views(client, job.id))
            sockets = asyncio.create_task(messages(base, job.id))
            while studio.app.state.door.places.open_by("web:local") < 2:
                await asyncio.sleep(0.01)
            before = loop.time()
        assert loop.time() - before < 8
        assert len(await events) == 1
        assert (await sockets)[1] == 1012
        await client.aclose()
