"""How obedient the weights are: `python -m housemodel.evaluate [--n 64] [--steps 12] [--scheduler Euler] [--batch 16]`.

Held-out captions are drawn by the stock pipeline and read back by the checker: by number of steps, scheduler and
batch size, and once with every picture held against the next caption. The last line is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
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

from housemodel import weights_folder
from housemodel.checker import ReadScene, Verdict, compare, read
from housemodel.dataset import held_out
from housemodel.layout import Layout, Scene
from housemodel.parts import load_pipeline

ATTRIBUTES = ("background", "colour", "count", "position", "shape", "exact")
STEPS, GUIDANCE, BATCH = 12, 3.0, 16
SCHEDULERS: dict[str, Any] = {
    "DDIM": DDIMScheduler,
    "Euler": EulerDiscreteScheduler,
    "Euler a": EulerAncestralDiscreteScheduler,
    "DPM++ 2M": DPMSolverMultistepScheduler,
    "UniPC": UniPCMultistepScheduler,
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the table."""

    scheduler: str = "DDIM"
    steps: int = STEPS
    batch: int = BATCH

    @property
    def name(self) -> str:
        """As the table says it."""
        return f"{self.scheduler}, {self.steps} steps, batch {self.batch}"


OTHER_SETTINGS = (
    *(Setting(steps=steps) for steps in (8, 20, 30)),
    *(Setting(scheduler=name) for name in SCHEDULERS if name != "DDIM"),
    *(Setting(batch=batch) for batch in (1, 4)),
)


def paint(
    pipe: StableDiffusionPipeline, captions: Sequence[str], setting: Setting, first_seed: int = 0, **more: Any
) -> Iterator[Image.Image]:
    """A picture for each caption, each from a seed of its own, so that the batch size changes nothing."""
    pipe.scheduler = SCHEDULERS[setting.scheduler].from_config(pipe.scheduler.config)
    for start in range(0, len(captions), setting.batch):
        part = list(captions[start : start + setting.batch])
        seeds = [torch.Generator().manual_seed(first_seed + start + i) for i in range(len(part))]
        made: Any = pipe(
            part, num_inference_steps=setting.steps, guidance_scale=GUIDANCE, generator=seeds, **more
        )
        yield from made.images


def score(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """The share of pictures in which each attribute is right."""
    return {name: round(sum(getattr(v, name) for v in verdicts) / len(verdicts), 4) for name in ATTRIBUTES}


def row(name: str, scores: dict[str, float], milliseconds: float | None = None) -> str:
    """A line of the table."""
    cells = "".join(f"{scores[attribute]:>12.3f}" for attribute in ATTRIBUTES)
    return f"{name:<30}{cells}" + (f"{milliseconds:>10.0f}" if milliseconds is not None else "")


def header() -> str:
    """The table's first line."""
    return f"{'':<30}" + "".join(f"{attribute:>12}" for attribute in ATTRIBUTES) + f"{'ms each':>10}"


def evaluate(
    pipe: StableDiffusionPipeline, count: int, settings: Sequence[Setting] = OTHER_SETTINGS, main: Setting | None = None
) -> dict[str, float]:
    """Print the tables and return the scores at the main setting; other settings see an eighth of the captions."""
    asked = held_out(count)
    print(header(), flush=True)
    seen = _measured(pipe, asked, main or Setting())
    scores = score([compare(got, scene) for got, (scene, _) in zip(seen, asked, strict=True)])
    for layout in Layout:
        some = [compare(got, scene) for got, (scene, _) in zip(seen, asked, strict=True) if scene.layout is layout]
        if some:
            print(row(f"  of these {layout} ({len(some)})", score(some)))
    print(row("  held against the next caption", shuffled(seen, asked)), flush=True)
    few = asked[: max(8, count // 8)]
    for setting in settings:
        _measured(pipe, few, setting)
    return scores


def _measured(pipe: StableDiffusionPipeline, asked: Sequence[tuple[Scene, str]], setting: Setting) -> list[ReadScene]:
    started = time.perf_counter()
    pictures = list(paint(pipe, [text for _, text in asked], setting))
    each = (time.perf_counter() - started) / len(pictures) * 1000
    seen = [read(picture) for picture in pictures]
    verdicts = [compare(got, scene) for got, (scene, _) in zip(seen, asked, strict=True)]
    print(row(f"{setting.name} ({len(asked)})", score(verdicts), each), flush=True)
    return seen


def shuffled(seen: Sequence[ReadScene], asked: Sequence[tuple[Scene, str]]) -> dict[str, float]:
    """The control: every picture held against its neighbour's caption."""
    return score([compare(got, asked[(i + 1) % len(asked)][0]) for i, got in enumerate(seen)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate and print; the last line is JSON."""
    reader = argparse.ArgumentParser(prog="python -m housemodel.evaluate", description=__doc__)
    reader.add_argument("--n", type=int, default=1000, help="number of held-out captions (default 1000)")
    reader.add_argument("--weights", type=Path, default=weights_folder(), help="a pipeline folder")
    reader.add_argument("--quick", action="store_true", help="the default setting only")
    reader.add_argument("--steps", type=int, default=STEPS, help=f"steps of the main rows (default {STEPS})")
    reader.add_argument("--scheduler", choices=list(SCHEDULERS), default="DDIM", help="scheduler of the main rows")
    reader.add_argument("--batch", type=int, default=BATCH, help=f"pictures at a time (default {BATCH})")
    given = reader.parse_args(arguments)
    if given.n < 2 or given.steps < 1 or given.batch < 1:
        reader.error("--n must be 2 or more, --steps and --batch 1 or more")
    main_setting = Setting(scheduler=given.scheduler, steps=given.steps, batch=given.batch)
    pipe = load_pipeline(given.weights)
    print(json.dumps(evaluate(pipe, given.n, () if given.quick else OTHER_SETTINGS, main_setting)))


if __name__ == "__main__":
    main()
