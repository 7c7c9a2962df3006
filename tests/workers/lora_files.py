"""LoRA files with random numbers, in the dialects that people share, and a judge that knows nothing of our code: peft."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

UNET = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "conv1", "proj_in", "time_emb_proj")
TEXT = ("q_proj", "v_proj", "fc1")


def factors(module: torch.nn.Module, targets: tuple[str, ...], *, rank: int, seed: int) -> dict[str, torch.Tensor]:
    """Random factors for a module's layers under peft's names, found by peft itself; the module is left as it was."""
    torch.manual_seed(seed)
    twin = deepcopy(module).float()
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets)), twin, "made")
    found = get_peft_model_state_dict(twin, adapter_name="made")
    return {name: torch.randn_like(tensor.float()) * 0.08 for name, tensor in found.items()}


def write_peft(path: Path, parts: dict[str, dict[str, torch.Tensor]], metadata: dict[str, str] | None = None) -> Path:
    """As diffusers' own ``save_lora_weights`` names them."""
    tensors = {f"{part}.{name}": tensor.contiguous() for part, own in parts.items() for name, tensor in own.items()}
    save_file(tensors, path, metadata={"format": "pt"} | (metadata or {}))
    return path


_KOHYA = {"unet": "lora_unet_", "transformer": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}


def write_kohya(
    path: Path,
    parts: dict[str, dict[str, torch.Tensor]],
    *,
    alpha: float,
    rename: Callable[[str], str] = lambda layer: layer,
    metadata: dict[str, str] | None = None,
) -> Path:
    """As kohya's scripts name them, with an alpha beside each layer."""
    tensors: dict[str, torch.Tensor] = {}
    for part, own in parts.items():
        for name, tensor in own.items():
            layer, kind = name.removesuffix(".weight").rsplit(".", 1)
            stem = _KOHYA[part] + rename(layer).replace(".", "_")
            tensors[f"{stem}.{'lora_down' if kind == 'lora_A' else 'lora_up'}.weight"] = tensor.contiguous()
            tensors[f"{stem}.alpha"] = torch.tensor(alpha)
    save_file(tensors, path, metadata=metadata)
    return path


def judged(module: torch.nn.Module, worn: list[tuple[dict[str, torch.Tensor], float]]) -> torch.nn.Module:
    """A copy of the module with these factors merged by peft, each with its weight: what a row alone must equal."""
    from peft.tuners.lora import LoraLayer
    from peft.utils import set_peft_model_state_dict

    twin = deepcopy(module)
    for number, (own, weight) in enumerate(worn):
        ranks = {name.removesuffix(".lora_A.weight"): tensor.shape[0] for name, tensor in own.items() if "lora_A" in name}
        rank = next(iter(ranks.values()))
        name = f"made{number}"
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # that there are several is meant
            inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(ranks)), twin, name)
        result = set_peft_model_state_dict(twin, own, adapter_name=name)
        assert not result.unexpected_keys
        for layer in twin.modules():
            if isinstance(layer, LoraLayer) and name in layer.scaling:
                layer.set_scale(name, weight)
    for layer in twin.modules():
        if isinstance(layer, LoraLayer):
            layer.set_adapter([f"made{number}" for number in range(len(worn))])
    return twin.eval().requires_grad_(False)


def outputs(module: Any, **given: Any) -> torch.Tensor:
    """A denoiser's or encoder's first output."""
    with torch.inference_mode():
        return module(**given, return_dict=False)[0]
