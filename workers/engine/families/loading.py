"""Loading models from disk, by the classes that `registry` names alone and without a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from workers.engine import model_folder, parity, schedulers
from workers.engine.catalog import ModelSource
from workers.engine.errors import ModelUnreadable
from workers.engine.families import registry
from workers.engine.families.base import Family
from workers.engine.families.clip_vocabulary import load_tokenizer

#: What a library raises for files that do not fit together; anything else is a fault of ours and passes through.
_UNFIT = (OSError, ValueError, KeyError, TypeError, NotImplementedError, AttributeError, IndexError)


def load(
    source: ModelSource,
    *,
    device: torch.device,
    dtype: torch.dtype,
    place: Callable[[dict[str, Any], torch.device], None] | None = None,
) -> Family:
    """Load a model onto a device. Raises ModelUnreadable; what torch raises for want of memory goes through.

    `place` brings the parts to the device (or arranges that they come there when they are needed).
    """
    try:
        parts = parts_of(source, dtype)
    except _UNFIT as error:
        raise ModelUnreadable(f"The model {source.name} cannot be loaded: {str(error)[:300]}") from error
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    (place or to_device)(parts, device)
    check_cells(source, parts["vae"], device)
    family = build(source, parts, device)
    if source.motion is not None:
        family = with_motion(source, source.motion, family, parts, device, place or to_device)
    parity.guard(family, source, precision=str(dtype).removeprefix("torch."))
    return family


def with_motion(
    source: ModelSource,
    motion: Path,
    stills: Any,
    parts: Mapping[str, Any],
    device: torch.device,
    place: Callable[[dict[str, Any], torch.device], None],
) -> Family:
    """The same model with a second UNet that moves. Raises ModelUnreadable."""
    from diffusers.models.unets.unet_motion_model import MotionAdapter

    from workers.engine.families.animatediff import AnimateDiff
    from workers.engine.families.stills_and_clips import StillsAndClips, moving_unet

    unet = parts["unet"]
    try:
        adapter = MotionAdapter.from_pretrained(str(motion), dtype=unet.dtype, use_safetensors=True, local_files_only=True)
        moving = {"unet": moving_unet(unet, adapter).eval().requires_grad_(False)}
    except (*_UNFIT, RuntimeError) as error:
        raise ModelUnreadable(f"The motion modules of the model {source.name} do not fit it: {str(error)[:300]}") from error
    if any(weight.device.type != device.type for weight in moving["unet"].parameters()):
        # The plain UNet comes and goes; the moving one then needs weights of its own to do so.
        place(moving, device)
    clips = AnimateDiff(parts={**parts, **moving}, pixels_per_cell=source.shape.pixels_per_cell, device=device)
    # Its attributes are properties over two members, which a protocol of plain attributes does not foresee.
    return cast("Family", StillsAndClips(stills=stills, clips=clips))


def parts_of(source: ModelSource, dtype: torch.dtype) -> dict[str, Any]:
    """The pipeline's components by their names, on the CPU."""
    if source.single_file:
        from workers.engine import single_files

        return single_files.parts_of(source, dtype)
    return parts_from_folder(source, dtype)


def to_device(parts: dict[str, Any], device: torch.device) -> None:
    """All of it, for good."""
    for name, part in parts.items():
        if isinstance(part, torch.nn.Module):
            parts[name] = part.to(device)


def build(source: ModelSource, parts: Mapping[str, Any], device: torch.device) -> Family:
    """The family's adapter over loaded parts."""
    given: dict[str, Any] = {"parts": parts, "pixels_per_cell": source.shape.pixels_per_cell, "device": device}
    if source.family == "sdxl":
        from workers.engine.families.sdxl import StableDiffusionXL

        return StableDiffusionXL(**given, zeros_for_no_negative=_zeros(source))
    if source.family == "animatediff":
        from workers.engine.families.animatediff import AnimateDiff

        return AnimateDiff(**given)
    if source.family == "flux":
        from workers.engine.families.flux import Flux

        return Flux(**given)
    if source.family == "z_image":
        from workers.engine.families.z_image import ZImage

        return ZImage(**given)
    if source.family != "sd15":
        raise ModelUnreadable(f"The model {source.name} is of the family {source.family}, which is not served.")
    from workers.engine.families.sd15 import StableDiffusion15

    return StableDiffusion15(**given)


def _zeros(source: ModelSource) -> bool:
    index = model_folder.read_json(source.config_folder / "model_index.json")
    return bool(index.get("force_zeros_for_empty_prompt", True))


def parts_from_folder(source: ModelSource, dtype: torch.dtype) -> dict[str, Any]:
    """The components of a folder in the diffusers layout."""
    facts = registry.BY_NAME[source.family]
    index = model_folder.read_json(source.path / "model_index.json")
    parts: dict[str, Any] = {}
    for part, allowed in facts.parts.items():
        if part.startswith("tokenizer"):
            parts[part] = tokenizer(source, part)
        elif part != "motion_adapter" or index["unet"][1] != "UNetMotionModel":
            name = index[part][1]
            if name not in allowed:
                raise ModelUnreadable(f"model_index.json: {part} must be one of {', '.join(allowed)}.")
            parts[part] = pretrained(source, part, name, dtype)
    return _moving(parts) | {"scheduler": own_scheduler(source)}


def _moving(parts: dict[str, Any]) -> dict[str, Any]:
    """A plain UNet and a motion adapter become one motion UNet, as in AnimateDiffPipeline."""
    adapter = parts.pop("motion_adapter", None)
    if adapter is not None:
        from diffusers.models.unets.unet_motion_model import UNetMotionModel

        parts["unet"] = UNetMotionModel.from_unet2d(parts["unet"], adapter)
    return parts


def pretrained(source: ModelSource, part: str, class_name: str, dtype: torch.dtype) -> Any:
    """One component with its weights, from safetensors files alone."""
    import diffusers
    import transformers

    gguf = model_folder.gguf_of(source.path, part)
    if gguf is not None:
        return _from_gguf(getattr(transformers, class_name), gguf, dtype)
    library = diffusers if part in ("unet", "transformer", "vae", "motion_adapter") else transformers
    return getattr(library, class_name).from_pretrained(
        str(source.path),
        subfolder=part,
        dtype=dtype,
        variant=model_folder.variant(source.path, part),
        use_safetensors=True,
        local_files_only=True,
    )


def _from_gguf(kind: Any, file: Path, dtype: torch.dtype) -> Any:
    """A text encoder from a GGUF file; its numbers are unpacked as they are read, so they weigh what others weigh.

    The configuration is the folder's own: what a GGUF says of itself lacks the vocabulary's size.
    """
    config = kind.config_class.from_pretrained(str(file.parent), local_files_only=True)
    return kind.from_pretrained(str(file.parent), gguf_file=file.name, config=config, dtype=dtype, local_files_only=True)


def tokenizer(source: ModelSource, part: str) -> Any:
    """A tokenizer of the model's own files; nothing in them is run."""
    facts = registry.BY_NAME[source.family]
    folder = source.config_folder / part
    if "CLIPTokenizer" in facts.parts[part]:
        return load_tokenizer(folder)
    import transformers

    kind = "T5TokenizerFast" if "T5TokenizerFast" in facts.parts[part] else "AutoTokenizer"
    return getattr(transformers, kind).from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


def own_scheduler(source: ModelSource) -> Any:
    """The model's own scheduler; of a class that is not safe in company, its settings under the family's plain one."""
    kind = schedulers.own_class(source.shape.scheduler, source.family)
    return kind.from_pretrained(str(source.config_folder), subfolder="scheduler", local_files_only=True)


@torch.inference_mode()
def check_cells(source: ModelSource, vae: Any, device: torch.device) -> None:
    """The sizes were promised from the configuration; the decoder must keep the promise. Raises ModelUnreadable."""
    cells = 8
    probe = torch.zeros((1, source.shape.latent_channels, cells, cells), device=device, dtype=vae.dtype)
    made = tuple(vae.decode(probe, return_dict=False)[0].shape[2:])
    wanted = cells * source.shape.pixels_per_cell
    if made != (wanted, wanted):
        raise ModelUnreadable(f"The model {source.name} decodes {cells} cells to {made[0]} pixels, its configuration says {wanted}.")
