"""The engine against the stock diffusers pipeline, in one run: ``python -m benchmarks.engine [--quick]``.

Eight people ask for pictures of 8 to 20 steps, arriving apart. *Sequential* is an unmodified StableDiffusionPipeline
called once a request, in order of arrival: what a bot without batching does. *Ours* is the engine's step loop with
passes of up to eight. Both make the same pictures (see tests/workers/test_engine_parity.py). The last line is JSON:

vs_sequential   pictures a second, ours over sequential; greater is better
p95_ratio       95th percentile of latency (arrival to PNG), ours over sequential; smaller is better
vs_limit        vs_sequential over what the bare denoiser gains by batches of eight; 1 is all there is
overhead        seconds of bare forward passes over seconds of our loop; 1 means that the loop costs nothing
"""

from __future__ import annotations

import argparse
import io
import json
import random
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.engine.catalog import Builtin, ModelSource, discover
from workers.engine.loop import Engine, EngineSettings
from workers.engine.run import Broken, Made, Report, RunSpec, Stopped

BATCH = 8
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "cyan", "pink")
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request and when it arrives, in seconds."""

    spec: RunSpec
    at: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Seconds from the first arrival to the last picture, and each picture's seconds since its own arrival."""

    seconds: float
    latencies: list[float]

    @property
    def p95(self) -> float:
        """The 95th percentile of the latencies."""
        return statistics.quantiles(self.latencies, n=20)[-1]


def asks(source: ModelSource, number: int, gap: float) -> list[Ask]:
    """Requests as people make them: other prompts, steps and seeds, ``gap`` seconds apart."""
    draw = random.Random(1)
    side = source.shape.default_width
    return [
        Ask(
            spec=RunSpec(
                model=source.name,
                prompt=f"a {draw.choice(COLOURS)} {draw.choice(SHAPES)} on a {draw.choice(COLOURS)} background",
                width=side,
                height=source.shape.default_height,
                steps=draw.randint(8, 20),
                guidance=3.0,
                seed=number,
            ),
            at=number * gap,
        )
        for number in range(number)
    ]


def sequential(pipeline: Any, wanted: list[Ask]) -> Outcome:
    """One call of the stock pipeline a request, in order."""
    started, latencies = time.perf_counter(), []
    for ask in wanted:
        time.sleep(max(0.0, started + ask.at - time.perf_counter()))
        stock_picture(pipeline, ask.spec).save(io.BytesIO(), "PNG")
        latencies.append(time.perf_counter() - started - ask.at)
    return Outcome(seconds=time.perf_counter() - started, latencies=latencies)


def stock_picture(pipeline: Any, spec: RunSpec) -> Any:
    """One picture of the stock pipeline."""
    import torch

    return pipeline(
        spec.prompt,
        width=spec.width,
        height=spec.height,
        num_inference_steps=spec.steps,
        guidance_scale=spec.guidance,
        generator=torch.Generator().manual_seed(spec.seed),
    ).images[0]


def together(engine: Engine, wanted: list[Ask]) -> Outcome:
    """The same requests, each handed to the engine when it arrives."""
    done = threading.Semaphore(0)
    latencies: list[float] = []
    started = time.perf_counter()
    for number, ask in enumerate(wanted):
        time.sleep(max(0.0, started + ask.at - time.perf_counter()))
        engine.submit(str(number), ask.spec, _listener(started + ask.at, latencies, done))
    for _ in wanted:
        done.acquire()
    return Outcome(seconds=time.perf_counter() - started, latencies=latencies)


def _listener(arrived: float, latencies: list[float], done: threading.Semaphore) -> Callable[[Report], None]:
    def tell(report: Report) -> None:
        if isinstance(report, Broken | Stopped):
            print("a run broke:", report)
        if isinstance(report, Made | Broken | Stopped):
            latencies.append(time.perf_counter() - arrived)
            done.release()

    return tell


def bare_seconds(pipeline: Any, source: ModelSource, batch: int, repeats: int) -> float:
    """Seconds of one forward pass of the denoiser for so many pictures under guidance; the median."""
    import torch

    unet, shape = pipeline.unet, source.shape
    cells = (shape.default_height // shape.pixels_per_cell, shape.default_width // shape.pixels_per_cell)
    rows = torch.randn(2 * batch, shape.latent_channels, *cells)
    text = torch.randn(2 * batch, 40, unet.config.cross_attention_dim)
    times = []
    with torch.inference_mode():
        for _ in range(repeats):
            began = time.perf_counter()
            unet(rows, torch.full((2 * batch,), 500.0), encoder_hidden_states=text, return_dict=False)
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def load_stock(source: ModelSource) -> Any:
    """The model in the pipeline that everybody uses."""
    import torch
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    # In fp32 like the engine on a CPU: left to itself, the text encoder comes in the precision its file was saved in.
    pipeline = StableDiffusionPipeline.from_pretrained(
        source.path, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def start_engine(models: dict[str, ModelSource], threads: int) -> tuple[Engine, Any]:
    """A running engine; its backend holds the device."""
    from workers.engine.backend import TorchBackend

    backend = TorchBackend(device="cpu", threads=threads)
    ready = threading.Event()
    engine = Engine(lambda: backend, lambda: models, EngineSettings(max_batch=BATCH), on_ready=ready.set)
    engine.start()
    ready.wait()
    return engine, backend


def measure(source: ModelSource, number: int, threads: int) -> dict[str, float]:
    """All figures, in one process, sequential and ours taking turns so that a busy machine harms both alike."""
    engine, _ = start_engine({source.name: source}, threads)
    pipeline = load_stock(source)
    warm = asks(source, 2, 0.0)
    together(engine, warm)
    alone = statistics.median(sequential(pipeline, warm).latencies)
    wanted = asks(source, number, alone / 6)
    stock, ours = [], []
    for _ in range(2):
        stock.append(sequential(pipeline, wanted))
        ours.append(together(engine, wanted))
    engine.stop()
    best_stock, best_ours = min(stock, key=lambda one: one.seconds), min(ours, key=lambda one: one.seconds)
    single, full = bare_seconds(pipeline, source, 1, 15), bare_seconds(pipeline, source, BATCH, 15)
    limit = BATCH * single / full
    steps = sum(ask.spec.steps for ask in wanted)
    return {
        "sequential_pictures_per_s": round(number / best_stock.seconds, 2),
        "engine_pictures_per_s": round(number / best_ours.seconds, 2),
        "vs_sequential": round(best_stock.seconds / best_ours.seconds, 3),
        "p95_ratio": round(best_ours.p95 / best_stock.p95, 3),
        "bare_batch_gain": round(limit, 3),
        "vs_limit": round(best_stock.seconds / best_ours.seconds / limit, 3),
        "overhead": round(steps * full / BATCH / best_ours.seconds, 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pictures: at most 50 s")
    parser.add_argument("--model", type=Path, help="a model folder in diffusers layout (the house model)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for both (1)")
    options = parser.parse_args()
    source = _source(options.model)
    figures = measure(source, 16 if options.quick else 64, options.threads)
    for name, value in figures.items():
        print(f"{name:>28}  {value}")
    print(json.dumps({"benchmark": "engine", "model": source.name, "threads": options.threads, **figures}))


def _source(folder: Path | None) -> ModelSource:
    if folder is None:
        from workers.server.cli import builtin_models

        wanted = builtin_models()
        if not wanted:
            raise SystemExit("There is no house model here; name another with --model FOLDER.")
    else:
        wanted = {folder.name: Builtin(path=folder)}
    catalog = discover(None, wanted)
    for name, reason in catalog.refused.items():
        raise SystemExit(f"{name}: {reason}")
    return next(iter(catalog.models.values()))


if __name__ == "__main__":
    main()
