"""Pictures to take home: one ZIP with each original and how it was made. Blocking: call it in a thread."""

import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.job import Job

SEAMS = 4096
"""Bytes that a ZIP needs besides its files, for a hundred of them."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A ZIP, how many pictures are in it, and how many had no room."""

    data: bytes
    count: int
    left_out: int


def file_name(job: Job, index: int, *, is_clip: bool) -> str:
    """``20261121-a-red-fox-7.png``: a day, some words, the seed."""
    words = re.sub(r"[^\w]+", "-", job.order.prompt.lower(), flags=re.ASCII).strip("-")[:40] or "photo"
    seed = next((picture.seed for picture in job.pictures if picture.index == index), job.order.seed)
    return f"{job.created_at:%Y%m%d}-{words}-{seed}-{job.id[-6:]}.{'webp' if is_clip else 'png'}"


def pack(files: Sequence[tuple[Job, int, bytes]], *, limit: int, record: Mapping[str, Any] | None = None) -> Packed:
    """As many of these (job, index, bytes) as ``limit`` bytes hold, in order, with a ``jobs.json``; pictures do not compress."""
    target = io.BytesIO()
    taken: list[Job] = []
    count = left_out = 0
    told = json.dumps(record, ensure_ascii=False, indent=1).encode() if record else b""
    room = limit - SEAMS - len(told)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for job, index, data in files:
            cost = len(data) + 2048 + 300
            if cost > room:
                left_out += 1
                continue
            room -= cost
            archive.writestr(file_name(job, index, is_clip=job.order.kind == "animate"), data)
            count += 1
            taken.append(job)
        orders = record or {job.id: job.order.model_dump(mode="json", exclude_defaults=True) for job in taken}
        archive.writestr("jobs.json", json.dumps(orders, ensure_ascii=False, indent=1), zipfile.ZIP_DEFLATED)
    return Packed(data=target.getvalue(), count=count, left_out=left_out)
