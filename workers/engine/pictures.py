"""From pixels to files. A picture carries its pixels and nothing else: no prompt, no seed, no neighbour's text."""

import io
from typing import Any

from PIL import Image

#: Previews are shown small; their longer side in pixels, and the qualities to try until one is small enough.
PREVIEW_SIDE = 192
_QUALITIES = (70, 45, 20)
#: zlib level: 6 costs twice the time of 3 for a few per cent.
_PNG_LEVEL = 3


def png(pixels: Any) -> bytes:
    """Write an (H, W, 3) uint8 array as PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=_PNG_LEVEL)
    return out.getvalue()


def preview(pixels: Any, *, bytes_max: int) -> bytes | None:
    """Write an (h, w, 3) uint8 array as a small WebP, enlarged smoothly; None where it cannot be made small enough."""
    image = Image.fromarray(pixels)
    scale = PREVIEW_SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.BICUBIC)
    for quality in _QUALITIES:
        out = io.BytesIO()
        image.save(out, "WEBP", quality=quality, method=2)
        if out.tell() <= bytes_max:
            return out.getvalue()
    return None
