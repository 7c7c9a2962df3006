"""What one file of weights is: of which family, whether it holds a whole model, and where the rest of it comes from.

Only names and shapes are looked at. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from workers.engine import gguf_file, model_folder, weights_file
from workers.engine.errors import ModelUnreadable
from workers.engine.families import registry
from workers.engine.families.registry import FamilyFacts
from workers.engine.weights_file import Tensor

Header = Mapping[str, Tensor]

_ORIGINAL = "model.diffusion_model."
_FIRST = "input_blocks.0.0.weight"
_SERVED = "this worker serves the families sd15, sdxl, flux and z_image"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A file that can be loaded."""

    facts: FamilyFacts
    #: Where its configuration and tokenizers are, and, where `rest` is True, also all parts but the denoiser.
    config_folder: Path
    rest: bool
    is_gguf: bool


def judge(path: Path, *, base: Path | None, folders: Mapping[str, Path]) -> Checkpoint:
    """Read a file's header and find what belongs to it. Raises ModelUnreadable.

    `base` is the folder that its card names, `folders` one whole model of each family that is at hand: from them come the
    text encoders and the decoder of a file that holds a denoiser alone. A folder ``NAME.config`` beside it goes before both.
    """
    is_gguf = path.suffix.lower() == ".gguf"
    header: Header = gguf_file.read_header(path).tensors if is_gguf else weights_file.read_header(path)
    bare = {key.removeprefix(_ORIGINAL): tensor for key, tensor in header.items()}
    facts = _family(path, header, bare)
    beside = path.with_suffix(".config")
    own = beside if beside.is_dir() else None
    if not is_gguf and facts.denoiser == "unet" and _is_whole(header, facts):
        _refuse_other_sizes(path, header, facts, has_own_config=own is not None)
        return Checkpoint(facts=facts, config_folder=own or _ours(facts), rest=False, is_gguf=False)
    rest = own or base or _fitting(folders.get(facts.name), facts, bare)
    if rest is None:
        raise ModelUnreadable(
            f"{path.name} holds the denoiser of a {facts.name} model alone: put a whole {facts.name} model (a diffusers folder) "
            f"among the models, or its text encoders, decoder and configuration beside it as {path.stem}.config/."
        )
    _check_rest(path, rest, facts)
    return Checkpoint(facts=facts, config_folder=rest, rest=True, is_gguf=is_gguf)


def _family(path: Path, header: Header, bare: Header) -> FamilyFacts:
    def has(*starts: str) -> bool:
        return any(key.startswith(starts) for key in bare)

    if any(key.startswith(("lora_unet", "lora_te")) or ".lora_" in key for key in header):
        raise ModelUnreadable(f"{path.name} is a LoRA: put it into models/loras/.")
    if any("scale_weight" in key or "scaled_fp8" in key for key in header):
        raise ModelUnreadable(f"{path.name} holds numbers in eight bits with scales beside them, which is not served; get a .gguf.")
    if has("double_stream_modulation"):
        raise ModelUnreadable(f"{path.name} is a Flux 2 model; {_SERVED}.")
    if has("double_blocks.", "single_transformer_blocks."):
        return registry.BY_NAME["flux"]
    if has("noise_refiner.") and has("cap_embedder."):
        return registry.BY_NAME["z_image"]
    if any(key.startswith("cond_stage_model.model.") for key in header):
        raise ModelUnreadable(f"{path.name} is a Stable Diffusion 2 checkpoint; {_SERVED}.")
    if not has("input_blocks.", "down_blocks."):
        raise ModelUnreadable(f"{path.name} holds no denoiser of a family that is known here; {_SERVED}.")
    if has("label_emb.", "add_embedding.") or any(key.startswith("conditioner.embedders.") for key in header):
        return registry.BY_NAME["sdxl"]
    return registry.BY_NAME["sd15"]


_WHOLE = {
    "sd15": ("cond_stage_model.transformer.", "first_stage_model.decoder."),
    "sdxl": ("conditioner.embedders.0.", "conditioner.embedders.1.", "first_stage_model.decoder."),
}


def _is_whole(header: Header, facts: FamilyFacts) -> bool:
    return all(any(key.startswith(start) for key in header) for start in _WHOLE[facts.name])


_CONTEXT = _ORIGINAL + "input_blocks.{}.1.transformer_blocks.0.attn2.to_k.weight"
#: The width of the text that the published models read, and the first block that reads it.
_WIDTHS = {"sd15": (768, 1), "sdxl": (2048, 4)}


def _refuse_other_sizes(path: Path, header: Header, facts: FamilyFacts, *, has_own_config: bool) -> None:
    """Our configurations are those of the published models; anything else needs its own beside it."""
    if has_own_config:
        return
    first = header.get(_ORIGINAL + _FIRST)
    if first is None or first.shape[1:2] != (4,):
        raise ModelUnreadable(
            f"{path.name} is an inpainting or edit checkpoint; put its configuration (a diffusers folder without weights) "
            f"beside it as {path.stem}.config/."
        )
    width, block = _WIDTHS[facts.name]
    context = header.get(_CONTEXT.format(block))
    if context is None or context.shape[1:] != (width,):
        raise ModelUnreadable(
            f"{path.name} has the layers of {facts.name} in other sizes; "
            f"put its configuration (a diffusers folder without weights) beside it as {path.stem}.config/."
        )


def _ours(facts: FamilyFacts) -> Path:
    return Path(str(files("workers.engine") / "configs" / facts.name))


#: Layers that read the prompt's encoding, in the names of either program, and the fields that say how wide it is.
_READERS = ("attn2.to_k.weight", "txt_in.weight", "context_embedder.weight", "cap_embedder.1.weight")
_READ = ("cross_attention_dim", "joint_attention_dim", "cap_feat_dim")


def _fitting(folder: Path | None, facts: FamilyFacts, header: Header) -> Path | None:
    """The folder, if its text encoders speak to this denoiser: families have members of several sizes."""
    if folder is None:
        return None
    width = next((tensor.shape[-1] for key, tensor in header.items() if key.endswith(_READERS)), None)
    config = model_folder.read_json(folder / facts.denoiser / "config.json")
    return folder if width in (None, *(config.get(field) for field in _READ)) else None


def _check_rest(path: Path, folder: Path, facts: FamilyFacts) -> None:
    """Raise ModelUnreadable unless `folder` has all parts of the family but the denoiser's weights."""
    found = model_folder.family(folder)
    if found.name != facts.name:
        raise ModelUnreadable(f"{path.name} is a {facts.name} model, but {folder.name}, which should have the rest of it, is {found.name}.")
    for part in facts.parts:
        if part not in (facts.denoiser, "motion_adapter") and not part.startswith("tokenizer"):
            for weights in model_folder.weight_files(folder, part):
                model_folder.header_of(weights)
    model_folder.check_denoiser(facts, model_folder.read_json(folder / facts.denoiser / "config.json"))
