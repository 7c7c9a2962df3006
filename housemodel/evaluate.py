"""How obedient the weights are: `python -m housemodel.evaluate [--n 64] [--steps 20] [--scheduler Euler] [--lora night]`.

Held-out captions are drawn by the stock pipeline and read back by the checker: at the main setting, as a control with
every picture held against the next caption, and (with --n 200 or more) by number of steps, scheduler, batch size and
LoRA. The last line is one JSON object.
"""

import argparse
import json
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from PIL import Image

from housemodel import loras_folder, weights_folder
from housemodel.checker import ReadScene, Verdict, compare, read
from housemodel.dataset import held_out
from housemodel.layout import Layout, Scene
from housemodel.parts import load_pipeline
from housemodel.styles import STYLES, compare_styled, read_styles

ATTRIBUTES = ("background", "colour", "count", "position", "shape", "exact")
STEPS, GUIDANCE, BATCH = 20, 3.0, 16
DEFAULT_STEPS = 14
"""In darkroom, where nobody says how many: half a second a picture on one core, for half a hundredth of exactness."""
TABLES_FROM = 200
"""With fewer captions than this, an eighth of them would tell nothing about the other settings."""
SCHEDULERS: dict[str, Any] = {
    "DDIM": DDIMScheduler,
    "Euler": EulerDiscreteScheduler,
    "Euler a": EulerAncestralDiscreteScheduler,
    "DPM++ 2M": DPMSolverMultistepScheduler,
    "UniPC": UniPCMultistepScheduler,
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the table; `loras` are names of styles with their weights."""

    scheduler: str = "DDIM"
    steps: int = STEPS
    batch: int = BATCH
    loras: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        """As the table says it."""
        worn = " + ".join(f"{name}:{weight:g}" if weight != 1 else name for name, weight in self.loras)
        return f"{self.scheduler}, {self.steps} steps, batch {self.batch}" + (f", {worn}" if worn else "")

    @property
    def styles(self) -> tuple[str, ...]:
        """The styles that its pictures shall show."""
        return tuple(name for name, weight in self.loras if weight > 0)


OTHER_SETTINGS = (
    *(Setting(steps=steps) for steps in (8, 12, 30)),
    *(Setting(scheduler=name) for name in SCHEDULERS if name != "DDIM"),
    *(Setting(batch=batch) for batch in (1, 4)),
    *(Setting(loras=((style, 1.0),)) for style in STYLES),
    *(Setting(loras=((one, 1.0), (two, 1.0))) for one, two in zip(STYLES, (*STYLES[1:], STYLES[0]), strict=True)),
)


@contextmanager
def wearing(pipe: StableDiffusionPipeline, loras: Sequence[tuple[str, float]]) -> Iterator[None]:
    """The pipeline with these LoRAs of the house (kohya's format), and without any afterwards."""
    try:
        with warnings.catch_warnings():
            # peft warns of every second adapter, which is what a mixture is
            warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
            for name, _ in loras:
                pipe.load_lora_weights(str(loras_folder() / f"house-{name}.kohya.safetensors"), adapter_name=name)
        if loras:
            pipe.set_adapters([name for name, _ in loras], [weight for _, weight in loras])
        yield
    finally:
        if loras:
            pipe.unload_lora_weights()


def paint(
    pipe: StableDiffusionPipeline, captions: Sequence[str], setting: Setting, first_seed: int = 0, **more: Any
) -> Iterator[Image.Image]:
    """A picture for each caption, each from a seed of its own, so that the batch size changes nothing."""
    pipe.scheduler = SCHEDULERS[setting.scheduler].from_config(pipe.scheduler.config)
    with wearing(pipe, setting.loras):
        for start in range(0, len(captions), setting.batch):
            part = list(captions[start : start + setting.batch])
            seeds = [torch.Generator().manual_seed(first_seed + start + i) for i in range(len(part))]
            made: Any = pipe(part, num_inference_steps=setting.steps, guidance_scale=GUIDANCE, generator=seeds, **more)
            yield from made.images


def score(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """The share of pictures in which each attribute is right."""
    return {name: round(sum(getattr(v, name) for v in verdicts) / len(verdicts), 4) for name in ATTRIBUTES}


def row(name: str, scores: dict[str, float], milliseconds: float | None = None) -> str:
    """A line of the table."""
    cells = "".join(f"{scores[attribute]:>12.3f}" for attribute in ATTRIBUTES)
    return f"{name:<46}{cells}" + (f"{milliseconds:>10.0f}" if milliseconds is not None else "")


def header() -> str:
    """The table's first line."""
    return f"{'':<46}" + "".join(f"{attribute:>12}" for attribute in ATTRIBUTES) + f"{'ms each':>10}  in its styles"


Asked = Sequence[tuple[Scene, str]]


def evaluate(
    pipe: StableDiffusionPipeline, count: int, settings: Sequence[Setting] = OTHER_SETTINGS, main: Setting | None = None
) -> dict[str, float]:
    """Print the tables and return the scores at the main setting; other settings see an eighth of the captions."""
    asked, setting = held_out(count), main or Setting()
    print(header(), flush=True)
    pictures, verdicts = _measured(pipe, asked, setting)
    for layout in Layout:
        some = [verdict for verdict, (scene, _) in zip(verdicts, asked, strict=True) if scene.layout is layout]
        if some:
            print(row(f"  of these {layout} ({len(some)})", score(some)))
    if not setting.loras:
        print(row("  held against the next caption", shuffled([read(p) for p in pictures], asked)), flush=True)
    for other in settings if count >= TABLES_FROM else ():
        _measured(pipe, asked[: count // 8], other)
    return score(verdicts)


def _measured(pipe: StableDiffusionPipeline, asked: Asked, setting: Setting) -> tuple[list[Image.Image], list[Verdict]]:
    started = time.perf_counter()
    pictures = list(paint(pipe, [text for _, text in asked], setting))
    each = (time.perf_counter() - started) / len(pictures) * 1000
    scenes = [scene for scene, _ in asked]
    verdicts = [compare_styled(picture, scene, setting.styles) for picture, scene in zip(pictures, scenes, strict=True)]
    shown = f"  {shown_styles(pictures, scenes, setting.styles):.3f}" if setting.styles else ""
    print(row(f"{setting.name} ({len(asked)})", score(verdicts), each) + shown, flush=True)
    return pictures, verdicts


def shown_styles(pictures: Sequence[Image.Image], scenes: Sequence[Scene], styles: Sequence[str]) -> float:
    """The share of pictures that show these styles and no other; those whose captions cannot tell are left out.

    A ring is hollow in any style, and a moon in none; a black ground is night in any style.
    """
    right = []
    for picture, scene in zip(pictures, scenes, strict=True):
        if scene.background != "black" and not {thing.shape for thing in scene.things} & {"ring", "moon"}:
            seen = read_styles(picture)
            right.append(all(getattr(seen, style) == (style in styles) for style in STYLES))
    return sum(right) / max(1, len(right))


def shuffled(seen: Sequence[ReadScene], asked: Asked) -> dict[str, float]:
    """The control: every picture held against its neighbour's caption."""
    return score([compare(got, asked[(i + 1) % len(asked)][0]) for i, got in enumerate(seen)])


def lora_use(said: str) -> tuple[str, float]:
    """`name` or `name:weight`, with or without "house-"; raises ArgumentTypeError."""
    name, _, weight = said.removeprefix("house-").partition(":")
    if name not in STYLES:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(STYLES)}")
    try:
        return name, float(weight or 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{weight!r} is no weight") from None


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate and print; the last line is JSON."""
    reader = argparse.ArgumentParser(prog="python -m housemodel.evaluate", description=__doc__)
    reader.add_argument("--n", type=int, default=1000, help="number of held-out captions (default 1000)")
    reader.add_argument("--weights", type=Path, default=weights_folder(), help="a pipeline folder")
    reader.add_argument("--quick", action="store_true", help="the main setting only")
    reader.add_argument("--steps", type=int, default=STEPS, help=f"steps of the main rows (default {STEPS})")
    reader.add_argument("--scheduler", choices=list(SCHEDULERS), default="DDIM", help="scheduler of the main rows")
    reader.add_argument("--batch", type=int, default=BATCH, help=f"pictures at a time (default {BATCH})")
    reader.add_argument("--lora", type=lora_use, action="append", default=[], metavar="NAME[:WEIGHT]",
                        help="a LoRA of the house in the main rows; may be given more than once")  # fmt: skip
    given = reader.parse_args(arguments)
    if given.n < 2 or given.steps < 1 or given.batch < 1:
        reader.error("--n must be 2 or more, --steps and --batch 1 or more")
    setting = Setting(scheduler=given.scheduler, steps=given.steps, batch=given.batch, loras=tuple(given.lora))
    pipe = load_pipeline(given.weights)
    print(json.dumps(evaluate(pipe, given.n, () if given.quick else OTHER_SETTINGS, setting)))


if __name__ == "__main__":
    main()
