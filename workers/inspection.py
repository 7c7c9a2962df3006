"""What a worker sent, checked before anybody sees it. Host side: Pillow, no torch.

The header is read before any pixel (a 10 kB file can hold 81 megapixels), the picture must be of the size that was ordered,
and what is stored is drawn anew from its pixels: metadata, trailing archives and a neighbour's prompt do not survive it.
"""

import asyncio
import hashlib
import io
import json
import warnings

from PIL import Image, PngImagePlugin

from jobs.errors import BadPicture
from jobs.job import Picture
from jobs.request import Order
from jobs.run import MadePicture

_BYTES_MAX = 64 * 1024 * 1024
_FORMATS = ("PNG", "JPEG", "WEBP")
_PNG_END = b"IEND\xaeB`\x82"
"""The last chunk with its checksum. Pillow shows a PNG whose tail is missing as long as all its rows were there."""


class PictureInspector:
    """Checks and re-encodes, at most ``at_once`` pictures at a time so that memory stays bounded."""

    def __init__(self, *, at_once: int = 2) -> None:
        self._places = asyncio.Semaphore(at_once)

    async def inspect(self, made: MadePicture, order: Order) -> tuple[bytes, Picture]:
        """Clean PNG bytes and their description. Raises BadPicture."""
        if made.seed != order.seed:
            raise BadPicture("bad_picture", reason="the seed is not the one that was ordered")
        async with self._places:
            data = await asyncio.to_thread(redraw, made.data, order)
        return data, Picture(
            index=made.index,
            sha256=hashlib.sha256(data).hexdigest(),
            content_type="image/png",
            size=len(data),
            width=order.width,
            height=order.height,
            seed=made.seed,
        )


def redraw(data: bytes, order: Order) -> bytes:
    """The picture's pixels as a PNG that carries the order's own settings and nothing else. Raises BadPicture."""
    if not 0 < len(data) <= _BYTES_MAX:
        raise BadPicture("bad_picture", reason=f"{len(data)} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            if image.size != (order.width, order.height):
                raise BadPicture("bad_picture", reason=f"{image.size} instead of {(order.width, order.height)}")
            if image.format == "PNG" and _PNG_END not in data:
                raise BadPicture("bad_picture", reason="the file is cut off")
            pixels = image.convert("RGB")  # decodes all of it: a truncated file fails here
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadPicture("bad_picture", reason=f"{type(error).__name__}: {error}"[:200]) from error
    out = io.BytesIO()
    pixels.save(out, "PNG", pnginfo=_record(order), optimize=False, compress_level=6)
    return out.getvalue()


def _record(order: Order) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("darkroom", json.dumps(order.model_dump(mode="json"), ensure_ascii=False))
    return info
