"""Tiny random models of every family on disk, and the stock diffusers pipelines over the same weights."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AnimateDiffPipeline, DDIMScheduler, MotionAdapter, UNet2DConditionModel
from PIL import Image

from housemodel.miniatures import FAMILIES, miniature
from tests.workers.lora_files import TEXT, factors, write_peft
from tests.workers.tiny_models import make_pipeline
from workers.engine.loras.library import LoraLibrary

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


#: Which models wear the LoRAs that are written for one of them, and which of its layers those touch.
WEARERS = {
    "sd15": (("sd15", "sd15-inpaint", "animatediff"), "unet", ("to_q", "to_v", "ff.net.2", "conv1")),
    "sdxl": (("sdxl",), "unet", ("to_q", "to_v", "ff.net.2", "conv1")),
    "flux": (("flux", "flux-dev", "flux-kontext"), "transformer", ("to_q", "to_out.0", "proj_mlp", "net.2")),
    "z-image": (("z-image",), "transformer", ("to_q", "to_v", "to_out.0", "w1")),
}


def write_loras(folder: Path, families: dict[str, Any]) -> LoraLibrary:
    """Two LoRAs with random numbers for each kind of model: ``sd15-one``, ``sd15-two``, …"""
    for name, (_, part, layers) in WEARERS.items():
        for seed, which in enumerate(("one", "two"), start=1):
            made = factors(families[name].modules()[part], layers, rank=2 * seed, seed=seed)
            texts = factors(families[name].modules()["text_encoder"], TEXT, rank=2, seed=seed) if name == "sd15" else {}
            # A miniature's layers are too few to tell SDXL by; its maker says so, as most do.
            says = {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"} if name == "sdxl" else None
            write_peft(folder / f"{name}-{which}.safetensors", {part: made} | ({"text_encoder": texts} if texts else {}), says)
    library = LoraLibrary(folder)
    library.look()
    assert not library.refused
    return library


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
