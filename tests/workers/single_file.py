"""A pipeline written as one checkpoint in the layout of the original Stable Diffusion programs, as people share them.

Only for the shape of `tiny_models`: two levels, one layer a level, attention on the first.
"""

from pathlib import Path
from typing import Any

from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "down_blocks.0.resnets.0": "input_blocks.1.0",
    "down_blocks.0.attentions.0": "input_blocks.1.1",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0": "input_blocks.3.0",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0",
    "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.1.conv",
    "up_blocks.1.resnets.0": "output_blocks.2.0",
    "up_blocks.1.attentions.0": "output_blocks.2.1",
    "up_blocks.1.resnets.1": "output_blocks.3.0",
    "up_blocks.1.attentions.1": "output_blocks.3.1",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE = {
    "encoder.down_blocks.0.resnets.0": "encoder.down.0.block.0",
    "encoder.down_blocks.0.downsamplers.0.conv": "encoder.down.0.downsample.conv",
    "encoder.down_blocks.1.resnets.0": "encoder.down.1.block.0",
    "decoder.up_blocks.0.resnets.0": "decoder.up.1.block.0",
    "decoder.up_blocks.0.resnets.1": "decoder.up.1.block.1",
    "decoder.up_blocks.0.upsamplers.0.conv": "decoder.up.1.upsample.conv",
    "decoder.up_blocks.1.resnets.0": "decoder.up.0.block.0",
    "decoder.up_blocks.1.resnets.1": "decoder.up.0.block.1",
}
_VAE_PARTS = {
    "mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2", "mid_block.attentions.0": "mid.attn_1",
    "conv_norm_out": "norm_out", "conv_shortcut": "nin_shortcut", "group_norm": "norm", "to_q": "q", "to_k": "k",
    "to_v": "v", "to_out.0": "proj_out",
}  # fmt: skip


def write_single_file(pipeline: StableDiffusionPipeline, path: Path) -> None:
    """Write ``path`` and, beside it, the configuration that a checkpoint of unusual size needs."""
    tensors: dict[str, Any] = {}
    for name, tensor in pipeline.unet.state_dict().items():
        tensors["model.diffusion_model." + _unet_name(name)] = tensor.contiguous()
    for name, tensor in pipeline.vae.state_dict().items():
        named = _vae_name(name)
        # The original programs wrote their attention as 1x1 convolutions.
        is_attention = "attn_1" in named and tensor.ndim == 2
        tensors["first_stage_model." + named] = (tensor[:, :, None, None] if is_attention else tensor).contiguous()
    for name, tensor in pipeline.text_encoder.state_dict().items():
        tensors["cond_stage_model.transformer.text_model." + name.removeprefix("text_model.")] = tensor.contiguous()
    save_file(tensors, path)
    pipeline.save_pretrained(path.with_suffix(".config"))
    for weights in path.with_suffix(".config").rglob("*.safetensors"):
        weights.unlink()


def _unet_name(name: str) -> str:
    for ours, theirs in _UNET.items():
        if name.startswith(ours + "."):
            rest = name.removeprefix(ours + ".")
            inner, _, leaf = rest.rpartition(".")
            return f"{theirs}.{_RESNET.get(inner, inner)}.{leaf}".replace("..", ".")
    raise KeyError(name)


def _vae_name(name: str) -> str:
    for ours, theirs in (*_VAE.items(), *_VAE_PARTS.items()):
        name = name.replace(ours + ".", theirs + ".")
    return name
