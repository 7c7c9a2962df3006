"""Who is who: keys, the page's cookie, and what may be bound without either."""

import pytest

from gateway.auth import BindingRefused, Keyring, KeysInvalid, check_binding, make_key, read_keys
from gateway.settings import GatewaySettings
from tests.gateway.studio import served

ASK = {"prompt": "a red fox", "width": 64, "height": 64, "steps": 4}


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


@pytest.fixture
def ada() -> tuple[str, str]:
    return make_key("ada")


@pytest.fixture
def bob() -> tuple[str, str]:
    return make_key("bob")


@pytest.fixture
async def studio(studio_of, worker, ada, bob):
    return await studio_of(worker, keys=read_keys([ada[1], bob[1]]))


def test_a_new_key_is_shown_once_and_its_line_does_not_hold_it(ada):
    secret, kept = ada
    assert secret.startswith("dk_")
    assert secret not in kept
    assert secret.partition(".")[2] not in kept
    assert Keyring(read_keys([kept]), b"s").recognise(secret).name == "ada"
    assert make_key("ada")[0] != secret


@pytest.mark.parametrize("name", ["", "Ada", "a b", "a:b", "a,b", "-a", "x" * 33, "ädä"])
def test_a_name_that_is_no_name_gets_no_key(name):
    with pytest.raises(ValueError, match="name has"):
        make_key(name)


@pytest.mark.parametrize("line", ["", "ada", "ada:abc:def", "secret-word-in-the-wrong-place"])
def test_a_line_that_is_no_key_is_named_but_not_repeated(line):
    with pytest.raises(KeysInvalid) as error:
        read_keys([line])
    assert "entry 1" in str(error.value)
    assert not line or line not in str(error.value).replace("darkroom", "")


def test_the_same_key_twice_is_refused(ada):
    with pytest.raises(KeysInvalid, match="twice"):
        read_keys([ada[1], ada[1]])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_alone_needs_no_key(host):
    check_binding(host, ())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "photos.example.org", "", "localhost.example.org"])
def test_a_binding_for_others_without_a_key_is_refused_and_says_how_to_make_one(host, ada):
    with pytest.raises(BindingRefused, match="darkroom key NAME"):
        check_binding(host, ())
    check_binding(host, read_keys([ada[1]]))


def test_a_public_name_without_a_key_is_refused_too(ada):
    with pytest.raises(BindingRefused, match=r"photos\.example\.org"):
        check_binding("127.0.0.1", (), ("photos.example.org",))
    check_binding("127.0.0.1", (), ("localhost",))
    check_binding("127.0.0.1", read_keys([ada[1]]), ("photos.example.org",))


def test_settings_show_no_secret():
    assert "hush" not in repr(GatewaySettings(version="1", session_secret=b"hush"))


async def test_without_a_key_nothing_is_told(studio):
    async with studio.client() as client:
        for method, path in [
            ("GET", "/api/v1/jobs"), ("POST", "/api/v1/jobs"), ("GET", "/api/v1/jobs/x"), ("DELETE", "/api/v1/jobs/x"), ("GET", "/api/v1/jobs/x/image"),
            ("GET", "/api/v1/jobs/x/preview"), ("GET", "/api/v1/jobs/x/events"), ("GET", "/api/v1/models"), ("GET", "/api/v1/status"),
        ]:  # fmt: skip
            answer = await client.request(method, path)
            assert (path, answer.status_code) == (path, 401)
            assert answer.json()["error"]["code"] == "no_key"
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for path in ("/", "/health", "/web/main.js", "/words/en.json"):
            assert (await client.get(path)).status_code == 200


async def test_a_wrong_key_is_no_key(studio):
    async with studio.client() as client:
        for wrong in ("", "Bearer", "Bearer ", "Bearer dk_aaaaaaaa." + "A" * 43, "Basic YTpi", "Bearer \u00ff", "Bearer dk_x"):
            answer = await client.get("/api/v1/jobs", headers=[(b"authorization", wrong.encode("latin-1"))])
            assert (wrong, answer.status_code) == (wrong, 401)


async def test_a_near_miss_is_no_key(studio, ada):
    secret = ada[0]
    last = "A" if secret[-1] != "A" else "B"
    async with studio.client() as client:
        assert (await client.get("/api/v1/jobs", headers=bearer(secret[:-1] + last))).status_code == 401
        assert (await client.get(f"/api/v1/jobs?key={secret}")).status_code == 401


async def test_each_key_sees_its_own_jobs_only(studio, ada, bob):
    async with studio.client() as client:
        job = (await client.post("/api/v1/jobs", json=ASK, headers=bearer(ada[0]))).json()
        assert (await studio.ended(job["id"])).user_id == "web:ada"
        assert (await client.get(job["pictures"][0]["url"] if job["pictures"] else f"/api/v1/jobs/{job['id']}/image", headers=bearer(ada[0]))).status_code == 200
        for path in ("", "/image", "/events"):
            assert (await client.get(f"/api/v1/jobs/{job['id']}{path}", headers=bearer(bob[0]))).status_code == 404
        assert (await client.get("/api/v1/jobs", headers=bearer(bob[0]))).json()["jobs"] == []
        assert (await client.get("/api/v1/status", headers=bearer(bob[0]))).json()["person"] == "bob"


async def test_the_page_signs_in_with_a_cookie_that_scripts_cannot_read(studio, ada):
    async with studio.client() as client:
        assert (await client.post("/session", json={"key": "dk_wrong"})).status_code == 401
        signed = await client.post("/session", json={"key": ada[0]})
        assert signed.status_code == 204
        cookie = signed.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert ada[0] not in cookie
        assert (await client.get("/api/v1/status")).json()["person"] == "ada"
        assert (await client.delete("/session")).status_code == 204
        assert (await client.get("/api/v1/status")).status_code == 401


async def test_over_https_the_cookie_never_leaves_in_the_clear(studio, ada):
    async with studio.client(base_url="https://127.0.0.1") as client:
        signed = await client.post("/session", json={"key": ada[0]}, headers={"origin": "https://127.0.0.1"})
        assert "Secure" in signed.headers["set-cookie"]


async def test_a_wrong_key_is_not_covered_by_a_good_cookie(studio, ada):
    async with studio.client() as client:
        await client.post("/session", json={"key": ada[0]})
        assert (await client.get("/api/v1/status", headers=bearer("dk_wrong"))).status_code == 401


def test_a_session_is_bound_to_its_key_its_secret_and_its_time(ada, bob):
    now = [1000.0]
    ring = Keyring(read_keys([ada[1]]), b"s", now=lambda: now[0])
    value = ring.open_session(ring.recognise(ada[0]))
    assert ring.session(value).name == "ada"
    assert Keyring(read_keys([ada[1]]), b"other", now=lambda: now[0]).session(value) is None
    assert Keyring(read_keys([bob[1]]), b"s", now=lambda: now[0]).session(value) is None
    assert ring.session(value[:-1] + ("0" if value[-1] != "0" else "1")) is None
    assert ring.session(value.replace("1000", "9999")) is None
    now[0] += 31 * 24 * 3600
    assert ring.session(value) is None


async def test_a_socket_without_a_key_is_closed_with_4401(studio, ada):
    from tests.gateway.test_streams import messages

    job = await studio.ended((await studio.ask("web:ada")).id)
    async with served(studio) as base:
        assert await messages(base, job.id) == ([], 4401)
        told, code = await messages(base, job.id, additional_headers=bearer(ada[0]))
        assert (told[0]["event"], code) == ("generation_complete", 1000)


async def test_without_keys_there_is_nothing_to_sign_in_to(studio_of):
    studio = await studio_of()
    async with studio.client() as client:
        assert (await client.post("/session", json={"key": "x"})).status_code == 404
