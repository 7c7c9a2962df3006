"""What a worker sent, checked before anybody sees it. Host side: Pillow, no torch.

The header is read before any pixel (a 10 kB file can hold 81 megapixels), the picture must be of the size that was ordered,
and what is stored is drawn anew from its pixels: metadata, trailing archives and a neighbour's prompt do not survive it.
"""

import asyncio
import hashlib
import io
import json
import struct
import warnings

from PIL import Image, ImageOps, PngImagePlugin

from jobs.errors import BadPicture, InvalidRequest
from jobs.job import InputPicture, Picture
from jobs.request import Order
from jobs.run import MadePicture
from workers.protocol import INPUT_BYTES_MAX, SIDE_MAX

_BYTES_MAX = 64 * 1024 * 1024
_INPUT_PIXELS_MAX = 40_000_000
_CLIP_QUALITY = 90
_FORMATS = ("PNG", "JPEG", "WEBP")
_UNREADABLE = (
    OSError, SyntaxError, ValueError, TypeError, struct.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""What Pillow raises for files that are not what they say."""
_PNG_END = b"IEND\xaeB`\x82"
"""The last chunk with its checksum. Pillow shows a PNG whose tail is missing as long as all its rows were there."""


class PictureInspector:
    """Checks and re-encodes, at most ``at_once`` pictures at a time so that memory stays bounded."""

    def __init__(self, *, at_once: int = 2) -> None:
        self._places = asyncio.Semaphore(at_once)

    async def inspect(self, made: MadePicture, order: Order) -> tuple[bytes, Picture]:
        """Clean bytes, a PNG or for a clip an animated WebP, and their description. Raises BadPicture."""
        if made.seed != order.seeds[made.index]:
            raise BadPicture("bad_picture", reason="the seed is not the one that was ordered")
        is_clip = order.kind == "animate"
        async with self._places:
            data = await asyncio.to_thread(redraw_clip if is_clip else redraw, made.data, order)
        width, height = _size(order)
        return data, Picture(
            index=made.index,
            sha256=hashlib.sha256(data).hexdigest(),
            content_type="image/webp" if is_clip else "image/png",
            size=len(data),
            width=width,
            height=height,
            seed=made.seed,
        )

    async def take_in(self, data: bytes) -> tuple[bytes, InputPicture]:
        """A person's file, upright, in RGB, as PNG without a word of what it carried. Raises InvalidRequest."""
        async with self._places:
            clean, (width, height) = await asyncio.to_thread(redraw_input, data)
        return clean, InputPicture(sha256=hashlib.sha256(clean).hexdigest(), width=width, height=height)


def redraw_input(data: bytes) -> tuple[bytes, tuple[int, int]]:
    """The first frame of a PNG, JPEG or WebP of any colour model, brought to at most 4096 pixels a side. Raises InvalidRequest."""
    refusal = InvalidRequest("invalid_picture", field="image", megabytes=INPUT_BYTES_MAX // 2**20, megapixels=_INPUT_PIXELS_MAX // 10**6)
    if not 0 < len(data) <= INPUT_BYTES_MAX:
        raise refusal
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            if image.width * image.height > _INPUT_PIXELS_MAX or min(image.size) < 8 or max(image.size) > 8 * min(image.size):
                raise refusal
            pixels = _rgb(ImageOps.exif_transpose(image))
    except _UNREADABLE as error:
        raise refusal from error
    pixels.thumbnail((SIDE_MAX, SIDE_MAX))
    out = io.BytesIO()
    pixels.save(out, "PNG", compress_level=6)
    return out.getvalue(), pixels.size


def _rgb(image: Image.Image) -> Image.Image:
    """RGB of any mode: 16-bit greys scaled, transparency laid on white."""
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value / 257, "L")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def redraw(data: bytes, order: Order) -> bytes:
    """The picture's pixels as a PNG that carries the order's own settings and nothing else. Raises BadPicture."""
    if not 0 < len(data) <= _BYTES_MAX:
        raise BadPicture("bad_picture", reason=f"{len(data)} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            _check_size(image, order)
            if image.format == "PNG" and _PNG_END not in data:
                raise BadPicture("bad_picture", reason="the file is cut off")
            pixels = image.convert("RGB")  # decodes all of it: a truncated file fails here
    except _UNREADABLE as error:
        raise BadPicture("bad_picture", reason=f"{type(error).__name__}: {error}"[:200]) from error
    out = io.BytesIO()
    pixels.save(out, "PNG", pnginfo=_record(order), optimize=False, compress_level=6)
    return out.getvalue()


def redraw_clip(data: bytes, order: Order) -> bytes:
    """The clip's frames as an animated WebP without what it carried. Raises BadPicture.

    An MP4 is no clip here: judging one needs a video decoder, whose faults a host should not have.
    """
    if not 0 < len(data) <= _BYTES_MAX:
        raise BadPicture("bad_picture", reason=f"{len(data)} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            clip = Image.open(io.BytesIO(data), formats=("WEBP",))
            _check_size(clip, order)
            frames, milliseconds = _frames(clip, order)
    except _UNREADABLE as error:
        raise BadPicture("bad_picture", reason=f"{type(error).__name__}: {error}"[:200]) from error
    out = io.BytesIO()
    first, *rest = frames
    first.save(out, "WEBP", save_all=True, append_images=rest, duration=milliseconds, loop=0, quality=_CLIP_QUALITY, method=2)
    return out.getvalue()


def _frames(clip: Image.Image, order: Order) -> tuple[list[Image.Image], list[int]]:
    """Frames and how long each is shown. WebP joins frames that are alike, so there may be fewer than were ordered."""
    count = getattr(clip, "n_frames", 1)
    if count > (order.frames or 1):
        raise BadPicture("bad_picture", reason=f"{count} frames instead of {order.frames}")
    frames: list[Image.Image] = []
    milliseconds: list[int] = []
    for number in range(count):
        clip.seek(number)
        frames.append(clip.convert("RGB"))
        milliseconds.append(max(1, int(clip.info.get("duration", 0))))
    wanted = 1000 * (order.frames or 1) / (order.fps or 8)
    if count > 1 and not 0.8 * wanted <= sum(milliseconds) <= 1.25 * wanted:
        raise BadPicture("bad_picture", reason=f"{sum(milliseconds)} ms instead of {wanted:.0f}")
    return frames, milliseconds


def _size(order: Order) -> tuple[int, int]:
    """Of what is made: an upscale's order has the size of the picture that it starts from."""
    larger = (order.scale or 1) if order.kind == "upscale" else 1
    return order.width * larger, order.height * larger


def _check_size(image: Image.Image, order: Order) -> None:
    if image.size != _size(order):
        raise BadPicture("bad_picture", reason=f"{image.size} instead of {_size(order)}")


def _record(order: Order) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("darkroom", json.dumps(order.model_dump(mode="json"), ensure_ascii=False))
    return info
