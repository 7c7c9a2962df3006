"""A miniature SDXL written as one checkpoint in the layout of the original programs, OpenCLIP's names among them."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.workers.single_file import _RESNET, _vae_name

_UNET = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "down_blocks.0.resnets.0": "input_blocks.1.0", "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0": "input_blocks.3.0", "down_blocks.1.attentions.0": "input_blocks.3.1",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1", "mid_block.resnets.1": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0", "up_blocks.0.attentions.0": "output_blocks.0.1",
    "up_blocks.0.resnets.1": "output_blocks.1.0", "up_blocks.0.attentions.1": "output_blocks.1.1",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.2.conv", "up_blocks.1.resnets.0": "output_blocks.2.0",
    "up_blocks.1.resnets.1": "output_blocks.3.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def write_sdxl_file(pipeline: Any, path: Path) -> None:
    """Write ``path`` and, beside it, the configuration that a checkpoint of unusual size needs."""
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in pipeline.unet.state_dict().items():
        tensors["model.diffusion_model." + _unet_name(name)] = tensor
    for name, tensor in pipeline.vae.state_dict().items():
        named = _vae_name(name)
        tensors["first_stage_model." + named] = tensor[:, :, None, None] if "attn_1" in named and tensor.ndim == 2 else tensor
    for name, tensor in pipeline.text_encoder.state_dict().items():
        tensors["conditioner.embedders.0.transformer.text_model." + name.removeprefix("text_model.")] = tensor
    tensors |= {"conditioner.embedders.1.model." + name: tensor for name, tensor in _open_clip(pipeline.text_encoder_2).items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    pipeline.save_pretrained(path.with_suffix(".config"))
    for weights in path.with_suffix(".config").rglob("*.safetensors"):
        weights.unlink()


def _unet_name(name: str) -> str:
    for ours, theirs in _UNET.items():
        if name.startswith(ours + "."):
            inner, _, leaf = name.removeprefix(ours + ".").rpartition(".")
            return f"{theirs}.{_RESNET.get(inner, inner)}.{leaf}".replace("..", ".")
    raise KeyError(name)


def _open_clip(encoder: Any) -> dict[str, torch.Tensor]:
    state = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    out = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"], "ln_final.bias": state["final_layer_norm.bias"],
        "text_projection": state["text_projection.weight"].T,
    }  # fmt: skip
    for number in range(encoder.config.num_hidden_layers):
        ours, theirs = f"encoder.layers.{number}", f"transformer.resblocks.{number}"
        for kind in ("weight", "bias"):
            joined = [state[f"{ours}.self_attn.{one}_proj.{kind}"] for one in "qkv"]
            out[f"{theirs}.attn.in_proj_{kind}"] = torch.cat(joined)
            for inner, named in _OPEN_CLIP.items():
                out[f"{theirs}.{named}.{kind}"] = state[f"{ours}.{inner}.{kind}"]
    return out
