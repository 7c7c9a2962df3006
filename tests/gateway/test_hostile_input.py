"""Whatever is sent: one kind sentence, the right status, nothing enqueued."""

import itertools
import json

import pytest

GOOD = {"prompt": "a red fox"}
JSON = {"content-type": "application/json"}

BODIES = {
    "empty body": (b"", 400, "malformed_json"),
    "half an object": (b'{"prompt": "a', 400, "malformed_json"),
    "not json": (b"prompt=fox", 400, "malformed_json"),
    "a mark in front": (b"\xef\xbb\xbf" + b'{"prompt": "a"}', 400, "malformed_json"),
    "utf-16": ('{"prompt": "a"}'.encode("utf-16"), 400, "malformed_json"),
    "bad utf-8": (b'{"prompt": "\xff\xfe"}', 400, "malformed_json"),
    "raw control character": (b'{"prompt": "a\x00b"}', 400, "malformed_json"),
    "deep lists": (b"[" * 30_000, 400, "malformed_json"),
    "deep objects": (b'{"a":' * 9_000 + b"1" + b"}" * 9_000, 400, "malformed_json"),
    "nine deep": (b'{"prompt": ' + b"[" * 9 + b"]" * 9 + b"}", 400, "malformed_json"),
    "huge integer": (b'{"prompt": "a", "seed": ' + b"9" * 5_000 + b"}", 400, "malformed_json"),
    "nan": (b'{"prompt": "a", "guidance": NaN}', 400, "not_a_number"),
    "infinity": (b'{"prompt": "a", "guidance": -Infinity}', 400, "not_a_number"),
    "the same name twice": (b'{"prompt": "a", "prompt": "b"}', 400, "duplicate_field"),
    "a list": (b'[{"prompt": "a"}]', 422, "not_an_object"),
    "null": (b"null", 422, "not_an_object"),
    "half a surrogate pair": (b'{"prompt": "a \\ud83d fox"}', 422, "broken_text"),
    "half a pair as a name": (b'{"prompt": "a", "\\udead": 1}', 422, "broken_text"),
}

FIELDS = {
    "no prompt": ({}, "empty_prompt", None),
    "empty prompt": ({"prompt": ""}, "empty_prompt", "prompt"),
    "blank prompt": ({"prompt": " \n\t "}, "empty_prompt", "prompt"),
    "invisible prompt": ({"prompt": "\u0000\u0007"}, "empty_prompt", "prompt"),
    "5,000 characters": ({"prompt": "x" * 5_000}, "prompt_too_long", "prompt"),
    "prompt is a number": ({"prompt": 5}, "not_text", "prompt"),
    "prompt is null": ({"prompt": None}, "not_text", "prompt"),
    "prompt is a list": ({"prompt": ["a"]}, "not_text", "prompt"),
    "unknown field": ({**GOOD, "cfg": 3}, "unknown_field", "cfg"),
    "hostile field": ({**GOOD, "<b>\u001b[31m": 3}, "unknown_field", "<b>?[31m"),
    "proto": ({**GOOD, "__proto__": {"x": 1}}, "unknown_field", "__proto__"),
    "steps 0": ({**GOOD, "steps": 0}, "invalid_steps", "steps"),
    "steps -1": ({**GOOD, "steps": -1}, "invalid_steps", "steps"),
    "steps 61": ({**GOOD, "steps": 61}, "invalid_steps", "steps"),
    "steps 10^9": ({**GOOD, "steps": 10**9}, "invalid_steps", "steps"),
    "steps as text": ({**GOOD, "steps": "12"}, "not_whole", "steps"),
    "steps true": ({**GOOD, "steps": True}, "not_whole", "steps"),
    "steps 12.0": ({**GOOD, "steps": 12.0}, "not_whole", "steps"),
    "width 513.5": ({**GOOD, "width": 513.5}, "not_whole", "width"),
    "width as text": ({**GOOD, "width": "512"}, "not_whole", "width"),
    "513 x 9000": ({**GOOD, "width": 513, "height": 9000}, "invalid_side", "width"),
    "width 10^30": ({**GOOD, "width": 10**30}, "invalid_side", "width"),
    "width 0": ({**GOOD, "width": 0}, "invalid_side", "width"),
    "width 100": ({**GOOD, "width": 100}, "invalid_multiple", "width"),
    "guidance as text": ({**GOOD, "guidance": "7"}, "not_number", "guidance"),
    "guidance -1": ({**GOOD, "guidance": -1}, "invalid_guidance", "guidance"),
    "guidance 10^400": ({**GOOD, "guidance": 1e308}, "invalid_guidance", "guidance"),
    "seed 2^64": ({**GOOD, "seed": 2**64}, "invalid_seed", "seed"),
    "seed 2^63": ({**GOOD, "seed": 2**63}, "invalid_seed", "seed"),
    "seed -1": ({**GOOD, "seed": -1}, "invalid_seed", "seed"),
    "seed 1.5": ({**GOOD, "seed": 1.5}, "not_whole", "seed"),
    "unknown model": ({**GOOD, "model": "sdxl"}, "unknown_model", "model"),
    "model as a path": ({**GOOD, "model": "../../etc/passwd"}, "unknown_model", "model"),
    "empty model": ({**GOOD, "model": ""}, "not_text", "model"),
    "eleven at once": ({**GOOD, "count": 11}, "too_high", "count"),
    "a heavy LoRA": ({**GOOD, "loras": [{"name": "x", "weight": 2.1}]}, "too_high", "loras.0.weight"),
    "a negative strength": ({**GOOD, "strength": -0.1}, "too_low", "strength"),
    "unknown kind": ({**GOOD, "kind": "video"}, "not_accepted", "kind"),
}


@pytest.fixture
async def studio(studio_of):
    return await studio_of()


async def refused(studio, body: bytes) -> tuple[int, dict]:
    async with studio.client(headers={"accept-language": "es"}) as client:
        answer = await client.post("/api/v1/jobs", content=body, headers=JSON)
        spanish = answer.json()["error"]
        answer = await client.post("/api/v1/jobs", content=body, headers=JSON | {"accept-language": "en"})
        english = answer.json()["error"]
    assert await studio.count() == 0
    assert english["code"] == spanish["code"]
    assert english["message"] != spanish["message"]
    assert "{" not in english["message"].replace('{"prompt"', "")
    return answer.status_code, english


async def test_bodies_that_are_no_request(studio):
    for name, (body, status, code) in BODIES.items():
        got, error = await refused(studio, body)
        assert (name, got, error["code"]) == (name, status, code)


async def test_fields_that_no_request_has(studio):
    for name, (body, code, field) in FIELDS.items():
        got, error = await refused(studio, json.dumps(body).encode())
        assert (name, got, error["code"]) == (name, 422, code)
        assert field is None or error["field"] == field, name


async def test_a_number_beyond_every_float_is_refused(studio):
    _, error = await refused(studio, b'{"prompt": "a", "guidance": 1e999}')
    assert error["code"] == "invalid_guidance"


async def test_a_form_of_another_site_is_no_json(studio):
    async with studio.client() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            answer = await client.post("/api/v1/jobs", content=b'{"prompt": "a"}', headers={"content-type": kind})
            assert (kind, answer.status_code, answer.json()["error"]["code"]) == (kind, 415, "not_json")
    assert await studio.count() == 0


async def test_markdown_mentions_and_other_scripts_are_data(studio):
    prompt = "@everyone **bold** <script>alert(1)</script> شجرة 🦊 [x](javascript:1)"
    async with studio.client() as client:
        job = (await client.post("/api/v1/jobs", json={"prompt": prompt})).json()
    assert job["request"]["prompt"] == prompt


NOWHERE = [
    ("GET", "/nothing", 404, "no_such_page"),
    ("GET", "/api/v1/", 404, "no_such_page"),
    ("GET", "/web/../app.py", 404, "no_such_page"),
    ("GET", "/web/..%2f..%2fapp.py", 404, "no_such_page"),
    ("GET", "/web/%2e%2e", 404, "no_such_page"),
    ("GET", "/docs", 404, "no_such_page"),
    ("PUT", "/api/v1/jobs", 405, "wrong_method"),
    ("PATCH", "/health", 405, "wrong_method"),
    ("GET", "/api/v1/jobs/%00", 404, "job_not_found"),
    ("GET", "/api/v1/jobs/%ff%fe", 404, "job_not_found"),
    ("DELETE", "/api/v1/jobs/' OR 1=1 --", 404, "job_not_found"),
    ("GET", f"/api/v1/jobs/{'9' * 5000}", 404, "job_not_found"),
]


async def test_addresses_that_lead_nowhere_are_told_so(studio):
    async with studio.client() as client:
        for method, path, status, code in NOWHERE:
            answer = await client.request(method, path)
            assert (path, answer.status_code, answer.json()["error"]["code"]) == (path, status, code)


REBOUND = (
    "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.5", "user@127.0.0.1", "127.0.0.1:x", "",
    "127.0.0.1, evil.example",
)  # fmt: skip


async def test_a_name_rebound_to_this_machine_leads_nowhere(studio):
    async with studio.client() as client:
        for host in REBOUND:
            answer = await client.get("/api/v1/status", headers={"host": host})
            assert (host, answer.status_code, answer.json()["error"]["code"]) == (host, 421, "wrong_host")


async def test_this_machine_under_its_own_names_is_served(studio):
    async with studio.client() as client:
        for host in ("127.0.0.1", "localhost:7860", "[::1]:9", "LOCALHOST", "127.1.2.3"):
            assert (host, (await client.get("/api/v1/status", headers={"host": host})).status_code) == (host, 200)


async def test_a_configured_name_is_served_and_no_other(studio_of):
    from gateway.auth import make_key, read_keys

    _, line = make_key("ada")
    studio = await studio_of(host="0.0.0.0", allowed_hosts=("photos.example.org",), keys=read_keys([line]))
    async with studio.client() as client:
        for host, status in [("photos.example.org", 200), ("photos.example.org:8443", 200), ("192.168.1.5:7860", 200), ("x.example.org", 421)]:
            assert (await client.get("/health", headers={"host": host})).status_code == status


ELSEWHERE = ("http://evil.example", "null", "http://127.0.0.1:7861", "http://localhost:7860", "https://127.0.0.1", "")


async def test_another_site_can_do_nothing_here(studio):
    async with studio.client() as client:
        for origin, method in itertools.product(ELSEWHERE, ("POST", "DELETE", "GET")):
            answer = await client.request(method, "/api/v1/jobs", headers=JSON | {"origin": origin}, content=b'{"prompt": "a"}')
            assert (origin, answer.status_code, answer.json()["error"]["code"]) == (origin, 403, "foreign_origin")
            assert "access-control-allow-origin" not in answer.headers
    assert await studio.count() == 0


async def test_the_page_itself_may_ask_and_a_link_from_elsewhere_opens_it(studio):
    async with studio.client() as client:
        own = {"origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"}
        assert (await client.post("/api/v1/jobs", json=GOOD, headers=own)).status_code == 201
        link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
        assert (await client.get("/", headers=link)).status_code == 200
        embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
        assert (await client.get("/api/v1/jobs", headers=embedded)).status_code == 403


async def test_every_answer_forbids_what_a_page_does_not_need(studio):
    async with studio.client() as client:
        for path in ("/", "/web/icon.svg", "/api/v1/jobs", "/nothing", "/health"):
            headers = (await client.get(path)).headers
            assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cross-origin-resource-policy"] == "same-origin"
