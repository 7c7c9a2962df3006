"""The parts of the pipeline, untrained: text encoder, denoiser, autoencoder with a written (not learned) encoder."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from housemodel.tokens import MOST_TOKENS

PICTURE = 128
CELLS = 8
CHANNELS = 12
DETAIL_GAIN = 1.6
TEXT_WIDTH = 96
DECODER_WIDTH = 32
DECODER_BLOCKS = (6, 6, 4, 1, 1)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Two layers, 96 wide, .3 M parameters."""
    begins: Any = tokenizer.bos_token_id
    ends: Any = tokenizer.eos_token_id
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=TEXT_WIDTH, intermediate_size=3 * TEXT_WIDTH,
            num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=MOST_TOKENS,
            projection_dim=TEXT_WIDTH, hidden_act="quick_gelu",
            bos_token_id=begins, eos_token_id=ends, pad_token_id=ends,
        )
    )  # fmt: skip


def build_denoiser() -> UNet2DConditionModel:
    """8 x 8 cells of 12 channels, attention to the words at both levels, 4.8 M parameters."""
    return UNet2DConditionModel(
        sample_size=CELLS, in_channels=CHANNELS, out_channels=CHANNELS, layers_per_block=1,
        block_out_channels=(80, 128), norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT_WIDTH, attention_head_dim=4,
    )  # fmt: skip


def build_autoencoder() -> AutoencoderTiny:
    """Encoder: three box averages and one Haar level, exact. Decoder: residual blocks, to be trained.

    Five decoder levels make the stock pipelines count 16 pixels to a cell, as it is.
    """
    vae = AutoencoderTiny(
        encoder_block_out_channels=(CHANNELS,) * 5, num_encoder_blocks=(0,) * 5,
        decoder_block_out_channels=(DECODER_WIDTH,) * 5, num_decoder_blocks=DECODER_BLOCKS,
        latent_channels=CHANNELS, scaling_factor=1.0,
    )  # fmt: skip
    _write_encoder(vae.encoder.layers)
    _begin_decoder(vae.decoder)
    for parameter in vae.encoder.parameters():
        parameter.requires_grad_(False)
    return vae


@torch.no_grad()
def _begin_decoder(decoder: torch.nn.Module) -> None:
    """Kaiming, with the last convolution of every block small: there is no normalisation to tame the depth."""
    for module in decoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                module.bias.zero_()
    for module in decoder.modules():
        if isinstance(module, AutoencoderTinyBlock):
            last: Any = module.conv[4]
            last.weight.mul_(0.3)


@torch.no_grad()
def _write_encoder(layers: torch.nn.Sequential) -> None:
    convolutions = [layer for layer in layers if isinstance(layer, torch.nn.Conv2d)]
    for layer in convolutions:
        layer.weight.zero_()
        if layer.bias is not None:
            layer.bias.zero_()
    first, *averages, haar, last = convolutions
    for c in range(3):
        # the class maps [-1, 1] to [0, 1] before its first layer; this undoes it
        first.weight[c, c, 1, 1] = 2
        first.bias[c] = -1  # type: ignore[index]  # bias is a tensor here, Optional in the stubs
        for layer in averages:
            layer.weight[c, c, 1:, 1:] = 0.25
    for channel in range(CHANNELS):
        last.weight[channel, channel, 1, 1] = 1
    _write_haar(haar)


def _write_haar(layer: torch.nn.Conv2d) -> None:
    signs = torch.tensor([[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]) / 4
    for band in range(4):
        gain = 1.0 if band == 0 else DETAIL_GAIN
        for c in range(3):
            # with stride 2 and padding 1, kernel rows and columns 1 and 2 see exactly one 2 x 2 square
            layer.weight[3 * band + c, c, 1:, 1:] = signs[band] * gain


def build_scheduler() -> DDIMScheduler:
    """v-prediction over the linear schedule; every usual sampler can be made from its settings."""
    return DDIMScheduler(
        num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear",
        prediction_type="v_prediction", timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True,
    )  # fmt: skip


def assemble(
    tokenizer: CLIPTokenizer, text: CLIPTextModel, denoiser: UNet2DConditionModel, vae: AutoencoderTiny
) -> StableDiffusionPipeline:
    """The parts as a plain StableDiffusionPipeline without safety checker."""
    # its annotations want an AutoencoderKL and a safety checker; any autoencoder does, and none is needed
    make: Any = StableDiffusionPipeline
    return make(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=denoiser, scheduler=build_scheduler(),
        safety_checker=None, feature_extractor=None, image_encoder=None, requires_safety_checker=False,
    )  # fmt: skip


def load_pipeline(folder: Path) -> StableDiffusionPipeline:
    """A pipeline folder in fp32 and without a progress bar."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe
