"""Reading a model folder in the diffusers layout without loading it: which classes, which files, which sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workers.engine import schedulers, weights_file
from workers.engine.errors import ModelUnreadable
from workers.engine.shape import ModelShape

#: The classes each part may name. Anything else would let a configuration choose what program runs.
PARTS: dict[str, tuple[str, ...]] = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    "text_encoder": ("CLIPTextModel", "CLIPTextModelWithProjection"),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
}
_WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
_PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipelineLegacy")
_JSON_BYTES_MAX = 1024 * 1024
_SIDE_LIMIT = 4096


def check(folder: Path) -> None:
    """Raise ModelUnreadable unless the folder is a Stable Diffusion 1.x model with safetensors weights."""
    if not (folder / "model_index.json").is_file():
        raise ModelUnreadable("It has no model_index.json: put a model in the diffusers layout here, or one .safetensors file.")
    index = read_json(folder / "model_index.json")
    if index.get("_class_name") not in _PIPELINES:
        raise ModelUnreadable(f"It is a {str(index.get('_class_name'))[:60]}; this worker serves the Stable Diffusion 1.x family.")
    for part, allowed in PARTS.items():
        named = index.get(part)
        if not (isinstance(named, list) and len(named) == 2 and named[1] in allowed):
            raise ModelUnreadable(f"model_index.json: {part} must be one of {', '.join(allowed)}.")
    check_unet(read_json(folder / "unet" / "config.json"))
    for part in _WEIGHTS:
        for path in weight_files(folder, part):
            weights_file.read_header(path)


def check_unet(config: dict[str, Any]) -> None:
    """Raise ModelUnreadable for a denoiser that needs more than latents, time and text."""
    if config.get("in_channels", 4) != config.get("out_channels", 4):
        raise ModelUnreadable("It is an inpainting or edit model; this worker serves text to image only.")
    for field in (
        "addition_embed_type",
        "class_embed_type",
        "num_class_embeds",
        "encoder_hid_dim_type",
        "time_cond_proj_dim",
    ):
        if config.get(field) is not None:
            raise ModelUnreadable(f"Its denoiser needs {field}, which the Stable Diffusion 1.x family does not have.")


def variant(folder: Path, part: str) -> str | None:
    """None for full weights, ``fp16`` where only those are there. Raises ModelUnreadable where there are none."""
    stem = _WEIGHTS[part]
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


def weight_files(folder: Path, part: str) -> list[Path]:
    """The safetensors files that a part is loaded from."""
    stem, found = _WEIGHTS[part], variant(folder, part)
    infix = f".{found}" if found else ""
    single = folder / part / f"{stem}{infix}.safetensors"
    return [single] if single.is_file() else sorted((folder / part).glob(f"{stem}*-of-*.safetensors"))


def shape(folder: Path) -> ModelShape:
    """The sizes that a folder's configuration implies. Raises ModelUnreadable where it makes no sense."""
    unet, vae = read_json(folder / "unet" / "config.json"), read_json(folder / "vae" / "config.json")
    try:
        cell = _pixels_per_cell(vae)
        levels = len(unet["block_out_channels"])
        size = unet["sample_size"]
        height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        return _shape(folder, cell, cell * 2 ** (levels - 1), width * cell, height * cell, int(unet.get("in_channels", 4)))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelUnreadable(f"Its unet or vae config.json lacks or mistakes a size: {error!r}.") from error


def _pixels_per_cell(vae: dict[str, Any]) -> int:
    """AutoencoderTiny's ``block_out_channels`` says nothing of its size; its upsampling blocks do."""
    if vae.get("_class_name") == "AutoencoderTiny":
        ups = len(vae["decoder_block_out_channels"]) - 1
        return int(vae.get("upsampling_scaling_factor", 2)) ** ups
    return 2 ** (len(vae["block_out_channels"]) - 1)


def _shape(folder: Path, cell: int, multiple: int, width: int, height: int, channels: int) -> ModelShape:
    if not (0 < multiple <= 512 and multiple <= min(width, height) and max(width, height) <= _SIDE_LIMIT):
        raise ModelUnreadable(f"Its configuration implies pictures of {width}x{height} in steps of {multiple}.")
    own = read_json(folder / "scheduler" / "scheduler_config.json").get("_class_name", "")
    return ModelShape(
        default_width=width,
        default_height=height,
        pixels_per_cell=cell,
        size_multiple=multiple,
        side_min=max(multiple, min(width, height) // 2 // multiple * multiple),
        side_max=min(_SIDE_LIMIT, 2 * max(width, height)),
        max_pixels=4 * width * height,
        latent_channels=channels,
        scheduler=schedulers.name_of(own) or "ddim",
    )


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
