"""Noise, sampler and guider in which every row has the seed and the scale of its own item."""

import inspect
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from .arithmetic import CannotBatch, draw_each, fill_padding, noise_of_steps, read_list, read_names, read_seeds, same_count, scale_each

_log = logging.getLogger(__name__)

_STEP_SIZE_FROM_ALL_ROWS = ("dpm_adaptive", "dpm_fast")
_SECONDS_BETWEEN_PREVIEWS = 0.7
_PREVIEW_SIDE = 256


class NoiseOfItems:
    """First noise, row i from seed i alone. What ComfyUI calls NOISE."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = tuple(seeds)
        self.seed = seeds[0]
        """ComfyUI hands it to the sampler; `SamplerOfItems` puts the list in its place."""

    def generate_noise(self, latent: dict[str, Any]) -> Any:
        """[N, …] in the latent's shape, drawn on the CPU as ComfyUI does, so that it depends on no GPU."""
        import comfy.sample

        return draw_each(latent["samples"], self.seeds, comfy.sample.prepare_noise)


class DarkroomNoise:
    """A seed for each item of the batch."""

    CATEGORY = "darkroom"
    FUNCTION = "noise"
    RETURN_TYPES = ("NOISE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  ComfyUI calls it so
        """ComfyUI's description of the inputs."""
        return {"required": {"seeds": ("STRING", {"default": "[1, 2]", "tooltip": "A JSON list of whole numbers."})}}

    def noise(self, seeds: str) -> tuple[NoiseOfItems]:
        """Raises ValueError for a bad list."""
        return (NoiseOfItems(read_seeds(seeds)),)


class SamplerOfItems:
    """A sampler whose step noise is each item's own, and which shows each item's preview. What ComfyUI calls SAMPLER."""

    def __init__(self, name: str, seeds: Sequence[int], names: Sequence[str]) -> None:
        self._name = name
        self._seeds = list(seeds)
        self._names = tuple(names)

    def sample(
        self,
        model_wrap: Any,
        sigmas: Any,
        extra_args: dict[str, Any],
        callback: Callable[..., None] | None,
        noise: Any,
        latent_image: Any = None,
        denoise_mask: Any = None,
        disable_pbar: bool = False,
    ) -> Any:
        """As ComfyUI's own samplers, after counting: rows that do not match would be cut or repeated in silence."""
        import comfy.samplers

        same_count(latents=noise.shape[0], seeds=len(self._seeds), **_rows_of(model_wrap))
        inner = comfy.samplers.ksampler(self._name)
        options = dict(inner.extra_options)
        if "sde" in self._name and "noise_sampler" in _parameters(inner) and _is_brownian(self._name):
            extra_args["seed"] = list(self._seeds)  # one Brownian tree for each item
        elif "noise_sampler" in _parameters(inner):
            options["noise_sampler"] = noise_of_steps(noise, self._seeds)
        inner.extra_options = options
        told = _with_previews(callback, model_wrap, self._names)
        return inner.sample(model_wrap, sigmas, extra_args, told, noise, latent_image, denoise_mask, disable_pbar)


def _parameters(inner: Any) -> Any:
    return inspect.signature(inner.sampler_function).parameters


def _is_brownian(name: str) -> bool:
    """Whether it draws its step noise from a Brownian tree, which takes a list of seeds."""
    return name.startswith("dpmpp_")


def _rows_of(guider: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for side, conds in getattr(guider, "conds", {}).items():
        for index, cond in enumerate(conds or ()):
            tokens = cond.get("cross_attn")
            if tokens is not None:
                counts[f"{side}_{index}" if index else side] = tokens.shape[0]
    return counts


def _with_previews(callback: Callable[..., None] | None, guider: Any, names: Sequence[str]) -> Callable[..., None] | None:
    """``callback`` that now and then also sends a small picture of every item, under its name."""
    sender = _preview_sender(guider, names)
    if sender is None:
        return callback
    last = time.monotonic()

    def told(step: int, denoised: Any, x: Any, total_steps: int) -> None:
        nonlocal last
        if callback is not None:
            callback(step, denoised, x, total_steps)
        if time.monotonic() - last >= _SECONDS_BETWEEN_PREVIEWS and step + 1 < total_steps:
            last = time.monotonic()
            sender(denoised)

    return told


def _preview_sender(guider: Any, names: Sequence[str]) -> Callable[[Any], None] | None:
    """None where nobody asked: without a client of its own a preview would reach every socket of the server."""
    try:
        from comfy_execution.utils import get_executing_context
        from latent_preview import Latent2RGBPreviewer
        from protocol import BinaryEventTypes
        from server import PromptServer
    except ImportError:
        return None
    server, context = getattr(PromptServer, "instance", None), get_executing_context()
    form = getattr(getattr(guider, "inner_model", None), "latent_format", None)
    factors = getattr(form, "latent_rgb_factors", None)
    client = getattr(server, "client_id", None)
    if not names or server is None or client is None or context is None or factors is None:
        return None
    bias, reshape = getattr(form, "latent_rgb_factors_bias", None), getattr(form, "latent_rgb_factors_reshape", None)
    previewer = Latent2RGBPreviewer(factors, bias, reshape)

    def send(denoised: Any) -> None:
        for index, name in enumerate(names[: denoised.shape[0]]):
            try:
                image = previewer.decode_latent_to_preview(denoised[index : index + 1])
            except Exception:  # noqa: BLE001  a preview is never worth a picture
                _log.exception("no preview of an item")
                return
            told = {"prompt_id": context.prompt_id, "node_id": context.node_id, "darkroom_item": name}
            server.send_sync(BinaryEventTypes.PREVIEW_IMAGE_WITH_METADATA, (("JPEG", image, _PREVIEW_SIDE), told), client)

    return send


class DarkroomSampler:
    """ComfyUI's samplers, with the step noise of each item drawn from its own seed."""

    CATEGORY = "darkroom"
    FUNCTION = "sampler"
    RETURN_TYPES = ("SAMPLER",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  ComfyUI calls it so
        """ComfyUI's description of the inputs."""
        import comfy.samplers

        return {
            "required": {
                "sampler_name": (list(comfy.samplers.SAMPLER_NAMES),),
                "seeds": ("STRING", {"default": "[1, 2]"}),
            },
            "optional": {"names": ("STRING", {"default": "", "tooltip": "A JSON list; with it, previews of every item are sent."})},
        }

    def sampler(self, sampler_name: str, seeds: str, names: str = "") -> tuple[SamplerOfItems]:
        """Raises ValueError for a bad list, CannotBatch for samplers whose steps depend on all rows."""
        items = read_seeds(seeds)
        if sampler_name in _STEP_SIZE_FROM_ALL_ROWS and len(items) > 1:
            raise CannotBatch(f"{sampler_name} chooses its steps from the whole batch")
        labels = read_names(names) if names else []
        if labels:
            same_count(seeds=len(items), names=len(labels))
        return (SamplerOfItems(sampler_name, items, labels),)


class DarkroomGuider:
    """Classifier-free guidance with a scale for each item."""

    CATEGORY = "darkroom"
    FUNCTION = "guider"
    RETURN_TYPES = ("GUIDER",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  ComfyUI calls it so
        """ComfyUI's description of the inputs."""
        return {
            "required": {
                "model": ("MODEL",),
                "positive": ("CONDITIONING",),
                "negative": ("CONDITIONING",),
                "scales": ("STRING", {"default": "[7.0, 7.0]", "tooltip": "A JSON list of numbers."}),
            }
        }

    def guider(self, model: Any, positive: Any, negative: Any, scales: str) -> tuple[Any]:
        """Raises ValueError for a bad list."""
        import comfy.samplers

        items = read_list(scales, float, "scales")
        if len(set(items)) > 1:
            model = model.clone()
            # Without the second argument a first item of 1.0 would switch the negative off for everybody.
            model.set_model_sampler_cfg_function(_guidance(items), disable_cfg1_optimization=True)
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(items[0])
        return (guider,)


def _guidance(scales: Sequence[float]) -> Callable[[dict[str, Any]], Any]:
    def guided(told: dict[str, Any]) -> Any:
        return told["input"] - scale_each(told["cond_denoised"], told["uncond_denoised"], scales)

    return guided


class DarkroomCaptions:
    """Lets Z-Image take captions of different lengths (within one block of 32 tokens). Other models pass unchanged."""

    CATEGORY = "darkroom"
    FUNCTION = "patch"
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  ComfyUI calls it so
        """ComfyUI's description of the inputs."""
        return {"required": {"model": ("MODEL",)}}

    def patch(self, model: Any) -> tuple[Any]:
        """The model with an embedder that finds each caption's end by the zeros after it."""
        network = model.get_model_object("diffusion_model")
        bucket, pad = getattr(network, "pad_tokens_multiple", None), getattr(network, "cap_pad_token", None)
        if not bucket or pad is None:
            return (model,)
        patched = model.clone()
        patched.add_object_patch("diffusion_model.cap_embedder", _caption_embedder(network, bucket))
        return (patched,)


def _caption_embedder(network: Any, bucket: int) -> Any:
    import torch

    class Captions(torch.nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, raw: Any) -> Any:
            # The pad row is read at each call: it moves between devices with the model.
            return fill_padding(self.inner(raw), raw, network.cap_pad_token, bucket)

    return Captions(network.cap_embedder)
