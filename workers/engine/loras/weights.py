"""Loading a LoRA's numbers for one model: each layer's two factors, checked against the layer that they are added to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from workers.engine.errors import LoraUnusable
from workers.engine.loras import names
from workers.engine.loras.library import LoraSource

#: Part of the pipeline -> layer's flat name -> the layer's own name.
Layers = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Factors:
    """One layer's addition is ``scale * up @ down``. On the CPU, in the file's own precision."""

    #: Linear: (rank, in); convolution: (rank, in, kh, kw).
    down: torch.Tensor
    #: Linear: (out, rank); convolution: (out, rank, 1, 1).
    up: torch.Tensor
    scale: float

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.down.nbytes + self.up.nbytes


@dataclass(frozen=True, kw_only=True, eq=False)
class LoraWeights:
    """A LoRA as it fits one model."""

    source: LoraSource
    #: Part -> layer's own name -> factors.
    parts: Mapping[str, Mapping[str, Factors]]

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(factors.bytes for layers in self.parts.values() for factors in layers.values())


def layers_of(modules: Mapping[str, torch.nn.Module]) -> Layers:
    """All layers that a LoRA can be added to, by part and flat name."""
    return {
        part: {names.flat(name): name for name, layer in module.named_modules() if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d))}
        for part, module in modules.items()
    }


@torch.inference_mode()
def load(source: LoraSource, modules: Mapping[str, torch.nn.Module]) -> LoraWeights:
    """Load a LoRA for a model whose parts are `modules`. Raises LoraUnusable where it was made for another."""
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(source.path)
    except (OSError, ValueError, RuntimeError) as error:
        raise LoraUnusable(f"it cannot be read ({type(error).__name__})") from error
    known = layers_of(modules)
    placed, strangers = _place(tensors, known, modules)
    if strangers:
        placed, strangers = _place(_translated(source, tensors), known, modules)
    if strangers:
        raise LoraUnusable(f"it was made for another model: this one has no layer {strangers[0][:80]}")
    parts: dict[str, dict[str, Factors]] = {}
    for (part, name), roles in placed.items():
        parts.setdefault(part, {})[name] = _factors(modules[part].get_submodule(name), name, roles)
    return LoraWeights(source=source, parts=parts)


Placed = dict[tuple[str, str], dict[str, torch.Tensor]]


def _place(tensors: Mapping[str, torch.Tensor], known: Layers, modules: Mapping[str, Any]) -> tuple[Placed, list[str]]:
    """Each layer's tensors by role, and the layers that this model does not have."""
    placed: Placed = {}
    strangers: list[str] = []
    denoiser = "unet" if "unet" in known else "transformer"
    per_block = getattr(getattr(modules.get("unet"), "config", None), "layers_per_block", 2)
    for key, tensor in tensors.items():
        told = names.parse(key)
        part = denoiser if told.part == names.DENOISER else told.part
        layer = told.layer
        if part == "unet" and layer not in known[part]:
            layer = names.from_sgm(layer, layers_per_block=per_block if isinstance(per_block, int) else 2)
        name = known.get(part, {}).get(layer)
        if name is None:
            strangers.append(key)
        else:
            placed.setdefault((part, name), {})[told.role] = tensor
    return placed, strangers


def _translated(source: LoraSource, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Under diffusers' names, where transformers' LoRAs use those of the original programs, whose layers are joined otherwise."""
    from diffusers.loaders.lora_pipeline import FluxLoraLoaderMixin, ZImageLoraLoaderMixin

    translators: dict[str, Any] = {"flux": FluxLoraLoaderMixin, "z_image": ZImageLoraLoaderMixin}
    if source.family not in translators:
        return dict(tensors)
    try:
        # Given a dictionary it reads no file and asks nobody.
        return translators[source.family].lora_state_dict(dict(tensors))
    except (ValueError, KeyError, IndexError, RuntimeError, AttributeError) as error:
        raise LoraUnusable(f"its layers are named in a way that is not known here ({type(error).__name__})") from error


def _factors(layer: torch.nn.Module, name: str, roles: Mapping[str, torch.Tensor]) -> Factors:
    down, up = roles.get("down"), roles.get("up")
    if down is None or up is None:
        raise LoraUnusable(f"its layer {name} lacks one of its two factors")
    down, up = _shaped(layer, down), _shaped(layer, up)
    wide = (layer.in_features, layer.out_features) if isinstance(layer, torch.nn.Linear) else (layer.in_channels, layer.out_channels)
    fits = (down.shape[1], up.shape[0]) == wide and down.shape[0] == up.shape[1] and tuple(up.shape[2:]) in ((), (1, 1))
    if isinstance(layer, torch.nn.Conv2d):
        fits = fits and tuple(down.shape[2:]) == tuple(layer.kernel_size) and layer.groups == 1 and layer.padding_mode == "zeros"
    if not fits:
        made, has = f"{down.shape[1]} to {up.shape[0]}", f"{wide[0]} to {wide[1]}"
        raise LoraUnusable(f"it was made for another model: its layer {name} goes from {made}, this model's from {has}")
    if not (bool(torch.isfinite(down).all()) and bool(torch.isfinite(up).all())):
        raise LoraUnusable(f"its layer {name} holds numbers that are not finite")
    alpha = roles.get("alpha")
    scale = 1.0 if alpha is None else float(alpha) / down.shape[0]
    return Factors(down=down, up=up, scale=scale)


def _shaped(layer: torch.nn.Module, tensor: torch.Tensor) -> torch.Tensor:
    """As many dimensions as the layer's weight: some trainers write every factor as a convolution, others none."""
    if isinstance(layer, torch.nn.Linear) and tensor.ndim == 4 and tuple(tensor.shape[2:]) == (1, 1):
        return tensor[:, :, 0, 0]
    if isinstance(layer, torch.nn.Conv2d) and tensor.ndim == 2:
        return tensor[:, :, None, None]
    return tensor
