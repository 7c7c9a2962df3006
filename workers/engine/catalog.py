"""What lies in the models folder: which of it can be served, with its limits, and why the rest cannot.

Nothing is loaded here and no torch is needed: configurations and safetensors headers are read, as hostile input.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from workers.engine import model_folder, weights_file
from workers.engine.errors import ModelUnreadable
from workers.engine.model_card import ModelCard, read_card
from workers.engine.shape import ModelShape

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_PICKLES = frozenset({".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"})
#: Folders beside the models that hold something else.
_NOT_MODELS = frozenset({"loras", "embeddings", "vae", "upscalers"})


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model that can be loaded."""

    name: str
    family: str
    path: Path
    #: Where its configuration and tokenizer are: the model's own folder, or a sidecar or ours for a single file.
    config_folder: Path
    single_file: bool
    shape: ModelShape
    card: ModelCard
    #: How wide the text is that its denoiser reads; LoRAs that read it must agree. None where its configuration says nothing.
    text_width: int | None = None

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.card.title or self.name


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """All models by name, and what was refused with the reason."""

    models: Mapping[str, ModelSource] = field(default_factory=lambda: MappingProxyType({}))
    refused: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True)
class Builtin:
    """A model that comes with darkroom. `card` holds where its folder has none."""

    path: Path
    card: ModelCard = field(default_factory=ModelCard)


def discover(folder: Path | None, builtin: Mapping[str, Builtin]) -> Catalog:
    """Look through `folder` (which may be missing) and the built-in models. An operator's own of the same name wins."""
    models: dict[str, ModelSource] = {}
    refused: dict[str, str] = {}
    candidates = [(name, Builtin(path=path)) for name, path in _candidates(folder)]
    for name, found in [*builtin.items(), *candidates]:
        try:
            models[name] = _read(name, found.path, found.card)
        except ModelUnreadable as error:
            refused[name] = str(error)
    return Catalog(models=MappingProxyType(models), refused=MappingProxyType(refused))


def _candidates(folder: Path | None) -> Iterable[tuple[str, Path]]:
    if folder is None or not folder.is_dir():
        return []
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    found: list[tuple[str, Path]] = []
    for entry in entries:
        if entry.is_dir() and entry.name not in _NOT_MODELS and not entry.name.endswith(".config"):
            found.append((entry.name, entry))
        elif entry.suffix.lower() == ".safetensors":
            found.append((entry.stem, entry))
        elif entry.suffix.lower() in _PICKLES:
            found.append((entry.name, entry))
    return found


def _read(name: str, path: Path, card: ModelCard) -> ModelSource:
    if path.suffix.lower() in _PICKLES and not path.is_dir():
        raise ModelUnreadable(
            f"{path.name} is a pickle: loading it runs whatever program its author put in. "
            "Use the same model as .safetensors, or convert it on a machine that may be lost."
        )
    if not _NAME.fullmatch(name):
        raise ModelUnreadable("Its name is unusable: rename it to letters, digits, dots, _ and -, at most 100.")
    return _read_folder(name, path, card) if path.is_dir() else _read_single_file(name, path, card)


def _read_folder(name: str, path: Path, card: ModelCard) -> ModelSource:
    facts = model_folder.check(path)
    return ModelSource(
        name=name,
        family=facts.name,
        path=path,
        config_folder=path,
        single_file=False,
        shape=model_folder.shape(path, facts),
        card=read_card(path / "darkroom.json", default=card),
    )


def _read_single_file(name: str, path: Path, card: ModelCard) -> ModelSource:
    header = weights_file.read_header(path)
    beside = path.with_suffix(".config")
    config_folder = beside if beside.is_dir() else Path(str(files("workers.engine") / "configs" / "sd15"))
    _check_single_file(path, header, has_own_config=beside.is_dir())
    return ModelSource(
        name=name,
        family="sd15",
        path=path,
        config_folder=config_folder,
        single_file=True,
        shape=model_folder.shape(config_folder),
        card=read_card(path.with_suffix(".json"), default=card),
    )


_FIRST = "model.diffusion_model.input_blocks.0.0.weight"
_CONTEXT = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
_TEXT = "cond_stage_model.transformer."

#: Each: whether the header shows it, and what to say then. The first that fits is told.
_OTHERS: tuple[tuple[Callable[[Mapping[str, weights_file.Tensor]], bool], str], ...] = (
    (lambda h: any(key.startswith("conditioner.embedders") for key in h), "It is a Stable Diffusion XL checkpoint"),
    (lambda h: any(key.startswith("cond_stage_model.model.") for key in h), "It is a Stable Diffusion 2 checkpoint"),
    (lambda h: any("double_blocks" in key for key in h), "It is a Flux checkpoint"),
    (lambda h: any(key.startswith(("lora_unet", "lora_te")) or ".lora_" in key for key in h), "It is a LoRA"),
    (lambda h: _FIRST not in h, "It holds no Stable Diffusion 1.x denoiser"),
    (lambda h: h[_FIRST].shape[1:2] != (4,), "It is an inpainting or edit checkpoint"),
    (lambda h: not any(key.startswith(_TEXT) for key in h), "It holds no text encoder (a pruned checkpoint)"),
    (lambda h: not any(key.startswith("first_stage_model.decoder.") for key in h), "It holds no picture decoder"),
)


def _check_single_file(path: Path, header: Mapping[str, weights_file.Tensor], *, has_own_config: bool) -> None:
    for shows, what in _OTHERS:
        if shows(header):
            raise ModelUnreadable(f"{path.name}: {what}; this worker serves the Stable Diffusion 1.x family.")
    if not has_own_config and header.get(_CONTEXT, weights_file.Tensor(dtype="", shape=())).shape[1:] != (768,):
        raise ModelUnreadable(
            f"{path.name} has the layers of Stable Diffusion 1.x in other sizes; "
            f"put its configuration (a diffusers folder without weights) beside it as {path.stem}.config/."
        )
