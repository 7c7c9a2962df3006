"""What a pass gains by more rows: ``python -m benchmarks.batch_curve [--quick] [--device cuda] [--models sd15,sdxl,…]``.

A row for each model, shape and batch: the seconds of one forward pass of the denoiser, pictures a second beside a batch
of one (which is what the stock pipeline, called once a request, does), and the peak of memory. Without a GPU it measures
the house model; with one the models that people run, of their true shapes with random weights: SD1.5 512², SDXL 1024²,
Z-Image 512² and 1024², Flux 512². ``--compile`` adds rows for a compiled denoiser. The last line is JSON; its
``worst_gain`` is the least of all gains, below 1 where company costs more than it saves.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

#: Model, side in pixels.
SHAPES = {"house": (64, 128, 256), "sd15": (512,), "sdxl": (1024,), "z_image": (512, 1024), "flux": (512,)}
ON_CPU, ON_GPU = ("house",), ("house", "sd15", "sdxl", "z_image", "flux")
BATCHES, QUICK_BATCHES = (1, 2, 4, 8, 16), (1, 4, 8)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured pass."""

    model: str
    width: int
    height: int
    batch: int
    compiled: bool
    #: Of one pass for all of the batch; under guidance where the model is used under guidance.
    seconds: float
    #: Pictures a second beside a batch of one.
    gain: float
    #: Bytes beyond the weights on a GPU; the process's peak on a CPU.
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A denoiser, and how a pass of so many pictures of a side is called."""

    name: str
    module: Any
    call: Callable[[int, int], Callable[[], Any]]


def house(device: torch.device, dtype: torch.dtype) -> Subject:
    """The house model as it is."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from housemodel import weights_folder

    unet: Any = UNet2DConditionModel.from_pretrained(weights_folder(), subfolder="unet", dtype=dtype)
    unet = unet.to(device).eval()
    return Subject(name="house", module=unet, call=lambda side, batch: _unet_call(unet, side // 16, batch, device, dtype))


def sd15(device: torch.device, dtype: torch.dtype) -> Subject:
    """Stable Diffusion 1.5's UNet, 860 M."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    unet = _random(UNet2DConditionModel, device, dtype, sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    return Subject(name="sd15", module=unet, call=lambda side, batch: _unet_call(unet, side // 8, batch, device, dtype))


def sdxl(device: torch.device, dtype: torch.dtype) -> Subject:
    """Stable Diffusion XL's UNet, 2.6 B."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    unet = _random(
        UNet2DConditionModel, device, dtype, sample_size=128, cross_attention_dim=2048, attention_head_dim=(5, 10, 20),
        block_out_channels=(320, 640, 1280), transformer_layers_per_block=(1, 2, 10), use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
    )  # fmt: skip
    return Subject(name="sdxl", module=unet, call=lambda side, batch: _unet_call(unet, side // 8, batch, device, dtype))


def flux(device: torch.device, dtype: torch.dtype) -> Subject:
    """Flux dev's transformer, 12 B; no rows without text."""
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    module = _random(FluxTransformer2DModel, device, dtype, guidance_embeds=True)

    def call(side: int, batch: int) -> Callable[[], Any]:
        tokens = (side // 16) ** 2
        given = {
            "hidden_states": torch.randn(batch, tokens, 64, device=device, dtype=dtype),
            "timestep": torch.full((batch,), 0.5, device=device),
            "guidance": torch.full((batch,), 3.5, device=device),
            "pooled_projections": torch.randn(batch, 768, device=device, dtype=dtype),
            "encoder_hidden_states": torch.randn(batch, 512, 4096, device=device, dtype=dtype),
            "txt_ids": torch.zeros(512, 3, device=device, dtype=dtype),
            "img_ids": torch.randint(0, side // 16, (tokens, 3), device=device).to(dtype),
        }
        return lambda: module(**given, return_dict=False)

    return Subject(name="flux", module=module, call=call)


def z_image(device: torch.device, dtype: torch.dtype) -> Subject:
    """Z-Image's transformer, 6 B, as the Turbo is used: without guidance."""
    from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel

    module = _random(ZImageTransformer2DModel, device, dtype)

    def call(side: int, batch: int) -> Callable[[], Any]:
        latents = [torch.randn(16, 1, side // 8, side // 8, device=device, dtype=dtype) for _ in range(batch)]
        # Captions of unlike lengths, as people write them.
        captions = [torch.randn(40 + 17 * (row % 4), 2560, device=device, dtype=dtype) for row in range(batch)]
        times = torch.full((batch,), 0.5, device=device)
        return lambda: module(latents, times, captions, return_dict=False)

    return Subject(name="z_image", module=module, call=call)


SUBJECTS: dict[str, Callable[[torch.device, torch.dtype], Subject]] = {
    "house": house, "sd15": sd15, "sdxl": sdxl, "z_image": z_image, "flux": flux,
}  # fmt: skip


def _random(kind: Any, device: torch.device, dtype: torch.dtype, **settings: Any) -> Any:
    """A module of its true shape, made on the device at once: 12 B numbers would not fit elsewhere first."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return kind(**settings).to(dtype).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)


def _unet_call(unet: Any, cells: int, batch: int, device: torch.device, dtype: torch.dtype) -> Callable[[], Any]:
    """Under guidance: two rows a picture."""
    rows, width = 2 * batch, unet.config.cross_attention_dim
    given: dict[str, Any] = {
        "sample": torch.randn(rows, unet.config.in_channels, cells, cells, device=device, dtype=dtype),
        "timestep": torch.linspace(1, 999, rows, device=device),
        "encoder_hidden_states": torch.randn(rows, 77, width, device=device, dtype=dtype),
    }
    if unet.config.addition_embed_type == "text_time":
        given["added_cond_kwargs"] = {
            "text_embeds": torch.randn(rows, 1280, device=device, dtype=dtype),
            "time_ids": torch.full((rows, 6), 1024.0, device=device, dtype=dtype),
        }
    return lambda: unet(**given, return_dict=False)


def curve(subject: Subject, side: int, batches: tuple[int, ...], repeats: int, *, compiled: bool) -> Iterator[Row]:
    """A row for each batch, until one does not fit."""
    alone: float | None = None
    for batch in batches:
        try:
            seconds, peak = _measured(subject.call(side, batch), repeats)
        except torch.OutOfMemoryError:
            return
        alone = alone or seconds / batch * batches[0]
        yield Row(
            model=subject.name, width=side, height=side, batch=batch, compiled=compiled,
            seconds=seconds, gain=batch * alone / seconds, peak_bytes=peak,
        )  # fmt: skip


@torch.inference_mode()
def _measured(call: Callable[[], Any], repeats: int) -> tuple[float, int]:
    """Seconds of a call, the median, and the peak of memory beside what lay there before."""
    gpu = torch.cuda.is_available()
    before = torch.cuda.memory_allocated() if gpu else 0
    for _ in range(2):
        call()
    times: list[float] = []
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(repeats):
        began = _now(gpu=gpu)
        call()
        times.append(_now(gpu=gpu) - began)
    peak = torch.cuda.max_memory_allocated() - before if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return statistics.median(times), peak


def _now(*, gpu: bool) -> float:
    """On a CPU the thread's own seconds: neighbours on a busy machine disturb them less."""
    if not gpu:
        return time.thread_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def measure(names: tuple[str, ...], device: torch.device, options: argparse.Namespace) -> list[Row]:
    """All rows, printed as they come; one model in memory at a time."""
    batches, repeats = (QUICK_BATCHES, 4) if options.quick else (BATCHES, 12)
    rows: list[Row] = []
    for name in names:
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        subject = SUBJECTS[name](device, dtype)
        for compiled in (False, True) if options.compile else (False,):
            if compiled:
                subject.module.compile()
            for side in SHAPES[name][: 2 if options.quick else None]:
                for row in curve(subject, side, batches, repeats, compiled=compiled):
                    rows.append(row)
                    print(_line(row), flush=True)
        del subject
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return rows


def _line(row: Row) -> str:
    how = "compiled" if row.compiled else "eager"
    return (
        f"{row.model:>8} {row.width:>5}x{row.height:<5} {how:>8} batch {row.batch:>2}  {row.seconds * 1000:>9.1f} ms"
        f"  {row.gain:>5.2f} x  {row.peak_bytes / 2**20:>8.0f} MiB"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer batches and repeats")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--models", help=f"of {', '.join(SUBJECTS)}; all that suit the device")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    names = tuple(options.models.split(",")) if options.models else (ON_CPU if device.type == "cpu" else ON_GPU)
    if unknown := set(names) - set(SUBJECTS):
        parser.error(f"There is no model {', '.join(sorted(unknown))}; known: {', '.join(SUBJECTS)}.")
    rows = measure(names, device, options)
    worst = min(row.gain for row in rows)
    print(
        json.dumps(
            {
                "benchmark": "batch_curve", "device": str(device), "torch": torch.__version__, "worst_gain": round(worst, 3),
                "rows": [asdict(row) for row in rows],
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
