"""LoRAs on disk: their words from headers and sidecars of every dialect, and a sentence about each that cannot be used."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from housemodel import loras_folder
from workers.engine.loras.library import LoraLibrary, LoraSource

Shapes = dict[str, list[int]]
UNET: Shapes = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": [4, 768],
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight": [320, 4],
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.alpha": [],
}


def write(path: Path, shapes: Shapes, metadata: dict[str, str] | None = None, *, cut: int = 0) -> Path:
    """A safetensors file of these shapes, its numbers all zero."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes((struct.pack("<Q", len(text)) + text + bytes(at))[: None if not cut else -cut])
    return path


def looked(folder: Path) -> LoraLibrary:
    library = LoraLibrary(folder)
    library.look()
    return library


def only(folder: Path) -> LoraSource:
    library = looked(folder)
    assert not library.refused
    [lora] = library.loras.values()
    return lora


def test_the_houses_own_are_found_in_both_dialects() -> None:
    library = looked(Path(loras_folder()))
    assert {"house-night", "house-night.kohya", "house-dots", "house-outline"} <= library.loras.keys()
    assert {lora.family for lora in library.loras.values()} == {"sd15"}
    assert {lora.text_width for lora in library.loras.values()} == {96}
    assert not library.refused


def test_words_come_from_the_header_where_nothing_lies_beside(tmp_path: Path) -> None:
    tags = {"10_cat": {"zxc cat": 40, "grass": 12}, "5_more": {"zxc cat": 5, "sky": 3}}
    write(tmp_path / "a.safetensors", UNET, {"ss_output_name": "Zxc Cat v2", "ss_tag_frequency": json.dumps(tags)})
    lora = only(tmp_path)
    assert (lora.name, lora.title, lora.triggers, lora.weight) == ("a", "Zxc Cat v2", ("zxc cat",), 1.0)
    write(tmp_path / "a.safetensors", UNET, {"modelspec.title": "Film", "modelspec.trigger_phrase": "analog film, grain"})
    assert (only(tmp_path).title, only(tmp_path).triggers) == ("Film", ("analog film", "grain"))


SIDECARS = [
    (".darkroom.json", {"title": "Ours", "triggers": ["own"], "weight": 0.6}, ("Ours", ("own",), 0.6)),
    (
        ".metadata.json",
        {"model_name": "Managed", "civitai": {"trainedWords": ["lm word", "other"]}, "usage_tips": '{"strength": 0.75}'},
        ("Managed", ("lm word", "other"), 0.75),
    ),
    (".json", {"activation text": "a1 word, two", "preferred weight": 0.9, "sd version": "SD1"}, ("Header", ("a1 word", "two"), 0.9)),
    (".json", {"activation text": "a1 word", "preferred weight": 0}, ("Header", ("a1 word",), 1.0)),
    (".civitai.info", {"trainedWords": ["civ"], "model": {"name": "Civ"}, "baseModel": "SD 1.5"}, ("Civ", ("civ",), 1.0)),
    (".cm-info.json", {"trainedWords": ["cm"], "model": {"name": "Cm"}}, ("Cm", ("cm",), 1.0)),
]


@pytest.mark.parametrize(("suffix", "table", "told"), SIDECARS)
def test_words_come_from_what_lies_beside(tmp_path: Path, suffix: str, table: Any, told: tuple[str, tuple[str, ...], float]) -> None:
    write(tmp_path / "a.safetensors", UNET, {"ss_output_name": "Header"})
    (tmp_path / f"a{suffix}").write_text(json.dumps(table))
    lora = only(tmp_path)
    assert (lora.title, lora.triggers, lora.weight) == told


def test_the_operators_own_words_go_first_and_others_fill_the_gaps(tmp_path: Path) -> None:
    write(tmp_path / "a.safetensors", UNET)
    (tmp_path / "a.darkroom.json").write_text('{"title": "Ours"}')
    (tmp_path / "a.civitai.info").write_text('{"trainedWords": ["civ"], "model": {"name": "Theirs"}}')
    assert (only(tmp_path).title, only(tmp_path).triggers) == ("Ours", ("civ",))


@pytest.mark.parametrize("text", ["{", "[]", '{"trainedWords": 3, "model": 7}', '{"usage_tips": "{", "civitai": []}', "\ud800", "[" * 9000])
def test_hostile_sidecars_say_nothing_and_break_nothing(tmp_path: Path, text: str) -> None:
    write(tmp_path / "a.safetensors", UNET, {"ss_tag_frequency": text, "ss_output_name": "x\x00\x1b[31m" + "y" * 5000})
    for suffix, _, _ in SIDECARS:
        (tmp_path / f"a{suffix}").write_bytes(text.encode("utf-8", "surrogatepass"))
    lora = only(tmp_path)
    assert lora.triggers == ()
    assert len(lora.title) <= 200
    assert "\x1b" not in lora.title


def renamed(shapes: Shapes, old: str, new: str) -> Shapes:
    return {name.replace(old, new): shape for name, shape in shapes.items()}


def wide(width: int) -> Shapes:
    return {name: [shape[0], width] if "lora_down" in name else shape for name, shape in UNET.items()}


FLUX = {
    "transformer.single_transformer_blocks.3.attn.to_q.lora_A.weight": [4, 64],
    "transformer.single_transformer_blocks.3.attn.to_q.lora_B.weight": [64, 4],
}
Z_IMAGE = {
    "diffusion_model.layers.0.attention.to_q.lora_A.weight": [4, 64],
    "diffusion_model.layers.0.attention.to_q.lora_B.weight": [64, 4],
}


@pytest.mark.parametrize(
    ("shapes", "metadata", "family"),
    [
        pytest.param(UNET, None, "sd15", id="SD 1.5 by its text's width"),
        pytest.param(renamed(wide(2048), "down_blocks_0", "input_blocks_4_1"), None, "sdxl", id="SDXL under its makers' names"),
        pytest.param(wide(64), {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, "sdxl", id="what its maker says"),
        pytest.param(FLUX, None, "flux", id="Flux"),
        pytest.param(renamed(FLUX, "transformer.single_transformer_blocks.3.attn.to_q", "lora_unet_double_blocks_0_img_attn_qkv"), None, "flux", id="Flux by kohya"),
        pytest.param(Z_IMAGE, None, "z_image", id="Z-Image"),
    ],
)  # fmt: skip
def test_the_family_is_read_from_the_layers(tmp_path: Path, shapes: Shapes, metadata: dict[str, str] | None, family: str) -> None:
    write(tmp_path / "a.safetensors", shapes, metadata)
    assert only(tmp_path).family == family


REFUSED = [
    pytest.param(wide(1024), "Stable Diffusion 2", id="SD 2"),
    pytest.param(renamed(UNET, "lora_down", "hada_w1_a"), "LyCORIS", id="LoHa"),
    pytest.param(renamed(UNET, "lora_down.weight", "lokr_w1"), "LyCORIS", id="LoKr"),
    pytest.param(UNET | {"lora_unet_x.dora_scale": [4]}, "a DoRA", id="DoRA"),
    pytest.param(UNET | {"lora_unet_x.lora_mid.weight": [4, 4, 3, 3]}, "decomposed convolutions", id="CP decomposition"),
    pytest.param(UNET | {"lora_unet_x.diff": [4]}, "replaces weights", id="full differences"),
    pytest.param({"model.diffusion_model.input_blocks.0.0.weight": [4, 4]}, "belongs to no LoRA", id="a checkpoint"),
    pytest.param({"emb_params": [4, 768]}, "a textual inversion", id="textual inversion"),
    pytest.param(dict(list(UNET.items())[:1]), "lacks one of its two factors", id="half a LoRA"),
    pytest.param(renamed(UNET, "down_blocks", "what_blocks"), "none of the families", id="unknown layers"),
    pytest.param({}, "it is empty", id="empty"),
]


@pytest.mark.parametrize(("shapes", "says"), REFUSED)
def test_what_cannot_be_mixed_is_refused_in_a_sentence(tmp_path: Path, shapes: Shapes, says: str) -> None:
    write(tmp_path / "a.safetensors", shapes)
    library = looked(tmp_path)
    assert not library.loras
    [why] = library.refused.values()
    assert says.lower() in why.lower()
    assert why[0].isupper()
    assert why.endswith(".")


def test_broken_and_dangerous_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "cut.safetensors", UNET, cut=10)
    (tmp_path / "evil.pt").write_bytes(b"\x80\x04cos\nsystem\n")
    (tmp_path / "zip.safetensors").write_bytes(b"PK\x03\x04" + bytes(4000))
    (tmp_path / "page.safetensors").write_bytes(b"<html>not found</html>")
    write(tmp_path / "-odd.safetensors", UNET)
    refused = looked(tmp_path).refused
    assert "10 bytes are missing" in refused["cut.safetensors"]
    assert "runs whatever program" in refused["evil.pt"]
    assert "zip archive" in refused["zip.safetensors"]
    assert "no safetensors file" in refused["page.safetensors"]
    assert "name is unusable" in refused["-odd.safetensors"]


def test_folders_within_are_looked_through_and_two_of_one_name_are_told(tmp_path: Path) -> None:
    write(tmp_path / "style" / "Film (v1).safetensors", UNET)
    write(tmp_path / "style" / "twice.safetensors", UNET)
    write(tmp_path / "other" / "twice.safetensors", UNET)
    write(tmp_path / ".hidden" / "no.safetensors", UNET)
    library = looked(tmp_path)
    assert set(library.loras) == {"Film (v1)", "twice"}
    assert "rename one of the two" in library.refused["twice.safetensors"]


def test_an_operators_own_goes_before_a_built_in_of_its_name(tmp_path: Path) -> None:
    builtin = {"film": write(tmp_path / "ours" / "film.safetensors", UNET), "night": write(tmp_path / "ours" / "night.safetensors", UNET)}
    own = write(tmp_path / "own" / "film.safetensors", UNET)
    library = LoraLibrary(tmp_path / "own", builtin)
    library.look()
    assert {name: lora.path for name, lora in library.loras.items()} == {"film": own, "night": builtin["night"]}
    assert not library.refused


def test_looking_again_sees_what_came_went_and_changed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", UNET)
    library = looked(tmp_path)
    before = library.loras["a"]
    library.look()
    assert library.loras["a"] is before, "an unchanged file was read again"
    (tmp_path / "a.darkroom.json").write_text('{"title": "Named"}')
    library.look()
    assert library.loras["a"].title == "Named"
    write(path, {name: [8 if side == 4 else side for side in shape] for name, shape in UNET.items()})
    library.look()
    assert library.loras["a"].stamp != before.stamp
    path.unlink()
    library.look()
    assert not library.loras
