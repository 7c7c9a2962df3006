"""Whole pictures with LoRAs: the house model's own, several people in one pass, against diffusers' pipeline with peft."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers", reason="a host without the worker's packages has no engine to test")

import numpy as np
import torch

from housemodel import loras_folder, weights_folder
from tests.workers.engine_fixtures import Listener
from workers.engine.backend import TorchBackend
from workers.engine.catalog import Builtin, discover
from workers.engine.loop import Engine, EngineSettings
from workers.engine.loras.library import LoraLibrary
from workers.engine.run import LoraUse, RunSpec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

STEPS = 6
WISHES: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = (
    ("a red star in the center on a cyan background", (("house-night.kohya", 1.0),)),
    ("a blue circle in the center on a white background", ()),
    ("a green heart in the center on a pink background", (("house-outline", 0.8), ("house-night", 1.3))),
    ("a yellow square in the center on a blue background", (("house-dots.kohya", 2.0),)),
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    library = LoraLibrary(Path(loras_folder()))
    library.look()
    sources = discover(None, {"house": Builtin(path=Path(weights_folder()))}).models
    made = Engine(lambda: TorchBackend(device="cpu", threads=1, find_lora=library.find), lambda: sources, EngineSettings())
    made.start()
    yield made
    made.stop()


def spec(number: int) -> RunSpec:
    prompt, worn = WISHES[number]
    loras = tuple(LoraUse(name=name, weight=weight) for name, weight in worn)
    return RunSpec(model="house", prompt=prompt, width=64, height=64, steps=STEPS, guidance=3.0, seed=number, scheduler="ddim", loras=loras)


def stock(number: int) -> np.ndarray:
    """The same wish by diffusers' own pipeline, with the LoRAs that it loads itself, alone."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    pipe: Any = StableDiffusionPipeline.from_pretrained(weights_folder())
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    prompt, worn = WISHES[number]
    for name, _ in worn:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # that there are several is meant
            pipe.load_lora_weights(f"{loras_folder()}/{name}.safetensors", adapter_name=name.replace(".", "_"))
    if worn:
        pipe.set_adapters([name.replace(".", "_") for name, _ in worn], [weight for _, weight in worn])
    generator = torch.Generator().manual_seed(number)
    made = pipe(prompt, width=64, height=64, num_inference_steps=STEPS, guidance_scale=3.0, generator=generator)
    return np.asarray(made.images[0])


def test_pictures_of_several_people_in_one_pass_equal_diffusers_own(engine: Engine) -> None:
    import io

    from PIL import Image

    listeners = [Listener() for _ in WISHES]
    for number, listener in enumerate(listeners):
        engine.submit(f"job{number}", spec(number), listener)
    made = [listener.made() for listener in listeners]
    assert max(one.shared_with for one in made) >= 2
    for number, one in enumerate(made):
        pixels = np.asarray(Image.open(io.BytesIO(one.png)))
        alone = stock(number).astype(int)
        assert abs(pixels.astype(int) - alone).max() <= 1, WISHES[number]


def test_a_lora_that_cannot_be_had_ends_its_own_run_alone(engine: Engine) -> None:
    from dataclasses import replace

    good, bad = Listener(), Listener()
    engine.submit("bad", replace(spec(0), loras=(LoraUse(name="nowhere"),)), bad)
    engine.submit("good", spec(1), good)
    failure = bad.broken().failure
    assert (failure.code, failure.blame) == ("unknown_lora", "infra")
    assert "nowhere" in failure.detail
    good.made()
