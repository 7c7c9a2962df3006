"""Which family a model folder belongs to, by the pipeline that its model_index.json names. No torch here.

The tables also are the list of what may be loaded: a class that is not named here is never instantiated, so a
configuration cannot choose what program runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from workers.engine.run import RunKind

FamilyName = Literal["sd15", "sdxl", "flux", "z_image", "animatediff"]

_AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny")
_CLIP = ("CLIPTextModel", "CLIPTextModelWithProjection")
_CLIP_TOKENS = ("CLIPTokenizer", "CLIPTokenizerFast")
_T5_TOKENS = ("T5Tokenizer", "T5TokenizerFast")
_QWEN_TOKENS = ("Qwen2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend")


@dataclass(frozen=True, kw_only=True)
class FamilyFacts:
    """What is true of every model of a family."""

    name: FamilyName
    #: The component that denoises, and the classes that each component may name.
    denoiser: Literal["unet", "transformer"]
    parts: Mapping[str, tuple[str, ...]]
    #: Fields of the denoiser's configuration that must be as given (None: absent).
    denoiser_needs: Mapping[str, Any] = field(default_factory=dict)
    #: Latent cells that the denoiser takes as one: sides in cells must be a multiple of it.
    patch: int = 1
    #: What the sides are where the configuration names none, in latent cells.
    default_cells: int = 64
    default_steps: int = 25
    default_guidance: float = 7.5
    #: The half precision that the models were published for; T5 and Z-Image overflow in float16.
    half: Literal["float16", "bfloat16"] = "float16"


_PLAIN_UNET = {
    "addition_embed_type": None, "class_embed_type": None, "num_class_embeds": None,
    "encoder_hid_dim_type": None, "time_cond_proj_dim": None,
}  # fmt: skip

SD15 = FamilyFacts(
    name="sd15",
    denoiser="unet",
    parts={
        "unet": ("UNet2DConditionModel",),
        "vae": _AUTOENCODERS,
        "text_encoder": _CLIP,
        "tokenizer": _CLIP_TOKENS,
    },
    denoiser_needs=_PLAIN_UNET,
)
SDXL = FamilyFacts(
    name="sdxl",
    denoiser="unet",
    parts={
        "unet": ("UNet2DConditionModel",), "vae": _AUTOENCODERS,
        "text_encoder": _CLIP, "tokenizer": _CLIP_TOKENS,
        "text_encoder_2": ("CLIPTextModelWithProjection",), "tokenizer_2": _CLIP_TOKENS,
    },
    denoiser_needs={**_PLAIN_UNET, "addition_embed_type": "text_time"},
    default_cells=128,
    default_guidance=5.0,
)  # fmt: skip
ANIMATEDIFF = FamilyFacts(
    name="animatediff",
    denoiser="unet",
    parts={
        "unet": ("UNetMotionModel", "UNet2DConditionModel"), "vae": _AUTOENCODERS,
        "text_encoder": _CLIP, "tokenizer": _CLIP_TOKENS, "motion_adapter": ("MotionAdapter",),
    },
    denoiser_needs={**_PLAIN_UNET, "num_class_embeds": None},
)  # fmt: skip
FLUX = FamilyFacts(
    name="flux",
    denoiser="transformer",
    parts={
        "transformer": ("FluxTransformer2DModel",), "vae": _AUTOENCODERS,
        "text_encoder": _CLIP, "tokenizer": _CLIP_TOKENS,
        "text_encoder_2": ("T5EncoderModel",), "tokenizer_2": _T5_TOKENS,
    },
    patch=2,
    half="bfloat16",
    default_cells=128,
    default_steps=28,
    default_guidance=3.5,
)  # fmt: skip
Z_IMAGE = FamilyFacts(
    name="z_image",
    denoiser="transformer",
    parts={
        "transformer": ("ZImageTransformer2DModel",), "vae": _AUTOENCODERS,
        "text_encoder": ("Qwen3Model", "Qwen3ForCausalLM"), "tokenizer": _QWEN_TOKENS,
    },
    patch=2,
    half="bfloat16",
    default_cells=128,
    default_steps=9,
    default_guidance=0.0,
)  # fmt: skip

BY_PIPELINE: Mapping[str, FamilyFacts] = {
    "StableDiffusionPipeline": SD15,
    "StableDiffusionImg2ImgPipeline": SD15,
    "StableDiffusionInpaintPipeline": SD15,
    "StableDiffusionInpaintPipelineLegacy": SD15,
    "StableDiffusionXLPipeline": SDXL,
    "StableDiffusionXLImg2ImgPipeline": SDXL,
    "StableDiffusionXLInpaintPipeline": SDXL,
    "AnimateDiffPipeline": ANIMATEDIFF,
    "FluxPipeline": FLUX,
    "FluxKontextPipeline": FLUX,
    "ZImagePipeline": Z_IMAGE,
}
BY_NAME: Mapping[str, FamilyFacts] = {facts.name: facts for facts in BY_PIPELINE.values()}

#: What each family can do; `kinds_of` says it of one model.
_FROM_PICTURES: tuple[RunKind, ...] = ("text_to_image", "image_to_image", "inpaint", "upscale")


def kinds_of(facts: FamilyFacts, pipeline: str, *, channels: int, latent_channels: int) -> tuple[RunKind, ...] | None:
    """The kinds of order that a model takes, or None where its denoiser reads what this worker cannot give it."""
    if facts.denoiser == "transformer":
        if facts.name == "flux":
            return ("text_to_image", "edit") if pipeline == "FluxKontextPipeline" else ("text_to_image", "image_to_image", "upscale")
        return ("text_to_image", "image_to_image", "upscale")
    if facts.name == "animatediff":
        return ("animate",) if channels == latent_channels else None
    if channels == latent_channels:
        return _FROM_PICTURES
    return ("inpaint",) if channels == 2 * latent_channels + 1 else None
