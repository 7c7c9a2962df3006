"""Pictures to start from, over HTTP: checked, one's own, named by digest."""

import asyncio
import io

import pytest
from PIL import Image

from gateway.auth import make_key, read_keys
from jobs.job import InputPicture
from jobs.offer import LoraOffer
from tests.gateway.scripted_worker import HOUSE, ScriptedWorker

ABLE = HOUSE.model_copy(update={"kinds": ("text_to_image", "image_to_image"), "count_max": 4, "loras_max": 2})


class AbleWorker(ScriptedWorker):
    """Takes pictures to start from, several a job, and has a LoRA."""

    async def report(self):
        told = await super().report()
        lora = LoraOffer(name="night", family="sd15", triggers=("moonlit",))
        other = LoraOffer(name="film", family="flux")
        return type(told)(**{name: getattr(told, name) for name in told.__dataclass_fields__} | {"models": (ABLE,), "loras": (lora, other)})


def photo(fmt: str = "JPEG", size: tuple[int, int] = (96, 64)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "teal").save(out, fmt)
    return out.getvalue()


async def heard(client, **headers) -> None:
    """Until the house knows what its worker can do."""
    async with asyncio.timeout(10):
        while not (await client.get("/api/v1/status", headers=headers)).json()["workers"]:
            await asyncio.sleep(0.01)


async def send(client, data: bytes, kind: str = "image/jpeg", **headers):
    return await client.post("/api/v1/inputs", content=data, headers={"Content-Type": kind, **headers})


async def test_a_sent_picture_starts_a_job_and_twice_is_the_same(studio_of):
    studio = await studio_of(AbleWorker())
    async with studio.client() as client:
        await heard(client)
        first, second = await send(client, photo()), await send(client, photo())
        assert first.status_code == 201
        assert first.json() == second.json()
        assert InputPicture(**first.json()).width == 96
        wish = {"kind": "image_to_image", "prompt": "a red star", "image": first.json()["sha256"], "steps": 4}
        asked = await client.post("/api/v1/jobs", json=wish)
        assert asked.status_code == 201, asked.text
        assert asked.json()["request"]["strength"] == ABLE.default_strength


async def test_somebody_elses_picture_does_not_exist_even_by_its_digest(studio_of):
    secrets_and_lines = [make_key(name) for name in ("anna", "ben")]
    studio = await studio_of(AbleWorker(), keys=read_keys([line for _, line in secrets_and_lines]))
    anna, ben = ({"Authorization": f"Bearer {secret}"} for secret, _ in secrets_and_lines)
    async with studio.client() as client:
        await heard(client, **anna)
        digest = (await send(client, photo(), **anna)).json()["sha256"]
        wish = {"kind": "image_to_image", "prompt": "a red star", "image": digest}
        refused = await client.post("/api/v1/jobs", json=wish, headers=ben)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "missing_input")
        assert (await client.post("/api/v1/jobs", json=wish, headers=anna)).status_code == 201


@pytest.mark.parametrize("data", [b"", b"<html>502</html>", photo()[:80], b"GIF89a" + bytes(40)])
async def test_what_is_no_picture_is_refused_with_what_would_do(studio, data):
    async with studio.client() as client:
        refused = await send(client, data)
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "invalid_picture"
    assert "PNG" in refused.json()["error"]["message"]


async def test_a_form_is_not_taken_for_a_picture(studio):
    async with studio.client() as client:
        assert (await send(client, photo(), kind="multipart/form-data; boundary=x")).status_code == 415


async def test_a_picture_may_be_larger_than_a_wish_but_not_without_end(studio_of, worker):
    studio = await studio_of(worker, picture_max=200_000)
    async with studio.client() as client:
        assert (await send(client, photo("PNG", (600, 400)) + bytes(100_000))).status_code == 201
        assert (await send(client, bytes(200_001))).status_code == 413
        assert (await client.post("/api/v1/jobs", content=bytes(70_000), headers={"Content-Type": "application/json"})).status_code == 413


async def test_loras_are_listed_and_judged_by_name_and_family(studio_of):
    studio = await studio_of(AbleWorker())
    async with studio.client() as client:
        await heard(client)
        listed = (await client.get("/api/v1/models")).json()
        assert [(lora["name"], lora["triggers"]) for lora in listed["loras"]] == [("film", []), ("night", ["moonlit"])]
        assert next(model for model in listed["models"] if model["name"] == "house")["loras_max"] == 2
        codes = []
        for name in ("night", "film", "absent"):
            told = await client.post("/api/v1/jobs", json={"prompt": "x", "loras": [{"name": name, "weight": 0.5}]})
            codes.append((told.json().get("error") or {}).get("code", told.status_code))
        assert codes == [201, "wrong_lora", "unknown_lora"]
