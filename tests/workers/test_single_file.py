"""One-file checkpoints through the real loader, without a network."""

from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="a host without the worker's packages has no engine to test")

import torch
from diffusers import StableDiffusionPipeline

from tests.workers.single_file import write_single_file
from workers.engine import model_folder
from workers.engine.backend import TorchBackend
from workers.engine.catalog import discover
from workers.engine.errors import ModelUnreadable
from workers.engine.families.clip_vocabulary import load_tokenizer
from workers.engine.run import RunSpec

OURS = Path(model_folder.__file__).parent / "configs" / "sd15"


@pytest.fixture(scope="module")
def checkpoint(models_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("single") / "cat-v3.safetensors"
    write_single_file(StableDiffusionPipeline.from_pretrained(models_folder / "kl"), path)
    return path


def test_a_checkpoint_makes_the_same_picture_as_its_folder(checkpoint: Path, models_folder: Path) -> None:
    backend = TorchBackend(device="cpu")
    latents = []
    for name, folder in (("cat-v3", checkpoint.parent), ("kl", models_folder)):
        source = discover(folder, {}).models[name]
        family = backend.load(source)
        spec = RunSpec(model=name, prompt="a cat", width=16, height=16, steps=3, guidance=3.0, seed=7)
        [state] = family.prepare([spec])
        while not state.is_done:
            family.step(state, family.denoise([state])[0])
        latents.append((state.latents, family.decode([state])[0]))
    assert torch.allclose(latents[0][0], latents[1][0], atol=1e-5)
    assert (latents[0][1] == latents[1][1]).mean() > 0.99


def test_a_truncated_checkpoint_is_refused_before_it_is_loaded(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(checkpoint.read_bytes()[:-100])
    assert "100 bytes are missing" in discover(tmp_path, {}).refused["cut"]


def test_a_checkpoint_that_lies_about_its_configuration_is_refused_with_a_sentence(checkpoint: Path, tmp_path: Path) -> None:
    import json
    import shutil

    shutil.copy(checkpoint, tmp_path / "odd.safetensors")
    shutil.copytree(checkpoint.with_suffix(".config"), tmp_path / "odd.config")
    config = tmp_path / "odd.config" / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"block_out_channels": [64, 128]}))
    with pytest.raises(ModelUnreadable, match="odd cannot be loaded"):
        TorchBackend(device="cpu").load(discover(tmp_path, {}).models["odd"])


def test_our_configuration_is_stable_diffusions() -> None:
    shape = model_folder.shape(OURS)
    assert (shape.default_width, shape.pixels_per_cell, shape.size_multiple) == (512, 8, 64)
    assert (shape.side_min, shape.side_max, shape.max_pixels) == (256, 1024, 1024 * 1024)


def test_our_vocabulary_is_clips() -> None:
    tokenizer = load_tokenizer(OURS / "tokenizer")
    assert len(tokenizer) == 49408
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("Un GATO, ¡señor!").input_ids == tokenizer("un gato, ¡señor!").input_ids


def test_our_configuration_builds_the_published_number_of_parameters() -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(OURS / "unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(OURS / "vae"))
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(OURS / "text_encoder"))
    counts = [sum(tensor.numel() for tensor in part.parameters()) for part in (unet, vae, text)]
    assert counts == [859_520_964, 83_653_863, 123_060_480]
