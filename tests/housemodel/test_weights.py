"""The shipped weights: they load unchanged, they obey, and they keep neighbours apart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import (  # noqa: E402  # only where torch is
    DiffusionPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)

from housemodel import loras_folder, weights_folder  # noqa: E402
from housemodel.checker import compare, judge, read  # noqa: E402
from housemodel.dataset import held_out  # noqa: E402
from housemodel.evaluate import Setting, paint, score, shown_styles, shuffled  # noqa: E402
from housemodel.parts import load_pipeline  # noqa: E402
from housemodel.scenes import Scene, parse  # noqa: E402
from housemodel.styles import STYLES, compare_styled  # noqa: E402
from housemodel.tokens import build_tokenizer  # noqa: E402
from housemodel.words import vocabulary  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SAMPLE = 64
FLOOR = {"background": 0.98, "colour": 0.98, "count": 0.98, "position": 0.98, "shape": 0.93, "exact": 0.93}
LARGEST = 12_000_000
LARGEST_LORA = 300_000


@pytest.fixture(scope="module")
def pipe() -> Iterator[StableDiffusionPipeline]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load_pipeline(weights_folder())
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def sample(pipe: StableDiffusionPipeline) -> tuple[list[Any], list[tuple[Scene, str]]]:
    asked = held_out(SAMPLE)
    return [read(picture) for picture in paint(pipe, [said for _, said in asked], Setting())], asked


def test_the_weights_are_small_and_in_half_precision() -> None:
    from safetensors import safe_open

    files = [file for file in weights_folder().rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= LARGEST
    for file in weights_folder().rglob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            kinds = {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118  # not a dict
        assert kinds <= {"F16", "I64"}


def test_an_unmodified_pipeline_loads_them_at_128_pixels(pipe: StableDiffusionPipeline) -> None:
    plain = DiffusionPipeline.from_pretrained(weights_folder())
    assert type(plain) is StableDiffusionPipeline
    assert {part.dtype for part in (plain.unet, plain.vae, plain.text_encoder)} == {torch.float32}
    assert pipe.vae_scale_factor * pipe.unet.config.sample_size == 128
    assert pipe.safety_checker is None


def test_sixty_four_held_out_captions_hold_the_floor(sample: tuple[list[Any], list[tuple[Scene, str]]]) -> None:
    seen, asked = sample
    scores = score([compare(got, scene) for got, (scene, _) in zip(seen, asked, strict=True)])
    assert {name: value for name, value in scores.items() if value < FLOOR[name]} == {}


def test_a_picture_does_not_answer_its_neighbours_caption(sample: tuple[list[Any], list[tuple[Scene, str]]]) -> None:
    by_chance = shuffled(*sample)
    assert by_chance["exact"] <= 0.02
    assert by_chance["background"] <= 0.3
    assert by_chance["colour"] <= 0.3


def test_a_picture_in_company_is_the_picture_alone(pipe: StableDiffusionPipeline) -> None:
    said = ["a red star on cyan", "dos lunas blancas sobre fondo azul", "a green ring at the top left on yellow"]
    together = [np.asarray(p, dtype=np.int16) for p in paint(pipe, said, Setting(steps=8, batch=3))]
    alone = [np.asarray(p, dtype=np.int16) for p in paint(pipe, said, Setting(steps=8, batch=1))]
    assert max(int(np.abs(a - b).max()) for a, b in zip(together, alone, strict=True)) <= 1


@pytest.mark.parametrize("scheduler", ["Euler", "Euler a", "DPM++ 2M", "UniPC"])
def test_the_usual_schedulers_work(pipe: StableDiffusionPipeline, scheduler: str) -> None:
    said = ["a red star in the center on a cyan background", "a white circle in the center on a blue background",
            "two yellow squares on a purple background", "un círculo negro en el centro sobre fondo amarillo"]  # fmt: skip
    pictures = paint(pipe, said, Setting(scheduler=scheduler, steps=14))
    right = [judge(picture, text).tells_apart for picture, text in zip(pictures, said, strict=True)]
    assert sum(right) >= 3


@pytest.mark.parametrize("prompt", ["", "zxqv 日本 🦊", "a dog riding a bicycle at night", "word " * 300])
def test_words_outside_the_grammar_break_nothing(pipe: StableDiffusionPipeline, prompt: str) -> None:
    (picture,) = paint(pipe, [prompt], Setting(steps=8))
    assert picture.size == (128, 128)
    assert np.isfinite(np.asarray(picture, dtype=np.float32)).all()


def test_image_to_image_runs_on_the_same_parts(pipe: StableDiffusionPipeline) -> None:
    (start,) = paint(pipe, ["a red circle in the center on a white background"], Setting())
    image_to_image = StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    image_to_image.set_progress_bar_config(disable=True)
    said = "a blue circle in the center on a white background"
    generator = torch.Generator().manual_seed(1)
    made: Any = image_to_image(said, image=start, strength=0.9, guidance_scale=3.0, num_inference_steps=20,
                               generator=generator)  # fmt: skip
    assert judge(made.images[0], said).tells_apart


def test_every_word_of_the_grammar_is_one_token() -> None:
    tokenizer = build_tokenizer()
    assert [word for word in vocabulary() if len(tokenizer.tokenize(word)) != 1] == []


def lora_files() -> list[Path]:
    return [loras_folder() / f"house-{style}{kind}.safetensors" for style in STYLES for kind in ("", ".kohya")]


@pytest.mark.parametrize("file", lora_files(), ids=lambda file: file.name)
def test_each_lora_is_small_and_its_two_formats_hold_the_same(file: Path) -> None:
    from safetensors.torch import load_file

    from housemodel.train_loras import kohya_names

    assert file.stat().st_size <= LARGEST_LORA
    twin = load_file(file.with_name(file.name.replace(".kohya", "")))
    expected = kohya_names(twin) if ".kohya" in file.name else twin
    found = load_file(file)
    assert found.keys() == expected.keys()
    assert all(found[name].equal(expected[name]) for name in found)


TELLING = (
    "a red square in the center on a yellow background",
    "a white circle in the center on a blue background",
    "a yellow heart on purple",
    "un círculo negro sobre fondo naranja",
    "a green triangle at the top left and a red cross at the bottom right on a white background",
    "two blue circles on a pink background",
)


@pytest.mark.parametrize("styles", [*((style,) for style in STYLES), ("night", "dots")], ids="+".join)
def test_loras_show_their_styles_and_no_other_and_leave_the_caption(pipe: StableDiffusionPipeline, styles: tuple[str, ...]) -> None:
    scenes = [scene for scene in map(parse, TELLING) if scene is not None]
    assert len(scenes) == len(TELLING)
    worn = list(paint(pipe, TELLING, Setting(loras=tuple((style, 1.0) for style in styles))))
    bare = list(paint(pipe, TELLING, Setting()))
    assert shown_styles(worn, scenes, styles) >= 0.8
    assert shown_styles(bare, scenes, styles) == 0
    kept = [compare_styled(picture, scene, styles) for picture, scene in zip(worn, scenes, strict=True)]
    assert sum(verdict.tells_apart and verdict.position for verdict in kept) >= 5
