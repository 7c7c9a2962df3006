"""Copies small enough for a channel: one big file never sinks the others. Pillow only; nothing is kept on disk."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

REQUEST_LIMIT = 25 * 1024 * 1024
"""Bytes of a whole message with all its files (Discord's message page)."""

SLACK = 128 * 1024
"""Bytes for the words and the seams of such a request."""

FILES_MAX = 10
"""Files of one message."""

LIMIT_LEAST = 16 * 1024
"""Bytes: below it nothing worth looking at fits, and no time is spent on trying."""

_QUALITIES = (92, 85, 75, 60)
_LEAST_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class Copy:
    """What is sent of a picture: the original, or a smaller copy of it."""

    data: bytes
    ending: str
    smaller: bool = False


def copies(originals: Sequence[bytes], *, limit: int, is_clip: bool = False) -> list[Copy]:
    """Each file within ``limit`` bytes, all together within what a request may have. Blocking: call it in a thread.

    Files that fit stay as they are; only the large ones are drawn anew, as large as their fair share of the room.
    """
    share = _share([len(data) for data in originals], room_of(limit))
    return [_copy(data, min(limit, share), is_clip=is_clip) for data in originals]


def fitted(data: bytes, limit: int, *, is_clip: bool = False) -> Copy | None:
    """The file itself, or a copy within ``limit`` bytes; None where even the smallest form is larger, or nothing can read it.

    One file that is too large or broken so never keeps the others back. Blocking: call it in a thread.
    """
    if len(data) > limit and limit < LIMIT_LEAST:
        return None
    try:
        copy = _copy(data, limit, is_clip=is_clip)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for a file that broke on the disk
        return None
    return copy if len(copy.data) <= limit else None


def first_group(made: Mapping[int, Copy], *, limit: int) -> list[int]:
    """The keys, in order, of what goes into the next message: as many as a request may bring."""
    left, group = room_of(limit), []
    for index, copy in made.items():
        if len(group) == FILES_MAX or (group and len(copy.data) > left):
            break
        group.append(index)
        left -= len(copy.data)
    return group


def room_of(limit: int) -> int:
    """Bytes of files that one request may bring where a file may have ``limit``."""
    return max(REQUEST_LIMIT, limit) - SLACK


def _share(sizes: Sequence[int], room: int) -> int:
    """The most that one file may have so that all fit: what small files leave goes to the large ones."""
    left, waiting = room, sorted(sizes)
    for index, size in enumerate(waiting):
        share = left // (len(waiting) - index)
        if size > share:
            return share
        left -= size
    return room


def _copy(data: bytes, limit: int, *, is_clip: bool) -> Copy:
    if len(data) <= limit:
        return Copy(data=data, ending="webp" if is_clip else "png")
    if is_clip:
        return Copy(data=shrink_clip(data, limit), ending="webp", smaller=True)
    return Copy(data=shrink(data, limit), ending="webp", smaller=True)


def shrink(data: bytes, limit: int) -> bytes:
    """WebP bytes of at most ``limit``, as good as fits: first by quality, then by halving the sides.

    ``data`` is a picture of ours, checked before it was stored. Blocking: call it in a thread.
    """
    image = Image.open(io.BytesIO(data)).convert("RGB")
    while True:
        for quality in _QUALITIES:
            made = _webp([image], [0], quality)
            if len(made) <= limit or min(image.size) <= _LEAST_SIDE:
                return made
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def shrink_clip(data: bytes, limit: int) -> bytes:
    """An animated WebP of at most ``limit`` bytes: first by quality, then by size, then by every second frame."""
    clip = Image.open(io.BytesIO(data))
    frames, times = [], []
    for number in range(getattr(clip, "n_frames", 1)):
        clip.seek(number)
        frames.append(clip.convert("RGB"))
        times.append(max(1, int(clip.info.get("duration", 100))))
    while True:
        for quality in (75, 50, 30):
            made = _webp(frames, times, quality)
            if len(made) <= limit:
                return made
        if min(frames[0].size) > 2 * _LEAST_SIDE:
            frames = [frame.resize((frame.width // 2, frame.height // 2), Image.Resampling.LANCZOS) for frame in frames]
        elif len(frames) > 1:
            frames, times = frames[::2], [2 * time for time in times[::2]]
        else:
            return made


def _webp(frames: Sequence[Image.Image], times: Sequence[int], quality: int) -> bytes:
    target = io.BytesIO()
    first, *rest = frames
    if rest:
        first.save(target, "WEBP", save_all=True, append_images=rest, duration=list(times), loop=0, quality=quality, method=2)
    else:
        first.save(target, "WEBP", quality=quality, method=4)
    return target.getvalue()


def thumbnail(data: bytes, side: int = 256) -> bytes:
    """A small WebP of a picture or of a clip's first frame, for pages of many. Blocking."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.thumbnail((side, side))
    return _webp([image], [0], 80)
