"""A folder of models is written by strangers: no file in it takes the others along, and everything that is not served is listed with its reason."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="a host without the worker's packages has no engine to test")

from aiohttp.test_utils import TestClient, TestServer

from housemodel import weights_folder
from tests.workers.fake_backend import FakeBackend
from tests.workers.test_catalog import ONE, safetensors
from tests.workers.test_lora_library import UNET, write
from workers.engine.catalog import Builtin
from workers.engine.loras import library, words
from workers.engine.loras.library import LoraLibrary
from workers.protocol import Capabilities
from workers.server.routes import make_app
from workers.server.settings import WorkerSettings
from workers.server.worker import Worker

HOUSE = weights_folder()


async def told(models: Path, *, name: str = "worker") -> Capabilities:
    """What a worker over this folder says of itself over HTTP."""
    settings = WorkerSettings(models=models, name=name)
    library = LoraLibrary(models / "loras")
    worker = Worker(settings, builtin={"house": Builtin(path=HOUSE)}, make_backend=FakeBackend, library=library)
    await worker.rescan()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(worker)
        await worker.ready.wait()
        client = await stack.enter_async_context(TestClient(TestServer(make_app(worker))))
        answer = await client.get("/v1/capabilities")
        assert answer.status == 200
        return Capabilities.model_validate_json(await answer.read())


def refusals(can: Capabilities) -> dict[str, str]:
    return {refused.name: refused.reason for refused in can.refused_models}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with one good LoRA in it."""
    write(tmp_path / "loras" / "good.safetensors", UNET)
    return tmp_path


def raw(folder: Path, name: bytes, data: bytes = b"x") -> None:
    folder.mkdir(exist_ok=True)
    with open(os.path.join(os.fsencode(folder), name), "wb") as file:
        file.write(data)


async def test_names_that_are_no_text_are_told_as_what_can_be_told(models: Path) -> None:
    for folder in (models, models / "loras"):
        raw(folder, b"caf\xe9.safetensors")
        raw(folder, b"caf\xe9.ckpt")
    can = await told(models, name="gpu\udce9")
    assert can.worker_name == "gpu\\udce9"
    assert {"caf\\udce9", "caf\\udce9.ckpt", "loras/caf\\udce9.safetensors", "loras/caf\\udce9.ckpt"} == refusals(can).keys()
    assert [lora.name for lora in can.loras] == ["good"]
    assert [model.name for model in can.models] == ["house"]


HALVES: dict[str, Callable[[Path], object]] = {
    "a layer of a LoRA": lambda f: write(f / "loras" / "bad.safetensors", {"lora_unet_\ud800x.lora_down.weight": [2, 768]}),
    "a tensor of a model": lambda f: safetensors(f / "bad.safetensors", {"\ud800": ONE["w"]}, bytes(24)),
    "a class of a folder": lambda f: _folder(f / "bad", {"_class_name": "\ud800"}),
    "a name in a GGUF": lambda f: (f / "bad.gguf").write_bytes(
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", 3) + b"\xed\xa0\x80" + struct.pack("<I", 9)
    ),
}


def _folder(folder: Path, index: dict) -> None:
    folder.mkdir()
    (folder / "model_index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("make", HALVES.values(), ids=HALVES)
async def test_half_a_letter_in_a_file_does_not_break_what_the_worker_says(models: Path, make: Callable[[Path], object]) -> None:
    make(models)
    can = await told(models)
    assert [name for name in refusals(can) if "bad" in name]
    assert [lora.name for lora in can.loras] == ["good"]


@pytest.mark.parametrize("count", ["1e999", "-1e999", "NaN", "9" * 400, '"x"', "[]", "null"])
async def test_a_lora_whose_header_counts_strangely_is_served_without_its_words(models: Path, count: str) -> None:
    write(models / "loras" / "odd.safetensors", UNET, {"ss_tag_frequency": '{"a": {"b": COUNT, "c": 3}}'.replace("COUNT", count)})
    can = await told(models)
    assert [lora.name for lora in can.loras] == ["good", "odd"]
    assert not can.refused_models


async def test_a_file_over_which_the_reading_stumbles_takes_no_other_along(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(models / "loras" / "bad.safetensors", UNET)
    safetensors(models / "worse.safetensors", ONE, bytes(24))
    read = words.of_file

    def stumbling(path: Path, metadata):
        if path.stem == "bad":
            raise ZeroDivisionError
        return read(path, metadata)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(library.words, "of_file", stumbling)
    monkeypatch.setattr("workers.engine.catalog.checkpoint.judge", broken)
    can = await told(models)
    assert refusals(can) == dict.fromkeys(
        ("loras/bad.safetensors", "worse.safetensors"), "It is of a shape that nobody thought of (ZeroDivisionError)."
    )
    assert [model.name for model in can.models] == ["house"]


@pytest.mark.parametrize("name", ["m.zip", "m.onnx", "m.pt", "m.bin", "m.7z", "m.safetensors", "m.gguf"])
async def test_whatever_looks_like_a_model_and_is_not_served_is_listed_with_its_reason(models: Path, name: str) -> None:
    (models / name).write_bytes(b"whatever")
    ((why),) = refusals(await told(models)).values()
    assert len(why) > 20
    assert why.endswith(".")


async def test_a_broken_file_called_as_a_model_that_is_served_is_listed_beside_it(models: Path) -> None:
    (models / "house.safetensors").write_bytes(b"broken")
    (models / "house").mkdir()
    can = await told(models)
    assert [model.name for model in can.models] == ["house"]
    assert refusals(can).keys() == {"house.safetensors", "house/"}


async def test_of_two_models_of_one_name_the_folder_is_served_and_the_file_listed(models: Path) -> None:
    shutil.copytree(HOUSE, models / "mine")
    (models / "mine.safetensors").write_bytes(b"whatever")
    can = await told(models)
    assert sorted(model.name for model in can.models) == ["house", "mine"]
    assert refusals(can) == {"mine.safetensors": "Another model is called mine: rename one of the two."}
