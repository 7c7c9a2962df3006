"""What a model weighs before it is loaded, part by part, from the headers of its files. Needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import prod
from pathlib import Path

from workers.engine import model_folder, weights_file
from workers.engine.catalog import ModelSource
from workers.engine.errors import ModelUnreadable
from workers.engine.families import registry

_ORIGINAL_PARTS = {
    "model.diffusion_model.": "",
    "first_stage_model.": "vae",
    "cond_stage_model.": "text_encoder",
    "conditioner.": "text_encoder",
}


def parts_bytes(source: ModelSource, *, bytes_per_number: int) -> dict[str, int]:
    """Bytes of each part once it is loaded with so many bytes a number (quantised weights stay as they are)."""
    facts = registry.BY_NAME[source.family]
    if not source.single_file or source.needs_rest:
        folder = source.config_folder
        heavy = [part for part in facts.parts if not part.startswith("tokenizer") and not (source.needs_rest and part == facts.denoiser)]
        found = {part: sum(_numbers(path) for path in _files(folder, part)) * bytes_per_number for part in heavy}
    else:
        found = {}
    if source.single_file:
        for part, size in _of_file(source, facts.denoiser, bytes_per_number).items():
            found[part] = found.get(part, 0) + size
    return found


def stamp_of(source: ModelSource) -> str:
    """Another text whenever a model's weights are other files: what was measured of the old ones is void."""
    folders = {source.path, source.config_folder} if source.needs_rest else {source.path}
    digest = hashlib.sha256(source.family.encode())
    for path in sorted(path for folder in folders for path in _weights_below(folder)):
        facts = path.stat()
        digest.update(f"{path.name} {facts.st_size} {facts.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _weights_below(path: Path) -> Iterable[Path]:
    return [path] if path.is_file() else [one for one in path.rglob("*") if one.suffix in (".safetensors", ".gguf")]


def _files(folder: Path, part: str) -> list[Path]:
    try:
        return model_folder.weight_files(folder, part)
    except ModelUnreadable:
        return []  # a motion adapter that is within the UNet


@lru_cache(maxsize=256)
def _numbers(path: Path) -> int:
    return sum(prod(tensor.shape) for tensor in model_folder.header_of(path).values())


def _of_file(source: ModelSource, denoiser: str, bytes_per_number: int) -> Mapping[str, int]:
    if source.path.suffix.lower() == ".gguf":
        return {denoiser: source.path.stat().st_size}
    found: dict[str, int] = {}
    for key, tensor in weights_file.read_header(source.path).items():
        part = next((named for start, named in _ORIGINAL_PARTS.items() if key.startswith(start)), "") or denoiser
        found[part] = found.get(part, 0) + prod(tensor.shape) * bytes_per_number
    return found
