"""Loading Stable Diffusion 1.x models from disk, by the classes of `model_folder.PARTS` alone and without a network."""

from __future__ import annotations

from typing import Any

import torch

from workers.engine import model_folder, schedulers
from workers.engine.catalog import ModelSource
from workers.engine.errors import ModelUnreadable
from workers.engine.families.clip_text import ClipText
from workers.engine.families.clip_vocabulary import load_tokenizer
from workers.engine.families.sd15 import StableDiffusion15


def load(source: ModelSource, *, device: torch.device, dtype: torch.dtype) -> StableDiffusion15:
    """Load a model onto a device. Raises ModelUnreadable; what torch raises for want of memory goes through."""
    try:
        parts = _from_single_file(source, dtype) if source.single_file else _from_folder(source, dtype)
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise ModelUnreadable(f"The model {source.name} cannot be loaded: {str(error)[:300]}") from error
    for part in ("unet", "vae", "text_encoder"):
        parts[part] = parts[part].to(device).eval().requires_grad_(False)
    _check_cells(source, parts["vae"], int(parts["unet"].config.in_channels))
    return StableDiffusion15(
        unet=parts["unet"],
        vae=parts["vae"],
        text=ClipText(parts["tokenizer"], parts["text_encoder"], device),
        scheduler=parts["scheduler"],
        pixels_per_cell=source.shape.pixels_per_cell,
        device=device,
    )


def _from_folder(source: ModelSource, dtype: torch.dtype) -> dict[str, Any]:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    folder = source.path
    index = model_folder.read_json(folder / "model_index.json")
    autoencoder = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}[index["vae"][1]]
    parts: dict[str, Any] = {
        part: kind.from_pretrained(
            str(folder),
            subfolder=part,
            dtype=dtype,
            variant=model_folder.variant(folder, part),
            use_safetensors=True,
            local_files_only=True,
        )
        for part, kind in (("unet", UNet2DConditionModel), ("vae", autoencoder))
    }
    return parts | _text_parts(source, dtype) | {"scheduler": _scheduler(source)}


def _text_parts(source: ModelSource, dtype: torch.dtype) -> dict[str, Any]:
    from transformers import CLIPTextModel

    encoder = CLIPTextModel.from_pretrained(
        str(source.path),
        subfolder="text_encoder",
        dtype=dtype,
        variant=model_folder.variant(source.path, "text_encoder"),
        use_safetensors=True,
        local_files_only=True,
    )
    return {"text_encoder": encoder, "tokenizer": load_tokenizer(source.path / "tokenizer")}


def _scheduler(source: ModelSource) -> Any:
    """The model's own scheduler; of a class that is not safe in company, its settings under DDIM."""
    kind = schedulers.own_class(source.shape.scheduler)
    return kind.from_pretrained(str(source.config_folder), subfolder="scheduler", local_files_only=True)


def _from_single_file(source: ModelSource, dtype: torch.dtype) -> dict[str, Any]:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_single_file(
        str(source.path),
        config=str(source.config_folder),
        dtype=dtype,
        local_files_only=True,
        tokenizer=load_tokenizer(source.config_folder / "tokenizer"),
        safety_checker=None,
        feature_extractor=None,
    )
    return {part: getattr(pipe, part) for part in model_folder.PARTS} | {"scheduler": _scheduler(source)}


@torch.inference_mode()
def _check_cells(source: ModelSource, vae: Any, channels: int) -> None:
    """The sizes were promised from the configuration; the decoder must keep the promise."""
    cells = 8
    probe = torch.zeros((1, channels, cells, cells), device=vae.device, dtype=vae.dtype)
    made = tuple(vae.decode(probe, return_dict=False)[0].shape[2:])
    wanted = cells * source.shape.pixels_per_cell
    if made != (wanted, wanted):
        raise ModelUnreadable(f"The model {source.name} decodes {cells} cells to {made[0]} pixels, its configuration says {wanted}.")
