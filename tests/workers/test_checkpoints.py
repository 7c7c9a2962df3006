"""Files that hold a denoiser alone, GGUF among them, through the real loaders; and headers that lie."""

import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers", reason="a host without the worker's packages has no engine to test")

import torch
from safetensors.torch import load_file, save_file

from housemodel.miniatures import miniature, write_gguf
from workers.engine import gguf_file, single_files
from workers.engine.catalog import discover
from workers.engine.errors import ModelUnreadable
from workers.engine.families import loading


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("miniatures")


def models(cache: Path, folder: Path, *families: str) -> Path:
    """A models folder with whole miniatures in it."""
    for family in families:
        (folder / f"whole-{family}").symlink_to(miniature(family, cache))
    return folder


def as_original_z_image(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A Z-Image transformer under the names of its makers, queries, keys and values joined: what people share.

    (Of Flux only files of the published size can be read under its makers' names: diffusers knows their widths by heart.)
    """
    out: dict[str, torch.Tensor] = {}
    for name, value in tensors.items():
        for ours, theirs in (
            ("all_final_layer.2-1.", "final_layer."), ("all_x_embedder.2-1.", "x_embedder."), (".norm_k.", ".k_norm."),
            (".norm_q.", ".q_norm."), (".to_out.0.", ".out."),
        ):  # fmt: skip
            name = name.replace(ours, theirs)
        if ".attention.to_q." in name:
            stem = name.removesuffix("to_q.weight")
            parts = [tensors[f"{stem}to_{one}.weight"] for one in "qkv"]
            out[stem + "qkv.weight"] = torch.cat(parts).contiguous()
        elif ".attention.to_" not in name:
            out[name] = value
    return out


def write_original_gguf(tensors: dict[str, torch.Tensor], path: Path) -> None:
    import gguf

    q8 = gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(path, arch="lumina2")
    for name, tensor in tensors.items():
        values = tensor.float().numpy()
        if tensor.ndim == 2 and tensor.shape[1] % 32 == 0 and "pad_token" not in name:
            writer.add_tensor(name, gguf.quants.quantize(values, q8), raw_dtype=q8)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def flux_output(model: Any) -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        return model(
            hidden_states=torch.randn(2, 16, 16, generator=random),
            encoder_hidden_states=torch.randn(2, 6, 32, generator=random),
            pooled_projections=torch.randn(2, 32, generator=random),
            timestep=torch.tensor([0.2, 0.8]),
            img_ids=torch.rand(16, 3, generator=random),
            txt_ids=torch.zeros(6, 3),
            return_dict=False,
        )[0]


def whole_flux(cache: Path) -> Any:
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel.from_pretrained(miniature("flux", cache), subfolder="transformer", dtype=torch.float32)


def test_a_flux_gguf_takes_the_rest_of_its_model_from_a_folder(cache: Path, tmp_path: Path) -> None:
    folder = models(cache, tmp_path, "flux")
    write_gguf(miniature("flux", cache) / "transformer", folder / "small-q8.gguf")
    catalog = discover(folder, {})
    assert not catalog.refused
    source = catalog.models["small-q8"]
    assert (source.family, source.needs_rest, source.config_folder) == ("flux", True, folder / "whole-flux")
    parts = single_files.parts_of(source, torch.float32)
    assert {"text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "vae", "scheduler"} <= parts.keys()
    exact, quantised = flux_output(whole_flux(cache)), flux_output(parts["transformer"])
    gap = float((quantised - exact).abs().max() / exact.abs().max())
    assert 0 < gap < 0.05, "eight bits are close to, and not the same as, sixteen"


def z_image_output(model: Any) -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    picture, caption = torch.randn(4, 1, 16, 16, generator=random), torch.randn(5, 32, generator=random)
    with torch.inference_mode():
        return model([picture], torch.tensor([0.5]), [caption], return_dict=False)[0][0]


@pytest.mark.parametrize("names", ["diffusers", "original"])
def test_a_z_image_gguf_is_read_under_either_names(cache: Path, tmp_path: Path, names: str) -> None:
    from diffusers import ZImageTransformer2DModel

    folder = models(cache, tmp_path, "z-image")
    transformer = miniature("z-image", cache) / "transformer"
    if names == "diffusers":
        write_gguf(transformer, folder / "z-q8.gguf")
    else:
        tensors = load_file(transformer / "diffusion_pytorch_model.safetensors")
        write_original_gguf(as_original_z_image(tensors), folder / "z-q8.gguf")
    exact = z_image_output(ZImageTransformer2DModel.from_pretrained(transformer, dtype=torch.float32))
    quantised = z_image_output(single_files.parts_of(discover(folder, {}).models["z-q8"], torch.float32)["transformer"])
    assert 0 < float((quantised - exact).abs().max() / exact.abs().max()) < 0.05


def test_a_denoiser_alone_as_safetensors_under_its_makers_names(cache: Path, tmp_path: Path) -> None:
    from diffusers import ZImageTransformer2DModel

    folder = models(cache, tmp_path, "z-image")
    transformer = miniature("z-image", cache) / "transformer"
    tensors = as_original_z_image(load_file(transformer / "diffusion_pytorch_model.safetensors"))
    save_file({f"model.diffusion_model.{name}": value for name, value in tensors.items()}, folder / "own.safetensors")
    model = single_files.parts_of(discover(folder, {}).models["own"], torch.float32)["transformer"]
    exact = ZImageTransformer2DModel.from_pretrained(transformer, dtype=torch.float32)
    assert torch.allclose(z_image_output(model), z_image_output(exact), atol=1e-5)


def test_the_rest_may_lie_beside_the_file_or_be_named(cache: Path, tmp_path: Path) -> None:
    gguf = write_gguf(miniature("flux", cache) / "transformer", tmp_path / "one.gguf")
    assert "denoiser of a flux model alone" in discover(tmp_path, {}).refused["one"]
    shutil.copytree(miniature("flux", cache), tmp_path / "one.config", ignore=shutil.ignore_patterns("diffusion_pytorch_model.safetensors"))
    assert "vae has no weights" in discover(tmp_path, {}).refused["one"]
    shutil.copytree(miniature("flux", cache) / "vae", tmp_path / "one.config" / "vae", dirs_exist_ok=True)
    assert discover(tmp_path, {}).models["one"].config_folder == tmp_path / "one.config"
    named = tmp_path / "named"
    named.mkdir()
    shutil.copy(gguf, named / "two.gguf")
    models(cache, named, "flux", "z-image")
    (named / "two.json").write_text('{"base": "whole-z-image"}')
    assert "which should have the rest of it, is z_image" in discover(named, {}).refused["two"]
    (named / "two.json").write_text('{"base": "whole-flux", "title": "Two"}')
    assert discover(named, {}).models["two"].title == "Two"
    (named / "two.json").write_text('{"base": "nowhere"}')
    assert "there is no model folder 'nowhere'" in discover(named, {}).refused["two"]


def test_a_folder_of_another_size_is_not_borrowed_from(cache: Path, tmp_path: Path) -> None:
    folder = models(cache, tmp_path, "flux")
    save_file({"double_blocks.0.x": torch.zeros(2), "txt_in.weight": torch.zeros(4, 4096)}, folder / "real.safetensors")
    assert "denoiser of a flux model alone" in discover(folder, {}).refused["real"]


def test_a_file_that_lacks_weights_is_refused_when_it_is_loaded(cache: Path, tmp_path: Path) -> None:
    folder = models(cache, tmp_path, "z-image")
    tensors = load_file(miniature("z-image", cache) / "transformer" / "diffusion_pytorch_model.safetensors")
    tensors.pop("layers.0.feed_forward.w1.weight")
    save_file(tensors, folder / "holed.safetensors")
    with pytest.raises(ModelUnreadable, match="lacks weights of its transformer"):
        loading.load(discover(folder, {}).models["holed"], device=torch.device("cpu"), dtype=torch.float32)


def gguf_bytes(*, magic: bytes = b"GGUF", version: int = 3, tensors: int = 0, facts: int = 0, rest: bytes = b"") -> bytes:
    return magic + struct.pack("<IQQ", version, tensors, facts) + rest


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def tensor(*shape: int, kind: int = 0, offset: int = 0) -> bytes:
    return text(b"w") + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)


LIES = [
    pytest.param(b"PK\x03\x04" + bytes(100), "no GGUF file", id="zip"),
    pytest.param(gguf_bytes(version=1), "version 1", id="old"),
    pytest.param(gguf_bytes(tensors=2**60), "tensors", id="too many tensors"),
    pytest.param(gguf_bytes(facts=2**60), "facts", id="too many facts"),
    pytest.param(gguf_bytes(facts=1), "ends within its header", id="no facts after all"),
    pytest.param(gguf_bytes(facts=1, rest=struct.pack("<Q", 2**62)), "bytes of one name", id="endless name"),
    pytest.param(gguf_bytes(facts=1, rest=text(b"k") + struct.pack("<I", 77)), "unknown type 77", id="unknown fact"),
    pytest.param(
        gguf_bytes(facts=1, rest=text(b"k") + struct.pack("<IIQ", 9, 12, 1_000_000)), "longer than the file", id="list beyond the end"
    ),
    pytest.param(gguf_bytes(facts=1, rest=text(b"k") + struct.pack("<IIQ", 9, 9, 1)), "list of lists", id="nested lists"),
    pytest.param(gguf_bytes(tensors=1, rest=tensor(1, 2, 3, 4, 5)), "5 dimensions", id="dimensions"),
    pytest.param(gguf_bytes(tensors=1, rest=tensor(64, kind=16)), "cannot be computed with", id="unknown numbers"),
    pytest.param(gguf_bytes(tensors=1, rest=tensor(33, kind=8)), "wrong about the tensor", id="half a block"),
    pytest.param(gguf_bytes(tensors=1, rest=tensor(2**40, 2**40)), "wrong about the tensor", id="enormous"),
    pytest.param(gguf_bytes(tensors=1, rest=tensor(64)), "cut short", id="no numbers"),
    pytest.param(gguf_bytes(tensors=2, rest=tensor(64) + tensor(64)) + bytes(1024), "overlap", id="overlap"),
]


@pytest.mark.parametrize(("data", "says"), LIES)
def test_a_gguf_that_lies_is_refused_in_a_sentence(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "evil.gguf").write_bytes(data)
    refusal = discover(tmp_path, {}).refused["evil"]
    assert says in refusal
    assert refusal.endswith(".")


def test_a_gguf_that_is_cut_short_is_refused_before_it_is_loaded(cache: Path, tmp_path: Path) -> None:
    whole = write_gguf(miniature("flux", cache) / "transformer", tmp_path / "whole.gguf").read_bytes()
    for length in (len(whole) - 100, len(whole) // 2, 200, 20, 3):
        (tmp_path / "cut.gguf").write_bytes(whole[:length])
        with pytest.raises(ModelUnreadable):
            gguf_file.read_header(tmp_path / "cut.gguf")


def test_an_sdxl_checkpoint_in_one_file_has_every_weight_of_its_folder(cache: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionXLPipeline
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    from tests.workers.sdxl_file import write_sdxl_file

    pipe = StableDiffusionXLPipeline.from_pretrained(miniature("sdxl", cache), dtype=torch.float32)
    # diffusers tells the two encoders of a checkpoint apart by their widths, which the miniature's share.
    wide = pipe.text_encoder_2.config.to_dict() | {"hidden_size": 48, "intermediate_size": 96}
    pipe.text_encoder_2 = CLIPTextModelWithProjection(CLIPTextConfig(**wide))
    write_sdxl_file(pipe, tmp_path / "xl.safetensors")
    source = discover(tmp_path, {}).models["xl"]
    assert (source.family, source.needs_rest, source.text_width) == ("sdxl", False, 64)
    parts = single_files.parts_of(source, torch.float32)
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        loaded, original = parts[name].state_dict(), getattr(pipe, name).state_dict()
        assert loaded.keys() == original.keys(), name
        different = [key for key in loaded if not torch.equal(loaded[key], original[key])]
        assert not different, (name, different[:3])
    assert parts["tokenizer_2"]("a red star").input_ids == pipe.tokenizer_2("a red star").input_ids


def test_our_own_configurations_are_those_of_the_published_models() -> None:
    """By their number of weights, which the model cards tell."""
    import json

    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    def config(family: str, part: str) -> Any:
        return json.loads((Path(single_files.__file__).parent / "configs" / family / part / "config.json").read_text())

    with torch.device("meta"):
        sizes = [
            sum(one.numel() for one in module.parameters())
            for module in (
                UNet2DConditionModel.from_config(config("sd15", "unet")),
                UNet2DConditionModel.from_config(config("sdxl", "unet")),
                CLIPTextModelWithProjection(CLIPTextConfig(**config("sdxl", "text_encoder_2"))),
            )
        ]
    assert sizes == [859_520_964, 2_567_463_684, 694_659_840]
