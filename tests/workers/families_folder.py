"""Tiny random models of every family on disk, and the stock diffusers pipelines over the same weights."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AnimateDiffPipeline, DDIMScheduler, MotionAdapter, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image

from housemodel.miniatures import FAMILIES, miniature
from tests.workers.tiny_models import make_pipeline

SIDES = {"sd15": 16, "sd15-inpaint": 16, "animatediff": 16, "sdxl": 32, "flux": 32, "flux-dev": 32, "flux-kontext": 32, "z-image": 32}
"""Every model, and the side of its pictures in these tests."""


def build(folder: Path) -> Path:
    """A models folder with one of each."""
    for family in FAMILIES:
        miniature(family, folder / "cache").rename(folder / family)
    _flux_dev(folder)
    make_pipeline(folder / "tokens").save_pretrained(folder / "sd15")
    _inpainting(folder)
    _animatediff(folder)
    (folder / "tokens" / "vocab.json").unlink()
    return folder


def _flux_dev(folder: Path) -> None:
    """The same with guidance as an input, as in dev."""
    from diffusers import FluxPipeline, FluxTransformer2DModel

    pipe = FluxPipeline.from_pretrained(folder / "flux", dtype=torch.float32)
    torch.manual_seed(5)
    pipe.register_modules(transformer=FluxTransformer2DModel.from_config(pipe.transformer.config, guidance_embeds=True))
    pipe.save_pretrained(folder / "flux-dev")


def _inpainting(folder: Path) -> None:
    pipe = make_pipeline(folder / "tokens", seed=2)
    settings = dict(pipe.unet.config) | {"in_channels": 9}
    torch.manual_seed(3)
    pipe.register_modules(unet=UNet2DConditionModel.from_config(settings))
    pipe.save_pretrained(folder / "sd15-inpaint")


def _animatediff(folder: Path) -> None:
    pipe = make_pipeline(folder / "tokens", seed=4)
    torch.manual_seed(4)
    adapter = MotionAdapter(
        block_out_channels=(32, 64), motion_layers_per_block=1, motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=2, motion_norm_num_groups=8, motion_max_seq_length=8,
    )  # fmt: skip
    # As they come, motion modules end in zeros and move nothing.
    for name, weight in adapter.named_parameters():
        if "proj_out" in name:
            torch.nn.init.normal_(weight, std=0.1)
    clips = AnimateDiffPipeline(
        vae=pipe.vae, text_encoder=pipe.text_encoder, tokenizer=pipe.tokenizer, unet=pipe.unet, motion_adapter=adapter,
        scheduler=DDIMScheduler.from_config(pipe.scheduler.config),
    )  # fmt: skip
    clips.save_pretrained(folder / "animatediff")


def stock(folder: Path, name: str, kind: str = "text_to_image") -> Any:
    """The pipeline that everybody uses, in fp32."""
    import diffusers

    name_of = {
        ("sd15", "image_to_image"): "StableDiffusionImg2ImgPipeline",
        ("sd15", "inpaint"): "StableDiffusionInpaintPipeline",
        ("sd15-inpaint", "inpaint"): "StableDiffusionInpaintPipeline",
        ("sdxl", "image_to_image"): "StableDiffusionXLImg2ImgPipeline",
        ("sdxl", "inpaint"): "StableDiffusionXLInpaintPipeline",
        ("flux", "image_to_image"): "FluxImg2ImgPipeline",
        ("z-image", "image_to_image"): "ZImageImg2ImgPipeline",
    }.get((name, kind), "DiffusionPipeline")
    pipeline = getattr(diffusers, name_of).from_pretrained(folder / name, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def png(seed: int, side: int, mode: str = "RGB") -> bytes:
    """A picture of smooth noise."""
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).convert(mode).save(out, "PNG")
    return out.getvalue()


def mask(side: int) -> bytes:
    """White on the left half."""
    pixels = np.zeros((side, side), dtype=np.uint8)
    pixels[:, : side // 2] = 255
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


__all__ = ["SIDES", "StableDiffusionPipeline", "build", "mask", "png", "stock"]
