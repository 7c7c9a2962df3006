"""What a worker sends is hostile until it was checked and drawn anew."""

import io
import json
import zlib

import pytest
from PIL import Image, PngImagePlugin

from jobs.errors import BadPicture, InvalidRequest
from jobs.request import Order
from jobs.run import MadePicture
from workers.inspection import PictureInspector, redraw, redraw_input

ORDER = Order(prompt="a red star", model="house", width=64, height=32, steps=12, guidance=3.0, seed=7)


def encoded(fmt: str = "PNG", size=(64, 32), mode: str = "RGB", **options) -> bytes:
    out = io.BytesIO()
    Image.new("L", size, 90).convert(mode).save(out, fmt, **options)
    return out.getvalue()


def huge_header() -> bytes:
    """A PNG of some bytes that claims 30000 x 30000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (30000).to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP"])
def test_pixels_survive_and_come_out_as_png(fmt):
    image = Image.open(io.BytesIO(redraw(encoded(fmt), ORDER)))
    assert image.format == "PNG"
    assert image.size == (64, 32)
    assert all(abs(band - 90) <= 2 for band in image.getpixel((5, 5)))


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"<html>502</html>", encoded()[:-20], encoded()[:60], encoded(size=(32, 64)), encoded(size=(64, 64)), encoded("GIF"), encoded("TIFF"),
     encoded("BMP"), huge_header()],
)  # fmt: skip
def test_what_is_not_the_ordered_picture_is_refused(data):
    with pytest.raises(BadPicture):
        redraw(data, ORDER)


def test_a_neighbours_prompt_and_a_trailing_archive_do_not_survive():
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", "the neighbour's secret")
    data = encoded(pnginfo=info) + b"PK\x03\x04 secret archive"
    clean = redraw(data, ORDER)
    assert b"secret" not in clean
    record = json.loads(Image.open(io.BytesIO(clean)).text["darkroom"])
    assert record["prompt"] == "a red star"


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_other_pixel_kinds_become_rgb(mode):
    data = encoded("JPEG" if mode == "CMYK" else "PNG", mode=mode)
    assert Image.open(io.BytesIO(redraw(data, ORDER))).mode == "RGB"


async def test_another_seed_than_ordered_is_refused():
    with pytest.raises(BadPicture):
        await PictureInspector().inspect(MadePicture(index=0, seed=8, data=encoded()), ORDER)


async def test_the_description_is_of_the_clean_bytes():
    data, picture = await PictureInspector().inspect(MadePicture(index=0, seed=7, data=encoded()), ORDER)
    assert (picture.width, picture.height, picture.size, picture.seed) == (64, 32, len(data), 7)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "I;16", "P", "1", "LA"])
def test_a_persons_picture_of_any_colour_model_becomes_plain_rgb(mode):
    out = io.BytesIO()
    picture = Image.new("I;16", (40, 30), 30_000) if mode == "I;16" else Image.new("L", (40, 30), 90).convert(mode)
    picture.save(out, "JPEG" if mode == "CMYK" else "PNG")
    clean, size = redraw_input(out.getvalue())
    image = Image.open(io.BytesIO(clean))
    assert (image.mode, image.format, image.size, size) == ("RGB", "PNG", (40, 30), (40, 30))


def test_sixteen_bit_greys_keep_their_brightness():
    out = io.BytesIO()
    Image.new("I;16", (16, 16), 32_768).save(out, "PNG")
    pixel = Image.open(io.BytesIO(redraw_input(out.getvalue())[0])).getpixel((3, 3))
    assert all(abs(band - 127) <= 2 for band in pixel)


def test_where_and_how_a_photo_was_taken_does_not_survive_but_its_uprightness_does():
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = "my garden"
    Image.new("RGB", (60, 30), "red").save(out, "JPEG", exif=exif)
    clean, size = redraw_input(out.getvalue())
    assert size == (30, 60)
    assert b"garden" not in clean


@pytest.mark.parametrize(
    "data", [b"", b"<html>", encoded()[:60], encoded("GIF"), encoded(size=(1, 3000)), encoded(size=(4, 4)), huge_header()]
)
def test_files_that_are_no_picture_to_start_from_are_refused_with_a_reason(data):
    with pytest.raises(InvalidRequest, match="invalid_picture"):
        redraw_input(data)


def clip_of(frames: int, *, fps: int = 8, size: tuple[int, int] = (64, 32), colours: int = 200) -> bytes:
    """An animated WebP whose frames differ."""
    out = io.BytesIO()
    first, *rest = (Image.new("RGB", size, (colours - 9 * number, 9 * number, 80)) for number in range(frames))
    first.save(out, "WEBP", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, exif=b"Exif\0\0secret")
    return out.getvalue()


CLIP = ORDER.model_copy(update={"kind": "animate", "frames": 6, "fps": 8})


async def test_a_clip_is_drawn_anew_frame_by_frame():
    data, picture = await PictureInspector().inspect(MadePicture(index=0, seed=CLIP.seed, data=clip_of(6)), CLIP)
    assert picture.content_type == "image/webp"
    with Image.open(io.BytesIO(data)) as clip:
        assert (clip.size, clip.n_frames, clip.info.get("exif")) == ((64, 32), 6, None)
        clip.seek(5)
        assert abs(clip.convert("RGB").getpixel((3, 3))[0] - (200 - 45)) < 12
    assert b"secret" not in data


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(clip_of(7), id="more frames than ordered"),
        pytest.param(clip_of(6, fps=2), id="slower than ordered"),
        pytest.param(clip_of(6, size=(32, 32)), id="another size"),
        pytest.param(clip_of(6)[:-200], id="cut off"),
        pytest.param(b"\0\0\0\x18ftypmp42" + bytes(500), id="an MP4"),
    ],
)
async def test_what_is_not_the_ordered_clip_is_the_workers_fault(data):
    with pytest.raises(BadPicture):
        await PictureInspector().inspect(MadePicture(index=0, seed=CLIP.seed, data=data), CLIP)


async def test_an_enlarged_picture_has_its_scale_times_the_orders_size():
    order = ORDER.model_copy(update={"kind": "upscale", "scale": 2})
    _, picture = await PictureInspector().inspect(MadePicture(index=0, seed=order.seed, data=encoded(size=(128, 64))), order)
    assert (picture.width, picture.height) == (128, 64)
