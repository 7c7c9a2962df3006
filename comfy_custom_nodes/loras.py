"""LoRAs of their own for every item of a batch: added to the layers' outputs row by row, the weights stay untouched."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .arithmetic import ITEMS_MAX, CannotBatch, low_rank_each

LORAS_MAX = 8
Uses = list[tuple[str, float]]


def read_uses(text: str) -> list[Uses]:
    """A JSON list with a list of [file, strength] for each item. Raises ValueError."""
    try:
        items = json.loads(text)
        uses = [[(file, float(strength)) for file, strength in item] for item in items]
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError("loras: a JSON list with a list of [file, strength] for each item is needed") from error
    if not 1 <= len(uses) <= ITEMS_MAX or any(len(item) > LORAS_MAX for item in uses):
        raise ValueError(f"loras: 1 to {ITEMS_MAX} items with up to {LORAS_MAX} LoRAs each")
    if any(not isinstance(file, str) or not abs(strength) <= 20 for item in uses for file, strength in item):
        raise ValueError("loras: files are names, strengths from -20 to 20")
    return uses


class DarkroomLoras:
    """The model with LoRAs that differ from item to item. Linear layers and 1x1 convolutions; others are refused."""

    CATEGORY = "darkroom"
    FUNCTION = "patch"
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  ComfyUI calls it so
        """ComfyUI's description of the inputs."""
        return {"required": {"model": ("MODEL",), "loras": ("STRING", {"default": '[[["a.safetensors", 1.0]], []]'})}}

    def patch(self, model: Any, loras: str) -> tuple[Any]:
        """Raises ValueError for a bad list or an unknown file, CannotBatch for LoRAs that change more than linear layers."""
        items = read_uses(loras)
        parts = _parts(model, items)
        if not parts:
            return (model,)
        patched = model.clone()
        network = patched.get_model_object("diffusion_model")
        patched.set_model_unet_function_wrapper(_wrapper(network, parts, len(items)))
        return (patched,)


Part = tuple[Any, Any, list[float]]


def _parts(model: Any, items: Sequence[Uses]) -> dict[str, list[Part]]:
    """(down, up, strength of each item) by the name of the layer in the network."""
    import comfy.lora

    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    parts: dict[str, list[Part]] = {}
    for file in dict.fromkeys(file for item in items for file, _ in item):
        strengths = [sum(strength for name, strength in item if name == file) for item in items]
        for key, adapter in _converted(file, keys).items():
            down, up = _low_rank(file, key, adapter)
            name = key.removeprefix("diffusion_model.").removesuffix(".weight")
            parts.setdefault(name, []).append((down, up, strengths))
    return parts


def _converted(file: str, keys: dict[str, Any]) -> dict[Any, Any]:
    import comfy.lora
    import comfy.lora_convert

    return comfy.lora.load_lora(comfy.lora_convert.convert_lora(read_lora(file)), keys, log_missing=False)


def read_lora(file: str) -> Any:
    """The tensors of a file in ComfyUI's folder of LoRAs. Raises ValueError for anything but a .safetensors file there."""
    import comfy.utils
    import folder_paths

    path = folder_paths.get_full_path("loras", file)
    if path is None or not path.endswith(".safetensors"):
        raise ValueError(f"loras: {file!r} is no .safetensors file of this server")
    return comfy.utils.load_torch_file(path, safe_load=True)


def _low_rank(file: str, key: Any, adapter: Any) -> tuple[Any, Any]:
    """(down [rank, in], up [out, rank]) with alpha / rank in the first. Raises CannotBatch for anything else."""
    weights = getattr(adapter, "weights", None)
    if getattr(adapter, "name", "") != "lora" or not isinstance(key, str) or any(part is not None for part in weights[3:]):
        raise CannotBatch(f"{file}: only plain LoRAs can differ within a batch")
    up, down, alpha = weights[:3]
    if any(tensor.ndim == 4 and tuple(tensor.shape[2:]) != (1, 1) for tensor in (up, down)):
        raise CannotBatch(f"{file}: it changes convolutions larger than 1x1")
    scale = 1.0 if alpha is None else alpha / down.shape[0]
    return down.flatten(1).float() * scale, up.flatten(1).float()


def _wrapper(network: Any, parts: dict[str, list[Part]], items: int) -> Callable[..., Any]:
    layers = dict(network.named_modules())
    missing = [name for name in parts if name not in layers]
    if missing:
        raise CannotBatch(f"the model has no layer {missing[0]}")

    def run(apply: Callable[..., Any], told: dict[str, Any]) -> Any:
        with _hooked(layers, parts, items):
            return apply(told["input"], told["timestep"], **told["c"])

    return run


@contextmanager
def _hooked(layers: dict[str, Any], parts: dict[str, list[Part]], items: int) -> Iterator[None]:
    """Hooks live only during this call: the same network serves other prompts between two of ours."""
    handles = [layers[name].register_forward_hook(_hook(some, items)) for name, some in parts.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(parts: list[Part], items: int) -> Callable[..., Any]:
    def add(_module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        hidden = inputs[0]
        if hidden.shape[0] % items:
            raise CannotBatch(f"{hidden.shape[0]} rows for {items} items")
        if output.ndim == 4 and output.shape[2:] == hidden.shape[2:]:  # a 1x1 convolution: channels come second
            return output + low_rank_each(hidden.movedim(1, -1), parts, items).movedim(-1, 1)
        return output + low_rank_each(hidden, parts, items)

    return add
