"""Ask, look, cancel, fetch: what a program sees of the API."""

import asyncio
import io

from PIL import Image

from jobs.words import say
from tests.gateway.scripted_worker import ScriptedWorker, colour_of

ASK = {"prompt": "a red fox", "width": 64, "height": 64, "steps": 4}


async def test_from_a_prompt_to_the_picture_of_that_prompt(studio):
    async with studio.client() as client:
        asked = await client.post("/api/v1/jobs", json=ASK)
        assert asked.status_code == 201, asked.text
        job = asked.json()
        assert asked.headers["location"] == f"/api/v1/jobs/{job['id']}"
        await studio.ended(job["id"])
        job = (await client.get(f"/api/v1/jobs/{job['id']}")).json()
        assert job["status"] == "done"
        assert job["made"]["worker"] == "desk-gpu"
        picture = await client.get(job["pictures"][0]["url"])
        assert Image.open(io.BytesIO(picture.content)).getpixel((2, 2)) == colour_of("a red fox")


async def test_what_one_should_know_of_a_picture_is_told_in_the_askers_language(studio, worker):
    worker.notes = ("prompt_cut", "from_a_newer_worker")
    job = await studio.ended((await studio.ask("web:local")).id)
    async with studio.client() as client:
        for language in ("en", "es"):
            told = (await client.get(f"/api/v1/jobs/{job.id}", headers={"accept-language": language})).json()
            assert told["notes"] == [{"code": "prompt_cut", "message": say("note.prompt_cut", language)}]


async def test_a_picture_never_changes_so_it_is_cached_for_good_and_asked_again_costs_nothing(studio):
    job = await studio.ended((await studio.ask("web:local")).id)
    async with studio.client() as client:
        first = await client.get(f"/api/v1/jobs/{job.id}/image")
        assert first.headers["etag"] == f'"{job.pictures[0].sha256}"'
        assert first.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert first.headers["content-disposition"].startswith('inline; filename="darkroom-')
        again = await client.get(f"/api/v1/jobs/{job.id}/image", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await client.get(f"/api/v1/jobs/{job.id}/image?index=1")).status_code == 404


async def test_the_same_idempotency_key_makes_one_job(studio):
    async with studio.client(headers={"idempotency-key": "press-1"}) as client:
        first, second = [await client.post("/api/v1/jobs", json=ASK) for _ in range(2)]
        assert (first.status_code, second.status_code) == (201, 200)
        assert first.json()["id"] == second.json()["id"]
        other = await client.post("/api/v1/jobs", json={**ASK, "prompt": "another wish"})
        assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")
        assert len((await client.get("/api/v1/jobs")).json()["jobs"]) == 1


async def test_two_peoples_equal_idempotency_keys_never_meet(studio_of, worker):
    from gateway.auth import make_key, read_keys

    (ada, ada_line), (bob, bob_line) = make_key("ada"), make_key("bob")
    studio = await studio_of(worker, keys=read_keys([ada_line, bob_line]))
    async with studio.client(headers={"idempotency-key": "same"}) as client:
        ids = set()
        for secret in (ada, bob):
            asked = await client.post("/api/v1/jobs", json=ASK, headers={"authorization": f"Bearer {secret}"})
            assert asked.status_code == 201
            ids.add(asked.json()["id"])
        assert len(ids) == 2


async def test_an_idempotency_key_that_is_none_is_refused(studio):
    async with studio.client() as client:
        for key in ("", "a b", "x" * 256, "ä", "tab\tbed"):
            answer = await client.post("/api/v1/jobs", json=ASK, headers=[(b"idempotency-key", key.encode())])
            assert (key, answer.status_code, answer.json()["error"]["code"]) == (key, 400, "bad_idempotency_key")
    assert await studio.count() == 0


async def test_the_longest_idempotency_key_is_taken(studio):
    async with studio.client() as client:
        assert (await client.post("/api/v1/jobs", json=ASK, headers={"idempotency-key": "k" * 255})).status_code == 201


async def test_while_it_waits_a_job_tells_its_place_and_why(studio_of):
    studio = await studio_of()
    async with studio.client() as client:
        await studio.ask("discord:1")
        job = (await client.post("/api/v1/jobs", json=ASK)).json()
        assert (job["status"], job["position"], job["eta"], job["why"]["code"]) == ("queued", None, None, "offline")
        assert job["why"]["message"].startswith("No GPU is online")
        spanish = await client.get(f"/api/v1/jobs/{job['id']}", headers={"accept-language": "fr, es-MX;q=0.8, en;q=0.5"})
        assert spanish.json()["why"]["message"].startswith("No hay ninguna GPU conectada")
        status = (await client.get("/api/v1/status")).json()
        assert status["queue"] == {"waiting": 2, "people": 2, "yours": []}
        assert status["workers"] == []


async def test_a_job_in_the_making_tells_its_step_and_shows_a_preview(studio, worker):
    worker.gate.clear()
    worker.halt_at = 2
    async with studio.client() as client:
        job = (await client.post("/api/v1/jobs", json=ASK)).json()
        assert (await client.get(f"/api/v1/jobs/{job['id']}/image")).status_code == 409
        await studio.until(job["id"], lambda job: job.state == "running")
        while (view := (await client.get(f"/api/v1/jobs/{job['id']}")).json())["progress"] is None or view["progress"]["step"] < 2:
            await asyncio.sleep(0.01)
        assert view["progress"] | {"elapsed": 0, "eta": 0} == {
            "step": 2, "total_steps": 4, "progress": 0.5, "elapsed": 0, "eta": 0, "worker": "desk-gpu",
            "preview": f"/api/v1/jobs/{job['id']}/preview?step=2",
        }  # fmt: skip
        preview = await client.get(view["progress"]["preview"])
        assert (preview.headers["content-type"], Image.open(io.BytesIO(preview.content)).size) == ("image/webp", (32, 32))
        worker.gate.set()
        await studio.ended(job["id"])
        assert (await client.get(f"/api/v1/jobs/{job['id']}/preview")).status_code == 404


async def test_a_preview_that_is_no_picture_stays_here(studio, worker):
    from dataclasses import replace

    worker.gate.clear()
    worker.halt_at = 1
    job = await studio.ask("web:local")
    while (progress := studio.feed.progress_of(job.id)) is None:
        await studio.until(job.id, lambda _: True)
    studio.feed.publish(replace(progress, preview=b"<script>alert(1)</script>"))
    async with studio.client() as client:
        answer = await client.get(f"/api/v1/jobs/{job.id}/preview")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_preview")


async def test_cancel_while_waiting_and_while_running(studio, worker):
    worker.gate.clear()
    async with studio.client() as client:
        running, *_, waiting = [(await client.post("/api/v1/jobs", json=ASK)).json()["id"] for _ in range(3)]
        assert (await client.delete(f"/api/v1/jobs/{waiting}")).json()["status"] == "cancelled"
        await studio.until(running, lambda job: job.state == "running")
        assert (await client.delete(f"/api/v1/jobs/{running}")).json()["cancel_requested"] is True
        assert (await studio.ended(running)).state == "cancelled"
        ended = (await client.delete(f"/api/v1/jobs/{running}")).json()
        assert (ended["status"], ended["cancel_requested"]) == ("cancelled", False)
        assert (await client.get(f"/api/v1/jobs/{running}/image")).json()["error"]["code"] == "no_picture"


async def test_a_failed_job_says_why(studio, worker):
    worker.refuses = "no such word"
    job = await studio.ended((await studio.ask("web:local")).id)
    async with studio.client() as client:
        view = (await client.get(f"/api/v1/jobs/{job.id}")).json()
    assert (view["status"], view["error"]["code"]) == ("failed", "run_refused")
    assert view["error"]["message"] == "The GPU cannot make this request: no such word"


async def test_recent_jobs_come_newest_first_and_not_more_than_asked(studio_of):
    studio = await studio_of()
    ids = [(await studio.ask("web:local", f"wish {n}")).id for n in range(4)]
    async with studio.client() as client:
        assert [job["id"] for job in (await client.get("/api/v1/jobs?limit=3")).json()["jobs"]] == ids[:0:-1]
        for limit in ("0", "101", "abc", "1e9", ""):
            assert (await client.get(f"/api/v1/jobs?limit={limit}")).status_code == 422


async def test_the_twenty_first_waiting_request_is_refused_with_the_limit(studio_of):
    studio = await studio_of()
    async with studio.client() as client:
        for _ in range(20):
            assert (await client.post("/api/v1/jobs", json=ASK)).status_code == 201
        refused = await client.post("/api/v1/jobs", json=ASK)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "waiting_limit")
        assert refused.headers["retry-after"]


async def test_nobody_sees_stops_or_fetches_a_job_of_somebody_else(studio):
    job = await studio.ended((await studio.ask("discord:42", "a secret wish")).id)
    async with studio.client() as client:
        for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/image"), ("GET", "/preview"), ("GET", "/events")]:
            theirs = await client.request(method, f"/api/v1/jobs/{job.id}{path}")
            nobodys = await client.request(method, f"/api/v1/jobs/{'0' * 26}{path}")
            assert theirs.status_code == nobodys.status_code == 404
            assert theirs.json()["error"]["message"] == nobodys.json()["error"]["message"]
            assert "secret" not in theirs.text
        assert (await client.get("/api/v1/jobs")).json()["jobs"] == []


async def test_models_are_told_with_their_limits_and_who_has_them(studio, worker):
    async with studio.client() as client:
        while not (models := (await client.get("/api/v1/models")).json())["models"][0]["online"]:
            await asyncio.sleep(0.01)
        assert models["default"] == "house"
        assert models["models"][0] | {"steps_max": 60, "side_max": 256, "size_multiple": 32, "loaded_on": 1} == models["models"][0]
        status = (await client.get("/api/v1/status")).json()
        assert status["workers"] == [
            {"name": "desk-gpu", "device": "Test GPU", "models": ["house"], "loaded": ["house"], "places": 4, "busy": 0, "yours": 0, "notes": []}
        ]
        assert (status["person"], status["signed_in"]) == ("local", False)


async def test_health_tells_what_a_monitor_needs_and_no_secret(studio):
    async with studio.client() as client:
        health = await client.get("/health")
    assert health.status_code == 200
    assert health.json() == {"status": "ok", "version": "0.0.test", "database": True, "workers_online": health.json()["workers_online"], "queue_length": 0}


async def test_health_says_so_when_the_ledger_cannot_be_read(studio):
    from jobs.errors import StoreUnavailable

    async def away():
        raise StoreUnavailable("disk on fire at /secret/path")

    studio.desk.snapshot = away
    async with studio.client() as client:
        health = await client.get("/health")
        assert (health.status_code, health.json()["database"], health.json()["queue_length"]) == (503, False, None)
        assert "secret" not in health.text


async def test_a_ledger_that_is_away_is_told_kindly_and_its_reason_stays_here(studio):
    from jobs.errors import StoreUnavailable

    async def away(*_, **__):
        raise StoreUnavailable("disk on fire at /secret/path")

    studio.desk.submit_or_find = away
    async with studio.client() as client:
        answer = await client.post("/api/v1/jobs", json=ASK)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert "secret" not in answer.text
    assert answer.headers["retry-after"]


async def test_a_bug_of_ours_answers_in_the_same_shape_and_tells_nothing(studio):
    async def bug(*_, **__):
        raise RuntimeError("internal detail")

    studio.desk.submit_or_find = bug
    async with studio.client() as client:
        answer = await client.post("/api/v1/jobs", json=ASK)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "unknown")
    assert "internal" not in answer.text


async def test_a_picture_whose_file_retention_removed_is_gone(studio):
    job = await studio.ended((await studio.ask("web:local")).id)

    async def gone(_):
        raise FileNotFoundError

    studio.pictures.read = gone
    async with studio.client() as client:
        answer = await client.get(f"/api/v1/jobs/{job.id}/image")
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "picture_gone")


async def test_a_worker_that_makes_nothing_yet_is_no_fault(studio_of):
    studio = await studio_of(ScriptedWorker(previews=False))
    job = await studio.ended((await studio.ask("web:local")).id)
    assert job.state == "done"
