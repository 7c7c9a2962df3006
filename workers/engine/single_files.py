"""One file that holds a whole model: read into the components that its pipeline has."""

from __future__ import annotations

from typing import Any

import torch

from workers.engine.catalog import ModelSource
from workers.engine.families.clip_vocabulary import load_tokenizer


def parts_of(source: ModelSource, dtype: torch.dtype) -> dict[str, Any]:
    """The components of a Stable Diffusion 1.x checkpoint by their names, on the CPU."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    from workers.engine.families.loading import own_scheduler

    pipe = StableDiffusionPipeline.from_single_file(
        str(source.path),
        config=str(source.config_folder),
        dtype=dtype,
        local_files_only=True,
        tokenizer=load_tokenizer(source.config_folder / "tokenizer"),
        safety_checker=None,
        feature_extractor=None,
    )
    return {part: getattr(pipe, part) for part in ("unet", "vae", "text_encoder", "tokenizer")} | {"scheduler": own_scheduler(source)}
