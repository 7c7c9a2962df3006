"""What the tensors of a LoRA file are called, in the dialects that people share.

kohya writes ``lora_unet_down_blocks_0_…_to_q.lora_down.weight`` with dots turned into underscores, peft and diffusers
``unet.down_blocks.0.….to_q.lora_A.weight``, older diffusers ``….attn1.processor.to_q_lora.down.weight``. Layers are compared
without their dots, so that one table serves all. Needs no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from workers.engine.errors import LoraUnusable

Role = Literal["down", "up", "alpha"]
#: The denoiser is called ``unet`` in some families and ``transformer`` in others; a LoRA file does not always say.
DENOISER = "denoiser"

_PARTS: tuple[tuple[str, str], ...] = (
    ("lora_unet_", DENOISER), ("lora_transformer_", DENOISER), ("unet.", DENOISER), ("transformer.", DENOISER),
    ("diffusion_model.", DENOISER), ("lora_te1_", "text_encoder"), ("lora_te2_", "text_encoder_2"),
    ("lora_te3_", "text_encoder_2"), ("lora_te_", "text_encoder"), ("text_encoder_2.", "text_encoder_2"),
    ("text_encoder.", "text_encoder"),
)  # fmt: skip
_ROLES: tuple[tuple[re.Pattern[str], Role], ...] = (
    (re.compile(r"(\.|_)(lora_down|lora_A|lora\.down|lora_linear_layer\.down)(\.default)?\.weight$"), "down"),
    (re.compile(r"(\.|_)(lora_up|lora_B|lora\.up|lora_linear_layer\.up)(\.default)?\.weight$"), "up"),
    (re.compile(r"\.alpha$"), "alpha"),
)
_REPLACES = "a LoRA that also replaces weights or biases"
#: Each: what a name has in it, and what the file then is. They change a layer by other arithmetic than a product of two.
_OTHER_KINDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("hada_", ".lokr_", "_lokr_", ".glora", ".oft_", ".ia3_", "on_input"), "a LyCORIS file (LoHa, LoKr, OFT or IA3)"),
    (("dora_scale", "lora_magnitude_vector"), "a DoRA"),
    (("lora_mid.", ".lora_embedding_"), "a LoRA of decomposed convolutions or embeddings"),
    ((".lora_A.bias", ".lora_B.bias", ".lora_up.bias", ".lora_down.bias"), _REPLACES),
    (("emb_params", "string_to_param"), "a textual inversion"),
)


@dataclass(frozen=True, kw_only=True)
class TensorName:
    """One tensor's place: which part of the pipeline, which layer without its dots, which of the two factors."""

    part: str
    layer: str
    role: Role


def parse(key: str) -> TensorName:
    """Read a tensor's name. Raises LoraUnusable for another kind of file, and for a name of no dialect known here."""
    for marks, kind in _OTHER_KINDS:
        if any(mark in key for mark in marks) or (kind is _REPLACES and key.endswith((".diff", ".diff_b"))):
            raise LoraUnusable(f"it is {kind}; this worker mixes plain LoRAs")
    rest = key.removeprefix("base_model.model.")
    for pattern, role in _ROLES:
        stem, found = pattern.subn("", rest)
        if found:
            return _placed(stem, role, key)
    raise LoraUnusable(f"its tensor {key[:80]!r} belongs to no LoRA")


def _placed(stem: str, role: Role, key: str) -> TensorName:
    if role == "alpha":  # written beside a layer, or beside one of its factors
        for pattern, _ in _ROLES[:2]:
            stem = pattern.sub("", stem)
    part, layer = next(((part, stem.removeprefix(start)) for start, part in _PARTS if stem.startswith(start)), (DENOISER, stem))
    layer = flat(layer.replace(".processor.", "."))
    if not layer:
        raise LoraUnusable(f"its tensor {key[:80]!r} names no layer")
    if layer.endswith(_UNNUMBERED):
        layer += "_0"
    return TensorName(part=part, layer=layer, role=role)


#: Older diffusers wrote the output projection, which is a list of a layer and a dropout, without its number.
_UNNUMBERED = ("attn1_to_out", "attn2_to_out")


def flat(layer: str) -> str:
    """A layer's name as all dialects can be brought to it: without dots, and without the outer name of CLIP's layers."""
    return layer.replace(".", "_").removeprefix("text_model_")


_SGM_INNER: tuple[tuple[str, str], ...] = (
    ("in_layers_2", "conv1"), ("out_layers_3", "conv2"), ("emb_layers_1", "time_emb_proj"), ("skip_connection", "conv_shortcut"),
)  # fmt: skip
_SGM_OUTER = {
    "input_blocks_0_0": "conv_in", "out_2": "conv_out", "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2", "label_emb_0_0": "add_embedding_linear_1", "label_emb_0_2": "add_embedding_linear_2",
}  # fmt: skip
_SGM_BLOCK = re.compile(r"(input_blocks|output_blocks)_(\d+)_(\d+)_(.+)")
_SGM_MIDDLE = {"0": "resnets_0", "1": "attentions_0", "2": "resnets_1"}


def from_sgm(layer: str, *, layers_per_block: int) -> str:
    """A UNet layer (flat) under diffusers' name, where it has that of the original programs, as SDXL's LoRAs do; else itself."""
    if layer in _SGM_OUTER:
        return _SGM_OUTER[layer]
    for theirs, ours in _SGM_INNER:
        layer = layer.removesuffix(theirs) + ours if layer.endswith("_" + theirs) else layer
    if layer.startswith("middle_block_"):
        number, _, rest = layer.removeprefix("middle_block_").partition("_")
        return f"mid_block_{_SGM_MIDDLE.get(number, number)}_{rest}"
    match = _SGM_BLOCK.fullmatch(layer)
    return layer if match is None else _sgm_block(match, layers_per_block + 1)


def _sgm_block(match: re.Match[str], stride: int) -> str:
    side, number, slot, rest = match[1], int(match[2]), int(match[3]), match[4]
    if side == "input_blocks":
        block, at, sampler = (number - 1) // stride, (number - 1) % stride, "downsamplers_0_conv"
    else:
        block, at, sampler = number // stride, number % stride, "upsamplers_0_conv"
    stem = ("down" if side == "input_blocks" else "up") + f"_blocks_{block}"
    if rest in ("op", "conv"):
        return f"{stem}_{sampler}"
    return f"{stem}_{'attentions' if slot else 'resnets'}_{at}_{rest}"
