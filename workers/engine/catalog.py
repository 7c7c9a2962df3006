"""What lies in the models folder: which of it can be served, with its limits, and why the rest cannot.

Nothing is loaded here and no torch is needed: configurations and safetensors headers are read, as hostile input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from workers.engine import checkpoint, model_folder
from workers.engine.errors import ModelUnreadable, sayable
from workers.engine.families.registry import FamilyFacts
from workers.engine.model_card import ModelCard, read_card
from workers.engine.shape import ModelShape

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_PICKLES = frozenset({".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"})
#: What people take for a model, and is none that can be served.
_OTHERS = frozenset({
    ".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".onnx", ".engine", ".h5", ".msgpack", ".ot", ".sft", ".ggml", ".part", ".tmp",
})  # fmt: skip
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
    #: Whether the file holds the denoiser alone, and all else is in `config_folder`.
    needs_rest: bool = False
    #: Motion modules beside a model of still pictures, which then makes clips as well.
    motion: Path | None = None
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
    motion: Path | None = None
    #: Kinds that its family could do and this model was seen to do badly.
    without: frozenset[str] = frozenset()


def discover(folder: Path | None, builtin: Mapping[str, Builtin]) -> Catalog:
    """Look through `folder` (which may be missing) and the built-in models. An operator's own of the same name wins."""
    models: dict[str, ModelSource] = {}
    refused: dict[str, str] = {}
    own: set[str] = set()
    found_here = [(name, Builtin(path=path), True) for name, path in _candidates(folder)]
    everything = [*((name, shipped, False) for name, shipped in builtin.items()), *found_here]
    # Folders first: a file that holds a denoiser alone takes the rest of its model from one of them.
    for name, found, is_own in sorted(everything, key=lambda entry: not entry[1].path.is_dir()):
        if name in own:  # what comes with darkroom are folders and come first, so it is another of theirs
            refused[_listed(found.path)] = f"Another model is called {name}: rename one of the two."
            continue
        try:
            models[name] = _without(_with_motion(_read(name, found.path, found.card, models), found.motion), found.without)
        except ModelUnreadable as error:
            # By the file's whole name where a model is served under the short one: it is none the worse for it.
            refused[_listed(found.path) if name in models else sayable(name)] = sayable(str(error))
        except Exception as surprise:  # noqa: BLE001  a file is anybody's: none may take the others along
            refused[_listed(found.path)] = f"It is of a shape that nobody thought of ({type(surprise).__name__})."
        else:
            own |= {name} if is_own else set()
    for name in refused.keys() & models.keys():  # a broken folder beside a file that is served
        refused[f"{name}/"] = refused.pop(name)
    return Catalog(models=MappingProxyType(models), refused=MappingProxyType(refused))


def _listed(path: Path) -> str:
    """A name that no model has."""
    return sayable(f"{path.name}/" if path.is_dir() else path.name)


def _candidates(folder: Path | None) -> Iterable[tuple[str, Path]]:
    if folder is None or not folder.is_dir():
        return []
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    found: list[tuple[str, Path]] = []
    for entry in entries:
        if entry.is_dir() and entry.name not in _NOT_MODELS and not entry.name.endswith(".config"):
            found.append((entry.name, entry))
        elif entry.suffix.lower() in (".safetensors", ".gguf"):
            found.append((entry.stem, entry))
        elif entry.suffix.lower() in _PICKLES | _OTHERS:
            found.append((entry.name, entry))
    return found


def _read(name: str, path: Path, card: ModelCard, others: Mapping[str, ModelSource]) -> ModelSource:
    if path.suffix.lower() in _PICKLES and not path.is_dir():
        raise ModelUnreadable(
            f"{path.name} is a pickle: loading it runs whatever program its author put in. "
            "Use the same model as .safetensors, or convert it on a machine that may be lost."
        )
    if path.suffix.lower() in _OTHERS and not path.is_dir():
        served = "put a .safetensors or .gguf file here, or a folder in the diffusers layout, unpacked"
        raise ModelUnreadable(f"{path.suffix} files are not served: {served}.")
    if not _NAME.fullmatch(name):
        raise ModelUnreadable("Its name is unusable: rename it to letters, digits, dots, _ and -, at most 100.")
    return _read_folder(name, path, card) if path.is_dir() else _read_single_file(name, path, card, others)


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
        text_width=_text_width(path, facts),
    )


def _without(source: ModelSource, kinds: frozenset[str]) -> ModelSource:
    left = tuple(kind for kind in source.shape.kinds if kind not in kinds)
    return replace(source, shape=replace(source.shape, kinds=left))


def _with_motion(source: ModelSource, motion: Path | None) -> ModelSource:
    """Add the clips that motion modules make: those given, or a folder ``motion_adapter`` in the model's own."""
    motion = motion or source.path / "motion_adapter"
    if source.family != "sd15" or source.single_file or "text_to_image" not in source.shape.kinds:
        return source
    if not (motion / "config.json").is_file():
        return source
    shape = model_folder.with_motion(source.shape, motion)
    return replace(source, motion=motion, shape=shape)


def _read_single_file(name: str, path: Path, card: ModelCard, others: Mapping[str, ModelSource]) -> ModelSource:
    card = read_card(path.with_suffix(".json"), default=card)
    whole = {source.family: source.path for source in reversed(list(others.values())) if not source.single_file}
    base = others.get(card.base) if card.base else None
    if card.base and base is None:
        raise ModelUnreadable(f"{path.with_suffix('.json').name}: base: there is no model folder {card.base!r} that can be served.")
    found = checkpoint.judge(path, base=base and base.config_folder, folders=whole)
    return ModelSource(
        name=name,
        family=found.facts.name,
        path=path,
        config_folder=found.config_folder,
        single_file=True,
        needs_rest=found.rest,
        shape=model_folder.shape(found.config_folder, found.facts),
        card=card,
        text_width=_text_width(found.config_folder, found.facts),
    )


def _text_width(folder: Path, facts: FamilyFacts) -> int | None:
    width = model_folder.read_json(folder / facts.denoiser / "config.json").get("cross_attention_dim")
    return width if isinstance(width, int) else None
