"""Miniatures of other model families, with random weights: for tests of loading, batching, memory and quantisation.

Each builder writes a whole pipeline folder of a few megabytes in seconds, the same one for the same seed. Pictures made
with them are noise. torch is imported when a builder is called, not before.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_WORDS = ("a", "an", "the", "on", "and", "red", "blue", "green", "star", "circle", "background")


def _seed(seed: int) -> None:
    import torch

    torch.manual_seed(seed)


def _clip(width: int, projection: int | None, tokenizer: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    settings = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=77, projection_dim=projection or width,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return CLIPTextModelWithProjection(settings) if projection else CLIPTextModel(settings)


def _clip_tokenizer() -> Any:
    from housemodel.tokens import build_tokenizer

    tokenizer = build_tokenizer()
    tokenizer.model_max_length = 77
    return tokenizer


def _t5_tokenizer() -> Any:
    import transformers

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), *((f"▁{word}", -2.0) for word in _WORDS), ("▁", -3.0)]
    # transformers 5 makes this name at run time
    make: Any = getattr(transformers, "T5TokenizerFast")  # noqa: B009  # the stubs do not know it
    return make(vocab=pieces, extra_ids=0)


def _t5(width: int, size: int) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(vocab_size=size, d_model=width, d_kv=16, d_ff=2 * width, num_layers=1, num_heads=2))


def _autoencoder(channels: int, **settings: Any) -> Any:
    from diffusers import AutoencoderKL

    make: Any = AutoencoderKL  # its annotations allow one level only
    return make(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32), layers_per_block=1, latent_channels=channels, norm_num_groups=8,
        sample_size=32, **settings,
    )  # fmt: skip


def build_sdxl(folder: Path, seed: int = 0) -> Path:
    """A tiny SDXL: two text encoders, size conditioning, transformer blocks of one and two layers."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    _seed(seed)
    tokenizer = _clip_tokenizer()
    make: Any = UNet2DConditionModel  # its annotations allow one level only
    unet = make(
        sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(32, 64),
        norm_num_groups=16, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=64, attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=32 + 6 * 8,
    )  # fmt: skip
    scheduler: Any = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    pipe = StableDiffusionXLPipeline(
        vae=_autoencoder(4), text_encoder=_clip(32, None, tokenizer), text_encoder_2=_clip(32, 32, tokenizer),
        tokenizer=tokenizer, tokenizer_2=tokenizer, unet=unet,
        scheduler=scheduler,
    )  # fmt: skip
    return _save(pipe, folder)


def build_flux(folder: Path, seed: int = 0) -> Path:
    """A tiny Flux: one double and one single block, rope, T5 and CLIP."""
    from diffusers import FluxPipeline

    return _save(FluxPipeline(**_flux_parts(seed)), folder)


def build_flux_kontext(folder: Path, seed: int = 0) -> Path:
    """A tiny Flux-Kontext: the same parts, edited pictures joined to the sequence."""
    from diffusers import FluxKontextPipeline

    return _save(FluxKontextPipeline(**_flux_parts(seed)), folder)


def _flux_parts(seed: int) -> dict[str, Any]:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

    _seed(seed)
    clip, t5 = _clip_tokenizer(), _t5_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32, guidance_embeds=False,
        axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    return {
        "transformer": transformer, "scheduler": FlowMatchEulerDiscreteScheduler(),
        "vae": _autoencoder(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0, scaling_factor=1.0),
        "text_encoder": _clip(32, None, clip), "tokenizer": clip,
        "text_encoder_2": _t5(32, len(t5)), "tokenizer_2": t5,
    }  # fmt: skip


def build_z_image(folder: Path, seed: int = 0) -> Path:
    """A tiny Z-Image: one layer and one refiner, a two-layer Qwen3 for the captions."""
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

    from housemodel.tokens import bytes_to_unicode

    _seed(seed)
    symbols = {letter: i for i, letter in enumerate(bytes_to_unicode().values())}
    tokenizer: Any = Qwen2Tokenizer(vocab=symbols, merges=[])
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    transformer = ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2,
        n_kv_heads=2, cap_feat_dim=32, axes_dims=[4, 4, 8], axes_lens=[256, 32, 32],
    )  # fmt: skip
    words = Qwen3Model(
        Qwen3Config(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                    num_attention_heads=2, num_key_value_heads=2, head_dim=16, max_position_embeddings=1024)
    )  # fmt: skip
    pipe = ZImagePipeline(scheduler=FlowMatchEulerDiscreteScheduler(), vae=_autoencoder(4, shift_factor=0.0),
                          text_encoder=words, tokenizer=tokenizer, transformer=transformer)  # fmt: skip
    return _save(pipe, folder)


FAMILIES: dict[str, Callable[[Path, int], Path]] = {
    "sdxl": build_sdxl, "flux": build_flux, "flux-kontext": build_flux_kontext, "z-image": build_z_image,
}  # fmt: skip


def miniature(family: str, cache: Path, seed: int = 0) -> Path:
    """The folder of a family's miniature below `cache`, built there unless it is; KeyError for an unknown family."""
    folder = cache / f"{family}-{seed}"
    if not (folder / "model_index.json").exists():
        FAMILIES[family](folder, seed)
    return folder


def write_gguf(module_folder: Path, file: Path, kind: str = "Q8_0") -> Path:
    """A transformer or denoiser folder as a GGUF file under diffusers' own tensor names.

    Only 2-D weights whose rows are a multiple of 32 long are quantised; pad tokens must stay as they are.
    """
    import gguf
    from safetensors.torch import load_file

    quantised = gguf.GGMLQuantizationType[kind]
    architecture = json.loads((module_folder / "config.json").read_text())["_class_name"]
    writer = gguf.GGUFWriter(file, arch=architecture)
    for name, tensor in load_file(module_folder / "diffusion_pytorch_model.safetensors").items():
        values = tensor.float().numpy()
        if _quantisable(name, tensor):
            writer.add_tensor(name, gguf.quants.quantize(values, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _quantisable(name: str, tensor: "torch.Tensor") -> bool:
    return tensor.dim() == 2 and tensor.shape[1] % 32 == 0 and "pad_token" not in name


def _save(pipe: Any, folder: Path) -> Path:
    import torch

    pipe.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    return folder
