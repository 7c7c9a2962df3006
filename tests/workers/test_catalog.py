"""What is served from a models folder, and the sentence about everything that is not. No torch here."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from workers.engine.catalog import Builtin, Catalog, discover
from workers.engine.errors import ModelUnreadable
from workers.engine.model_card import ModelCard
from workers.engine.weights_file import read_header

ONE = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}


def safetensors(path: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> Path:
    """Write a file with any header, true or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def refusal(folder: Path, name: str) -> str:
    """Why a model is not served."""
    catalog = discover(folder, {})
    assert name not in catalog.models
    return catalog.refused[name]


def test_a_sound_header_is_read(tmp_path: Path) -> None:
    tensors = read_header(safetensors(tmp_path / "a.safetensors", ONE, bytes(24)))
    assert tensors["w"].shape == (2, 3)


@pytest.mark.parametrize(
    ("header", "data", "length", "says"),
    [
        pytest.param(ONE, bytes(20), None, "cut short: 4 bytes are missing", id="cut short"),
        pytest.param(ONE, bytes(30), None, "6 bytes too many", id="tail"),
        pytest.param(ONE, bytes(24), 10**15, "no safetensors file", id="header longer than the file"),
        pytest.param(ONE, bytes(24), 2**63, "no safetensors file", id="header of 8 EiB"),
        pytest.param(ONE, bytes(24), 0, "no safetensors file", id="no header"),
        pytest.param(b"<html>not found</html>", b"", None, "not JSON", id="a web page"),
        pytest.param(b"[" * 100_000, b"", None, "not JSON", id="nested"),
        pytest.param(["w"], b"", None, "no table", id="a list"),
        pytest.param({"w": 3}, b"", None, "wrong about the tensor", id="entry is a number"),
        pytest.param({"w": ONE["w"] | {"dtype": "F9"}}, bytes(24), None, "wrong about", id="unknown dtype"),
        pytest.param({"w": ONE["w"] | {"shape": [2**40, 2**40]}}, bytes(24), None, "wrong about", id="lying shape"),
        pytest.param({"w": ONE["w"] | {"shape": [-2, -3]}}, bytes(24), None, "wrong about", id="negative shape"),
        pytest.param({"w": ONE["w"] | {"data_offsets": [24, 0]}}, bytes(24), None, "wrong about", id="backwards"),
        pytest.param(ONE | {"v": ONE["w"]}, bytes(24), None, "overlap", id="overlap"),
    ],
)
def test_a_lying_header_is_refused(tmp_path: Path, header: Any, data: bytes, length: int | None, says: str) -> None:
    path = safetensors(tmp_path / "a.safetensors", header, data, length=length)
    with pytest.raises(ModelUnreadable, match=says):
        read_header(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadable, match="cannot be read"):
        read_header(tmp_path / "a.safetensors")


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".PKL"])
def test_pickles_are_refused_with_the_reason(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"evil{suffix}").write_bytes(b"\x80\x04cos\nsystem\n")
    assert "runs whatever program" in refusal(tmp_path, f"evil{suffix}")


def test_no_folder_and_an_empty_folder_offer_nothing(tmp_path: Path) -> None:
    assert discover(None, {}) == discover(tmp_path / "nowhere", {}) == discover(tmp_path, {}) == Catalog()


def test_sizes_come_from_the_configuration(models_folder: Path) -> None:
    models = discover(models_folder, {}).models
    kl, tiny = models["kl"].shape, models["tiny"].shape
    assert (kl.default_width, kl.pixels_per_cell, kl.size_multiple) == (16, 2, 4)
    assert (tiny.default_width, tiny.pixels_per_cell, tiny.size_multiple) == (32, 4, 8)
    assert (tiny.side_min, tiny.side_max, tiny.latent_channels) == (16, 64, 12)


def test_an_operators_model_wins_over_a_built_in_of_its_name(models_folder: Path) -> None:
    tiny = Builtin(path=models_folder / "tiny", card=ModelCard(default_steps=20))
    catalog = discover(models_folder, {"kl": tiny, "house": tiny})
    assert catalog.models["kl"].path == models_folder / "kl"
    assert list(catalog.models) == ["kl", "house", "tiny"]
    assert [model.card.default_steps for model in catalog.models.values()] == [None, 20, None]


@pytest.fixture
def copy(models_folder: Path, tmp_path: Path) -> Path:
    """A model of one's own to break, in a folder of its own."""
    shutil.copytree(models_folder / "kl", tmp_path / "kl")
    return tmp_path / "kl"


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_with_pickled_weights_only_is_refused(copy: Path) -> None:
    (copy / "unet" / "diffusion_pytorch_model.safetensors").rename(copy / "unet" / "diffusion_pytorch_model.bin")
    assert "pickle (.bin) only" in refusal(copy.parent, "kl")


def test_half_precision_weights_alone_will_do(copy: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert "kl" in discover(copy.parent, {}).models


def test_missing_weights_are_named(copy: Path) -> None:
    (copy / "text_encoder" / "model.safetensors").unlink()
    assert "text_encoder has no weights" in refusal(copy.parent, "kl")


def test_truncated_weights_are_named(copy: Path) -> None:
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    assert "7 bytes are missing" in refusal(copy.parent, "kl")


def test_a_configuration_may_not_choose_the_program_that_runs(copy: Path) -> None:
    change(copy / "model_index.json", unet=["os", "system"])
    assert "unet must be one of" in refusal(copy.parent, "kl")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"_class_name": "WanPipeline"}, "It is a WanPipeline; this worker serves"),
        ({"_class_name": ["a", "list"]}, "It is a ['a', 'list']"),
        ({"_class_name": "StableDiffusionXLPipeline"}, "text_encoder_2 must be one of"),
    ],
)
def test_other_families_are_named(copy: Path, changes: dict[str, Any], says: str) -> None:
    change(copy / "model_index.json", **changes)
    assert says in refusal(copy.parent, "kl")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"in_channels": 7}, "reads 7 channels"),
        ({"addition_embed_type": "text_time"}, "addition_embed_type"),
        ({"time_cond_proj_dim": 256}, "time_cond_proj_dim"),
        ({"sample_size": 10**9}, "implies pictures of"),
        ({"sample_size": "big"}, "lacks or mistakes a size"),
        ({"block_out_channels": None}, "lacks or mistakes a size"),
    ],
)
def test_a_denoiser_of_another_kind_or_of_no_sense_is_refused(copy: Path, changes: dict[str, Any], says: str) -> None:
    change(copy / "unet" / "config.json", **changes)
    assert says in refusal(copy.parent, "kl")


@pytest.mark.parametrize("text", ["", "{", "[]", "nonsense"])
def test_a_broken_configuration_is_named(copy: Path, text: str) -> None:
    (copy / "vae" / "config.json").write_text(text)
    assert "vae/config.json" in refusal(copy.parent, "kl")


def test_a_folder_that_is_no_model_is_refused_and_hidden_ones_are_not_seen(tmp_path: Path) -> None:
    for name in ("stuff", ".git", "loras"):
        (tmp_path / name).mkdir()
    catalog = discover(tmp_path, {})
    assert set(catalog.refused) == {"stuff"}
    assert "model_index.json" in catalog.refused["stuff"]


def test_a_name_that_cannot_be_said_is_refused(copy: Path) -> None:
    copy.rename(copy.with_name("näme with\nspace"))
    assert "rename it" in refusal(copy.parent, "näme with\nspace")


def test_a_card_sets_title_and_defaults(copy: Path) -> None:
    (copy / "darkroom.json").write_text('{"title": "The cat", "default_steps": 12, "default_guidance": 3}')
    card = discover(copy.parent, {}).models["kl"].card
    assert (card.title, card.default_steps, card.default_guidance) == ("The cat", 12, 3.0)


@pytest.mark.parametrize("text", ['{"default_steps": "12"}', '{"default_steps": 1e9}', '{"surprise": 1}', "{"])
def test_a_wrong_card_is_named_with_its_field(copy: Path, text: str) -> None:
    (copy / "darkroom.json").write_text(text)
    assert "darkroom.json" in refusal(copy.parent, "kl")


FIRST = "model.diffusion_model.input_blocks.0.0.weight"
TEXT = "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight"
DECODER = "first_stage_model.decoder.conv_in.weight"


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["conditioner.embedders.0.x", FIRST], "denoiser of a sdxl model alone"),
        (["cond_stage_model.model.ln_final.weight", FIRST], "Stable Diffusion 2"),
        (["double_blocks.0.img_attn.qkv.weight"], "denoiser of a flux model alone"),
        (["double_stream_modulation_img.lin.weight", "double_blocks.0.x"], "Flux 2"),
        (["model.diffusion_model.double_blocks.0.scale_weight"], "eight bits"),
        (["lora_unet_down_blocks_0.lora_down.weight"], "put it into models/loras/"),
        (["anything"], "no denoiser of a family that is known here"),
        ([FIRST, DECODER], "denoiser of a sd15 model alone"),
        ([FIRST, TEXT], "denoiser of a sd15 model alone"),
        ([FIRST, TEXT, DECODER], "other sizes"),
    ],
)
def test_a_single_file_of_another_kind_is_named(tmp_path: Path, names: list[str], says: str) -> None:
    header, at = {}, 0
    for name in names:
        header[name] = {"dtype": "F16", "shape": [1, 4], "data_offsets": [at, at + 8]}
        at += 8
    safetensors(tmp_path / "x.safetensors", header, bytes(at))
    assert says in refusal(tmp_path, "x")
