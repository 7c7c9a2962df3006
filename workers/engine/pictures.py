"""From pixels to files, and from files that strangers sent to pixels.

A picture carries its pixels and nothing else: no prompt, no seed, no neighbour's text. Clips are animated WebP: every
browser and Discord play it, and Pillow writes it; an MP4 would need a video encoder that is no part of a worker.
"""

from __future__ import annotations

import io
import struct
import warnings
from typing import Any

from PIL import Image, ImageOps

from workers.engine.errors import RunFailure

#: Previews are shown small; their longer side in pixels, and the qualities to try until one is small enough.
PREVIEW_SIDE = 192
_QUALITIES = (70, 45, 20)
#: zlib level: 6 costs twice the time of 3 for a few per cent.
_PNG_LEVEL = 3
_CLIP_QUALITY = 85
_CLIP_FPS = 8

#: Of a picture to start from. Its longer side may be so many times its shorter.
INPUT_PIXELS_MAX = 40_000_000
_RATIO_MAX = 16
_SIDE_MIN = 16
_FORMATS = ("PNG", "JPEG", "WEBP")
_MODES = frozenset({"RGB", "RGBA", "L", "LA", "P", "1"})
#: What Pillow raises for files that are not what they say.
_UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, struct.error)


def png(pixels: Any) -> bytes:
    """Write an (H, W, 3) uint8 array as PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=_PNG_LEVEL)
    return out.getvalue()


def clip(pixels: Any, *, fps: int | None) -> bytes:
    """Write an (F, H, W, 3) uint8 array as an animated WebP that plays for ever."""
    out = io.BytesIO()
    first, *rest = (Image.fromarray(frame) for frame in pixels)
    milliseconds = round(1000 / (fps or _CLIP_FPS))
    first.save(out, "WEBP", save_all=True, append_images=rest, duration=milliseconds, loop=0, quality=_CLIP_QUALITY, method=2)
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


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of a picture as it is shown. Raises RunFailure (``bad_image``) for one that `read_input` refuses."""
    return read_input(data).size


def read_input(data: bytes) -> Image.Image:
    """A picture to start from, upright and RGB, transparency on white. Raises RunFailure (``bad_image``).

    The header is judged before any pixel is unpacked: a file of 10 KB can hold 81 megapixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                complaint = _complaint(image)
                if complaint is None:
                    image.load()
                    return _flat(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _bad(f"It has too many pixels; the most is {INPUT_PIXELS_MAX}.") from error
    except _UNREADABLE as error:
        raise _bad("It is not a whole PNG, JPEG or WebP picture.") from error
    raise _bad(complaint)


def _complaint(image: Image.Image) -> str | None:
    short, long = sorted(image.size)
    if short * long > INPUT_PIXELS_MAX:
        return f"It has {short * long} pixels; the most is {INPUT_PIXELS_MAX}."
    if short < _SIDE_MIN or long > _RATIO_MAX * short:
        return f"It is {image.width}x{image.height}; sides must be at least {_SIDE_MIN} and at most 1 to {_RATIO_MAX}."
    if getattr(image, "n_frames", 1) > 1:
        return "It is animated; send one picture of it."
    if image.mode not in _MODES:
        return f"Its colours are {image.mode}; send it as 8-bit RGB."
    return None


def _flat(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA") or "transparency" in image.info:
        shown = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    return image.convert("RGB")


def _bad(why: str) -> RunFailure:
    return RunFailure("bad_image", f"The picture to start from cannot be used. {why}", blame="job")
