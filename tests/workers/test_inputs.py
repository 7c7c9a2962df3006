"""Pictures that runs start from: kept by what they are, judged before they are kept, gone after a while."""

import hashlib
import io
import json
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

pytest.importorskip("numpy", reason="a host without the worker's packages has no engine to test")

from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from tests.workers.fake_backend import FakeBackend, source
from tests.workers.test_server import FakeModels, order, problem
from workers.engine.catalog import Catalog
from workers.engine.loras.library import LoraSource
from workers.protocol import Capabilities, Problem, RunOrder, RunStatus
from workers.server.inputs import Inputs
from workers.server.problems import Refused
from workers.server.routes import make_app
from workers.server.settings import WorkerSettings


def picture(fmt: str = "PNG", size: tuple[int, int] = (32, 24), mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("L", size, 90).convert(mode).save(out, fmt, **options)
    return out.getvalue()


def bomb() -> bytes:
    """A PNG of some hundred bytes that claims 30000 x 30000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">II", 30_000, 30_000) + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def animated() -> bytes:
    out = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=100)
    return out.getvalue()


HOSTILE = [
    pytest.param(b"hello", "not a whole", id="no picture"),
    pytest.param(picture()[:60], "not a whole", id="cut off"),
    pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(100), "not a whole", id="only the first bytes of a PNG"),
    pytest.param(bomb(), "too many pixels", id="bomb"),
    pytest.param(picture(size=(1, 30_000)), "1x30000", id="strip"),
    pytest.param(picture("JPEG", mode="CMYK"), "CMYK", id="CMYK"),
    pytest.param(picture(mode="I;16"), "I;16", id="16 bit"),
    pytest.param(animated(), "animated", id="animated"),
    pytest.param(picture("GIF", mode="P"), "not a whole", id="GIF"),
]


class EditModels(FakeModels):
    """One model that takes pictures to start from, and one LoRA of its family, one of another."""

    async def rescan(self) -> None:
        from dataclasses import replace

        model = source("m")
        kinds = ("text_to_image", "image_to_image", "inpaint", "upscale")
        self._catalog = Catalog(models={"m": replace(model, shape=replace(model.shape, kinds=kinds), text_width=768)})
        self._library.loras = {name: lora(name, family, width) for name, family, width in LORAS}
        self._library.refused = {"evil.pt": "It is a pickle."}


LORAS = (("film", "sd15", 768), ("tiny", "sd15", 96), ("flux-film", "flux", None))


def lora(name: str, family: str, width: int | None) -> LoraSource:
    from pathlib import Path

    return LoraSource(
        name=name, family=family, path=Path("/nonexistent"), title=name.title(), triggers=("grain",), weight=0.8, text_width=width, stamp=(0, 0)
    )  # fmt: skip


@pytest.fixture
async def lab() -> AsyncIterator[TestClient[Any, Any]]:
    async with AsyncExitStack() as stack:
        backend = FakeBackend()
        worker = EditModels(WorkerSettings(), builtin={}, make_backend=lambda: backend)
        await worker.rescan()
        await stack.enter_async_context(worker)
        await worker.ready.wait()
        client = await stack.enter_async_context(TestClient(TestServer(make_app(worker))))
        yield client


async def send(lab: TestClient[Any, Any], data: bytes, *, sha256: str | None = None) -> Any:
    return await lab.put(f"/v1/inputs/{sha256 or hashlib.sha256(data).hexdigest()}", data=data)


async def test_a_run_that_lacks_its_picture_says_which_and_goes_once_it_came(lab: TestClient[Any, Any]) -> None:
    data, mask = picture(), picture(size=(16, 16))
    names = [hashlib.sha256(one).hexdigest() for one in (data, mask)]
    wanted = order(kind="inpaint", image=names[0], mask=names[1])
    assert (await send(lab, data)).status == 204
    response = await lab.put("/v1/runs/job.1", json=wanted)
    assert response.status == 409
    told = Problem.model_validate_json(await response.read())
    assert told.code == "input_missing"
    assert [(field.field, field.detail) for field in told.fields] == [("mask", names[1])]
    assert (await lab.get("/v1/runs/job.1")).status == 404, "a refused run was remembered"
    assert (await send(lab, mask)).status == 204
    assert (await lab.put("/v1/runs/job.1", json=wanted)).status == 202


@pytest.mark.parametrize(("data", "says"), HOSTILE)
async def test_hostile_pictures_are_refused_with_a_sentence(lab: TestClient[Any, Any], data: bytes, says: str) -> None:
    response = await send(lab, data)
    assert response.status == 422
    told = Problem.model_validate_json(await response.read())
    assert told.code == "bad_input"
    assert says in told.detail


async def test_bytes_of_another_digest_and_names_that_are_none_are_refused(lab: TestClient[Any, Any]) -> None:
    assert await problem(await send(lab, picture(), sha256="0" * 64)) == (422, "wrong_digest")
    assert await problem(await send(lab, picture(), sha256="A" * 64)) == (400, "malformed")
    assert await problem(await send(lab, b"")) == (413, "too_large")


async def test_a_body_beyond_the_limit_is_refused_while_it_is_read(lab: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.server import routes

    monkeypatch.setattr(routes, "INPUT_BYTES_MAX", 1000)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(100)

    response = await lab.put(f"/v1/inputs/{'0' * 64}", data=endless())
    assert await problem(response) == (413, "too_large")


async def test_least_used_pictures_leave_first_and_all_leave_after_a_while() -> None:
    now = 0.0
    kept = {side: picture(size=(side, side)) for side in (40, 41, 42, 43)}
    inputs = Inputs(lambda: now, ttl_seconds=10, bytes_max=sum(len(kept[side]) for side in (40, 42, 43)))
    names = {side: hashlib.sha256(data).hexdigest() for side, data in kept.items()}

    def wanted(side: int) -> RunOrder:
        return RunOrder.model_validate(order(kind="image_to_image", image=names[side]))

    for side in (40, 41):
        await inputs.keep(names[side], kept[side])
    assert inputs.of(wanted(40))[0] == kept[40]  # a use: 41 is the oldest now
    for side in (42, 43):
        await inputs.keep(names[side], kept[side])
    with pytest.raises(Refused, match="not here"):
        inputs.of(wanted(41))
    assert inputs.of(wanted(40)) == (kept[40], None)
    now = 10.5
    with pytest.raises(Refused, match="not here"):
        inputs.of(wanted(43))


async def test_several_pictures_of_one_order_take_as_many_places(lab: TestClient[Any, Any]) -> None:
    assert (await lab.put("/v1/runs/job.1", json=order(count=3))).status == 202
    async with lab.get("/v1/runs/job.1/events") as response:
        lines = [line async for line in response.content]
    pictures = json.loads(lines[-1])["pictures"]
    assert [(told["index"], told["seed"]) for told in pictures] == [(0, 7), (1, 8), (2, 9)]
    for told in pictures:
        data = await (await lab.get(f"/v1/runs/job.1/pictures/{told['index']}")).read()
        assert hashlib.sha256(data).hexdigest() == told["sha256"]
    status = RunStatus.model_validate_json(await (await lab.get("/v1/runs/job.1")).read())
    assert status.end is not None


async def test_loras_are_offered_and_refused_by_name(lab: TestClient[Any, Any]) -> None:
    can = Capabilities.model_validate_json(await (await lab.get("/v1/capabilities")).read())
    film = can.loras[0]
    assert (film.name, film.family, film.triggers, film.weight) == ("film", "sd15", ("grain",), 0.8)
    assert ("loras/evil.pt", "It is a pickle.") in [(one.name, one.reason) for one in can.refused_models]
    assert can.models[0].loras_max == 8

    async def told(*uses: tuple[str, float]) -> tuple[int, str, str]:
        loras = [{"name": name, "weight": weight} for name, weight in uses]
        response = await lab.put("/v1/runs/job.1", json=order(loras=loras))
        found = Problem.model_validate_json(await response.read())
        return response.status, found.code, found.detail

    assert (await told(("nowhere", 1.0)))[:2] == (422, "unknown_lora")
    assert "is for flux models" in (await told(("flux-film", 1.0)))[2]
    assert "made for another model" in (await told(("tiny", 1.0)))[2]
    assert "more than once" in (await told(("film", 1.0), ("film", 0.5)))[2]
    assert (await told(("film", 2.1)))[:2] == (422, "bad_order")
    assert "pickle" in (await told(("evil", 1.0)))[2]
