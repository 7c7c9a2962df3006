"""Pictures that strangers send to start from: read, or refused in a sentence for that run alone."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numpy", reason="a host without the worker's packages has no engine to test")

import numpy as np
from PIL import Image

from workers.engine import pictures
from workers.engine.errors import RunFailure


def saved(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **settings)
    return out.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes that claims side x side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def animated() -> bytes:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    return saved(frames[0], "WEBP", save_all=True, append_images=frames[1:])


BAD: list[tuple[str, Callable[[], bytes], str]] = [
    ("nothing", lambda: b"", "not a whole"),
    ("text", lambda: b"<svg>" * 100, "not a whole"),
    ("gif", lambda: saved(Image.new("RGB", (32, 32)), "GIF"), "not a whole"),
    ("bomb", lambda: bomb(30_000), "not a whole|pixels"),
    ("truncated", lambda: saved(Image.effect_noise((64, 64), 9).convert("RGB"))[:600], "not a whole"),
    ("strip", lambda: saved(Image.new("RGB", (1, 30_000))), "1x30000"),
    ("long", lambda: saved(Image.new("RGB", (20, 400))), "20x400"),
    ("animated", animated, "animated"),
    ("cmyk", lambda: saved(Image.new("CMYK", (32, 32)), "JPEG"), "colours are CMYK"),
    ("sixteen bits", lambda: saved(Image.fromarray(np.full((32, 32), 999, dtype=np.uint16))), "colours are I;16"),
]


@pytest.mark.parametrize(("what", "make", "says"), BAD, ids=[name for name, _, _ in BAD])
def test_what_cannot_be_used_is_refused_in_a_sentence(what: str, make: Callable[[], bytes], says: str) -> None:
    with pytest.raises(RunFailure, match=says) as caught:
        pictures.read_input(make())
    assert (caught.value.code, caught.value.blame) == ("bad_image", "job")
    assert caught.value.detail.startswith("The picture to start from cannot be used. ")


def test_a_picture_is_read_upright_and_without_its_transparency() -> None:
    lying = Image.new("RGB", (40, 20), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert pictures.size_of(saved(lying, "JPEG", exif=exif)) == (20, 40)
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    read = pictures.read_input(saved(clear))
    assert (read.mode, read.getpixel((0, 0))) == ("RGB", (255, 255, 255))
    assert pictures.read_input(saved(Image.new("L", (32, 32), 7))).getpixel((3, 3)) == (7, 7, 7)


def test_a_clip_plays_all_its_frames_at_the_speed_asked_for() -> None:
    frames = np.stack([np.full((24, 32, 3), 40 * index, dtype=np.uint8) for index in range(5)])
    with Image.open(io.BytesIO(pictures.clip(frames, fps=10))) as image:
        assert (image.format, image.size, image.n_frames, image.info["loop"]) == ("WEBP", (32, 24), 5, 0)
        shown = []
        for index in range(5):
            image.seek(index)
            image.load()
            assert image.info["duration"] == 100
            shown.append(np.asarray(image.convert("RGB")).mean())
    assert shown == sorted(shown)
    assert len(set(shown)) == 5


def test_a_bad_picture_ends_its_own_run_and_no_other(models_folder: Path) -> None:
    pytest.importorskip("diffusers", reason="a host without the worker's packages has no engine to test")
    from tests.workers.engine_fixtures import Listener
    from workers.engine.backend import TorchBackend
    from workers.engine.catalog import discover
    from workers.engine.loop import Engine, EngineSettings
    from workers.engine.run import RunSpec

    models = discover(models_folder, {}).models
    engine = Engine(lambda: TorchBackend(device="cpu", threads=1), lambda: models, EngineSettings())
    engine.start()
    plain: dict[str, Any] = {"model": "kl", "prompt": "p", "width": 16, "height": 16, "steps": 2, "guidance": 1.0, "seed": 1}
    good = saved(Image.new("RGB", (32, 32), "red"))
    listeners = [Listener() for _ in range(4)]
    try:
        for listener, more in zip(
            listeners,
            [
                {"kind": "image_to_image", "image": bomb(30_000)},
                {"kind": "image_to_image", "image": good},
                {"kind": "inpaint", "image": good, "mask": b"no mask"},
                {},
            ],
            strict=True,
        ):
            engine.submit(str(id(listener)), RunSpec(**plain, **more), listener)
        assert listeners[0].broken().failure.code == "bad_image"
        assert listeners[1].made().width == 16
        assert listeners[2].broken().failure.code == "bad_image"
        assert listeners[3].made().width == 16
    finally:
        engine.stop()
