"""Reading a model folder in the diffusers layout without loading it: which classes, which files, which sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workers.engine import gguf_file, schedulers, weights_file
from workers.engine.errors import ModelUnreadable
from workers.engine.families import registry
from workers.engine.families.registry import FamilyFacts
from workers.engine.run import RunKind
from workers.engine.shape import ModelShape
from workers.engine.weights_file import Tensor

_JSON_BYTES_MAX = 1024 * 1024
_SIDE_LIMIT = 4096
#: What the published motion modules were trained for.
_FRAMES = 16
_FRAMES_MAX = 256
#: ``general.architecture`` of the text encoders that transformers reads from GGUF, and that a family here has.
_GGUF_ENCODERS = ("t5", "t5encoder", "qwen3")


def check(folder: Path) -> FamilyFacts:
    """The family of a folder. Raises ModelUnreadable unless it is a model of one with safetensors weights."""
    facts = family(folder)
    index = read_json(folder / "model_index.json")
    for part, allowed in facts.parts.items():
        named = index.get(part)
        if part == "motion_adapter" and class_of(index, "unet") == "UNetMotionModel":
            continue
        if not (isinstance(named, list) and len(named) == 2 and named[1] in allowed):
            raise ModelUnreadable(f"model_index.json: {part} must be one of {', '.join(allowed)}.")
        if not part.startswith("tokenizer"):
            for path in weight_files(folder, part):
                header_of(path)
    check_denoiser(facts, read_json(folder / facts.denoiser / "config.json"))
    return facts


def family(folder: Path) -> FamilyFacts:
    """The family that a folder's model_index.json names. Raises ModelUnreadable."""
    if not (folder / "model_index.json").is_file():
        raise ModelUnreadable("It has no model_index.json: put a model in the diffusers layout here, or one .safetensors file.")
    pipeline = read_json(folder / "model_index.json").get("_class_name")
    facts = registry.BY_PIPELINE.get(pipeline) if isinstance(pipeline, str) else None
    if facts is None:
        served = ", ".join(sorted(registry.BY_PIPELINE))
        raise ModelUnreadable(f"It is a {str(pipeline)[:60]}; this worker serves {served}.")
    return facts


def class_of(index: Mapping[str, Any], part: str) -> str:
    """The class that an index names for a part, or an empty string."""
    named = index.get(part)
    return str(named[1]) if isinstance(named, list) and len(named) == 2 else ""


def check_denoiser(facts: FamilyFacts, config: Mapping[str, Any]) -> None:
    """Raise ModelUnreadable for a denoiser that needs more than its family gives."""
    for field, needed in facts.denoiser_needs.items():
        if config.get(field) != needed:
            what = f"needs {field}, which the family {facts.name} does not have" if needed is None else f"has no {field} {needed}"
            raise ModelUnreadable(f"Its denoiser {what}.")


def _stem(part: str) -> str:
    return "model" if part.startswith("text_encoder") else "diffusion_pytorch_model"


def variant(folder: Path, part: str) -> str | None:
    """None for full weights, ``fp16`` where only those are there. Raises ModelUnreadable where there are none."""
    stem = _stem(part)
    for found in (None, "fp16"):
        infix = f".{found}" if found else ""
        names = (f"{stem}{infix}.safetensors", f"{stem}.safetensors.index{infix}.json")
        if any((folder / part / name).is_file() for name in names):
            return found
    if any((folder / part).glob("*.bin")):
        raise ModelUnreadable(
            f"Its {part} has weights as a pickle (.bin) only: loading them runs whatever program their author put in. "
            "Get the .safetensors variant."
        )
    raise ModelUnreadable(f"Its {part} has no weights: {stem}.safetensors is missing.")


def gguf_of(folder: Path, part: str) -> Path | None:
    """The GGUF file of a text encoder that has no safetensors. Raises ModelUnreadable where there are several."""
    if not part.startswith("text_encoder") or any((folder / part).glob("*.safetensors")):
        return None
    found = sorted((folder / part).glob("*.gguf"))
    if len(found) > 1:
        raise ModelUnreadable(f"Its {part} has {len(found)} GGUF files: leave the one that is to be used.")
    return found[0] if found else None


def header_of(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a part's file by name. Raises ModelUnreadable, also for a GGUF that is no text encoder."""
    if path.suffix != ".gguf":
        return weights_file.read_header(path)
    header = gguf_file.read_header(path)
    if header.architecture not in _GGUF_ENCODERS:
        read = ", ".join(_GGUF_ENCODERS)
        raise ModelUnreadable(f"{path.name} is a GGUF of the architecture {header.architecture[:40]!r}; text encoders may be {read}.")
    return header.tensors


def weight_files(folder: Path, part: str) -> list[Path]:
    """The safetensors files that a part is loaded from; of a text encoder also a GGUF file."""
    if (gguf := gguf_of(folder, part)) is not None:
        return [gguf]
    stem, found = _stem(part), variant(folder, part)
    infix = f".{found}" if found else ""
    single = folder / part / f"{stem}{infix}.safetensors"
    return [single] if single.is_file() else sorted((folder / part).glob(f"{stem}*-of-*.safetensors"))


def shape(folder: Path, facts: FamilyFacts = registry.SD15) -> ModelShape:
    """The sizes that a folder's configuration implies. Raises ModelUnreadable where it makes no sense."""
    denoiser, vae = read_json(folder / facts.denoiser / "config.json"), read_json(folder / "vae" / "config.json")
    try:
        cell = _pixels_per_cell(vae)
        width, height = _default_size(denoiser, facts, cell)
        multiple = cell * facts.patch
        if facts.denoiser == "unet":
            multiple = cell * 2 ** (len(denoiser["block_out_channels"]) - 1)
        return _shape(folder, facts, denoiser, vae, cell=cell, multiple=multiple, width=width, height=height)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelUnreadable(f"Its {facts.denoiser} or vae config.json lacks or mistakes a size: {error!r}.") from error


def _default_size(denoiser: Mapping[str, Any], facts: FamilyFacts, cell: int) -> tuple[int, int]:
    size = denoiser["sample_size"] if facts.denoiser == "unet" else denoiser.get("sample_size") or facts.default_cells
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    return width * cell, height * cell


def _pixels_per_cell(vae: Mapping[str, Any]) -> int:
    """AutoencoderTiny's ``block_out_channels`` says nothing of its size; its upsampling blocks do."""
    if vae.get("_class_name") == "AutoencoderTiny":
        ups = len(vae["decoder_block_out_channels"]) - 1
        return int(vae.get("upsampling_scaling_factor", 2)) ** ups
    return 2 ** (len(vae["block_out_channels"]) - 1)


def _shape(
    folder: Path,
    facts: FamilyFacts,
    denoiser: Mapping[str, Any],
    vae: Mapping[str, Any],
    *,
    cell: int,
    multiple: int,
    width: int,
    height: int,
) -> ModelShape:
    if not (0 < multiple <= 512 and multiple <= min(width, height) and max(width, height) <= _SIDE_LIMIT):
        raise ModelUnreadable(f"Its configuration implies pictures of {width}x{height} in steps of {multiple}.")
    own = read_json(folder / "scheduler" / "scheduler_config.json").get("_class_name", "")
    clip = facts.name == "animatediff"
    steps, guidance = _defaults(facts, denoiser)
    return ModelShape(
        default_width=width,
        default_height=height,
        pixels_per_cell=cell,
        size_multiple=multiple,
        side_min=max(multiple, min(width, height) // 2 // multiple * multiple),
        side_max=min(_SIDE_LIMIT, 2 * max(width, height)),
        max_pixels=4 * width * height,
        latent_channels=int(vae.get("latent_channels", 4)),
        scheduler=schedulers.name_of(own, facts.name) or schedulers.plain(facts.name),
        schedulers=schedulers.names(facts.name),
        kinds=_kinds(folder, facts, denoiser, vae),
        default_frames=_FRAMES if clip else 0,
        frames_max=_frames_max(folder, denoiser) if clip else 0,
        default_steps=steps,
        default_guidance=guidance,
    )


def _kinds(folder: Path, facts: FamilyFacts, denoiser: Mapping[str, Any], vae: Mapping[str, Any]) -> tuple[RunKind, ...]:
    channels = int(denoiser.get("in_channels", 4))
    pipeline = str(read_json(folder / "model_index.json").get("_class_name"))
    kinds = registry.kinds_of(facts, pipeline, channels=channels, latent_channels=int(vae.get("latent_channels", 4)))
    if kinds is None:
        raise ModelUnreadable(f"Its denoiser reads {channels} channels, which is neither a picture nor a picture with a mask.")
    return kinds


def _defaults(facts: FamilyFacts, denoiser: Mapping[str, Any]) -> tuple[int, float]:
    """Steps and guidance. A Flux that was distilled to need no guidance was distilled to need few steps, too."""
    if facts.name == "flux" and not denoiser.get("guidance_embeds", False):
        return 4, 0.0
    return facts.default_steps, facts.default_guidance


def _frames_max(folder: Path, denoiser: Mapping[str, Any]) -> int:
    """The motion modules know so many places in time."""
    if "motion_max_seq_length" in denoiser:
        return int(denoiser["motion_max_seq_length"])
    return int(read_json(folder / "motion_adapter" / "config.json")["motion_max_seq_length"])


def with_motion(shape: ModelShape, motion: Path) -> ModelShape:
    """A model of still pictures that has motion modules beside it. Raises ModelUnreadable."""
    settings = read_json(motion / "config.json")
    longest = settings.get("motion_max_seq_length")
    if settings.get("_class_name") != "MotionAdapter" or not isinstance(longest, int) or not 1 <= longest <= _FRAMES_MAX:
        raise ModelUnreadable(f"{motion.name}/config.json describes no motion adapter.")
    for path in sorted(motion.glob("*.safetensors")):
        weights_file.read_header(path)
    return replace(shape, kinds=(*shape.kinds, "animate"), default_frames=min(_FRAMES, longest), frames_max=longest)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON table from a small file. Raises ModelUnreadable that names the file."""
    label = f"{path.parent.name}/{path.name}"
    try:
        with path.open("rb") as file:
            text = file.read(_JSON_BYTES_MAX + 1)
        table = json.loads(text) if len(text) <= _JSON_BYTES_MAX else None
    except OSError as error:
        raise ModelUnreadable(f"{label} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ModelUnreadable(f"{label} is not JSON.") from error
    if not isinstance(table, dict):
        raise ModelUnreadable(f"{label} should be a small JSON table.")
    return table
