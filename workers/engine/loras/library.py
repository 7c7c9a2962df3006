"""The LoRAs on disk: which can be mixed in, for which family of models, and why the rest cannot. Needs no torch.

Headers are read as hostile input and kept by size and time of the file, so that looking again at thousands costs little.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from workers.engine import weights_file
from workers.engine.errors import LoraUnusable, ModelUnreadable, sayable
from workers.engine.loras import names, words

_NAME = re.compile(r"[^\W_][\w .()+,'&!#-]{0,99}")
_PICKLES = frozenset({".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"})
_FILES_MAX = 20_000


@dataclass(frozen=True, kw_only=True)
class LoraSource:
    """A LoRA that can be loaded."""

    name: str
    #: Of models, as in `catalog.ModelSource.family`.
    family: str
    path: Path
    title: str
    triggers: tuple[str, ...]
    weight: float
    #: How wide the text is that its layers read, where one of them tells; it must be the model's.
    text_width: int | None
    #: Size and time of the file: another file under the same name is another LoRA.
    stamp: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class _Seen:
    stamp: tuple[object, ...]
    source: LoraSource | None
    refusal: str


class LoraLibrary:
    """All LoRAs of a folder and those that come with darkroom. `look` belongs to one thread; the mappings may be read by any."""

    def __init__(self, folder: Path | None, builtin: Mapping[str, Path] = MappingProxyType({})) -> None:
        self._folder = folder
        self._builtin = builtin
        self._seen: dict[Path, _Seen] = {}
        #: Replaced as wholes, never changed.
        self.loras: Mapping[str, LoraSource] = MappingProxyType({})
        self.refused: Mapping[str, str] = MappingProxyType({})

    def look(self) -> None:
        """Look through the folder. An operator's own LoRA goes before a built-in one of its name."""
        loras: dict[str, LoraSource] = {}
        refused: dict[str, str] = {}
        found = [(name, path) for name, path in self._builtin.items() if path.is_file()]
        own = list(_files(self._folder))
        for name, path in [*own, *found]:
            seen = self._read(name, path)
            if name in loras:
                if (name, path) in own:
                    refused[sayable(path.name)] = f"Another LoRA is called {name}: rename one of the two."
            elif seen.source is not None:
                loras[name] = seen.source
            else:
                refused[sayable(path.name)] = seen.refusal
        self._seen = {path: self._seen[path] for _, path in [*own, *found]}
        self.loras, self.refused = MappingProxyType(loras), MappingProxyType(refused)

    def find(self, name: str) -> LoraSource | None:
        """A LoRA by its name."""
        return self.loras.get(name)

    def _read(self, name: str, path: Path) -> _Seen:
        stamp = tuple(_stamp(beside) for beside in (path, *(path.with_suffix(s) for s in _BESIDE)))
        known = self._seen.get(path)
        if known is not None and known.stamp == stamp:
            return known
        try:
            seen = _Seen(stamp=stamp, source=read(name, path), refusal="")
        except (LoraUnusable, ModelUnreadable) as error:
            why = str(error).removeprefix(path.name).removeprefix(": ").strip()
            seen = _Seen(stamp=stamp, source=None, refusal=sayable(f"{why[:1].upper()}{why[1:]}".rstrip(".") + "."))
        except Exception as surprise:  # noqa: BLE001  a file is anybody's: none may take the others along
            refusal = f"It is of a shape that nobody thought of ({type(surprise).__name__})."
            seen = _Seen(stamp=stamp, source=None, refusal=refusal)
        self._seen[path] = seen
        return seen


_BESIDE = (".darkroom.json", ".metadata.json", ".json", ".cm-info.json", ".civitai.info")


def _stamp(path: Path) -> tuple[int, int]:
    try:
        facts = path.stat()
    except OSError:
        return (0, 0)
    return facts.st_size, facts.st_mtime_ns


def _files(folder: Path | None) -> Iterable[tuple[str, Path]]:
    if folder is None or not folder.is_dir():
        return []
    inside = sorted(path for path in folder.rglob("*") if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    kinds = {".safetensors", *_PICKLES}
    return [(path.stem, path) for path in inside[:_FILES_MAX] if path.suffix.lower() in kinds and path.is_file()]


def read(name: str, path: Path) -> LoraSource:
    """Read a file's header. Raises LoraUnusable and ModelUnreadable with the reason."""
    if path.suffix.lower() in _PICKLES:
        raise LoraUnusable("it is a pickle: loading it runs whatever program its author put in. Get the .safetensors variant")
    if not _NAME.fullmatch(name):
        raise LoraUnusable("its name is unusable: begin it with a letter or digit, and use letters, digits, spaces and . _ - ( ) only")
    header = weights_file.read_all(path)
    shapes = _checked(header.tensors)
    told = words.of_file(path, header.metadata)
    return LoraSource(
        name=name,
        family=_family(shapes, told.base),
        path=path,
        title=told.title or name,
        triggers=told.triggers,
        weight=1.0 if told.weight is None else told.weight,
        text_width=_text_width(shapes),
        stamp=_stamp(path),
    )


def _checked(tensors: Mapping[str, weights_file.Tensor]) -> dict[tuple[str, str], tuple[int, ...]]:
    """The first factor's shape by part and layer. Every layer must have both factors, of one rank."""
    factors: dict[tuple[str, str], dict[str, tuple[int, ...]]] = {}
    for key, tensor in tensors.items():
        told = names.parse(key)
        factors.setdefault((told.part, told.layer), {})[told.role] = tensor.shape
    if not factors:
        raise LoraUnusable("it is empty")
    for (_, layer), roles in factors.items():
        down, up = roles.get("down", ()), roles.get("up", ())
        if len(down) < 2 or len(up) < 2 or down[0] != up[1] or not down[0]:
            raise LoraUnusable(f"its layer {layer[:80]} lacks one of its two factors, or they do not fit each other")
    return {place: roles["down"] for place, roles in factors.items()}


#: What a family's maker or a sidecar may call it; the first that is found in the text counts.
_BASES = (
    ("flux-2", ""), ("flux2", ""), ("flux.2", ""), ("flux", "flux"), ("xl", "sdxl"), ("pony", "sdxl"), ("illustrious", "sdxl"),
    ("z-image", "z_image"), ("zimage", "z_image"), ("z_image", "z_image"), ("sd15", "sd15"), ("sd 1", "sd15"), ("sd1", "sd15"),
    ("sd_v1", "sd15"), ("diffusion-v1", "sd15"),
)  # fmt: skip
_TEXT_WIDTHS = {768: "sd15", 2048: "sdxl"}


def _family(shapes: Mapping[tuple[str, str], tuple[int, ...]], base: str) -> str:
    """The family that its layers belong to; where they leave a choice, what its maker says."""
    layers = [layer for part, layer in shapes if part == names.DENOISER] or [layer for _, layer in shapes]
    told = next((family for mark, family in _BASES if mark in base.lower()), "")
    if _any(layers, "double_blocks_", "single_blocks_", "single_transformer_blocks_"):
        return "flux"
    if _any(layers, "layers_", "noise_refiner_", "context_refiner_"):
        if all(part == names.DENOISER for part, _ in shapes):
            return "z_image"
        return told or "sd15"  # layers of text encoders alone
    if not _any(layers, "down_blocks_", "up_blocks_", "mid_block_", "input_blocks_", "output_blocks_", "middle_block_", "conv_in"):
        raise LoraUnusable("its layers belong to none of the families that this worker serves")
    width = _text_width(shapes)
    if width == 1024 and not told:
        raise LoraUnusable("it is for Stable Diffusion 2, which this worker does not serve")
    second = any(part == "text_encoder_2" for part, _ in shapes)
    return _TEXT_WIDTHS.get(width or 0) or told or ("sdxl" if second else "sd15")


def _any(layers: Iterable[str], *starts: str) -> bool:
    return any(layer.startswith(starts) for layer in layers)


def _text_width(shapes: Mapping[tuple[str, str], tuple[int, ...]]) -> int | None:
    ends = ("attn2_to_k", "attn2_to_v")
    return next((shape[1] for (part, layer), shape in shapes.items() if part == names.DENOISER and layer.endswith(ends)), None)
