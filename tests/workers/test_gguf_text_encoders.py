"""Text encoders as GGUF files: T5 for Flux and Qwen3 for Z-Image, written with the gguf package, read by the real loaders."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="a host without the worker's packages has no engine to test")

import gguf
import torch
from safetensors.torch import load_file

from housemodel.miniatures import miniature
from workers.engine.catalog import ModelSource, discover
from workers.engine.families import loading
from workers.engine.memory.weights import parts_bytes

ENCODERS = {"flux": ("text_encoder_2", gguf.MODEL_ARCH.T5ENCODER, 1), "z-image": ("text_encoder", gguf.MODEL_ARCH.QWEN3, 2)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("miniatures")


def write_encoder(part: Path, kind: gguf.MODEL_ARCH, layers: int) -> Path:
    """The part's weights as GGUF in its folder, matrices in Q8_0, and the safetensors gone."""
    weights = part / "model.safetensors"
    writer = gguf.GGUFWriter(part / "encoder-q8.gguf", arch=gguf.MODEL_ARCH_NAMES[kind])
    writer.add_block_count(layers)
    names, written, q8 = gguf.get_tensor_name_map(kind, layers), set(), gguf.GGMLQuantizationType.Q8_0
    for key, tensor in load_file(weights).items():
        name = names.get_name(key, (".weight",)) or names.get_name(f"model.{key}", (".weight",))
        if name is None or name in written:  # T5's table of words is there twice
            continue
        written.add(name)
        values = tensor.float().numpy()
        packed = values.ndim == 2 and values.shape[1] % 32 == 0
        if packed:
            writer.add_tensor(name, gguf.quants.quantize(values, q8), raw_dtype=q8)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    weights.unlink()
    return part / "encoder-q8.gguf"


def folder_with_gguf(cache: Path, models: Path, family: str) -> Path:
    folder = models / f"small-{family}"
    shutil.copytree(miniature(family, cache), folder)
    part, kind, layers = ENCODERS[family]
    return write_encoder(folder / part, kind, layers)


def only_model(models: Path) -> ModelSource:
    found = discover(models, {}).models
    return found[next(name for name in found if name.startswith(("small", "one")))]


@pytest.mark.parametrize("family", ENCODERS)
def test_a_text_encoder_in_gguf_says_what_the_original_says(cache: Path, tmp_path: Path, family: str) -> None:
    folder_with_gguf(cache, tmp_path, family)
    source = only_model(tmp_path)
    part = ENCODERS[family][0]
    read = loading.parts_of(source, torch.float32)[part]
    shutil.copytree(miniature(family, cache), tmp_path / "whole" / "one")
    whole = only_model(tmp_path / "whole")
    original = loading.parts_of(whole, torch.float32)[part]
    ids = torch.tensor([[4, 5, 6, 1]])
    with torch.inference_mode():
        said, meant = read(ids)[0], original(ids)[0]
    off = (said - meant).abs().max() / meant.abs().max()
    assert 0 < off < 0.03  # eight bits a number, and not the same file
    weighed = parts_bytes(source, bytes_per_number=2)
    assert weighed[part] == pytest.approx(parts_bytes(whole, bytes_per_number=2)[part], rel=0.35)


def reason_of(models: Path) -> str:
    found = discover(models, {})
    assert not found.models
    return str(found.refused)


def test_a_gguf_of_something_else_is_no_text_encoder(cache: Path, tmp_path: Path) -> None:
    file = folder_with_gguf(cache, tmp_path, "flux")
    writer = gguf.GGUFWriter(file, arch="llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert "architecture 'llama'" in reason_of(tmp_path)


def test_two_gguf_files_are_one_too_many(cache: Path, tmp_path: Path) -> None:
    file = folder_with_gguf(cache, tmp_path, "flux")
    shutil.copy(file, file.with_name("encoder-q4.gguf"))
    assert "2 GGUF files" in reason_of(tmp_path)


def test_a_gguf_that_is_cut_short_is_refused(cache: Path, tmp_path: Path) -> None:
    file = folder_with_gguf(cache, tmp_path, "z-image")
    file.write_bytes(file.read_bytes()[:-1000])
    assert "cut short" in reason_of(tmp_path)
