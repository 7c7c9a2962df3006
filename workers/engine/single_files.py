"""One file that holds a model, or its denoiser alone: read into the components that its pipeline has, without a network.

diffusers reads the configuration from the folder it is given and asks no hub then.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from workers.engine import gguf_file, model_folder, weights_file
from workers.engine.catalog import ModelSource
from workers.engine.errors import ModelUnreadable
from workers.engine.families import registry
from workers.engine.families.clip_vocabulary import load_tokenizer


def parts_of(source: ModelSource, dtype: torch.dtype) -> dict[str, Any]:
    """The components of a single-file model by their names, on the CPU. Raises ModelUnreadable, and what loaders raise."""
    from workers.engine.families.loading import own_scheduler

    parts = _with_the_rest(source, dtype) if source.needs_rest else _whole(source, dtype)
    for name, part in parts.items():
        _refuse_missing(source, name, part)
    return parts | {"scheduler": own_scheduler(source)}


def _whole(source: ModelSource, dtype: torch.dtype) -> dict[str, Any]:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

    facts = registry.BY_NAME[source.family]
    pipeline = {"sd15": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}[source.family]
    given: dict[str, Any] = {part: _clip_tokens(source, part) for part in facts.parts if part.startswith("tokenizer")}
    if source.family == "sd15":
        given |= {"safety_checker": None, "feature_extractor": None}
    pipe = pipeline.from_single_file(str(source.path), config=str(source.config_folder), dtype=dtype, local_files_only=True, **given)
    return {part: getattr(pipe, part) for part in facts.parts}


def _clip_tokens(source: ModelSource, part: str) -> Any:
    """A tokenizer beside the file, or CLIP's own, which comes with darkroom."""
    own = source.config_folder / part
    if any((own / name).is_file() for name in ("vocab.json", "tokenizer.json", "merges.txt")):
        return load_tokenizer(own)
    tokenizer = load_tokenizer(Path(__file__).parent / "configs" / "sd15" / "tokenizer")
    if part == "tokenizer_2":
        tokenizer.pad_token = "!"  # noqa: S105 - OpenCLIP pads with its first token, which is this letter
    return tokenizer


def _with_the_rest(source: ModelSource, dtype: torch.dtype) -> dict[str, Any]:
    from workers.engine.families.loading import pretrained, tokenizer

    facts = registry.BY_NAME[source.family]
    rest = replace(source, path=source.config_folder)
    index = model_folder.read_json(source.config_folder / "model_index.json")
    parts: dict[str, Any] = {}
    for part, allowed in facts.parts.items():
        if part.startswith("tokenizer"):
            parts[part] = tokenizer(rest, part)
            continue
        name = model_folder.class_of(index, part)
        if name not in allowed:
            raise ModelUnreadable(f"model_index.json: {part} must be one of {', '.join(allowed)}.")
        parts[part] = _denoiser(source, part, name, dtype) if part == facts.denoiser else pretrained(rest, part, name, dtype)
    return parts


def _denoiser(source: ModelSource, part: str, class_name: str, dtype: torch.dtype) -> Any:
    import diffusers
    from diffusers.quantizers.quantization_config import GGUFQuantizationConfig

    kind = getattr(diffusers, class_name)
    more: dict[str, Any] = {}
    is_gguf = source.path.suffix.lower() == ".gguf"
    if is_gguf:
        more["quantization_config"] = GGUFQuantizationConfig(compute_dtype=dtype)
    if source.family == "flux":
        # The one thing in which the published Flux models differ; the file knows better than the folder it borrows from.
        header = gguf_file.read_header(source.path).tensors if is_gguf else weights_file.read_header(source.path)
        more["guidance_embeds"] = any("guidance_in." in key or "guidance_embedder." in key for key in header)
    where = {"config": str(source.config_folder), "subfolder": part}
    try:
        return kind.from_single_file(str(source.path), dtype=dtype, local_files_only=True, **where, **more)
    except NotImplementedError as error:  # torch, asked to move a tensor that got no numbers
        raise ModelUnreadable(f"The model {source.name} lacks weights of its {part}; download it again.") from error


def _refuse_missing(source: ModelSource, name: str, part: Any) -> None:
    """Weights that the file lacks are left without numbers, and would be random or fail in the middle of a picture."""
    if isinstance(part, torch.nn.Module):
        missing = next((key for key, tensor in part.state_dict().items() if tensor.is_meta), None)
        if missing is not None:
            raise ModelUnreadable(f"The model {source.name} lacks weights of its {name}, for example {missing[:80]}.")
