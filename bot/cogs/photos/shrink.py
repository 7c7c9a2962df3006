"""A smaller copy of a picture that does not fit the channel. Pillow only; nothing is kept on disk."""

import io

from PIL import Image

_QUALITIES = (92, 85, 75, 60)


def shrink(data: bytes, limit: int) -> bytes:
    """JPEG bytes of at most ``limit``, as good as fits: first by quality, then by halving the sides.

    ``data`` is a picture of ours, checked before it was stored. Blocking: call it in a thread.
    """
    image = Image.open(io.BytesIO(data)).convert("RGB")
    while True:
        for quality in _QUALITIES:
            made = _jpeg(image, quality)
            if len(made) <= limit or min(image.size) <= 64:
                return made
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    target = io.BytesIO()
    image.save(target, "JPEG", quality=quality, optimize=True)
    return target.getvalue()
