"""The LoRAs of the house: `python -m housemodel.train_loras --out FOLDER`, about four CPU minutes each.

Each learns one style (see `housemodel.styles`) from scenes whose captions do not speak of it, and is written twice:
`house-NAME.safetensors` with the names of peft and diffusers, `house-NAME.kohya.safetensors` with those of kohya's scripts.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from housemodel import loras_folder, weights_folder
from housemodel.dataset import OBJECT_WEIGHT, Scenes, haar, write_captions
from housemodel.parts import load_pipeline
from housemodel.scenes import random_scene
from housemodel.styles import STYLES, draw_styled
from housemodel.train import Progress, say
from housemodel.train_denoiser import Denoising, loss_of
from housemodel.train_text import tokenize

RANK = 6
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
STEPS, BATCH, RATE = 900, 16, 3e-3
SCENES = 1500


def styled_scenes(style: str, count: int, seed: int) -> Scenes:
    """Scenes drawn in a style, with the latents of their pictures; every cell counts where the style fills the ground."""
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng) for _ in range(count)]
    pictures = np.stack([np.asarray(draw_styled(scene, (style,), 64, rng)) for scene in scenes])
    scaled = pictures.astype(np.float32).reshape(count, 16, 4, 16, 4, 3).mean(axis=(2, 4)) / 127.5 - 1
    weights = torch.full((count, 1, 8, 8), 1 + OBJECT_WEIGHT if style == "dots" else 1.0)
    if style == "outline":
        varies = np.abs(scaled - scaled[:, :1, :1]).sum(axis=3) > 0.1
        cells = varies.reshape(count, 8, 2, 8, 2).any(axis=(2, 4)).astype(np.float32)
        weights = 1 + OBJECT_WEIGHT * torch.from_numpy(cells)[:, None]
    return Scenes(scenes=scenes, latents=torch.from_numpy(haar(scaled)), weights=weights)


def train_lora(
    pipe: StableDiffusionPipeline, data: Scenes, *, seed: int, steps: int = STEPS, begin: Path | None = None,
    report: Callable[[int, float], None],
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Train one LoRA on the pipeline's denoiser; returns its tensors under peft's names, fp16."""
    torch.manual_seed(seed)
    unet = pipe.unet
    unet.requires_grad_(False)
    pipe.text_encoder.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=list(TARGETS)))
    if begin is not None:
        set_peft_model_state_dict(unet, _unprefixed(load_file(begin)))
    learned = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
    alphas, model = pipe.scheduler.alphas_cumprod, Denoising(pipe.text_encoder, unet)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    for step in range(1, steps + 1):
        rows = rng.integers(len(data.scenes), size=BATCH)
        ids = tokenize(pipe.tokenizer, write_captions([data.scenes[i] for i in rows], rng, empty=0.1))
        loss = loss_of(model, (data.latents[rows], data.weights[rows], ids), alphas, generator)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        rate.step()
        report(step, float(loss.detach()))
    tensors = get_peft_model_state_dict(unet)
    unet.delete_adapters(["default"])
    return {f"unet.{name}": tensor.detach().half().contiguous() for name, tensor in tensors.items()}


def _unprefixed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("unet."): tensor.float() for name, tensor in tensors.items()}


def _rate(step: int, steps: int) -> float:
    return min(1, (step + 1) / 40) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)


def kohya_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same LoRA as kohya's scripts name it: lora_unet_<module>.lora_down/.lora_up, and alpha beside them."""
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        module, kind = name.removeprefix("unet.").removesuffix(".weight").rsplit(".", 1)
        base = "lora_unet_" + module.replace(".", "_")
        renamed[f"{base}.{'lora_down' if kind == 'lora_A' else 'lora_up'}.weight"] = tensor.clone()
        renamed[f"{base}.alpha"] = torch.tensor(float(RANK), dtype=torch.float16)
    return renamed


def write_lora(tensors: dict[str, torch.Tensor], name: str, folder: Path) -> None:
    """Write both formats."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / f"house-{name}.safetensors", metadata={"format": "pt"})
    facts: dict[str, str] = {"ss_network_module": "networks.lora", "ss_network_dim": str(RANK),
                             "ss_network_alpha": str(RANK), "ss_output_name": f"house-{name}"}  # fmt: skip
    save_file(kohya_names(tensors), folder / f"house-{name}.kohya.safetensors", metadata=facts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and write the LoRAs."""
    reader = argparse.ArgumentParser(prog="python -m housemodel.train_loras", description=__doc__)
    reader.add_argument("--out", type=Path, default=loras_folder())
    reader.add_argument("--weights", type=Path, default=weights_folder())
    reader.add_argument("--begin", type=Path, help="a folder of LoRAs to go on from")
    reader.add_argument("--only", choices=STYLES, nargs="*", default=STYLES)
    reader.add_argument("--steps", type=int, default=STEPS)
    reader.add_argument("--seed", type=int, default=21)
    given: Any = reader.parse_args(arguments)
    torch.set_num_threads(1)
    for style in given.only:
        say(f"house-{style}")
        begin = given.begin / f"house-{style}.safetensors" if given.begin else None
        tensors = train_lora(load_pipeline(given.weights), styled_scenes(style, SCENES, given.seed), seed=given.seed,
                             steps=given.steps, begin=begin, report=Progress(style, given.steps, 50))  # fmt: skip
        write_lora(tensors, style, given.out)


if __name__ == "__main__":
    main()
