"""The engine against the stock diffusers pipeline, in one run: ``python -m benchmarks.engine [--quick]``.

Eight people ask for pictures of 8 to 20 steps, arriving apart. *Sequential* is an unmodified StableDiffusionPipeline
called once a request, in order of arrival: what a bot without batching does. *By request* is the same pipeline called
with as many waiting requests as it can take at once: those of equal steps, at most eight. *By eights* is our engine fed
eight at a time, the next eight when all of them are done. *Ours* is the engine as it is: each request joins at the next
step. All make the same pictures (tests/workers/test_engine_parity.py). The last line is JSON:

vs_sequential        pictures a second, ours over sequential; greater is better
vs_request_batching  ours over by request
vs_static_batching   ours over by eights
p95_ratio            95th percentile of latency (arrival to PNG), ours over sequential; smaller is better
vs_limit             on one core: pictures a CPU second, ours over sequential, as a share of what the bare denoiser gains
                     by batches of eight; 1 is all there is
overhead             CPU seconds of the bare forward passes that our loop made, over all CPU seconds of its thread
lora_cost            one pass of eight rows in four different LoRA sets, over the same pass without

Ratios of pictures a second are taken of wall time and, as *_cpu, of CPU time of the process, which neighbours on a busy
machine disturb less. With --threads 1 the engine still uses three threads: one denoises, one prepares, one develops.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.engine.catalog import Builtin, ModelSource, discover
from workers.engine.families.base import Family
from workers.engine.loop import Engine, EngineSettings
from workers.engine.loras.library import LoraLibrary
from workers.engine.ports import Backend
from workers.engine.run import Broken, LoraUse, Made, Report, RunSpec, Stopped

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
    """Seconds from the first arrival to the last picture, the process's CPU seconds, and each picture's own latency."""

    seconds: float
    cpu: float
    latencies: list[float]

    @property
    def p95(self) -> float:
        """The 95th percentile of the latencies."""
        return statistics.quantiles(self.latencies, n=20)[-1]


@dataclass
class Stopwatch:
    """What one way of serving takes. Arrivals are on its clock."""

    started: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.process_time)
    latencies: list[float] = field(default_factory=list)

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def wait_for(self, ask: Ask) -> None:
        """Until a request arrives."""
        time.sleep(max(0.0, ask.at - self.now))

    def done(self, ask: Ask) -> None:
        """A picture is there."""
        self.latencies.append(self.now - ask.at)

    def outcome(self) -> Outcome:
        """All is done."""
        return Outcome(seconds=self.now, cpu=time.process_time() - self.cpu, latencies=self.latencies)


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
    watch = Stopwatch()
    for ask in wanted:
        watch.wait_for(ask)
        _stock_pictures(pipeline, [ask])
        watch.done(ask)
    return watch.outcome()


def by_request(pipeline: Any, wanted: list[Ask]) -> Outcome:
    """One call of the stock pipeline for the oldest that waits and all waiting that can share its call."""
    watch, left = Stopwatch(), list(wanted)
    while left:
        watch.wait_for(left[0])
        here = [ask for ask in left if ask.at <= watch.now or ask is left[0]]
        together = [ask for ask in here if ask.spec.steps == left[0].spec.steps][:BATCH]
        _stock_pictures(pipeline, together)
        for ask in together:
            watch.done(ask)
        left = [ask for ask in left if ask not in together]
    return watch.outcome()


def _stock_pictures(pipeline: Any, wanted: list[Ask]) -> None:
    """Pictures of the stock pipeline, as PNG."""
    import torch

    spec = wanted[0].spec
    made = pipeline(
        [ask.spec.prompt for ask in wanted],
        width=spec.width,
        height=spec.height,
        num_inference_steps=spec.steps,
        guidance_scale=spec.guidance,
        generator=[torch.Generator().manual_seed(ask.spec.seed) for ask in wanted],
    )
    for image in made.images:
        image.save(io.BytesIO(), "PNG")


def ours(engine: Engine, wanted: list[Ask], *, at_once: int | None = None) -> Outcome:
    """The same requests, each handed to the engine when it arrives; or `at_once` by `at_once`."""
    watch, done = Stopwatch(), threading.Semaphore(0)
    group = at_once or len(wanted)
    for first in range(0, len(wanted), group):
        part = wanted[first : first + group]
        for ask in part:
            watch.wait_for(ask)
            engine.submit(f"{id(watch)}-{ask.spec.seed}", ask.spec, _listener(watch, ask, done))
        for _ in part:
            done.acquire()
    return watch.outcome()


def _listener(watch: Stopwatch, ask: Ask, done: threading.Semaphore) -> Callable[[Report], None]:
    def tell(report: Report) -> None:
        if isinstance(report, Broken | Stopped):
            raise SystemExit(f"a run broke: {report}")
        if isinstance(report, Made):
            watch.done(ask)
            done.release()

    return tell


class Gauge:
    """CPU seconds of a denoiser's forward passes, and of the thread that makes them from the first to the last."""

    def __init__(self, denoiser: Any) -> None:
        self.forward = 0.0
        self._began = 0.0
        self._first: float | None = None
        self._last = 0.0
        self._hooks = [denoiser.register_forward_pre_hook(self._before), denoiser.register_forward_hook(self._after)]

    def _before(self, *_: Any) -> None:
        self._began = time.thread_time()
        self._first = self._began if self._first is None else self._first

    def _after(self, *_: Any) -> None:
        self._last = time.thread_time()
        self.forward += self._last - self._began

    def share(self) -> float:
        """Of the thread's seconds, those inside forward passes; the hooks go."""
        for hook in self._hooks:
            hook.remove()
        return self.forward / (self._last - (self._first or 0.0))


def bare_gain(denoiser: Any, source: ModelSource, repeats: int) -> float:
    """How many pictures the bare denoiser makes under guidance by batches of eight, for each by ones."""
    import torch

    shape = source.shape
    cells = (shape.default_height // shape.pixels_per_cell, shape.default_width // shape.pixels_per_cell)
    times: dict[int, list[float]] = {2: [], 2 * BATCH: []}
    with torch.inference_mode():
        for _ in range(repeats):
            for rows, known in times.items():
                latents = torch.randn(rows, shape.latent_channels, *cells)
                text = torch.randn(rows, 32, denoiser.config.cross_attention_dim)
                began = time.thread_time()
                denoiser(latents, torch.full((rows,), 500.0), encoder_hidden_states=text, return_dict=False)
                known.append(time.thread_time() - began)
    return BATCH * statistics.median(times[2]) / statistics.median(times[2 * BATCH])


def lora_cost(family: Family, source: ModelSource, loras: LoraLibrary, repeats: int) -> float | None:
    """One pass of eight rows in four sets over the same pass without; None where there are too few LoRAs."""
    names = sorted(name for name, lora in loras.loras.items() if lora.family == source.family)
    if len(names) < 3:
        return None
    sets = [tuple(LoraUse(name=name) for name in worn) for worn in (names[:1], names[1:2], names[2:3], names[:2])]
    plain = [ask.spec for ask in asks(source, BATCH, 0.0)]
    worn = [RunSpec(**{**vars(spec), "loras": sets[index % len(sets)]}) for index, spec in enumerate(plain)]
    states = [family.prepare(plain), family.prepare(worn)]
    times: list[list[float]] = [[], []]
    for _ in range(repeats):
        for rows, known in zip(states, times, strict=True):
            began = time.thread_time()
            family.denoise(rows)
            known.append(time.thread_time() - began)
    return statistics.median(times[1]) / statistics.median(times[0])


def load_stock(source: ModelSource) -> Any:
    """The model in the pipeline that everybody uses."""
    import torch
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    # In fp32 like the engine on a CPU: left to itself, the text encoder comes in the precision its file was saved in.
    pipeline = StableDiffusionPipeline.from_pretrained(source.path, dtype=torch.float32, safety_checker=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def house_loras() -> LoraLibrary:
    """The LoRAs that come with the house model."""
    from workers.server.cli import builtin_loras

    library = LoraLibrary(None, builtin_loras())
    library.look()
    return library


class Keeping:
    """A backend that remembers the families it loaded."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.families: dict[str, Family] = {}

    def __getattr__(self, name: str) -> Any:
        """Everything else is the backend's."""
        return getattr(self._backend, name)

    def load(self, source: ModelSource) -> Family:
        """Load and remember."""
        self.families[source.name] = self._backend.load(source)
        return self.families[source.name]


def start_engine(models: dict[str, ModelSource], threads: int, loras: LoraLibrary) -> tuple[Engine, Keeping]:
    """A running engine and its backend."""
    from workers.engine.backend import TorchBackend

    backend = Keeping(TorchBackend(device="cpu", threads=threads, find_lora=loras.find))
    ready = threading.Event()
    engine = Engine(lambda: backend, lambda: models, EngineSettings(max_batch=BATCH), on_ready=ready.set)  # pyright: ignore[reportArgumentType]  # __getattr__ has the rest
    engine.start()
    ready.wait()
    return engine, backend


def measure(source: ModelSource, number: int, rounds: int, threads: int) -> dict[str, float | None]:
    """All figures, in one process, the ways of serving taking turns so that a busy machine harms all alike."""
    loras = house_loras()
    engine, backend = start_engine({source.name: source}, threads, loras)
    pipeline = load_stock(source)
    warm = asks(source, 2, 0.0)
    ours(engine, warm)
    alone = statistics.median(sequential(pipeline, warm).latencies)
    wanted = asks(source, number, alone / 8)
    family = backend.families[source.name]
    gauge = Gauge(family.modules()["unet"])
    taken: dict[str, list[Outcome]] = {"sequential": [], "ours": [], "request": [], "eights": []}
    for _ in range(rounds):
        taken["sequential"].append(sequential(pipeline, wanted))
        taken["ours"].append(ours(engine, wanted))
        taken["request"].append(by_request(pipeline, wanted))
        taken["eights"].append(ours(engine, wanted, at_once=BATCH))
    share = gauge.share()
    engine.stop()
    gain = bare_gain(pipeline.unet, source, 15)
    return _figures(taken, number, gain) | {"overhead": share, "lora_cost": lora_cost(family, source, loras, 9)}


def _figures(taken: dict[str, list[Outcome]], number: int, gain: float) -> dict[str, float | None]:
    wall = {way: min(one.seconds for one in outcomes) for way, outcomes in taken.items()}
    cpu = {way: min(one.cpu for one in outcomes) for way, outcomes in taken.items()}
    p95 = {way: min(one.p95 for one in outcomes) for way, outcomes in taken.items()}
    return {
        "sequential_pictures_per_s": number / wall["sequential"],
        "engine_pictures_per_s": number / wall["ours"],
        "vs_sequential": wall["sequential"] / wall["ours"],
        "vs_sequential_cpu": cpu["sequential"] / cpu["ours"],
        "vs_request_batching": wall["request"] / wall["ours"],
        "vs_request_batching_cpu": cpu["request"] / cpu["ours"],
        "vs_static_batching": wall["eights"] / wall["ours"],
        "p95_ratio": p95["ours"] / p95["sequential"],
        "p95_ratio_of_request_batching": p95["ours"] / p95["request"],
        "bare_batch_gain": gain,
        "vs_limit": cpu["sequential"] / cpu["ours"] / gain,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pictures: at most 50 s on a quiet machine")
    parser.add_argument("--model", type=Path, help="a Stable Diffusion 1.x folder in diffusers layout (the house model)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for all (1)")
    options = parser.parse_args()
    source = _source(options.model)
    figures = measure(source, 24 if options.quick else 96, 1 if options.quick else 2, options.threads)
    shown = {name: None if value is None else round(value, 3) for name, value in figures.items()}
    for name, value in shown.items():
        print(f"{name:>30}  {value}")
    print(json.dumps({"benchmark": "engine", "model": source.name, "threads": options.threads, **shown}))


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
